//! Goal: an access to a lost page is an error whatever SIGBUS handler the program installed after
//! the medium was opened; the program's handler gets what is sent to it.
//! Method: the host file is truncated below an open pool; handlers are installed again and again.
//! The library looks at them once in a tick of the coarse clock, so each round waits for a tick.
//! One test in this file: handlers are the process's.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use limpid_pmem::{Copier, Media, MediaError, Medium, OpenOptions, Persist};

static SENT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn program(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo.
    if unsafe { (*info).si_code } > 0 {
        let text = b"a fault of the library reached the program's handler\n";
        // SAFETY: writes bytes of ours and ends the process.
        unsafe {
            libc::write(2, text.as_ptr().cast(), text.len());
            libc::_exit(77);
        }
    }
    SENT.fetch_add(1, Ordering::Relaxed);
}

fn install() {
    // SAFETY: a handler with the signature that SA_SIGINFO asks for; all zeroes is a valid action.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = program as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()), 0);
    }
}

fn coarse() -> (i64, i64) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills a timespec of ours.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    (time.tv_sec, time.tv_nsec)
}

#[test]
fn a_lost_page_is_an_error_whatever_is_installed() {
    if !Copier::GUARDED {
        eprintln!("skipped: this architecture has no guarded copies");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    let medium = Medium::create(&path, 1 << 20, &OpenOptions::default()).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
    let lost = Err(MediaError::Io { at: 8192 });
    for round in 0..5 {
        install();
        let (installed, started) = (coarse(), Instant::now());
        while coarse() == installed {
            assert!(started.elapsed() < Duration::from_secs(10), "the coarse clock stands still");
            std::thread::yield_now();
        }
        let mut bytes = [0; 64];
        match round % 5 {
            0 => assert_eq!(medium.read(8192, &mut bytes), lost),
            1 => assert_eq!(medium.write(8192, &bytes, Persist::No), lost),
            2 => assert_eq!(medium.load_u64(8192).map(|_| ()), lost),
            3 => assert_eq!(medium.zero(8192..8300, Persist::Yes), lost),
            _ => assert_eq!(medium.store_u64(8192, 1), lost),
        }
    }
    // SAFETY: the handlers return.
    assert_eq!(unsafe { libc::raise(libc::SIGBUS) }, 0);
    assert_eq!(SENT.load(Ordering::Relaxed), 1);
}
