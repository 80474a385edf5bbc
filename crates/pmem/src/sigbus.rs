//! The process-wide SIGBUS handler that turns a fault inside the guarded routines into an error.
//!
//! A fault anywhere else goes to whoever handled SIGBUS before, as if this handler were not there.
//! A program that installs its own handler later must pass on what it does not know, or media
//! errors end the process again. A thread that blocks SIGBUS dies of a media error: the system
//! ends a process that cannot take a fault.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::OnceLock;

use libc::{c_int, c_void, sigaction, siginfo_t, sigset_t, ucontext_t};

use crate::arch;

/// The action that was in force before ours; written once, before ours is in force.
static PREVIOUS: OnceLock<sigaction> = OnceLock::new();

type Handler = extern "C" fn(c_int);
type InfoHandler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// Installs the handler; later calls do nothing.
pub(crate) fn install() {
    PREVIOUS.get_or_init(|| {
        let mut previous = MaybeUninit::<sigaction>::uninit();
        // SAFETY: asks for the present action; the kernel fills `previous`, checked below.
        let asked = unsafe { sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) };
        assert_eq!(asked, 0, "SIGBUS is a valid signal");
        // SAFETY: the call succeeded, so the value is initialised.
        unsafe { previous.assume_init() }
    });
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        // SAFETY: all zeroes is a valid sigaction: empty mask, no flags.
        let mut action: sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
        action.sa_sigaction = on_sigbus as InfoHandler as usize;
        // On the alternate stack, since a stack may be what faulted; not deferred, since a chained
        // handler may leave by longjmp and must not leave SIGBUS blocked.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        // SAFETY: `on_sigbus` has the signature SA_SIGINFO asks for and is async-signal-safe.
        let set = unsafe { sigaction(libc::SIGBUS, &action, ptr::null_mut()) };
        assert_eq!(set, 0, "SIGBUS can be handled");
    });
}

extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
    let code = unsafe { (*info).si_code };
    // Codes up to 0 are signals that someone sent; "action optional" tells of memory that nobody
    // has accessed yet. Neither belongs to the interrupted instruction.
    if code > 0 && code != libc::BUS_MCEERR_AO {
        // SAFETY: a SIGBUS raised by the kernel for an access carries its address, and its context
        // is the one passed.
        if unsafe { end_guarded_copy((*info).si_addr() as usize, context) } {
            return;
        }
    }
    chain(signal, info, context, code);
}

/// For a handler of a fault at `address`: if a guarded routine was interrupted, it returns the
/// fault to its caller when the handler returns, and this is true. Async-signal-safe.
///
/// # Safety
/// `context` is the context that the kernel passed to the handler that is running.
pub unsafe fn end_guarded_copy(address: usize, context: *mut c_void) -> bool {
    // SAFETY: the kernel passes a valid context, which is ours to change until we return.
    let registers = unsafe { &mut (*context.cast::<ucontext_t>()).uc_mcontext.gregs };
    let instruction = registers[libc::REG_RIP as usize] as usize;
    let Some(landing) = arch::landing(instruction) else { return false };
    registers[libc::REG_RDX as usize] = address.max(1) as i64;
    registers[libc::REG_RIP as usize] = landing as i64;
    true
}

/// Does what the previous action would have done.
fn chain(signal: c_int, info: *mut siginfo_t, context: *mut c_void, code: c_int) {
    let previous = PREVIOUS.get().expect("written before the handler was installed");
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
