//! Goal: the machine code does what [`super::emulated`] takes for granted: after a fence, what was
//! stored through or flushed has left the caches, line by line.
//! Method: the processor traps after each instruction (the trap flag). The handler compares the
//! memory to see what was stored, and reads the next instruction to know what will be written back,
//! streamed or fenced. Routines of our own with bugs planted in them are told.

use core::arch::asm;
use core::arch::x86_64::{__m128i, _mm_set1_epi8, _mm_sfence};
use core::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use libc::{REG_RDI, REG_RIP, c_int, c_void, siginfo_t, ucontext_t};

use super::{Lines, Random};
use crate::arch::{Cpu, LINE};
use crate::media::{MediaError, Persist};
use crate::region::{Mode, Region};

const LINES: usize = 2 * 4096 / LINE;
const LEN: usize = LINES * LINE;
/// Where the ranges begin, less than a line further on.
const START: usize = LINE;

#[repr(align(4096))]
struct Memory([u8; LEN]);

/// What an instruction does besides storing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Nothing,
    WriteBack(usize),
    Stream(usize),
    Fence,
}

/// What a handler that runs after each instruction finds out. Nothing here allocates.
struct Trace {
    base: *mut u8,
    /// The memory as it was before the instruction under way.
    shadow: [u8; LEN],
    lines: Lines<LINES>,
    under_way: Effect,
    instructions: usize,
}

impl Trace {
    fn finish_instruction(&mut self) {
        let streamed = match self.under_way {
            Effect::Stream(at) => at..at + 16,
            _ => 0..0,
        };
        for line in (0..LEN).step_by(LINE) {
            // SAFETY: the line lies in the traced memory, which only this thread changes.
            let now = unsafe { ptr::read_volatile(self.base.add(line).cast::<[u8; LINE]>()) };
            if now == self.shadow[line..line + LINE] {
                continue;
            }
            for (byte, value) in (line..).zip(now) {
                if value == self.shadow[byte] {
                    continue;
                }
                self.shadow[byte] = value;
                if streamed.contains(&byte) {
                    self.lines.stream(byte..byte + 1);
                } else {
                    self.lines.store(byte..byte + 1);
                }
            }
        }
        match self.under_way {
            Effect::WriteBack(at) => self.lines.write_back(at),
            Effect::Fence => self.lines.fence(),
            Effect::Nothing | Effect::Stream(_) => {}
        }
        self.under_way = Effect::Nothing;
    }
}

static TRACE: AtomicPtr<Trace> = AtomicPtr::new(ptr::null_mut());
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// What the instruction at `code` is about to do to the memory at `base`. The routines address a
/// medium by RDI and 0 or 8 bits more. What the planted routines use, is that too.
///
/// # Safety
/// `code` is the next instruction of this thread, and `registers` hold what it will find.
unsafe fn effect(code: *const u8, registers: &[i64; 23], base: usize) -> Effect {
    // SAFETY: the longest that is read of an instruction are its own bytes: each is looked at only
    // if those before it say that there is one more.
    let byte = |index: usize| unsafe { *code.add(index) };
    let skip = usize::from(byte(0) == 0x66);
    if byte(skip) != 0x0F {
        return Effect::Nothing;
    }
    let opcode = byte(skip + 1);
    if opcode != 0xAE && opcode != 0xE7 {
        return Effect::Nothing;
    }
    let modrm = byte(skip + 2);
    let (mode, field, register) = (modrm >> 6, modrm >> 3 & 7, modrm & 7);
    if (skip, opcode, modrm) == (0, 0xAE, 0xF8) {
        return Effect::Fence;
    }
    let rdi = registers[REG_RDI as usize] as usize;
    let address = match (mode, register) {
        (0, 7) => rdi,
        (1, 7) => rdi.wrapping_add_signed(isize::from(byte(skip + 3) as i8)),
        _ => return Effect::Nothing,
    };
    let at = address.wrapping_sub(base);
    match (skip, opcode, field) {
        _ if at >= LEN => Effect::Nothing,
        (1, 0xAE, 6 | 7) | (0, 0xAE, 7) => Effect::WriteBack(at),
        (1, 0xE7, _) => Effect::Stream(at),
        _ => Effect::Nothing,
    }
}

extern "C" fn after_instruction(_: c_int, _: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the trace is set before the trap flag is, and this thread is stopped here.
    let Some(trace) = (unsafe { TRACE.load(Ordering::Relaxed).as_mut() }) else { return };
    // SAFETY: the kernel passes a valid context.
    let registers = unsafe { &(*context.cast::<ucontext_t>()).uc_mcontext.gregs };
    trace.finish_instruction();
    trace.instructions += 1;
    let code = registers[REG_RIP as usize] as *const u8;
    // SAFETY: both belong to the thread that was interrupted.
    trace.under_way = unsafe { effect(code, registers, trace.base as usize) };
}

/// Runs a piece of code one instruction at a time and takes account of the memory at `base`.
fn stepped(base: *mut u8, run: impl FnOnce()) -> (Lines<LINES>, usize) {
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: all zeroes are a valid `sigaction`; the handler is a function of that shape.
    unsafe {
        let mut action: libc::sigaction = core::mem::zeroed();
        action.sa_sigaction = after_instruction as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        assert_eq!(libc::sigaction(libc::SIGTRAP, &action, ptr::null_mut()), 0);
    }
    let mut shadow = [0; LEN];
    // SAFETY: `base` is a `Memory`.
    unsafe { ptr::copy_nonoverlapping(base, shadow.as_mut_ptr(), LEN) };
    let (lines, under_way) = (Lines::new(), Effect::Nothing);
    let mut trace = Trace { base, shadow, lines, under_way, instructions: 0 };
    TRACE.store(&raw mut trace, Ordering::Relaxed);
    // SAFETY: the trap flag changes nothing but that the handler runs; the stack is put right.
    unsafe { asm!("pushfq", "or qword ptr [rsp], 0x100", "popfq") };
    run();
    // SAFETY: as above.
    unsafe { asm!("pushfq", "and qword ptr [rsp], -0x101", "popfq") };
    let trace = TRACE.swap(ptr::null_mut(), Ordering::Relaxed);
    // SAFETY: it points to the local above, which nobody else knows any more.
    let trace = unsafe { &mut *trace };
    trace.finish_instruction();
    (trace.lines.clone(), trace.instructions)
}

/// Ranges whose ends lie at and beside the edges of lines, and at random.
fn range(random: &mut Random) -> (usize, usize) {
    let anywhere = random.below(LINE);
    let shift = random.of(&[0, 1, 8, 63, anywhere]);
    let anywhere = random.below(300);
    (START + shift, random.of(&[1, 7, 8, 63, 64, 65, 127, 128, 129, 192, anywhere]))
}

fn region(cpu: Cpu) -> Region<Cpu> {
    let base = Box::leak(Box::new(Memory([0xEE; LEN]))).0.as_mut_ptr();
    let mode = Mode { writable: true, write_through: true, huge: false };
    // SAFETY: the memory was leaked, and is this region's alone.
    unsafe { Region::with_instructions(base, LEN as u64, mode, cpu) }
}

/// Stores a range in one of the ways there are, flushes what must be, and fences.
fn one_case(region: &Region<Cpu>, random: &mut Random) -> (String, Lines<LINES>, usize) {
    let (at, len) = range(random);
    let range = at as u64..(at + len) as u64;
    let (kind, persist) = (random.below(4), random.of(&[Persist::Yes, Persist::No]));
    // Every byte that is stored is another one than before, so that the store is seen.
    region.zero(0..LEN as u64, Persist::No).unwrap();
    let from = if kind == 1 { 4096 } else { 0 };
    region.write(from, &[0xEE; LEN][from as usize..], Persist::No).unwrap();
    let bytes = [0x11; 600];
    let mut result: Result<(), MediaError> = Ok(());
    let mut flush = range.clone();
    let (lines, instructions) = stepped(region.base(), || {
        result = match kind {
            0 => region.write(range.start, &bytes[..len], persist),
            1 => region.copy(range.start + 4096, range.start, len as u64, persist),
            2 => region.zero(range.clone(), persist),
            _ => {
                flush = range.start & !7..(range.start & !7) + 8;
                region.store_u64(flush.start, 0x1111_1111_1111_1111)
            }
        };
        if persist == Persist::No || kind == 3 {
            region.flush(flush.clone());
        }
        region.fence();
    });
    assert_eq!(result, Ok(()));
    (format!("{kind} {flush:?} {persist:?}"), lines, instructions)
}

#[test]
fn the_machine_code_makes_durable_what_it_should() {
    crate::copier::Copier::get();
    let mut random = Random::new();
    let cpus = Cpu::every();
    let mut all = 0;
    for case in 0..240 {
        let (name, cpu) = &cpus[case % cpus.len()];
        let (case, lines, instructions) = one_case(&region(*cpu), &mut random);
        all += instructions;
        assert!(lines.fences == 1, "{name}: {case}: {} fences", lines.fences);
        assert!(lines.write_backs + lines.streams > 0, "{name}: {case}: nothing left the caches");
        assert!(lines.durable(0..LEN), "{name}: {case}: something is not durable");
    }
    eprintln!("{all} instructions");
    assert!(all > 240 * 20, "nothing was traced");
}

/// Bugs in machine code, one of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    LastLine,
    StreamLength,
    Fence,
    FenceBefore,
    StoreAfter,
}

/// Streams a line, stores and flushes 70 bytes behind it, and fences; with the bug, if any.
///
/// # Safety
/// 300 bytes at `to` are writable and nobody else's; `to` is at the start of a line.
unsafe fn planted(to: *mut u8, bug: Option<Bug>) {
    // SAFETY: all offsets are below 300, by the function's contract.
    unsafe {
        let ones = _mm_set1_epi8(1);
        for offset in [0, 16, 32, 48] {
            if bug == Some(Bug::StreamLength) && offset == 48 {
                ptr::write_volatile(to.add(offset).cast::<__m128i>(), ones);
            } else {
                asm!("movntdq [rdi], {}", in(xmm_reg) ones, in("rdi") to.add(offset));
            }
        }
        for offset in 64..134 {
            ptr::write_volatile(to.add(offset), 2);
        }
        if bug == Some(Bug::FenceBefore) {
            _mm_sfence();
        }
        let lines: &[usize] = if bug == Some(Bug::LastLine) { &[64] } else { &[64, 128] };
        for &line in lines {
            asm!("clflush [rdi]", in("rdi") to.add(line));
        }
        if bug == Some(Bug::StoreAfter) {
            ptr::write_volatile(to.add(133), 3);
        }
        if !matches!(bug, Some(Bug::Fence | Bug::FenceBefore)) {
            _mm_sfence();
        }
    }
}

#[test]
fn every_planted_bug_is_told() {
    let bugs = [Bug::LastLine, Bug::StreamLength, Bug::Fence, Bug::FenceBefore, Bug::StoreAfter];
    for bug in bugs.map(Some).into_iter().chain([None]) {
        let region = region(Cpu::detect());
        let to = region.base().wrapping_add(START);
        // SAFETY: the region is this test's alone and has more than 300 bytes there.
        let (lines, _) = stepped(region.base(), || unsafe { planted(to, bug) });
        assert_eq!(lines.durable(0..LEN), bug.is_none(), "{bug:?}");
    }
}
