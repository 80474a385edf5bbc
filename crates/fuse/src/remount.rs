//! Mounting anew what is mounted: the options that the kernel sees to can change.

use std::path::Path;

use limpid::AccessTimes;
use rustix::fs::XattrFlags;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};

use crate::durability::{DURABILITY_XATTR, Level};
use crate::error::MountError;
use crate::metrics::READ_ONLY;
use crate::options::MountOptions;
use crate::unmount::{Entry, MountState, find, look, metrics};

/// The pool mounted at `dir`, as the table of mounts has it.
fn pool_at(dir: &Path) -> Result<Entry, MountError> {
    let at = |source| MountError::MountPoint { dir: dir.into(), source };
    match look(dir).map_err(at)? {
        MountState::Pool { .. } => {}
        MountState::Dead { .. } => return Err(MountError::Dead { dir: dir.into() }),
        MountState::Nothing | MountState::Other => {
            return Err(MountError::NotMounted { dir: dir.into() });
        }
    }
    find(dir).map_err(at)?.ok_or_else(|| MountError::NotMounted { dir: dir.into() })
}

/// The options with which the pool at `dir` is mounted, those that the kernel sees to.
pub fn mounted_options(dir: &Path) -> Result<MountOptions, MountError> {
    let flags = pool_at(dir)?.flags;
    let never = flags.contains(MountFlags::NOATIME);
    Ok(MountOptions {
        read_only: flags.contains(MountFlags::RDONLY),
        suid: !flags.contains(MountFlags::NOSUID),
        dev: !flags.contains(MountFlags::NODEV),
        exec: !flags.contains(MountFlags::NOEXEC),
        sync: flags.contains(MountFlags::SYNCHRONOUS),
        dirsync: flags.contains(MountFlags::DIRSYNC),
        follow_symlinks: !flags.contains(MountFlags::NOSYMFOLLOW),
        directory_access_times: !flags.contains(MountFlags::NODIRATIME),
        access_times: if never { AccessTimes::Never } else { AccessTimes::Relative },
        ..MountOptions::default()
    })
}

/// Mounts the pool at `dir` anew, with other options of those that the kernel sees to: whether
/// anything may be changed, whether set-user-id bits, device nodes, programs and symbolic links
/// work, and what is durable when it returns. When reading changes the time of last access can be
/// given as it is, but not changed. What was opened for reading only stays so.
pub fn remount(dir: &Path, options: &MountOptions) -> Result<(), MountError> {
    let at = |source| MountError::MountPoint { dir: dir.into(), source };
    let has = pool_at(dir)?.flags;
    let flags = options.flags();
    let fixed = [(MountFlags::NOATIME, "noatime"), (MountFlags::NODIRATIME, "nodiratime")];
    if let Some((_, name)) =
        fixed.iter().find(|(flag, _)| flags.contains(*flag) && !has.contains(*flag))
    {
        return Err(MountError::Unchangeable(name));
    }
    if !options.read_only && is_read_only(dir) {
        return Err(MountError::Unchangeable("rw (the pool is open for reading only)"));
    }
    // While anything may be changed, so that the mount is never less durable than it says.
    let told_before = tell(dir, flags);
    if let Err(error) = mount_remount(dir, flags, c"") {
        let _ = tell(dir, has);
        return Err(match error {
            Errno::PERM => MountError::NotRoot,
            Errno::BUSY => MountError::Busy { dir: dir.into() },
            error => at(error.into()),
        });
    }
    let told = match told_before {
        // Where nothing can be changed, nothing has to be durable.
        Err(Errno::ROFS) if !options.read_only => tell(dir, flags),
        Err(Errno::ROFS) => Ok(()),
        told => told,
    };
    told.map_err(|error| at(error.into()))
}

/// Tells the process behind the mount what is to be durable.
fn tell(dir: &Path, flags: MountFlags) -> rustix::io::Result<()> {
    let word = Level::of(flags).word().as_bytes();
    rustix::fs::setxattr(dir, DURABILITY_XATTR, word, XattrFlags::empty())
}

/// Whether the process behind the mount has the pool open for reading only.
fn is_read_only(dir: &Path) -> bool {
    metrics(dir).is_ok_and(|text| text.lines().any(|line| line == format!("{READ_ONLY} 1")))
}
