//! Starting the engine's threads.
//!
//! Not by the standard library: it ends the process if a new thread finds no mappings for its
//! signal stack, and threads are started while the program may be using up the last ones. For the
//! same reason a thread is only taken for started when it has a heap to allocate from.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::ffi::{CStr, c_void};
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::futex;

use crate::engine::Engine;

/// Bytes of a stack.
const STACK: usize = 2 << 20;
/// Bytes that a new thread allocates once: its share of the allocator is there from then on.
const HEAP: Layout = Layout::new::<[u64; 4096]>();

const STARTING: u32 = 0;
const STARTED: u32 = 1;
const FAILED: u32 = 2;

struct Start {
    name: &'static CStr,
    engine: &'static Engine,
    body: fn(&'static Engine),
    state: AtomicU32,
}

/// Starts a thread, which ends when `body` returns. A panic in it ends the process: accesses
/// would hang for ever.
pub(crate) fn start(
    name: &'static CStr,
    engine: &'static Engine,
    body: fn(&'static Engine),
) -> Result<(), Errno> {
    let start = Start { name, engine, body, state: AtomicU32::new(STARTING) };
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: the attributes are initialised before they are used, and destroyed after; `start`
    // lives until the thread has told how it began, and is not accessed after that.
    let error = unsafe {
        libc::pthread_attr_init(attributes.as_mut_ptr());
        libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
        libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
        let error = libc::pthread_create(
            thread.as_mut_ptr(),
            attributes.as_ptr(),
            run,
            (&raw const start).cast_mut().cast::<c_void>(),
        );
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        error
    };
    if error != 0 {
        return Err(Errno::from_raw_os_error(error));
    }
    while start.state.load(Ordering::Acquire) == STARTING {
        let _ = futex::wait(&start.state, futex::Flags::PRIVATE, STARTING, None);
    }
    if start.state.load(Ordering::Acquire) == STARTED { Ok(()) } else { Err(Errno::NOMEM) }
}

/// A panic cannot leave a function of this kind.
extern "C" fn run(argument: *mut c_void) -> *mut c_void {
    block_signals();
    let start = argument.cast::<Start>().cast_const();
    // SAFETY: `start` waits, so what it passed lives until the state is set.
    let (name, engine, body) = unsafe { ((*start).name, (*start).engine, (*start).body) };
    // Without memory this thread would end the process at its first allocation.
    // SAFETY: the layout is not empty; what was allocated is given back once.
    let has_memory = unsafe {
        let memory = std::alloc::alloc(HEAP);
        if !memory.is_null() {
            std::alloc::dealloc(std::hint::black_box(memory), HEAP);
        }
        !memory.is_null()
    };
    // SAFETY: as above; nothing of it is accessed after this, a wake of a word that is gone is
    // harmless.
    unsafe {
        let state = &raw const (*start).state;
        (*state).store(if has_memory { STARTED } else { FAILED }, Ordering::Release);
        libc::syscall(libc::SYS_futex, state, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1);
    }
    if has_memory {
        // SAFETY: names this thread; a name that is too long is refused.
        unsafe { libc::pthread_setname_np(libc::pthread_self(), name.as_ptr()) };
        body(engine);
    }
    std::ptr::null_mut()
}

/// Leaves the program's signals to the program's threads. Faults of our own stay deliverable:
/// the copies of a medium turn SIGBUS into an error.
pub(crate) fn block_signals() {
    // SAFETY: plain calls on a local signal set; only this thread's mask changes.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigfillset(&mut set);
        for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP] {
            libc::sigdelset(&mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}
