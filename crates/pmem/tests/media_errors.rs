//! Goal: a page that the medium cannot deliver fails the access, not the process; a SIGBUS that is
//! not ours still ends the process, or reaches the handler that was there before.
//! Method: the host file is truncated below an open pool, and every operation and every copy
//! routine runs over the lost page. What must kill runs in a child: this test binary again.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use limpid_pmem::{Copier, Media, MediaError, Medium, OpenOptions, Persist};

const LEN: u64 = 1 << 20;
const CUT: u64 = 256 << 10;

/// A pool of 1 MiB of which all from 256 KiB on is lost.
fn cut_pool(folder: &tempfile::TempDir, assume_persistent: bool) -> Medium {
    let path = folder.path().join("pool");
    let options = OpenOptions { assume_persistent, ..OpenOptions::default() };
    let medium = Medium::create(&path, LEN, &options).unwrap();
    medium.write(0, &vec![7; LEN as usize], Persist::No).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(CUT).unwrap();
    medium
}

fn skipped() -> bool {
    if !Copier::GUARDED {
        eprintln!("skipped: this architecture has no guarded copies");
    }
    !Copier::GUARDED
}

#[test]
fn every_operation_reports_the_lost_page() {
    if skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for assume_persistent in [false, true] {
        let medium = cut_pool(&folder, assume_persistent);
        let lost = Err(MediaError::Io { at: CUT });
        for len in [1, 2, 5, 9, 17, 40, 64, 65, 100, 200, 300, 1000, 5000, 40_000, 100_000] {
            // Ends one byte past the cut, starts at it, and lies across it.
            for at in [CUT + 1 - len as u64, CUT, CUT - len as u64 / 2] {
                let mut bytes = vec![0; len];
                assert_eq!(medium.read(at, &mut bytes), lost, "read {len} at {at}");
                for persist in [Persist::No, Persist::Yes] {
                    assert_eq!(medium.write(at, &bytes, persist), lost, "write {len} at {at}");
                    let range = at..at + len as u64;
                    assert_eq!(medium.zero(range, persist), lost, "zero {len} at {at}");
                    assert_eq!(medium.copy(at, 0, len as u64, persist), lost, "copy from {at}");
                    assert_eq!(medium.copy(0, at, len as u64, persist), lost, "copy to {at}");
                }
                medium.flush(at..at + len as u64);
            }
            // The byte before the cut is still there.
            let sound = CUT - len as u64;
            assert_eq!(medium.read(sound, &mut vec![0; len]), Ok(()), "{len} below the cut");
        }
        assert_eq!(medium.load_u64(CUT), Err(MediaError::Io { at: CUT }));
        assert_eq!(medium.store_u64(CUT + 8, 1), Err(MediaError::Io { at: CUT + 8 }));
        assert!(medium.load_u64(CUT - 8).is_ok());
        drop(medium);
        std::fs::remove_file(folder.path().join("pool")).unwrap();
    }
}

#[test]
fn many_threads_at_once() {
    if skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let medium = cut_pool(&folder, false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let mut bytes = [0; 3000];
                    let lost = Err(MediaError::Io { at: CUT });
                    assert_eq!(medium.read(CUT - 1000, &mut bytes), lost);
                    assert_eq!(medium.read(CUT - 3000, &mut bytes), Ok(()));
                }
            });
        }
    });
}

#[test]
fn a_buffer_that_fails_is_told_apart() {
    if skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lost = cut_pool(&folder, false);
    let sound = Medium::memory(LEN, &OpenOptions::default()).unwrap();
    // SAFETY: the range is mapped for as long as `lost` lives; nobody else accesses it.
    let buffer = unsafe { std::slice::from_raw_parts_mut(lost.as_ptr().add(CUT as usize), 4096) };
    assert_eq!(sound.read(0, buffer), Err(MediaError::Buffer));
    for persist in [Persist::No, Persist::Yes] {
        assert_eq!(sound.write(0, buffer, persist), Err(MediaError::Buffer));
    }
}

#[test]
fn two_pools_fail_on_their_own() {
    if skipped() {
        return;
    }
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (cut, whole) = (cut_pool(&one, false), cut_pool(&two, false));
    let path = two.path().join("pool");
    File::options().write(true).open(path).unwrap().set_len(LEN).unwrap();
    assert_eq!(cut.read(CUT, &mut [0; 64]), Err(MediaError::Io { at: CUT }));
    assert_eq!(whole.read(CUT, &mut [0; 64]), Ok(()));
    assert_eq!(cut.kind(), whole.kind());
}

/// Runs one of the tests below, which die, in a process of its own.
fn run_child(test: &str) -> std::process::ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("LIMPID_CHILD", "1")
        .output()
        .unwrap()
        .status
}

fn is_child() -> bool {
    std::env::var_os("LIMPID_CHILD").is_some()
}

/// Loads a lost byte with an instruction that is not one of ours.
fn touch_lost_page(medium: &Medium) {
    // SAFETY: the address is mapped; that the load raises SIGBUS is the test.
    let byte = unsafe { medium.as_ptr().add(CUT as usize).read_volatile() };
    panic!("a lost page delivered {byte}");
}

#[test]
fn a_fault_elsewhere_kills() {
    if is_child() {
        let folder = tempfile::tempdir().unwrap();
        touch_lost_page(&cut_pool(&folder, false));
    }
    assert_eq!(run_child("a_fault_elsewhere_kills").signal(), Some(libc::SIGBUS));
}

/// Signals that reached the earlier handler.
static SEEN: AtomicUsize = AtomicUsize::new(0);
/// Set when the next fault is meant for the earlier handler.
static MINE: AtomicBool = AtomicBool::new(false);

extern "C" fn earlier_handler(_: libc::c_int) {
    if MINE.load(Ordering::SeqCst) {
        // SAFETY: _exit is async-signal-safe; returning would fault for ever.
        unsafe { libc::_exit(42) };
    }
    if SEEN.fetch_add(1, Ordering::SeqCst) > 0 {
        // SAFETY: as above.
        unsafe { libc::_exit(43) };
    }
}

#[test]
fn an_earlier_handler_gets_what_is_not_ours() {
    if skipped() {
        return;
    }
    if is_child() {
        // SAFETY: the handler has the signature of a plain signal handler.
        unsafe { libc::signal(libc::SIGBUS, earlier_handler as *const () as usize) };
        let folder = tempfile::tempdir().unwrap();
        let medium = cut_pool(&folder, false);
        assert!(medium.read(CUT, &mut [0; 64]).is_err());
        assert_eq!(SEEN.load(Ordering::SeqCst), 0, "our own fault is nobody else's");
        // SAFETY: raises a signal that has a handler.
        unsafe { libc::raise(libc::SIGBUS) };
        assert_eq!(SEEN.load(Ordering::SeqCst), 1, "a signal that was sent is passed on");
        assert!(medium.read(CUT, &mut [0; 64]).is_err(), "our handler is still there");
        MINE.store(true, Ordering::SeqCst);
        touch_lost_page(&medium);
    }
    let status = run_child("an_earlier_handler_gets_what_is_not_ours");
    assert_eq!(status.code(), Some(42), "{status}");
}

#[test]
fn a_signal_that_was_sent_kills_by_default() {
    if is_child() {
        // SAFETY: puts the default action in force, in place of the runtime's.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        let _installs_the_handler = Copier::get();
        // SAFETY: raises a signal, whose action is to die.
        unsafe { libc::raise(libc::SIGBUS) };
        panic!("survived SIGBUS");
    }
    let status = run_child("a_signal_that_was_sent_kills_by_default");
    assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
}
