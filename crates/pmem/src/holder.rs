//! What whoever holds a medium says of itself, and whether it pays to wait for it.
//!
//! A medium that is held is refused at once, as a rule. But who unmounts a pool and opens it then
//! must not meet the process that was behind the mount and is still closing the pool. So that
//! process says for which mount it holds the medium; those who come look whether that mount is
//! still there, and wait if it is gone. They wait as well for a process that is dying.
//!
//! It is said by the length of a second locked range (see `lock.rs`), which goes with the lock.

use std::fs;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::lock;

/// Said when the mount is gone. Larger than every key.
const LEAVING: u64 = 1 << KEY_BITS;
const KEY_BITS: u32 = 38;

/// How long to wait for a process that is being ended, or has let go just now.
const DYING: Duration = Duration::from_secs(10);
/// How long for one whose mount is gone from the table: mostly it is closing the pool, but files
/// may be open on a mount that was taken away lazily, and then it goes on as long as they are.
const UNMOUNTED: Duration = Duration::from_secs(10);
/// How long for one that has said that it closes the pool.
const CLOSING: Duration = Duration::from_secs(120);
/// How long for one that let go while it was asked for, or that this process cannot see.
const UNSEEN: Duration = Duration::from_millis(200);

/// Tells others that the medium is held for the mount of this device, as `major:minor`.
pub(crate) fn hold_for_mount(fd: BorrowedFd<'_>, device: &str) {
    let Ok(table) = fs::read("/proc/self/mountinfo") else { return };
    let mut lines = table.split(|byte| *byte == b'\n');
    let line = lines.find(|line| field(line, 2) == Some(device.as_bytes()));
    if let Some(key) = line.and_then(key) {
        lock::say(fd, key);
    }
}

/// Tells others that the medium will be let go of as soon as can be.
pub(crate) fn leave(fd: BorrowedFd<'_>) {
    lock::say(fd, LEAVING);
}

/// How long it pays to wait, altogether, for who holds the medium. Zero: it will stay.
pub(crate) fn patience(fd: BorrowedFd<'_>, pid: Option<u32>) -> Duration {
    let Some(pid) = pid else { return UNSEEN };
    match lock::said(fd, pid) {
        Some(LEAVING) => CLOSING,
        Some(key) if !is_mounted(pid, key) => UNMOUNTED,
        _ => of_process(pid),
    }
}

fn of_process(pid: u32) -> Duration {
    match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) if is_dying(&stat) => DYING,
        Ok(_) => Duration::ZERO,
        Err(_) => UNSEEN,
    }
}

/// Whether a process ends: by the flag that says so, or by a signal to be killed that it has not
/// come to yet (see proc_pid_stat(5)).
fn is_dying(stat: &[u8]) -> bool {
    const EXITING: u64 = 4;
    const KILLED: u64 = 1 << (libc::SIGKILL - 1);
    // The name of the program comes second, in brackets, and may hold anything.
    let after = stat.iter().rposition(|byte| *byte == b')').map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&stat[after..]);
    let fields: Vec<&str> = text.split_whitespace().collect();
    let number = |at: usize| fields.get(at - 3).and_then(|field| field.parse().ok()).unwrap_or(0);
    fields.first().is_some_and(|state| "ZX".contains(state))
        || number(9) & EXITING != 0
        || number(31) & KILLED != 0
}

/// Whether a process that said `key` has its mount yet, as it sees the table of mounts if we may
/// know, else as we see it.
fn is_mounted(pid: u32, key_said: u64) -> bool {
    let its = fs::read(format!("/proc/{pid}/mountinfo"));
    let table = its.or_else(|_| fs::read("/proc/self/mountinfo")).unwrap_or_default();
    table.split(|byte| *byte == b'\n').any(|line| key(line) == Some(key_said))
}

/// A number for what tells one mounted file system from another in a line of the table: device,
/// type and source (see proc_pid_mountinfo(5)). The device alone would not do: its number goes
/// to the next file system that is mounted after this one.
fn key(line: &[u8]) -> Option<u64> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().position(|field| *field == b"-")?;
    let told = [fields.get(2)?, fields.get(dash + 1)?, fields.get(dash + 2)?];
    // FNV-1a.
    let bytes = told.into_iter().flat_map(|field| field.iter().chain(b" "));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    Some(hash >> (64 - KEY_BITS))
}

fn field(line: &[u8], number: usize) -> Option<&[u8]> {
    line.split(|byte| *byte == b' ').nth(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_told_from_another_of_the_same_device() {
        let line = |device: &str, dir: &str, source: &str| {
            key(format!("36 35 {device} / {dir} rw - fuse.limpid {source} rw").as_bytes()).unwrap()
        };
        let one = line("0:43", "/mnt", "/p");
        assert!(one < LEAVING);
        assert_eq!(one, line("0:43", "/elsewhere", "/p"), "a mount can be moved");
        assert_ne!(one, line("0:43", "/mnt", "/q"));
        assert_ne!(one, line("0:44", "/mnt", "/p"));
        assert_eq!(key(b""), None);
        assert_eq!(key(b"36 35 0:43 / /mnt rw -"), None);
    }

    #[test]
    fn a_process_that_ends_is_seen() {
        let line = |state: &str, flags: u32, pending: u32| {
            let middle = "0 ".repeat(21);
            let text = format!("7 (a) S) {state} 1 1 1 0 -1 {flags} {middle}{pending} 0 0");
            is_dying(text.as_bytes())
        };
        assert!(!line("S", 0x40_0000, 0));
        assert!(line("Z", 0x40_0000, 0));
        assert!(line("R", 0x40_0004, 0));
        assert!(line("D", 0x40_0000, 256));
        assert_eq!(of_process(std::process::id()), Duration::ZERO);
    }
}
