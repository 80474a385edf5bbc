//! The SIGSEGV handler that has an access to a frozen or barred range wait and try again.
//!
//! Installed when the first private writable map is made, or the first range is barred, and put
//! in front of the program's own before each freeze and bar (`limpid_pmem::front`). Every other
//! SIGSEGV goes to the program's handler.
//!
//! A store is ours if it was refused by protection and lies in a private map: all pages of such a
//! map take stores, except while it is frozen. The handler waits until it is not, and returns, so
//! the store is made again. Should the same thread fail at the same place again without a freeze
//! in between, then the refusal has another reason (the program's own mprotect) and is passed on.
//!
//! In a map with barred ranges (`ballast.rs`) any access may be ours: the handler asks a thread of
//! the engine to unbar, waits for its answer, and has the access made again. If there is no room
//! for it, the access fails: a guarded copy with an error, any other with the SIGSEGV.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use limpid_pmem::front::{self, Signal};
use rustix::thread::futex;

use crate::mm::Span;

/// One private map, for the handler. `start` is 0 while nobody uses the slot.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    /// Odd while the map is frozen; changes with each freeze and each bar.
    generation: AtomicU32,
    /// The map has, or had, barred ranges.
    barred: AtomicBool,
    /// Somebody waits for an answer.
    wanted: AtomicBool,
    /// Counts answers in steps of 2; odd if the last one was that there is no room.
    answers: AtomicU32,
}

/// Counts what the engine's thread was asked for.
static REQUESTS: AtomicU32 = AtomicU32::new(0);

/// Slots never go away: the handler walks them without any lock.
struct Block {
    slots: [Slot; 64],
    next: AtomicPtr<Block>,
}

static FIRST: Block = new_block();

const fn new_block() -> Block {
    let slots = [const {
        Slot {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            generation: AtomicU32::new(0),
            barred: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            answers: AtomicU32::new(0),
        }
    }; 64];
    Block { slots, next: AtomicPtr::new(std::ptr::null_mut()) }
}

fn slots() -> impl Iterator<Item = &'static Slot> {
    let mut block: Option<&'static Block> = Some(&FIRST);
    let blocks = std::iter::from_fn(move || {
        let this = block?;
        let next = this.next.load(Ordering::Acquire);
        // SAFETY: a next block, once linked, is a leaked box that stays for ever.
        block = unsafe { next.as_ref() };
        Some(this)
    });
    blocks.flat_map(|block| &block.slots)
}

/// Makes the handler wait for one map. Its owner freezes and thaws it by turns, and bars ranges,
/// with the map's state locked.
pub(crate) struct Watch {
    slot: &'static Slot,
}

impl Watch {
    pub fn new(span: Span) -> Watch {
        front::install(Signal::Segv, settle);
        loop {
            let free = slots().find(|slot| {
                let claimed =
                    slot.start.compare_exchange(0, usize::MAX, Ordering::AcqRel, Ordering::Relaxed);
                claimed.is_ok()
            });
            if let Some(slot) = free {
                slot.barred.store(false, Ordering::Relaxed);
                slot.end.store(span.end(), Ordering::Release);
                slot.start.store(span.start, Ordering::Release);
                return Watch { slot };
            }
            append_block();
        }
    }

    pub fn freeze(&self) {
        front::keep_in_front(Signal::Segv);
        let before = self.slot.generation.fetch_add(1, Ordering::SeqCst);
        assert!(before.is_multiple_of(2), "a map is frozen once at a time");
    }

    pub fn thaw(&self) {
        let before = self.slot.generation.fetch_add(1, Ordering::SeqCst);
        assert!(!before.is_multiple_of(2), "only a frozen map is thawed");
        wake_all(&self.slot.generation);
    }

    /// Called before a range is barred.
    pub fn bar(&self) {
        front::keep_in_front(Signal::Segv);
        self.slot.barred.store(true, Ordering::SeqCst);
        self.slot.generation.fetch_add(2, Ordering::SeqCst);
    }

    /// True if an access waits for an answer; the caller must give one.
    pub fn is_wanted(&self) -> bool {
        self.slot.wanted.swap(false, Ordering::SeqCst)
    }

    /// Lets all that wait make their access again, or fail. With the map's state locked since the
    /// look at it: a range barred later is met by accesses that wait for the next answer.
    pub fn answer(&self, unbarred: bool) {
        let next = |answers: u32| Some((answers | 1).wrapping_add(1) | u32::from(!unbarred));
        let _ = self.slot.answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
        wake_all(&self.slot.answers);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Accesses that outlive their map.
        self.answer(false);
        self.slot.start.store(0, Ordering::Release);
    }
}

fn wake_all(word: &AtomicU32) {
    // Fails for no address that is mapped.
    let _ = futex::wake(word, futex::Flags::PRIVATE, i32::MAX as u32);
}

/// Calls `serve` whenever somebody may want an answer, for ever.
pub(crate) fn serve_requests(serve: impl Fn()) -> ! {
    loop {
        let seen = REQUESTS.load(Ordering::SeqCst);
        serve();
        // Returns at once if there was another request.
        let _ = futex::wait(&REQUESTS, futex::Flags::PRIVATE, seen, None);
    }
}

/// Asks for the barred ranges of a map to be made accessible; false if there is no room.
/// Async-signal-safe.
fn ask(slot: &Slot) -> bool {
    let before = slot.answers.load(Ordering::SeqCst);
    slot.wanted.store(true, Ordering::SeqCst);
    REQUESTS.fetch_add(1, Ordering::SeqCst);
    wake_all(&REQUESTS);
    loop {
        let answer = slot.answers.load(Ordering::SeqCst);
        if answer != before {
            return answer.is_multiple_of(2);
        }
        let _ = futex::wait(&slot.answers, futex::Flags::PRIVATE, before, None);
    }
}

fn append_block() {
    let fresh = Box::into_raw(Box::new(new_block()));
    let mut block = &FIRST;
    loop {
        let null = std::ptr::null_mut();
        let linked = block.next.compare_exchange(null, fresh, Ordering::AcqRel, Ordering::Acquire);
        match linked {
            Ok(_) => return,
            // SAFETY: as in `slots`.
            Err(next) => block = unsafe { &*next },
        }
    }
}

/// What each thread (by its number, collisions do no harm) last had tried again.
static TRIED: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];

/// Async-signal-safe: atomics and the system calls gettid and futex, without errno.
///
/// # Safety
/// The pointers are those that the kernel passed to the handler of SIGSEGV.
unsafe fn settle(info: *mut libc::siginfo_t, context: *mut c_void) -> bool {
    // SAFETY: see the function's contract.
    let (address, refused) =
        unsafe { ((*info).si_addr() as usize, (*info).si_code == ACCESS_ERROR) };
    let holds = |slot: &&Slot| {
        let start = slot.start.load(Ordering::Acquire);
        start != 0 && start <= address && address < slot.end.load(Ordering::Acquire)
    };
    // SAFETY: the arguments are those the kernel gave us.
    let is_store = || unsafe { is_store(context) };
    if refused
        && let Some(slot) = slots().find(holds)
        && (slot.barred.load(Ordering::SeqCst) || is_store())
    {
        let mut generation = slot.generation.load(Ordering::SeqCst);
        while !generation.is_multiple_of(2) {
            // Returns at once if the generation has changed; any error leads to another look.
            let _ = futex::wait(&slot.generation, futex::Flags::PRIVATE, generation, None);
            generation = slot.generation.load(Ordering::SeqCst);
        }
        let thread = rustix::thread::gettid().as_raw_nonzero().get() as u64;
        let key = mix(mix(mix(thread) ^ address as u64) ^ u64::from(generation));
        let tried = &TRIED[thread as usize % TRIED.len()];
        if tried.swap(key, Ordering::Relaxed) != key {
            if !slot.barred.load(Ordering::SeqCst) || ask(slot) {
                return true;
            }
            // Whoever tries later shall ask again.
            tried.store(0, Ordering::Relaxed);
            // SAFETY: the arguments are those the kernel gave us.
            if unsafe { limpid_pmem::end_guarded_copy(address, context) } {
                return true;
            }
        }
    }
    false
}

/// Mixes the bits of a word, so that keys made of different words do not meet.
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93) | 1
}

/// `SEGV_ACCERR`: the protection of an existing mapping refused the access.
const ACCESS_ERROR: c_int = 2;

/// True for a store, as far as this can be told.
///
/// # Safety
/// The pointer is the one the kernel gave to the handler of SIGSEGV.
unsafe fn is_store(context: *mut c_void) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        const STORE: i64 = 1 << 1;
        let context = context.cast::<libc::ucontext_t>();
        // SAFETY: see the function's contract; REG_ERR is the page fault's error code.
        unsafe { (*context).uc_mcontext.gregs[libc::REG_ERR as usize] & STORE != 0 }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = context;
        true
    }
}
