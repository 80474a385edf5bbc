//! Goal: when a direct write has returned, no read through the kernel's cache shows what was there
//! before it, also if the write was not waited for (io_submit) and reads came in meanwhile.
//!
//! Method: a program (this binary again, since a process should not use its own mount that way)
//! submits direct writes of a whole file in parts, while threads read its pages through the cache;
//! then all of it is read through the cache. `LIMPID_NIGHT=1` does more rounds.

mod common;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use common::Mounted;
use common::calls::{PARTS, Queue};
use limpid_fuse::MountOptions;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

const PAGE: usize = 4096;
const LEN: usize = PARTS * 4 * PAGE;
/// Tells the program which file to use.
const VARIABLE: &str = "LIMPID_TEST_DIRECT";

/// Sets a flag when it is dropped.
struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Pages that a read through the cache shows as they were, after so many rounds.
fn stale_pages(path: &Path, rounds: usize) -> usize {
    let direct = OFlags::DIRECT.bits() as i32;
    let direct = OpenOptions::new().write(true).custom_flags(direct).open(path).unwrap();
    let cached = File::open(path).unwrap();
    let Some(queue) = Queue::new() else { return 0 };
    let mut room = vec![0u8; LEN + PAGE];
    let start = room.as_ptr().align_offset(PAGE);
    let (ended, mut stale) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        // Also if this ends early, the readers end.
        let _end = OnDrop(&ended);
        for first in [0, LEN / PAGE / 2] {
            let (cached, ended) = (&cached, &ended);
            scope.spawn(move || {
                let (mut byte, mut page) = ([0], first);
                while !ended.load(Ordering::Relaxed) {
                    page = (page + 5) % (LEN / PAGE);
                    cached.read_exact_at(&mut byte, (page * PAGE) as u64).unwrap();
                }
            });
        }
        for round in 0..rounds {
            let value = (round % 250) as u8 + 1;
            let buffer = &mut room[start..start + LEN];
            buffer.fill(value);
            queue.write(&direct, buffer);
            for page in 0..LEN / PAGE {
                let mut byte = [0];
                cached.read_exact_at(&mut byte, (page * PAGE + 7) as u64).unwrap();
                stale += usize::from(byte[0] != value);
            }
        }
    });
    stale
}

/// The program.
#[test]
fn program() {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let rounds = if std::env::var_os("LIMPID_NIGHT").is_some() { 5000 } else { 300 };
    let stale = stale_pages(path.as_ref(), rounds);
    assert_eq!(stale, 0, "pages are as before the write");
}

#[test]
fn a_direct_write_leaves_no_stale_pages() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let path = mounted.path("f");
    std::fs::write(&path, [0; LEN]).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program", "--test-threads=1", "--nocapture"]).env(VARIABLE, &path);
    let mut program = command.stdin(Stdio::null()).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(program.id()).unwrap()).unwrap();
    let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let minutes = Timespec { tv_sec: 120, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&minutes)).unwrap();
    if ended == 0 {
        let _ = program.kill();
    }
    assert!(program.wait().unwrap().success(), "the program found stale pages, or hung");
    assert_eq!(ended, 1);
    mounted.finish();
}
