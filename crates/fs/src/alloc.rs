//! Which free blocks to give out.
//!
//! Small requests fill 2 MiB units that are used in part already; large ones get whole units, one
//! after the other where possible, so that they can be mapped with 2 MiB pages. Threads begin
//! their search in different groups, so that they do not wait for each other's transactions.

use limpid_pmem::Media;

use crate::bits::Bits;
use crate::layout::{GROUP, UNIT};
use crate::space::{Space, Usage};

const UNITS: usize = (GROUP / UNIT) as usize;

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Up to this many blocks, anywhere, consecutive.
    Blocks(u64),
    /// Up to this many whole 2 MiB units, consecutive.
    Units(u64),
}

/// Who asks, and so how much has to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Something new: leaves what is promised alone, and the reserve.
    Grow,
    /// The map of blocks that a file has already: may use what is promised (`space.rs`).
    Promised,
    /// An operation that frees space in the end.
    Shrink,
}

impl Space {
    /// Reserves blocks: the first and how many. `goal` is the block that would be best.
    pub fn reserve(
        &self,
        media: &dyn Media,
        want: Want,
        goal: Option<u64>,
        purpose: Purpose,
    ) -> Option<(u64, u64)> {
        if crate::control::refuses_space() {
            return None;
        }
        if let Some(run) = self.search(media, want, goal, purpose) {
            return Some(run);
        }
        // Blocks that files hold in advance are given back before anybody is refused.
        if matches!(want, Want::Blocks(_)) && self.soft.release_all(self) {
            return self.search(media, want, goal, purpose);
        }
        None
    }

    fn search(
        &self,
        media: &dyn Media,
        want: Want,
        goal: Option<u64>,
        purpose: Purpose,
    ) -> Option<(u64, u64)> {
        let floor = self.floor(purpose);
        let allowed = self.free() as i64 - floor;
        let want = match want {
            Want::Blocks(len) => Want::Blocks(len.min(allowed.max(0) as u64)),
            Want::Units(len) => Want::Units(len.min(allowed.max(0) as u64 / UNIT)),
        };
        if matches!(want, Want::Blocks(0) | Want::Units(0)) {
            return None;
        }
        let goal = goal.filter(|goal| self.geometry.is_data(*goal, 1));
        let count = self.groups.len();
        let home = crate::thread::index() * (count / 16).max(1) % count;
        let first = goal.map_or(home, |goal| self.geometry.group_of(goal));
        // Small requests look for a group with partly used units before they break a whole one
        // elsewhere only if their own group is full: locality is worth more.
        let least = if matches!(want, Want::Units(_)) { UNIT as u32 } else { 1 };
        for step in 0..count {
            let group = (first + step) % count;
            if self.groups[group].free.load(std::sync::atomic::Ordering::Relaxed) < least {
                continue;
            }
            let start = self.geometry.group_start(group);
            let Some(mut usage) = self.usage(media, group) else {
                continue;
            };
            let goal = goal.filter(|_| step == 0).map(|goal| goal - start);
            let found = match want {
                Want::Blocks(len) => small(&mut usage, goal, len),
                Want::Units(len) => large(&usage.bits, goal, len),
            };
            if let Some((bit, len)) = found {
                usage.bits.fill(bit, len, true);
                self.count_taken(group, len);
                return Some((start + bit, len));
            }
        }
        None
    }
}

/// Up to `len` blocks: at the goal, else in a partly used unit, else in a fresh one.
fn small(usage: &mut Usage, goal: Option<u64>, len: u64) -> Option<(u64, u64)> {
    let bits = &usage.bits;
    if let Some(goal) = goal {
        // A small file does not spread into a unit nobody uses yet.
        let fresh = goal % UNIT == 0 && bits.free_in_unit((goal / UNIT) as usize) == UNIT;
        if !bits.get(goal) && !fresh {
            return bits.free_run(goal, GROUP, len);
        }
    }
    let in_unit = |unit: usize| bits.free_run(unit as u64 * UNIT, (unit as u64 + 1) * UNIT, len);
    if let Some((bit, found)) = in_unit(usage.small_unit)
        && found >= len.min(16)
    {
        return Some((bit, found));
    }
    let mut best: Option<(u64, u64)> = None;
    let mut fresh = None;
    for unit in 0..UNITS {
        match bits.free_in_unit(unit) {
            0 => {}
            UNIT => fresh = fresh.or(Some(unit)),
            _ => {
                if let Some((bit, found)) = in_unit(unit) {
                    if found >= len.min(16) {
                        usage.small_unit = unit;
                        return Some((bit, found));
                    }
                    if best.is_none_or(|(_, best)| best < found) {
                        best = Some((bit, found));
                    }
                }
            }
        }
    }
    if let Some(unit) = fresh {
        usage.small_unit = unit;
        return in_unit(unit);
    }
    best
}

/// Up to `len` free units: at the goal, else the longest run of units.
fn large(bits: &Bits, goal: Option<u64>, len: u64) -> Option<(u64, u64)> {
    let run = |unit: usize| {
        let end = UNITS.min(unit.saturating_add(len as usize));
        (unit..end).take_while(|unit| bits.free_in_unit(*unit) == UNIT).count()
    };
    if let Some(goal) = goal.filter(|goal| goal % UNIT == 0) {
        let unit = (goal / UNIT) as usize;
        let found = run(unit);
        if found > 0 {
            return Some((goal, found as u64 * UNIT));
        }
    }
    let mut best = (0, 0);
    let mut unit = 0;
    while unit < UNITS {
        let found = run(unit);
        if found > best.1 {
            best = (unit, found);
        }
        if found as u64 >= len {
            break;
        }
        unit += found + 1;
    }
    (best.1 > 0).then(|| (best.0 as u64 * UNIT, best.1 as u64 * UNIT))
}
