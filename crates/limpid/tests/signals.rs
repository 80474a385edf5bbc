//! Goal: a safe call returns its error, and goes on where it can, whatever handlers for SIGBUS and
//! SIGSEGV the program installs after a map was made; the program's handlers get what is theirs.
//! Method: handlers that end the process if a fault reaches them are installed again and again,
//! two by turns, between maps and calls that meet faults: past the end, over punched ranges, in
//! private maps while the file below changes. Then signals that were sent, which must arrive, also
//! at a handler that calls the one it replaced. One test in this file: handlers are the process's.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use limpid::{File, MapOptions, Pool};

const PAGE: usize = 4096;
const LEN: u64 = 256 * 4096;

static SENT: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
static REPLACED: AtomicUsize = AtomicUsize::new(0);

type InfoHandler = extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void);

extern "C" fn handler<const NUMBER: usize>(
    signal: i32,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the kernel, or who passes on, gives a valid siginfo.
    if unsafe { (*info).si_code } > 0 {
        let text = b"a fault of a safe call reached the program's handler\n";
        // SAFETY: writes bytes of ours and ends the process.
        unsafe {
            libc::write(2, text.as_ptr().cast(), text.len());
            libc::_exit(77);
        }
    }
    SENT[NUMBER].fetch_add(1, Ordering::Relaxed);
    let replaced = REPLACED.load(Ordering::Relaxed);
    if NUMBER == 2 && replaced > 1 {
        // SAFETY: the action that was in force when this one was installed, with SA_SIGINFO.
        let replaced = unsafe { std::mem::transmute::<usize, InfoHandler>(replaced) };
        replaced(signal, info, context);
    }
}

/// Installs a handler; returns the one that it replaced.
fn install(signal: i32, handler: InfoHandler) -> usize {
    // SAFETY: a handler with the signature that SA_SIGINFO asks for; all zeroes is a valid action.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        assert_eq!(libc::sigaction(signal, &action, &mut before), 0);
        before.sa_sigaction
    }
}

fn install_both(handler: InfoHandler) {
    install(libc::SIGBUS, handler);
    install(libc::SIGSEGV, handler);
}

fn raise(signal: i32) {
    // SAFETY: the handlers of this test return.
    assert_eq!(unsafe { libc::raise(signal) }, 0);
}

#[test]
fn safe_calls_return_whatever_is_installed() {
    if !common::maps_work() {
        return;
    }
    let pool = Pool::memory(64 << 20).unwrap();
    let file = File::create(&pool, "/file").unwrap();
    file.set_len(LEN).unwrap();
    let map = file.map_mut().unwrap();
    let private = MapOptions::new().write(true).private(true).map(&file).unwrap();
    map.store_u64(0, 1).unwrap();
    private.store_u64(PAGE, 2).unwrap();
    for round in 0..40u64 {
        let mine = if round % 2 == 0 { handler::<0> } else { handler::<1> };
        install_both(mine as InfoHandler);
        file.set_len(0).unwrap();
        let cut = map.load_u64(0);
        assert!(matches!(cut, Err(limpid::Error::OutOfRange { .. })), "{cut:?}");
        assert!(private.load_u64(0).is_err());
        install_both(mine as InfoHandler);
        // The same page again: it was made to fail before the handler came.
        assert!(map.load_u64(0).is_err());
        assert!(map.write(8, b"bytes").is_err());
        file.set_len(LEN).unwrap();
        install_both(mine as InfoHandler);
        map.store_u64(0, round).unwrap();
        assert_eq!(private.load_u64(0).unwrap(), round);
        private.store_u64(3 * PAGE, round).unwrap();
        file.punch_hole(0, LEN).unwrap();
        assert_eq!(map.load_u64(0).unwrap(), 0);
        assert_eq!(private.load_u64(3 * PAGE).unwrap(), round);
    }
    // Stores to a private map that is frozen again and again.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = 0;
            while !stop.load(Ordering::Relaxed) {
                value += 1;
                private.store_u64((value % 256) as usize * PAGE, value).unwrap();
            }
        });
        for round in 0..200u64 {
            if round % 50 == 0 {
                install_both(handler::<0>);
            }
            file.write_all_at(&round.to_ne_bytes(), round % 256 * PAGE as u64).unwrap();
            file.punch_hole(round % 256 * PAGE as u64, PAGE as u64).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    // What is sent arrives at the program, once.
    let before = SENT[0].load(Ordering::Relaxed);
    raise(libc::SIGBUS);
    raise(libc::SIGSEGV);
    assert_eq!(SENT[0].load(Ordering::Relaxed), before + 2);
    // A handler that passes on to what it replaced, which is ours.
    REPLACED.store(install(libc::SIGBUS, handler::<2>), Ordering::Relaxed);
    file.set_len(0).unwrap();
    assert!(map.load_u64(0).is_err());
    raise(libc::SIGBUS);
    assert_eq!(SENT[2].load(Ordering::Relaxed), 1);
    assert_eq!(SENT[0].load(Ordering::Relaxed), before + 3);
}
