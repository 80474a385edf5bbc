//! Crash rounds: a program works on each medium and acknowledges its operations; the machine is
//! killed at a random moment; the next machine checks that all that was acknowledged is there.
//!
//! The kill takes the guest's kernel along, with all it had not brought to the medium: its page
//! cache, the file systems' own journals, our process. What the processor's caches hold survives
//! it, since the image is memory of the host.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use super::machine::Machine;
use super::{Tally, Trouble};

/// One round takes no longer than this.
const WITHIN: Duration = Duration::from_secs(300);
/// The machine is killed after a random number of acknowledgements up to this.
const MOST: u64 = 400;

/// Operations that were acknowledged, by medium.
type Acked = BTreeMap<String, u64>;

/// Kills `count` guests in turn, and checks after each.
pub fn rounds(machine: &Machine, count: usize, tally: &mut Tally) -> Result<(), Trouble> {
    let mut seed = UNIX_EPOCH.elapsed().map_or(1, |time| time.as_nanos() as u64 >> 10);
    let mut acked = Acked::new();
    for round in 0..=count {
        let mut arguments = format!("limpid.job=crash limpid.seed={seed}");
        for (medium, count) in &acked {
            arguments.push_str(&format!(" limpid.acked_{medium}={count}"));
        }
        if round < count {
            seed += 1;
            arguments.push_str(&format!(" limpid.next={seed}"));
        }
        acked = one(machine, &arguments, spread(seed) % MOST + 1, tally)?;
    }
    Ok(())
}

/// Runs one guest until `target` operations were acknowledged or it ended.
fn one(
    machine: &Machine,
    arguments: &str,
    target: u64,
    tally: &mut Tally,
) -> Result<Acked, Trouble> {
    let mut guest = machine.boot(arguments, WITHIN)?;
    let mut acked = Acked::new();
    while let Some(message) = guest.next()? {
        if message == "end" {
            return Ok(acked);
        }
        match acknowledgement(&message) {
            Some((medium, count)) => note(&mut acked, medium, count),
            None => tally.take(&message),
        }
        let total: u64 = acked.values().sum();
        if total >= target {
            guest.kill()?;
            // What it printed before it died counts.
            while let Some(message) = guest.next()? {
                if let Some((medium, count)) = acknowledgement(&message) {
                    note(&mut acked, medium, count);
                }
            }
            let total: u64 = acked.values().sum();
            eprintln!("guest: killed after {total} operations ({arguments})");
            return Ok(acked);
        }
    }
    tally.take("failed the guest stopped by itself");
    Ok(acked)
}

/// The last line may be cut short, so counts only grow.
fn note(acked: &mut Acked, medium: &str, count: u64) {
    let known = acked.entry(medium.to_owned()).or_default();
    *known = count.max(*known);
}

/// Medium and count of `ack MEDIUM COUNT`.
fn acknowledgement(message: &str) -> Option<(&str, u64)> {
    let (medium, count) = message.strip_prefix("ack ")?.split_once(' ')?;
    Some((medium, count.parse().ok()?))
}

/// Spreads a number over all 64 bits (splitmix64).
fn spread(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_only_grow() {
        let mut acked = Acked::new();
        for line in ["ack ext4 99", "ack small 7", "ack ext4 10", "ok 1.0 s step"] {
            if let Some((medium, count)) = acknowledgement(line) {
                note(&mut acked, medium, count);
            }
        }
        assert_eq!(acked, Acked::from([("ext4".into(), 99), ("small".into(), 7)]));
    }
}
