//! The search: at each fence of a workload, and at its end, the states that a power loss can leave
//! are built, opened, and judged; some of them are crashed again while they recover.
//!
//! Only a fence takes possibilities away: what a crash can leave earlier since the fence before,
//! it can leave right before this one, too. So those are all the points there are.

use std::sync::Arc;

use limpid_fs::{Access, Fs, control};
use limpid_pmem::{Event, Op, Recorder};

use super::canaries::MediumBug;
use super::choose::{self, Bound, Choice, Random, mix};
use super::operations::NOW;
use super::pending::{Pending, Word};
use super::recording::{record, without};
use super::scratch::Scratch;
use super::seen::Seen;
use super::verdict::{Allowed, judge};
use super::workload::Workload;

/// How deep recoveries are crashed: the workload, its recovery, and the recovery of that.
const DEPTH: usize = 3;

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Points at which states were built.
    pub points: u64,
    /// Those of them where all states were built.
    pub exhaustive: u64,
    /// States that were built.
    pub built: u64,
    /// States that had not been seen in this run, all of which were judged.
    pub distinct: u64,
    /// Those of them that a crash during a recovery left.
    pub in_recovery: u64,
}

impl Counts {
    /// Adds what another search looked at.
    pub fn add(&mut self, other: Counts) {
        self.points += other.points;
        self.exhaustive += other.exhaustive;
        self.built += other.built;
        self.distinct += other.distinct;
        self.in_recovery += other.in_recovery;
    }
}

/// A crash: at which event, and for each pending word which of its values is left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Crash {
    pub event: usize,
    pub lost: Vec<(usize, u8)>,
}

/// A state that the contract does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The crash, and those of its recoveries that came on top.
    pub crashes: Vec<Crash>,
    pub why: String,
}

/// One worker's medium and what it has looked at.
pub(crate) struct Searcher<'s> {
    pub scratch: Scratch,
    seen: &'s Seen,
    bound: Bound,
    random: Random,
    /// Hash of what is known to be on the medium, relative to what the workload started from.
    hash: u64,
    pub counts: Counts,
    crashes: Vec<Crash>,
    bug: Option<MediumBug>,
}

type Step = Result<(), Found>;

impl<'s> Searcher<'s> {
    /// A searcher that starts from `scratch`. States that `seen` knows are not judged again.
    pub fn new(
        scratch: Scratch,
        seen: &'s Seen,
        bound: Bound,
        bug: Option<MediumBug>,
    ) -> Searcher<'s> {
        let (random, counts) = (Random::new(0), Counts::default());
        Searcher { scratch, seen, bound, random, hash: 0, counts, crashes: Vec::new(), bug }
    }

    /// Searches one workload.
    pub fn workload(&mut self, workload: &Workload) -> Step {
        self.hash = u64::from(workload.makes_pool());
        self.random = Random::new(mix(workload
            .name()
            .bytes()
            .fold(self.hash, |seed, byte| mix(seed ^ u64::from(byte)))));
        self.scratch.mark();
        let recorded = record(workload, &self.scratch, self.bug);
        self.scratch.back();
        let without_crash = |why| Err(Found { crashes: Vec::new(), why });
        let recording = match recorded {
            Ok(Some(recording)) => recording,
            Ok(None) => return Ok(()),
            Err(error) => return without_crash(format!("without a crash: {error}")),
        };
        if let Some(why) = recording.wrong {
            return without_crash(why);
        }
        self.scratch.mark();
        let found =
            self.walk(&recording.events, recording.first, &|event| recording.allowed(event));
        self.scratch.back();
        found
    }

    /// Goes through a log, and looks at the points from event `first` on. Changes what is on the
    /// medium for sure.
    fn walk<'a>(
        &mut self,
        events: &[Event],
        first: usize,
        allowed: &dyn Fn(usize) -> &'a Allowed,
    ) -> Step {
        let mut pending = Pending::default();
        for (index, event) in events.iter().enumerate() {
            if index >= first && event.op == Op::Fence {
                self.point(index, pending.words(), allowed(index))?;
            }
            self.settle(&mut pending, event);
        }
        self.point(events.len(), pending.words(), allowed(events.len()))
    }

    fn settle(&mut self, pending: &mut Pending, event: &Event) {
        let mut settled = Vec::new();
        pending.event(event, &self.scratch, &mut |at, value| settled.push((at, value)));
        for (at, value) in &settled {
            self.hash = self.hash.wrapping_add(change(*at, self.scratch.word(*at), *value));
        }
        self.scratch.set_words(settled.into_iter());
    }

    /// Looks at the states of one point.
    fn point(&mut self, event: usize, words: &[Word], allowed: &Allowed) -> Step {
        self.counts.points += 1;
        let counts: Vec<u8> =
            words.iter().map(|word| word.values.len().min(usize::from(u8::MAX)) as u8).collect();
        let nested = !self.crashes.is_empty();
        let (few, samples) = match nested {
            true => (self.bound.recovery_samples, self.bound.recovery_samples),
            false => (self.bound.exhaustive, self.bound.samples),
        };
        if choose::states(&counts, few).is_some() {
            self.counts.exhaustive += 1;
            return choose::all(&counts).try_for_each(|one| self.state(event, words, one, allowed));
        }
        let list = choose::sample(&counts, samples, &mut self.random);
        list.into_iter().try_for_each(|one| self.state(event, words, one, allowed))
    }

    /// Builds one state and judges it, if it is new.
    fn state(&mut self, event: usize, words: &[Word], choice: Choice, allowed: &Allowed) -> Step {
        self.counts.built += 1;
        let values: Vec<(u64, u64)> = kept(words, &choice).collect();
        let hash = values.iter().fold(self.hash, |hash, (at, value)| {
            hash.wrapping_add(change(*at, self.scratch.word(*at), *value))
        });
        if !self.seen.insert(hash) {
            return Ok(());
        }
        self.counts.distinct += 1;
        self.counts.in_recovery += u64::from(!self.crashes.is_empty());
        self.crashes.push(Crash { event, lost: lost(words, &choice) });
        self.scratch.mark();
        self.scratch.set_words(values.into_iter());
        self.scratch.mark();
        let judged = judge(&self.scratch, allowed);
        self.scratch.back();
        let result = match judged {
            Err(why) => Err(Found { crashes: self.crashes.clone(), why }),
            Ok(()) if self.crashes_recovery() => self.recovery(hash, allowed),
            Ok(()) => Ok(()),
        };
        self.scratch.back();
        self.crashes.pop();
        result
    }

    fn crashes_recovery(&mut self) -> bool {
        let due = self.bound.recoveries > 0 && self.random.below(self.bound.recoveries) == 0;
        due && self.crashes.len() < DEPTH
    }

    /// Crashes the recovery of the state that `scratch` holds.
    fn recovery(&mut self, hash: u64, allowed: &Allowed) -> Step {
        let Some(events) = recovery_log(&self.scratch, self.bug) else { return Ok(()) };
        let outer = std::mem::replace(&mut self.hash, hash);
        self.scratch.mark();
        let result = self.walk(&events, 0, &|_| allowed);
        self.scratch.back();
        self.hash = outer;
        result
    }
}

/// What opening the pool on `scratch` does to it; none if it does not open. Nothing is changed.
pub(crate) fn recovery_log(scratch: &Scratch, bug: Option<MediumBug>) -> Option<Vec<Event>> {
    control::repeat(0, NOW + 1000);
    scratch.mark();
    let recorder = Arc::new(Recorder::new(scratch.clone()));
    let opened = Fs::open(recorder.clone(), Access::ReadWrite);
    scratch.back();
    control::repeat(0, 0);
    opened.ok().map(|_| without(recorder.take(), bug))
}

/// What a changed word adds to the hash of a medium.
fn change(at: u64, old: u64, new: u64) -> u64 {
    let place = mix(at.wrapping_add(0x51_7cc1_b727));
    mix(new ^ place).wrapping_sub(mix(old ^ place))
}

/// The words that are not as they were on the medium, with their values.
pub(crate) fn kept<'w>(words: &'w [Word], choice: &'w [u8]) -> impl Iterator<Item = (u64, u64)> {
    let chosen = words.iter().zip(choice).filter(|(_, choice)| **choice > 0);
    chosen.map(|(word, choice)| (word.at, word.values[usize::from(*choice) - 1]))
}

/// The words whose last value is lost: their numbers, and the choice.
fn lost(words: &[Word], choice: &[u8]) -> Vec<(usize, u8)> {
    let all = words.iter().zip(choice).enumerate();
    let lost = all.filter(|(_, (word, choice))| usize::from(**choice) < word.values.len());
    lost.map(|(index, (_, choice))| (index, *choice)).collect()
}
