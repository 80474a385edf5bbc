//! Instructions that keep account, and those that get it wrong.

use core::ops::Range;
use std::sync::{Mutex, MutexGuard};

use super::Lines;
use crate::arch::{Cpu, Fault, Instructions, LINE};
use crate::copier::Copier;
use crate::region::{Mode, Region};

/// Lines of the memory below: two pages for data, more than the longest range needs.
pub(super) const LINES: usize = 2 * 4096 / LINE + 8;
/// Bytes of the memory below.
pub(super) const LEN: usize = LINES * LINE;

/// A bug below the code under test, which whoever keeps account must tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bug {
    /// A write-back leaves out its last line.
    LastLine,
    /// A write-back leaves out its first line.
    FirstLine,
    /// What lies before the first whole line of a non-temporal copy is not written back.
    Head,
    /// What lies behind the last whole line of a non-temporal copy is not written back.
    Tail,
    /// A fence does nothing.
    Fence,
    /// Non-temporal copies leave out their last line.
    StreamLength,
    /// Non-temporal zeroes go through the caches.
    CachedZeroes,
    /// Lines are stored once more after they were written back.
    StoreAfterwards,
}

/// Every planted bug.
pub(super) const BUGS: [Bug; 8] = [
    Bug::LastLine,
    Bug::FirstLine,
    Bug::Head,
    Bug::Tail,
    Bug::Fence,
    Bug::StreamLength,
    Bug::CachedZeroes,
    Bug::StoreAfterwards,
];

/// Memory whose stores are all accounted for.
#[repr(align(4096))]
struct Memory([u8; LEN]);

/// What [`Emulated`] knows; lives as long as the process.
#[derive(Debug)]
pub(super) struct Account {
    base: usize,
    bug: Option<Bug>,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) lines: Lines<LINES>,
    /// The byte whose page is lost.
    pub(super) lost: Option<usize>,
    /// The last store through the caches.
    last: Range<usize>,
}

/// The instructions of this processor, with an account of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Emulated {
    cpu: Cpu,
    account: &'static Account,
}

/// A region over memory that is accounted for.
pub(super) fn region(mode: Mode, bug: Option<Bug>) -> (Region<Emulated>, &'static Account) {
    let base = Box::leak(Box::new(Memory([0; LEN]))).0.as_mut_ptr();
    let state = State { lines: Lines::new(), lost: None, last: 0..0 };
    let account = Account { base: base as usize, bug, state: Mutex::new(state) };
    let account: &Account = Box::leak(Box::new(account));
    let instructions = Emulated { cpu: Copier::get().cpu(), account };
    // SAFETY: the memory was leaked, and is this region's alone.
    (unsafe { Region::with_instructions(base, LEN as u64, mode, instructions) }, account)
}

/// How a medium is mapped that survives power loss.
pub(super) const PERSISTENT: Mode = Mode { writable: true, write_through: true, huge: false };

impl Account {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The range as offsets, or the fault of its first byte that is lost.
    fn range(&self, to: *const u8, len: usize) -> Result<Range<usize>, Fault> {
        let start = to as usize - self.base;
        match self.state().lost {
            Some(lost) if (start..start + len).contains(&lost) => {
                Err(Fault { address: self.base + lost })
            }
            _ => Ok(start..start + len),
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }

    fn stored(&self, range: Range<usize>) {
        let mut state = self.state();
        state.last = range.clone();
        state.lines.store(range);
    }
}

impl Instructions for Emulated {
    unsafe fn copy(self, to: *mut u8, from: *const u8, len: usize) -> Result<(), Fault> {
        let range = self.account.range(to, len)?;
        // SAFETY: the caller's own promise.
        unsafe { self.cpu.copy(to, from, len)? };
        self.account.stored(range);
        Ok(())
    }

    unsafe fn copy_non_temporal(
        self,
        to: *mut u8,
        from: *const u8,
        len: usize,
    ) -> Result<(), Fault> {
        let range = self.account.range(to, len)?;
        let mut done = len;
        if self.account.has(Bug::StreamLength) {
            done = len.saturating_sub(LINE);
        }
        // SAFETY: the caller's own promise.
        unsafe { self.cpu.copy_non_temporal(to, from, done)? };
        let mut state = self.account.state();
        state.lines.stream(range.start..range.start + done);
        state.lines.store(range.start + done..range.end);
        Ok(())
    }

    unsafe fn zero(self, to: *mut u8, len: usize) -> Result<(), Fault> {
        let range = self.account.range(to, len)?;
        // SAFETY: the caller's own promise.
        unsafe { self.cpu.zero(to, len)? };
        self.account.stored(range);
        Ok(())
    }

    unsafe fn zero_non_temporal(self, to: *mut u8, len: usize) -> Result<(), Fault> {
        let range = self.account.range(to, len)?;
        if self.account.has(Bug::CachedZeroes) {
            // SAFETY: the caller's own promise.
            return unsafe { self.zero(to, len) };
        }
        // SAFETY: the caller's own promise.
        unsafe { self.cpu.zero_non_temporal(to, len)? };
        self.account.state().lines.stream(range);
        Ok(())
    }

    unsafe fn write_back(self, first: *const u8, lines: usize) -> Result<(), Fault> {
        let mut range = self.account.range(first, lines * LINE)?;
        assert!(lines > 0 && range.start.is_multiple_of(LINE));
        // SAFETY: the caller's own promise.
        unsafe { self.cpu.write_back(first, lines)? };
        let mut state = self.account.state();
        match self.account.bug {
            Some(Bug::LastLine) => range.end -= LINE,
            Some(Bug::FirstLine) => range.start += LINE,
            Some(Bug::Head) if state.last.end.is_multiple_of(LINE) => range.end = range.start,
            Some(Bug::Tail) if state.last.start.is_multiple_of(LINE) => range.end = range.start,
            _ => {}
        }
        for line in range.clone().step_by(LINE) {
            state.lines.write_back(line);
        }
        if self.account.has(Bug::StoreAfterwards) {
            state.lines.store(range.start..range.start + 8);
        }
        Ok(())
    }

    unsafe fn store_u64(self, to: *mut u8, value: u64) -> Result<(), Fault> {
        let range = self.account.range(to, 8)?;
        // SAFETY: the caller's own promise.
        unsafe { self.cpu.store_u64(to, value)? };
        self.account.stored(range);
        Ok(())
    }

    fn fence(self) {
        self.cpu.fence();
        if !self.account.has(Bug::Fence) {
            self.account.state().lines.fence();
        }
    }
}
