//! Signal handlers that stay in front of those that the program installs later.
//!
//! A program may install a handler for SIGBUS or SIGSEGV at any time, after ours, and without
//! calling ours. So ours is put in front again, with the program's behind it: before a fault is
//! made on purpose (a page past the end of a file, a frozen map), and in each guarded call, at
//! most once in a tick of the system's coarse clock (some milliseconds), since a look at the
//! action in force is a system call. What is not ours goes to the program's handler as if ours
//! were not there.
//!
//! A program's handler may call the one it replaced, which is ours. So ours has many entries, each
//! with the action that it replaced: the one put in front is never one that the program knows,
//! and the chain has an end. After sixteen different handlers the program's stays in front.

use std::mem::MaybeUninit;
use std::ptr::{self, null_mut};
use std::sync::atomic::{AtomicI64, AtomicPtr, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_int, c_void, sigaction, siginfo_t, sigset_t};

type Handler = extern "C" fn(c_int);
type InfoHandler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Settles a fault if it is one of ours: true, and the interrupted instruction goes on. Called in
/// a signal handler: async-signal-safe.
///
/// # Safety
/// The pointers are those that the kernel passed to the handler.
pub type Handle = unsafe fn(*mut siginfo_t, *mut c_void) -> bool;

/// A signal whose faults can be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGBUS.
    Bus = 0,
    /// SIGSEGV.
    Segv = 1,
}

/// Times that ours can be put in front of a handler that it was not in front of before.
const ENTRIES: usize = 16;

struct Front {
    number: c_int,
    handle: OnceLock<Handle>,
    /// What each entry replaced; leaked, since a handler may be using it.
    previous: [AtomicPtr<sigaction>; ENTRIES],
    changing: Mutex<()>,
}

impl Front {
    const fn new(number: c_int) -> Front {
        Front {
            number,
            handle: OnceLock::new(),
            previous: [const { AtomicPtr::new(null_mut()) }; ENTRIES],
            changing: Mutex::new(()),
        }
    }
}

static FRONTS: [Front; 2] = [Front::new(libc::SIGBUS), Front::new(libc::SIGSEGV)];

macro_rules! entries {
    ($signal:literal: $($number:literal)*) => {
        [$(entry::<$signal, $number> as InfoHandler),*]
    };
}

static CODE: [[InfoHandler; ENTRIES]; 2] = [
    entries!(0: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
    entries!(1: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15),
];

extern "C" fn entry<const SIGNAL: usize, const NUMBER: usize>(
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
) {
    let front = &FRONTS[SIGNAL];
    // SAFETY: the pointers are those that the kernel, or a handler that passes on, gave us.
    if front.handle.get().is_some_and(|handle| unsafe { handle(info, context) }) {
        return;
    }
    // SAFETY: set before this entry was in force, and never freed.
    let previous = unsafe { &*front.previous[NUMBER].load(Ordering::Acquire) };
    // SAFETY: as above.
    let code = unsafe { (*info).si_code };
    pass_on(previous, signal, info, context, code);
}

/// Names who settles the faults of a signal, once, and puts the handler in front.
pub fn install(signal: Signal, handle: Handle) {
    let _ = FRONTS[signal as usize].handle.set(handle);
    keep_in_front(signal);
}

/// Puts the handler in front, if one was installed, unless it is there.
pub fn keep_in_front(signal: Signal) {
    let front = &FRONTS[signal as usize];
    if front.handle.get().is_none() || is_ours(signal, &change(front.number, None)) {
        return;
    }
    let _changing = front.changing.lock().unwrap_or_else(PoisonError::into_inner);
    let now = change(front.number, None);
    if is_ours(signal, &now) {
        return;
    }
    for (number, previous) in front.previous.iter().enumerate() {
        let known = previous.load(Ordering::Acquire);
        // SAFETY: what was once set is never freed.
        match unsafe { known.as_ref() } {
            Some(known) if !is_same(known, &now) => continue,
            Some(_) => {}
            None => previous.store(Box::into_raw(Box::new(now)), Ordering::Release),
        }
        let replaced = change(front.number, Some(CODE[signal as usize][number]));
        // The program was quicker.
        if !is_same(&replaced, &now) && !is_ours(signal, &replaced) {
            previous.store(Box::into_raw(Box::new(replaced)), Ordering::Release);
        }
        return;
    }
}

/// As [`keep_in_front`] for all, if the coarse clock has moved since the last look.
#[inline]
pub(crate) fn look() {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills a timespec of ours. Not a system call on common machines.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &mut time) };
    let now = time.tv_sec.wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec);
    if LAST.load(Ordering::Relaxed) != now {
        LAST.store(now, Ordering::Relaxed);
        look_closely();
    }
}

#[cold]
fn look_closely() {
    keep_in_front(Signal::Bus);
    keep_in_front(Signal::Segv);
}

/// Puts an entry in force, or nothing; returns what was in force.
fn change(number: c_int, entry: Option<InfoHandler>) -> sigaction {
    let mut before = MaybeUninit::<sigaction>::uninit();
    let new = entry.map(|entry| {
        // SAFETY: all zeroes is a valid sigaction: empty mask, no flags.
        let mut action: sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = entry as usize;
        // On the alternate stack, since a stack may be what faulted; not deferred, since a chained
        // handler may leave by longjmp and must not leave the signal blocked.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER | libc::SA_RESTART;
        action
    });
    let pointer = new.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: an entry has the signature SA_SIGINFO asks for; the kernel fills `before`.
    let done = unsafe { sigaction(number, pointer, before.as_mut_ptr()) };
    assert_eq!(done, 0, "SIGBUS and SIGSEGV can be handled");
    // SAFETY: the call succeeded, so the value is initialised.
    unsafe { before.assume_init() }
}

fn is_ours(signal: Signal, action: &sigaction) -> bool {
    CODE[signal as usize].iter().any(|entry| *entry as usize == action.sa_sigaction)
}

fn is_same(one: &sigaction, other: &sigaction) -> bool {
    one.sa_sigaction == other.sa_sigaction && one.sa_flags == other.sa_flags
}

/// Does what the previous action would have done.
fn pass_on(
    previous: &sigaction,
    signal: c_int,
    info: *mut siginfo_t,
    context: *mut c_void,
    code: c_int,
) {
    match previous.sa_sigaction {
        libc::SIG_IGN if code <= 0 => {}
        // The kernel does not let a process ignore a fault: both mean death.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: the previous action is a valid one; only the default is put in force.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            if code <= 0 {
                // SAFETY: plain system call. A fault needs no raise: the instruction runs again.
                unsafe { libc::raise(signal) };
            }
        }
        handler => {
            let mut mask = previous.sa_mask;
            if previous.sa_flags & libc::SA_NODEFER == 0 {
                // SAFETY: `mask` is an initialised signal set and the signal a valid one.
                unsafe { libc::sigaddset(&mut mask, signal) };
            }
            let before = block(&mask);
            if previous.sa_flags & libc::SA_SIGINFO != 0 {
                // SAFETY: with SA_SIGINFO the address is a function of this signature.
                let handler = unsafe { std::mem::transmute::<usize, InfoHandler>(handler) };
                handler(signal, info, context);
            } else {
                // SAFETY: without SA_SIGINFO the address is a function of this signature.
                let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
                handler(signal);
            }
            // SAFETY: `before` was filled by `block`.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
        }
    }
}

/// Blocks the signals in `mask` for this thread and returns the mask that was in force.
fn block(mask: &sigset_t) -> sigset_t {
    // SAFETY: all zeroes is a valid set; the call replaces it.
    let mut before: sigset_t = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: both sets are valid; the call cannot fail with a valid `how`.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, mask, &mut before) };
    before
}
