//! x86-64: guarded copies, non-temporal stores, write-back of cache lines, fence.
//!
//! All instructions that touch a medium lie in `x86_64.s`, between labels that [`landing`] knows.
//! The routines are leaves: at every instruction the stack pointer is at the return address. So
//! the SIGBUS handler needs only to put the fault's address into RDX and go on at the landing
//! label, and the routine returns to its caller with that address. Every routine returns
//! RDX = 0 when it succeeded.

use core::arch::x86_64::{__cpuid_count, _MM_HINT_ET0, _mm_prefetch};
use core::arch::{asm, global_asm};

use super::{Fault, Instructions};

/// Size of a cache line in bytes.
pub(crate) const LINE: usize = 64;
/// Whether a SIGBUS in these routines comes back as a [`Fault`].
pub const GUARDED: bool = true;
/// Whether cache lines can be written back.
pub(crate) const WRITES_BACK: bool = true;

/// From this length on a copy uses `rep movsb`, where the processor has it fast (ERMS). Measured
/// with examples/copy.rs on Zen 5, vectors and rep: 8 KiB hot 41 and 57 ns, cold 277 and 254 ns;
/// 16 KiB hot 77 and 107 ns, cold 585 and 480 ns; 64 KiB hot 760 and 556 ns.
const REP_COPY_MIN: usize = 16 << 10;
/// From this length on zeroing uses `rep stosb`. Measured there, vectors and rep: 1 KiB 9 and
/// 14 ns; 4 KiB 40 and 31 ns.
const REP_ZERO_MIN: usize = 4 << 10;

global_asm!(include_str!("x86_64.s"));

/// What every routine of `x86_64.s` returns, in RAX and RDX.
#[repr(C)]
struct Returned {
    value: u64,
    fault: usize,
}

type CopyRoutine = unsafe extern "C" fn(*mut u8, *const u8, usize) -> Returned;
type LineRoutine = unsafe extern "C" fn(*const u8, usize) -> Returned;

unsafe extern "C" {
    fn limpid_pmem_copy_sse(to: *mut u8, from: *const u8, len: usize) -> Returned;
    fn limpid_pmem_copy_avx(to: *mut u8, from: *const u8, len: usize) -> Returned;
    fn limpid_pmem_copy_avx512(to: *mut u8, from: *const u8, len: usize) -> Returned;
    fn limpid_pmem_copy_rep(to: *mut u8, from: *const u8, len: usize) -> Returned;
    fn limpid_pmem_copy_nt(to: *mut u8, from: *const u8, len: usize) -> Returned;
    fn limpid_pmem_zero_sse(to: *mut u8, len: usize) -> Returned;
    fn limpid_pmem_zero_rep(to: *mut u8, len: usize) -> Returned;
    fn limpid_pmem_zero_nt(to: *mut u8, len: usize) -> Returned;
    fn limpid_pmem_clwb(first: *const u8, lines: usize) -> Returned;
    fn limpid_pmem_clflushopt(first: *const u8, lines: usize) -> Returned;
    fn limpid_pmem_clflush(first: *const u8, lines: usize) -> Returned;
    fn limpid_pmem_load(from: *const u8) -> Returned;
    fn limpid_pmem_store(to: *mut u8, value: u64) -> Returned;
    fn limpid_pmem_compare_exchange(at: *mut u8, current: u64, new: u64) -> Returned;

    // Labels, never called.
    fn limpid_pmem_guard_start();
    fn limpid_pmem_guard_end();
    fn limpid_pmem_landing();
    fn limpid_pmem_avx_start();
    fn limpid_pmem_avx_end();
    fn limpid_pmem_avx_landing();
}

/// Where a routine interrupted at `instruction` goes on after a SIGBUS, or `None` if that is no
/// instruction of these routines. Called by the signal handler: no locks, no allocation.
pub(crate) fn landing(instruction: usize) -> Option<usize> {
    let label = |f: unsafe extern "C" fn()| f as *const () as usize;
    if (label(limpid_pmem_avx_start)..label(limpid_pmem_avx_end)).contains(&instruction) {
        // The upper halves of the vector registers are in use there and must be cleared.
        return Some(label(limpid_pmem_avx_landing));
    }
    if (label(limpid_pmem_guard_start)..label(limpid_pmem_guard_end)).contains(&instruction) {
        return Some(label(limpid_pmem_landing));
    }
    None
}

/// What this processor offers. Holding one means that the routines it names can be executed here.
#[derive(Clone, Copy, Debug)]
pub struct Cpu {
    vectors: CopyRoutine,
    lines: LineRoutine,
    fast_rep: bool,
}

impl Cpu {
    pub(crate) fn detect() -> Cpu {
        let leaf7 = __cpuid_count(7, 0);
        let fast_short_rep = leaf7.edx & (1 << 4) != 0;
        // Processors with fast short `rep movsb` (Ice Lake, Zen 4 and later) do not lower their
        // clock for 64-byte vectors; older ones do.
        let vectors: CopyRoutine = if is_x86_feature_detected!("avx512f") && fast_short_rep {
            limpid_pmem_copy_avx512
        } else if is_x86_feature_detected!("avx") {
            limpid_pmem_copy_avx
        } else {
            limpid_pmem_copy_sse
        };
        let lines: LineRoutine = if leaf7.ebx & (1 << 24) != 0 {
            limpid_pmem_clwb
        } else if leaf7.ebx & (1 << 23) != 0 {
            limpid_pmem_clflushopt
        } else {
            limpid_pmem_clflush
        };
        Cpu { vectors, lines, fast_rep: leaf7.ebx & (1 << 9) != 0 }
    }
}

#[inline]
fn done(returned: Returned) -> Result<(), Fault> {
    if returned.fault == 0 { Ok(()) } else { Err(Fault { address: returned.fault }) }
}

impl Instructions for Cpu {
    #[inline]
    unsafe fn copy(self, to: *mut u8, from: *const u8, len: usize) -> Result<(), Fault> {
        let rep = len >= REP_COPY_MIN && self.fast_rep;
        let routine = if rep { limpid_pmem_copy_rep } else { self.vectors };
        // SAFETY: the caller's own promise; `Cpu` names only routines this processor executes.
        done(unsafe { routine(to, from, len) })
    }

    #[inline]
    unsafe fn copy_non_temporal(
        self,
        to: *mut u8,
        from: *const u8,
        len: usize,
    ) -> Result<(), Fault> {
        debug_assert!((to as usize | len).is_multiple_of(LINE));
        // SAFETY: the caller's own promise.
        done(unsafe { limpid_pmem_copy_nt(to, from, len) })
    }

    #[inline]
    unsafe fn zero(self, to: *mut u8, len: usize) -> Result<(), Fault> {
        let rep = len >= REP_ZERO_MIN && self.fast_rep;
        let routine = if rep { limpid_pmem_zero_rep } else { limpid_pmem_zero_sse };
        // SAFETY: the caller's own promise.
        done(unsafe { routine(to, len) })
    }

    #[inline]
    unsafe fn zero_non_temporal(self, to: *mut u8, len: usize) -> Result<(), Fault> {
        debug_assert!((to as usize | len).is_multiple_of(LINE));
        // SAFETY: the caller's own promise.
        done(unsafe { limpid_pmem_zero_nt(to, len) })
    }

    #[inline]
    unsafe fn write_back(self, first: *const u8, lines: usize) -> Result<(), Fault> {
        debug_assert!(lines > 0 && (first as usize).is_multiple_of(LINE));
        // SAFETY: the caller's own promise; `Cpu` names only routines this processor executes.
        done(unsafe { (self.lines)(first, lines) })
    }

    #[inline]
    unsafe fn store_u64(self, to: *mut u8, value: u64) -> Result<(), Fault> {
        // SAFETY: the caller's own promise. On this architecture every store releases, and the
        // call of foreign code is a barrier to the compiler.
        done(unsafe { limpid_pmem_store(to, value) })
    }

    #[inline]
    fn fence(self) {
        // SAFETY: touches no memory of ours; every x86-64 processor has it. As it may not be
        // marked free of memory effects, the compiler moves no access across it either.
        unsafe { asm!("sfence", options(nostack, preserves_flags)) };
    }
}

/// # Safety
/// As for [`Instructions::copy`], for 8 aligned bytes to be read.
#[inline]
pub(crate) unsafe fn load_u64(from: *const u8) -> Result<u64, Fault> {
    // SAFETY: the caller's own promise. On this architecture every load acquires, and the call
    // of foreign code is a barrier to the compiler.
    let returned = unsafe { limpid_pmem_load(from) };
    let value = returned.value;
    done(returned).map(|()| value)
}

/// What was in the 8 bytes; they are `new` now if that was `current`.
///
/// # Safety
/// As for [`Instructions::copy`], for 8 aligned bytes to be read and written.
#[inline]
pub(crate) unsafe fn compare_exchange_u64(
    at: *mut u8,
    current: u64,
    new: u64,
) -> Result<u64, Fault> {
    // SAFETY: the caller's own promise. A locked instruction orders everything, and the call of
    // foreign code is a barrier to the compiler.
    let returned = unsafe { limpid_pmem_compare_exchange(at, current, new) };
    let found = returned.value;
    done(returned).map(|()| found)
}

/// Asks for the cache lines of a range, to be written. A hint: it never faults.
#[inline]
pub(crate) fn prefetch_for_write(from: *const u8, len: usize) {
    for line in (0..len).step_by(LINE) {
        // SAFETY: a prefetch reads nothing and never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(from.wrapping_add(line).cast()) };
    }
}

#[cfg(test)]
mod tests {
    //! Every routine this processor can execute, not only those that `Cpu::detect` picks.

    use std::os::fd::AsFd;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use rustix::mm::MapFlags;

    use super::*;
    use crate::mapping::Mapping;

    fn copy_routines() -> Vec<(&'static str, CopyRoutine)> {
        let mut routines: Vec<(&'static str, CopyRoutine)> =
            vec![("sse", limpid_pmem_copy_sse), ("rep", limpid_pmem_copy_rep)];
        for (name, there, routine) in [
            ("avx", is_x86_feature_detected!("avx"), limpid_pmem_copy_avx as CopyRoutine),
            ("avx512", is_x86_feature_detected!("avx512f"), limpid_pmem_copy_avx512),
        ] {
            if there {
                routines.push((name, routine));
            } else {
                eprintln!("skipped: this processor has no {name}");
            }
        }
        routines
    }

    impl Cpu {
        /// Every processor that this one can be: each way to write lines back, to copy, to zero.
        pub(crate) fn every() -> Vec<(String, Cpu)> {
            let leaf7 = __cpuid_count(7, 0);
            let mut lines = vec![("clflush", limpid_pmem_clflush as LineRoutine)];
            for (name, bit, routine) in [
                ("clflushopt", 23, limpid_pmem_clflushopt as LineRoutine),
                ("clwb", 24, limpid_pmem_clwb),
            ] {
                if leaf7.ebx & (1 << bit) != 0 {
                    lines.push((name, routine));
                } else {
                    eprintln!("skipped: this processor has no {name}");
                }
            }
            let vectors = copy_routines().into_iter().filter(|(name, _)| *name != "rep");
            let pairs = vectors.enumerate().map(|(index, (vector, vectors))| {
                let (line, lines) = lines[index % lines.len()];
                let fast_rep = leaf7.ebx & (1 << 9) != 0;
                (format!("{vector}, {line}"), Cpu { vectors, lines, fast_rep })
            });
            pairs.collect()
        }
    }

    #[test]
    fn copies_copy_exactly() {
        let source: Vec<u8> = (0..1200_u32).map(|i| (i % 251) as u8 + 1).collect();
        for (name, routine) in copy_routines() {
            for len in 0..1000 {
                for (from, to) in [(0, 0), (1, 63), (63, 1), (17, 40)] {
                    let mut target = vec![0; 1200];
                    let mut expected = target.clone();
                    expected[to..to + len].copy_from_slice(&source[from..from + len]);
                    // SAFETY: both ranges lie in their vectors.
                    let copied = unsafe {
                        done(routine(target.as_mut_ptr().add(to), source.as_ptr().add(from), len))
                    };
                    assert_eq!(copied, Ok(()));
                    assert!(target == expected, "{name}: {len} bytes from {from} to {to}");
                }
            }
        }
    }

    #[test]
    fn both_ways_of_zeroing_zero_exactly() {
        type Zero = unsafe extern "C" fn(*mut u8, usize) -> Returned;
        for zero in [limpid_pmem_zero_sse as Zero, limpid_pmem_zero_rep] {
            for len in 0..600 {
                for at in [0, 1, 15, 16, 33, 63] {
                    let mut target = [1; 700];
                    let mut expected = target;
                    expected[at..at + len].fill(0);
                    // SAFETY: the range lies in the array.
                    assert_eq!(done(unsafe { zero(target.as_mut_ptr().add(at), len) }), Ok(()));
                    assert!(target == expected, "{len} bytes at {at}");
                }
            }
        }
    }

    #[test]
    fn every_routine_lands() {
        crate::sigbus::install();
        let file = memfd_create("one page", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 4096).unwrap();
        let map = Mapping::new(file.as_fd(), 8192, 4096, true, MapFlags::SHARED).unwrap();
        let lost = map.base().wrapping_add(4096);
        let mut other = [0_u8; 4096];
        for (name, routine) in copy_routines() {
            for len in [1, 2, 4, 8, 16, 31, 63, 64, 100, 128, 256, 600, 2000] {
                for before in [0, len / 2, len - 1] {
                    let at = lost.wrapping_sub(before);
                    // SAFETY: both ranges are mapped; the second page raises SIGBUS.
                    let into = unsafe { done(routine(at, other.as_ptr(), len)) };
                    // SAFETY: as above.
                    let from = unsafe { done(routine(other.as_mut_ptr(), at, len)) };
                    let fault = Err(Fault { address: lost as usize });
                    assert_eq!((into, from), (fault, fault), "{name}: {before} of {len} bytes");
                }
            }
        }
        let lines = [limpid_pmem_clflush as LineRoutine, Cpu::detect().lines];
        for routine in lines {
            // SAFETY: the line is mapped; it raises SIGBUS.
            let flushed = unsafe { done(routine(lost, 1)) };
            assert_eq!(flushed, Err(Fault { address: lost as usize }));
        }
    }
}
