//! Replays: a state that breaks the contract as a short text, and the smallest one of its kind.

use limpid_fs::{FsError, Geometry};
use limpid_pmem::{Event, Media};

use super::canaries::MediumBug;
use super::pending::{Pending, Word};
use super::recording::record;
use super::runs::Starts;
use super::scratch::Scratch;
use super::search::{Crash, Found, kept, recovery_log};
use super::verdict::{Allowed, judge};
use super::workload::Workload;

/// A state that the contract does not allow, and how to get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// WORKLOAD@CRASH: what [`replay`] takes.
    pub replay: String,
    /// What is wrong with the state.
    pub why: String,
    /// The pieces that have to be lost for that.
    pub lost: Vec<String>,
}

/// What a replay found: nothing wrong, or what; and the pieces that were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// What is wrong with the state, if anything.
    pub why: Option<String>,
    /// The pieces that were lost at each crash.
    pub lost: Vec<String>,
}

/// Why a replay could not be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// The text is not that of a replay, or of a workload that does not exist.
    #[error("no such replay")]
    Text,
    /// The workload does not do as much as the text says.
    #[error("the workload has no such crash")]
    Crash,
    /// The workload fails.
    #[error(transparent)]
    Fs(#[from] FsError),
}

/// Builds the state of a replay text and judges it.
pub fn replay(text: &str) -> Result<Replayed, ReplayError> {
    let (name, crashes) = text.split_once('@').ok_or(ReplayError::Text)?;
    let workload = Workload::named(name).ok_or(ReplayError::Text)?;
    let crashes =
        crashes.split('/').filter(|part| !part.is_empty()).map(parse).collect::<Option<Vec<_>>>();
    let crashes = crashes.ok_or(ReplayError::Text)?;
    let scratch = Starts::new().scratch(&workload);
    let mut lost = Vec::new();
    let judged = follow((&workload, &scratch, None), &crashes, &mut lost)?;
    Ok(Replayed { why: judged.err(), lost })
}

/// EVENT:LOST,LOST…, where LOST is the number of a word that keeps its oldest value, or
/// WORD=VALUE for another one.
fn parse(text: &str) -> Option<Crash> {
    let (event, lost) = text.split_once(':')?;
    let lost = lost.split(',').filter(|part| !part.is_empty()).map(|part| {
        let (word, value) = part.split_once('=').unwrap_or((part, "0"));
        Some((word.parse().ok()?, value.parse().ok()?))
    });
    Some(Crash { event: event.parse().ok()?, lost: lost.collect::<Option<_>>()? })
}

fn text(workload: &Workload, crashes: &[Crash]) -> String {
    let crash = |crash: &Crash| {
        let lost = crash.lost.iter().map(|(word, value)| match value {
            0 => word.to_string(),
            value => format!("{word}={value}"),
        });
        format!("{}:{}", crash.event, lost.collect::<Vec<_>>().join(","))
    };
    let crashes: Vec<String> = crashes.iter().map(crash).collect();
    format!("{}@{}", workload.name(), crashes.join("/"))
}

/// Finds a smallest set of lost pieces that is as bad: each is put back if it is bad without.
pub(crate) fn shrink(
    workload: &Workload,
    scratch: &Scratch,
    found: Found,
    bug: Option<MediumBug>,
) -> Broken {
    let subject = (workload, scratch, bug);
    let Found { mut crashes, mut why } = found;
    for depth in (0..crashes.len()).rev() {
        let mut index = 0;
        while index < crashes[depth].lost.len() {
            let mut fewer = crashes.clone();
            fewer[depth].lost.remove(index);
            match follow(subject, &fewer, &mut Vec::new()) {
                Ok(Err(still)) => (crashes, why) = (fewer, still),
                _ => index += 1,
            }
        }
    }
    let mut lost = Vec::new();
    let again = follow(subject, &crashes, &mut lost);
    assert!(
        matches!(&again, Ok(Err(_))),
        "a state that was bad is bad when it is built again: {again:?}"
    );
    Broken { replay: text(workload, &crashes), why, lost }
}

/// A workload, the medium it starts from, and what that medium fails to do.
type Subject<'a> = (&'a Workload, &'a Scratch, Option<MediumBug>);

/// Builds the state that `crashes` leave, and judges it. Notes what is lost. The changes of
/// `scratch` are taken back.
fn follow(
    (workload, scratch, bug): Subject<'_>,
    crashes: &[Crash],
    lost: &mut Vec<String>,
) -> Result<Result<(), String>, ReplayError> {
    scratch.mark();
    let recorded = record(workload, scratch, bug);
    scratch.back();
    let Some((first, rest)) = crashes.split_first() else {
        // What is wrong without a crash.
        return Ok(match recorded {
            Ok(recording) => recording.and_then(|one| one.wrong).map_or(Ok(()), Err),
            Err(error) => Err(format!("without a crash: {error}")),
        });
    };
    let recording = recorded?.ok_or(ReplayError::Crash)?;
    scratch.mark();
    let allowed = recording.allowed(first.event);
    let result = crash((scratch, bug), &recording.events, first, rest, allowed, lost);
    scratch.back();
    result
}

fn crash(
    (scratch, bug): (&Scratch, Option<MediumBug>),
    events: &[Event],
    first: &Crash,
    rest: &[Crash],
    allowed: &Allowed,
    lost: &mut Vec<String>,
) -> Result<Result<(), String>, ReplayError> {
    let mut pending = Pending::default();
    for event in events.get(..first.event).ok_or(ReplayError::Crash)? {
        let mut settled = Vec::new();
        pending.event(event, scratch, &mut |at, value| settled.push((at, value)));
        scratch.set_words(settled.into_iter());
    }
    let words = pending.words();
    let mut choice: Vec<u8> = words.iter().map(|word| word.values.len() as u8).collect();
    for (word, value) in &first.lost {
        *choice.get_mut(*word).ok_or(ReplayError::Crash)? = *value;
        lost.push(describe(&words[*word], *value, scratch.len()));
    }
    if words.iter().zip(&choice).any(|(word, choice)| usize::from(*choice) > word.values.len()) {
        return Err(ReplayError::Crash);
    }
    scratch.mark();
    scratch.set_words(kept(words, &choice));
    let result = match rest.split_first() {
        None => Ok(judge(scratch, allowed)),
        Some((next, rest)) => match recovery_log(scratch, bug) {
            Some(log) => crash((scratch, bug), &log, next, rest, allowed, lost),
            None => Err(ReplayError::Crash),
        },
    };
    scratch.back();
    result
}

/// Where a lost piece lies, in the words of the format.
fn describe(word: &Word, value: u8, len: u64) -> String {
    let (block, offset) = (word.at / 4096, word.at % 4096);
    let place = match Geometry::of(len / 4096) {
        Ok(geometry) => match block {
            0 => "superblock".into(),
            1 => format!("anchor, granule {}", offset / 64),
            block if block < geometry.descriptors => {
                let slot = (block - 2) / 15;
                let within = (block - 2) % 15 * 4096 + offset;
                return format!(
                    "journal, lane {} slot {}, byte {within}{}",
                    slot / 2,
                    slot % 2,
                    kept_value(value)
                );
            }
            block if block < geometry.bitmaps => "group descriptor".into(),
            block if block < geometry.data => "bitmap".into(),
            block if block < geometry.data_end => format!("block {block}"),
            _ => "backup superblock".into(),
        },
        Err(_) => format!("block {block}"),
    };
    format!("{place}, byte {offset}{}", kept_value(value))
}

fn kept_value(value: u8) -> String {
    match value {
        0 => String::new(),
        value => format!(" (its value number {value} is left)"),
    }
}
