//! Crash rounds.
use super::{Machine, Tally, Trouble};
pub fn rounds(_machine: &Machine, _count: usize, _tally: &mut Tally) -> Result<(), Trouble> {
    Ok(())
}
