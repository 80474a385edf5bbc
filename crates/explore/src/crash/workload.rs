//! Workloads: a few operations, each by a thread that has a lane of its own, and what they did to
//! the medium.

use std::sync::Arc;

use limpid_fs::{FsError, control};
use limpid_pmem::{Event, Media, Recorder};

use super::live::Live;
use super::operations::{self, NOW, Operation};
use super::scratch::Scratch;
use super::tree::Tree;
use super::verdict::{Allowed, Mix, durable_tree};

/// A sequence of operations. Crashes are explored in the last one; those before it are explored as
/// the last ones of shorter workloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Operations and the number of the thread that does each.
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    name: &'static str,
    lane: usize,
}

/// Making a pool, instead of an operation on one.
const FORMAT: &str = "format";

/// What a workload did.
pub(crate) struct Recording {
    /// Everything that reached the medium, in order.
    pub events: Vec<Event>,
    /// Where the last operation begins in it.
    pub last: usize,
    /// What a crash during the last operation may leave, and after it.
    pub running: Allowed,
    pub done: Allowed,
}

impl Workload {
    /// The workload of a name: operations joined by `+`, each with `.` and the thread's number if
    /// that is not 0.
    pub fn named(text: &str) -> Option<Workload> {
        let step = |part: &str| {
            let (name, lane) = part.split_once('.').unwrap_or((part, "0"));
            let lane = lane.parse().ok().filter(|lane| *lane < 16)?;
            if name == FORMAT {
                return Some(Step { name: FORMAT, lane });
            }
            Some(Step { name: operations::named(name)?.name, lane })
        };
        let steps = text.split('+').map(step).collect::<Option<Vec<Step>>>()?;
        let alone = steps.len() == 1 || steps.iter().all(|step| step.name != FORMAT);
        alone.then_some(Workload { steps })
    }

    /// The name, as [`named`](Workload::named) takes it.
    pub fn name(&self) -> String {
        let step = |step: &Step| match step.lane {
            0 => step.name.to_string(),
            lane => format!("{}.{lane}", step.name),
        };
        self.steps.iter().map(step).collect::<Vec<_>>().join("+")
    }

    /// The medium that the workload starts from, given the pool that most start from.
    pub(crate) fn makes_pool(&self) -> bool {
        self.steps[0].name == FORMAT
    }

    /// Runs the workload on `scratch`, whose changes the caller takes back. None if the last
    /// operation is refused in the state that the others leave, and so does nothing.
    pub(crate) fn record(&self, scratch: &Scratch) -> Result<Option<Recording>, FsError> {
        control::repeat(0, NOW);
        let recorded = match self.makes_pool() {
            true => record_format(scratch).map(Some),
            false => self.record_operations(scratch),
        };
        control::repeat(0, 0);
        recorded
    }

    fn record_operations(&self, scratch: &Scratch) -> Result<Option<Recording>, FsError> {
        let (mut live, recorder) = Live::record(scratch)?;
        let (last, first) = self.steps.split_last().expect("a workload has a step");
        for step in first {
            control::set_thread(step.lane);
            let _ = (operation(step).run)(&mut live);
        }
        let mut events = recorder.take();
        let start = events.len();
        let before = durable_tree(scratch)?;
        control::set_thread(last.lane);
        let operation = operation(last);
        let done = (operation.run)(&mut live);
        events.extend(recorder.take());
        if done.is_err() && events.len() == start {
            return Ok(None);
        }
        let after = durable_tree(scratch)?;
        agree(&live, &after);
        let mix = operation.mixes.and_then(|mixes| Mix::new(mixes, &before));
        let loose = mix.clone().filter(|_| operation.loose);
        let running = Allowed::Running { before: before.clone(), after: after.clone(), mix };
        let done = Allowed::Done { before, after, loose };
        Ok(Some(Recording { events, last: start, running, done }))
    }
}

/// What the live pool shows is what its medium holds, but for times that are in memory.
fn agree(live: &Live, durable: &Tree) {
    let shown = Tree::read(&live.fs).map(Tree::without_times);
    let durable = durable.clone().without_times();
    assert!(
        shown.as_ref() == Ok(&durable),
        "what a live pool shows and what its medium holds differ: {}",
        shown.map_or_else(|error| error.to_string(), |shown| shown.difference(&durable))
    );
}

fn operation(step: &Step) -> &'static Operation {
    operations::named(step.name).expect("names are checked when the workload is made")
}

fn record_format(scratch: &Scratch) -> Result<Recording, FsError> {
    let recorder = Arc::new(Recorder::new(scratch.clone()));
    let media: Arc<dyn Media> = recorder.clone();
    operations::format(&media)?;
    let empty = durable_tree(scratch)?;
    Ok(Recording {
        events: recorder.take(),
        last: 0,
        running: Allowed::Format { empty: empty.clone() },
        done: Allowed::Done { before: empty.clone(), after: empty, loose: None },
    })
}
