//! Memory that has a file descriptor: the medium `memory`.

use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

/// An empty anonymous file in memory, with huge pages if the system lets us have them.
pub(crate) fn anonymous() -> Result<OwnedFd, Errno> {
    huge_tmpfs().or_else(|_| memfd_create("limpid", MemfdFlags::CLOEXEC))
}

/// fsopen, fsmount: a nameless file on a tmpfs of our own with huge=always, mounted nowhere. The
/// mount lives as long as the file is open. Needs CAP_SYS_ADMIN.
fn huge_tmpfs() -> Result<OwnedFd, Errno> {
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "huge", "always")?;
    // No limit but the system's memory, as for a memfd.
    fsconfig_set_string(&context, "size", "0")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    openat(&mount, ".", flags, Mode::RUSR | Mode::WUSR)
}
