//! What is mounted at a directory, and unmounting it.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::attach;
use crate::error::MountError;
use crate::metrics::{DAEMON, METRICS_XATTR};

/// The type of a mounted pool in the table of mounts.
pub(crate) const FS_TYPE: &str = "fuse.limpid";
/// How long an unmount waits for the process behind the mount to let go of its pool.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is mounted at a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountState {
    /// Nothing.
    Nothing,
    /// A pool.
    Pool {
        /// The source, as a rule the pool's path.
        source: OsString,
    },
    /// A pool whose process is gone: every access fails.
    Dead {
        /// The source, as a rule the pool's path.
        source: OsString,
    },
    /// Another file system.
    Other,
}

/// One line of the table of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Number of the mount.
    pub id: u64,
    pub device: String,
    pub dir: PathBuf,
    pub fs_type: String,
    pub source: OsString,
    /// What the kernel sees to.
    pub flags: MountFlags,
}

/// What is mounted at `dir` itself (not above it).
pub fn look(dir: &Path) -> io::Result<MountState> {
    let Some(entry) = find(dir)? else { return Ok(MountState::Nothing) };
    if entry.fs_type != FS_TYPE {
        return Ok(MountState::Other);
    }
    let source = entry.source;
    // The kernel may know the attributes yet: what it has must come from the process anew.
    match statx(CWD, dir, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS) {
        Err(error) if is_dead(error) => Ok(MountState::Dead { source }),
        _ => Ok(MountState::Pool { source }),
    }
}

/// What a mount answers whose process is gone: the second where that went while it was asked.
fn is_dead(error: Errno) -> bool {
    matches!(error, Errno::NOTCONN | Errno::CONNABORTED)
}

/// The topmost mount at `dir`.
pub(crate) fn find(dir: &Path) -> io::Result<Option<Entry>> {
    let dir = resolve(dir)?;
    let table = std::fs::read("/proc/self/mountinfo")?;
    let mut lines = table.split(|byte| *byte == b'\n').filter_map(parse);
    Ok(lines.rfind(|entry| entry.dir == dir))
}

/// The number of the device of the mount that a file was opened on, without asking the mount.
pub(crate) fn number_of(file: &OwnedFd) -> Option<String> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd())).ok()?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()?;
    let table = std::fs::read("/proc/self/mountinfo").ok()?;
    let mut lines = table.split(|byte| *byte == b'\n').filter_map(parse);
    lines.find(|entry: &Entry| entry.id == id).map(|entry| entry.device)
}

/// The directory's path without symbolic links. The last name is not looked at if that fails, as
/// it does where a mount is dead.
pub(crate) fn resolve(dir: &Path) -> io::Result<PathBuf> {
    match dir.canonicalize() {
        Err(error) if Errno::from_io_error(&error).is_some_and(is_dead) => {
            let absolute = std::path::absolute(dir)?;
            match (absolute.parent(), absolute.file_name()) {
                (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
                _ => Err(error),
            }
        }
        result => result,
    }
}

/// Parses a line of /proc/self/mountinfo (see proc_pid_mountinfo(5)).
fn parse(line: &[u8]) -> Option<Entry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = String::from_utf8(fields.nth(1)?.to_vec()).ok()?;
    let dir = PathBuf::from(unescape(fields.nth(1)?));
    let mut flags = flags_of(fields.next()?);
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let fs_type = String::from_utf8(rest.next()?.to_vec()).ok()?;
    let source = unescape(rest.next()?);
    flags |= flags_of(rest.next().unwrap_or_default());
    Some(Entry { id, device, dir, fs_type, source, flags })
}

/// The flags that words of the table of mounts stand for.
fn flags_of(words: &[u8]) -> MountFlags {
    let flag = |word: &[u8]| match word {
        b"ro" => MountFlags::RDONLY,
        b"nosuid" => MountFlags::NOSUID,
        b"nodev" => MountFlags::NODEV,
        b"noexec" => MountFlags::NOEXEC,
        b"noatime" => MountFlags::NOATIME,
        b"nodiratime" => MountFlags::NODIRATIME,
        b"nosymfollow" => MountFlags::NOSYMFOLLOW,
        b"sync" => MountFlags::SYNCHRONOUS,
        b"dirsync" => MountFlags::DIRSYNC,
        _ => MountFlags::empty(),
    };
    words.split(|byte| *byte == b',').map(flag).collect()
}

/// Spaces and the like are written as a backslash and three octal digits.
fn unescape(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits =
            tail.get(..3).filter(|digits| digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        match digits {
            Some(digits) if first == b'\\' => {
                let value =
                    digits.iter().fold(0u32, |sum, digit| sum * 8 + u32::from(digit - b'0'));
                bytes.push(value as u8);
                rest = &tail[3..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    OsString::from_vec(bytes)
}

/// Unmounts the pool at `dir`. Lazily: at once for everybody who comes, while those who have
/// files open keep them. Returns when the process behind the mount, if it does nothing else, has
/// let go of the pool; a lazy unmount does not wait, nor does it ask that process for anything.
pub fn unmount(dir: &Path, lazy: bool) -> Result<(), MountError> {
    let at = |source| MountError::MountPoint { dir: dir.into(), source };
    let is_pool = |entry: &Entry| entry.fs_type == FS_TYPE;
    if find(dir).map_err(at)?.filter(is_pool).is_none() {
        return Err(MountError::NotMounted { dir: dir.into() });
    }
    let daemon = match lazy {
        true => None,
        false => match look(dir).map_err(at)? {
            MountState::Pool { .. } => daemon(dir),
            _ => None,
        },
    };
    detach(dir, lazy)?;
    if let Some(pid) = daemon.filter(|_| !lazy)
        && let Ok(process) = pidfd_open(pid, PidfdFlags::empty())
    {
        let timeout = PATIENCE.try_into().ok();
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], timeout.as_ref());
    }
    Ok(())
}

/// Takes the mount at `dir` away, whatever it is.
pub(crate) fn detach(dir: &Path, lazy: bool) -> Result<(), MountError> {
    let at = |source| MountError::MountPoint { dir: dir.into(), source };
    let path = resolve(dir).map_err(at)?;
    let flags = if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(&path, flags | UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(MountError::Busy { dir: dir.into() }),
        Err(Errno::INVAL) => Err(MountError::NotMounted { dir: dir.into() }),
        Err(Errno::PERM) => by_helper(&path, lazy),
        Err(error) => Err(at(error.into())),
    }
}

/// Those who are not root unmount what is theirs through the helper of FUSE.
pub(crate) fn by_helper(dir: &Path, lazy: bool) -> Result<(), MountError> {
    let mut command = attach::helper();
    command.arg("-u").args(lazy.then_some("-z")).arg("--").arg(dir);
    let output = command.output().map_err(|_| MountError::NoHelper)?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    match text.contains("busy") {
        true => Err(MountError::Busy { dir: dir.into() }),
        false => Err(MountError::HelperRefused(text)),
    }
}

/// The process that does nothing but serve the mount at `dir`.
fn daemon(dir: &Path) -> Option<Pid> {
    let metrics = metrics(dir).ok()?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(DAEMON)?.strip_prefix(' '))?;
    Pid::from_raw(line.parse().ok()?)
}

/// What the mount at `dir` has done so far, in Prometheus' text format.
pub fn metrics(dir: &Path) -> io::Result<String> {
    let mut buffer = vec![0; 65_536];
    let len = rustix::fs::getxattr(dir, METRICS_XATTR, &mut buffer[..])?;
    Ok(String::from_utf8_lossy(&buffer[..len]).into_owned())
}

/// Whether `dir` has no entries.
pub(crate) fn is_empty(dir: &Path) -> io::Result<bool> {
    Ok(std::fs::read_dir(dir)?.next().is_none())
}

/// A path as text for an option of mount(2).
pub(crate) fn option_text(path: &OsStr) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_parsed() {
        let line = b"36 35 0:43 / /mnt/a\\040b\\134 rw,relatime shared:1 - fuse.limpid /p\\011q rw";
        let entry = parse(line).unwrap();
        assert_eq!((entry.id, entry.device.as_str()), (36, "0:43"));
        assert_eq!(entry.dir, Path::new("/mnt/a b\\"));
        assert_eq!((entry.fs_type.as_str(), entry.source), (FS_TYPE, "/p\tq".into()));
        assert_eq!(entry.flags, MountFlags::empty());
        let line = b"36 35 0:43 / /mnt rw,noatime - fuse.limpid /q rw,sync";
        assert_eq!(parse(line).unwrap().flags, MountFlags::NOATIME | MountFlags::SYNCHRONOUS);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"36 35 0:43 / /mnt rw -"), None);
    }

    #[test]
    fn where_nothing_is_mounted_nothing_is_unmounted() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(dir.path()).unwrap(), MountState::Nothing);
        assert!(matches!(unmount(dir.path(), false), Err(MountError::NotMounted { .. })));
        assert_eq!(look(Path::new("/proc")).unwrap(), MountState::Other);
    }
}
