//! What turns a SIGBUS inside the guarded routines into an error.
//!
//! A fault anywhere else goes to whoever handles SIGBUS besides us (`front.rs`). A thread that
//! blocks SIGBUS dies of a media error: the system ends a process that cannot take a fault.

use libc::{c_void, siginfo_t, ucontext_t};

use crate::arch;
use crate::front::{self, Signal};

/// Installs the handler; later calls only put it in front again.
pub(crate) fn install() {
    front::install(Signal::Bus, settle);
}

/// # Safety
/// The pointers are those that the kernel passed to the handler.
unsafe fn settle(info: *mut siginfo_t, context: *mut c_void) -> bool {
    // SAFETY: see the function's contract.
    let code = unsafe { (*info).si_code };
    // Codes up to 0 are signals that someone sent; "action optional" tells of memory that nobody
    // has accessed yet. Neither belongs to the interrupted instruction.
    if code <= 0 || code == libc::BUS_MCEERR_AO {
        return false;
    }
    // SAFETY: a SIGBUS raised by the kernel for an access carries its address.
    unsafe { end_guarded_copy((*info).si_addr() as usize, context) }
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
