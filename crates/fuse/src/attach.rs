//! How the kernel comes to have a mount, and how exactly that one is taken away again.
//!
//! A directory's path names what is mounted there now, which is another mount as soon as somebody
//! has unmounted ours and mounted something else. So nothing here unmounts by path alone: a mount
//! is known by the number of its device, which the kernel gives to nobody else before the
//! connection to the process behind it has ended (it aborts the connection first).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use limpid_locks::{Class, Mutex, mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, IoSliceMut};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::error::MountError;
use crate::unmount::{self, Entry, FS_TYPE};

/// The class of the lock of a mount's device.
static CONNECTION: Class = Class::new("fuse: connection");

const DEVICE: &str = "/dev/fuse";
/// Where the helper finds its end of the socket through which it sends the device.
const HELPER_SOCKET: &str = "_FUSE_COMMFD";
/// Names another helper, as it does for other programs.
const HELPER_PATH: &str = "FUSERMOUNT_PATH";

/// What the kernel is to know of a mount.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// What the table of mounts shows as the source.
    pub source: String,
    pub flags: MountFlags,
    /// For everybody, not only for who mounts.
    pub all: bool,
}

/// A mount of this process.
#[derive(Debug)]
pub(crate) struct Attached {
    dir: PathBuf,
    /// The number of its device, as the table of mounts shows it.
    number: String,
    /// The connection to the kernel, as long as it is served.
    device: Mutex<Option<OwnedFd>>,
}

/// Opens the kernel's device, of which each mount wants one of its own.
pub(crate) fn open_device() -> Result<OwnedFd, MountError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    openat(CWD, DEVICE, flags, Mode::empty()).map_err(|error| match error {
        Errno::ACCESS | Errno::PERM => MountError::NotPermitted(error.into()),
        _ => MountError::NoFuse(error.into()),
    })
}

/// Mounts at `dir`, a path without symbolic links: as root oneself, else through the helper of
/// FUSE. Nothing is served yet.
pub(crate) fn attach(dir: &Path, wanted: &Wanted) -> Result<(Attached, OwnedFd), MountError> {
    let device = match by_system(dir, wanted)? {
        Some(device) => device,
        None => by_helper(dir, wanted)?,
    };
    let kept = device.try_clone().map_err(MountError::Refused)?;
    // The mount is not known to anybody else yet, so what is there is ours.
    match unmount::find(dir) {
        Ok(Some(Entry { fs_type, device: number, .. })) if fs_type == FS_TYPE => {
            let device_kept = mutex(&CONNECTION, Some(kept));
            Ok((Attached { dir: dir.to_owned(), number, device: device_kept }, device))
        }
        _ => Err(MountError::Mounted { dir: dir.to_owned() }),
    }
}

/// mount(2); none if that is not permitted.
fn by_system(dir: &Path, wanted: &Wanted) -> Result<Option<OwnedFd>, MountError> {
    let device = open_device()?;
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions{}",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
        if wanted.all { ",allow_other" } else { "" },
    );
    let data = std::ffi::CString::new(data).map_err(|error| MountError::Refused(error.into()))?;
    let source = wanted.source.as_str();
    match rustix::mount::mount(source, dir, FS_TYPE, wanted.flags, data.as_c_str()) {
        Ok(()) => Ok(Some(device)),
        Err(Errno::PERM) => Ok(None),
        Err(Errno::NODEV) => Err(MountError::NoFuse(Errno::NODEV.into())),
        Err(Errno::BUSY) => Err(MountError::Mounted { dir: dir.to_owned() }),
        Err(error) => Err(MountError::Refused(error.into())),
    }
}

/// The options of a mount as words. Those of the helper begin with what has to be said always.
fn words(wanted: &Wanted) -> String {
    let names = [
        (MountFlags::NOATIME, "noatime", None),
        (MountFlags::NODIRATIME, "nodiratime", None),
        (MountFlags::NOSYMFOLLOW, "nosymfollow", None),
        (MountFlags::DIRSYNC, "dirsync", None),
        (MountFlags::NODEV, "nodev", Some("dev")),
        (MountFlags::NOEXEC, "noexec", Some("exec")),
        (MountFlags::NOSUID, "nosuid", Some("suid")),
        (MountFlags::RDONLY, "ro", Some("rw")),
        (MountFlags::SYNCHRONOUS, "sync", Some("async")),
    ];
    let words = names
        .into_iter()
        .filter_map(|(flag, on, off)| if wanted.flags.contains(flag) { Some(on) } else { off });
    let all = wanted.all.then_some("allow_other");
    let words: Vec<&str> = words.chain(["default_permissions"]).chain(all).collect();
    let source = wanted.source.replace('\\', "\\\\").replace(',', "\\,");
    format!("fsname={source},subtype=limpid,{}", words.join(","))
}

/// The program that mounts and unmounts for those who are not root.
pub(crate) fn helper() -> Command {
    Command::new(std::env::var_os(HELPER_PATH).unwrap_or_else(|| "fusermount3".into()))
}

/// Has the helper mount, which sends the device through its standard input.
fn by_helper(dir: &Path, wanted: &Wanted) -> Result<OwnedFd, MountError> {
    let (ours, its) = UnixStream::pair().map_err(MountError::Refused)?;
    let mut command = helper();
    command.args(["-o", &words(wanted), "--"]).arg(dir).env(HELPER_SOCKET, "0");
    command.stdin(OwnedFd::from(its)).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn().map_err(|_| MountError::NoHelper)?;
    // The other end closes with the helper.
    drop(command);
    let device = receive(&ours);
    let output = child.wait_with_output().map_err(MountError::Refused)?;
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match device {
        Ok(Some(device)) => Ok(device),
        Ok(None) => Err(MountError::HelperRefused(text)),
        Err(error) => Err(MountError::Refused(error.into())),
    }
}

/// The file that the other side of a socket sends, if it sends one.
fn receive(socket: &UnixStream) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = [0];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(&mut byte)];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)
    });
    // A helper that ends without having read all that it was sent resets the connection.
    if let Err(error) = received
        && error != Errno::CONNRESET
    {
        return Err(error);
    }
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    }))
}

/// Whether the kernel still has the other end of a connection.
fn is_connected(device: BorrowedFd<'_>) -> bool {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut devices = [PollFd::new(&device, PollFlags::empty())];
    let polled = rustix::io::retry_on_intr(|| poll(&mut devices, Some(&at_once)));
    polled.is_ok() && !devices[0].revents().contains(PollFlags::ERR)
}

impl Attached {
    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The number of the mount's device, as `major:minor`.
    pub fn number(&self) -> &str {
        &self.number
    }

    /// Whether the kernel has the mount, if only for those who have files open there.
    pub fn lives(&self) -> bool {
        self.device.lock().as_ref().is_some_and(|device| is_connected(device.as_fd()))
    }

    /// Whether what is to be found at the directory is this mount.
    fn is_there(&self) -> bool {
        let found = unmount::find(&self.dir);
        found.is_ok_and(|entry| entry.is_some_and(|entry| entry.device == self.number))
            && self.lives()
    }

    /// Unmounts if nobody uses it. To hold the directory would be a use, so this goes by its path
    /// right after a look at what is there.
    pub fn unmount(&self) -> Result<(), MountError> {
        if !self.lives() {
            return Ok(());
        }
        if !self.is_there() {
            return Err(MountError::NotMounted { dir: self.dir.clone() });
        }
        unmount::detach(&self.dir, false)
    }

    /// Takes the mount away from the directory, for everybody who comes; who has files open there
    /// keeps them. Another mount that has taken its place stays.
    pub fn detach(&self) -> Result<(), MountError> {
        let at =
            |errno: Errno| MountError::MountPoint { dir: self.dir.clone(), source: errno.into() };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let held = openat(CWD, &self.dir, flags, Mode::empty()).map_err(at)?;
        // What was opened stays the same mount as long as it is open.
        if !self.lives() || unmount::number_of(&held).as_deref() != Some(&*self.number) {
            return Ok(());
        }
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        match rustix::mount::unmount(path, UnmountFlags::DETACH) {
            // Somebody else did.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(Errno::PERM) => {
                // The helper knows paths only, so what may be mounted there in between is not safe
                // from it; but only root can mount over what is a user's.
                drop(held);
                unmount::by_helper(&self.dir, true)
            }
            Err(error) => Err(at(error)),
        }
    }

    /// Nobody serves it any more: it goes away, and whoever waits for an answer is told.
    pub fn end(&self) {
        if self.lives() {
            // It cannot be served; if it stays it is a dead mount, which `look` tells.
            let _ = self.detach();
        }
        drop(self.device.lock().take());
    }
}
