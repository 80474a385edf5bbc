//! What a workload did to its medium, and what a crash may leave at each point.

use std::sync::Arc;

use limpid_fs::{FsError, control};
use limpid_pmem::{Event, Media, Op, Recorder};

use super::canaries::MediumBug;
use super::gate::Gate;
use super::live::Live;
use super::operations::{self, NOW};
use super::scratch::Scratch;
use super::tree::Tree;
use super::verdict::{Allowed, Mix, durable_tree};
use super::workload::{Step, Workload};

/// When the stopped operation happens, in seconds after the others.
const LATER: u64 = 500;

/// See the module's documentation.
pub(crate) struct Recording {
    /// Everything that reached the medium, in order.
    pub events: Vec<Event>,
    /// The first event at which crashes are explored.
    pub first: usize,
    /// What a crash may leave: for the points before an event, in order.
    spans: Vec<(usize, Allowed)>,
    /// The same after the last event.
    done: Allowed,
    /// What went wrong without any crash.
    pub wrong: Option<String>,
}

impl Recording {
    /// What a crash before event `event` may leave.
    pub fn allowed(&self, event: usize) -> &Allowed {
        let span = self.spans.iter().find(|(end, _)| event < *end);
        span.map_or(&self.done, |(_, allowed)| allowed)
    }
}

/// Runs a workload on `scratch`, whose changes the caller takes back. None if its last operation
/// is refused in the state that the others leave, and so does nothing.
pub(crate) fn record(
    workload: &Workload,
    scratch: &Scratch,
    bug: Option<MediumBug>,
) -> Result<Option<Recording>, FsError> {
    control::repeat(0, NOW);
    let recorded = match &workload.stopped {
        _ if workload.makes_pool() => record_format(scratch).map(Some),
        Some((step, fence)) => record_stopped(step, *fence, &workload.steps, scratch),
        None => record_sequence(&workload.steps, scratch),
    };
    control::repeat(0, 0);
    Ok(recorded?.map(|mut recording| {
        recording.events = without(recording.events, bug);
        recording
    }))
}

/// A log as a medium with a bug would have it: what it does not do happens, but changes nothing.
pub(crate) fn without(mut events: Vec<Event>, bug: Option<MediumBug>) -> Vec<Event> {
    for event in &mut events {
        match (bug, &event.op) {
            (Some(MediumBug::NoFlush), Op::Flush(_)) => event.op = Op::Flush(0..0),
            // A fence that does not wait is a point all the same: crashes are looked for there.
            (Some(MediumBug::NoFence), Op::Flush(_)) => event.op = Op::Sync(0..0),
            _ => {}
        }
    }
    events
}

fn record_sequence(steps: &[Step], scratch: &Scratch) -> Result<Option<Recording>, FsError> {
    let recorder = Arc::new(Recorder::new(scratch.clone()));
    let mut live = Live::open(recorder.clone())?;
    let (last, before) = steps.split_last().expect("a workload has a step");
    for step in before {
        // Refused operations change nothing, so the next ones start from what there is.
        let _ = run(step, &mut live);
    }
    let mut events = recorder.take();
    let first = events.len();
    let before = durable_tree(scratch)?;
    let done = run(last, &mut live);
    events.extend(recorder.take());
    if done.is_err() && events.len() == first {
        return Ok(None);
    }
    let after = durable_tree(scratch)?;
    let operation = last.operation();
    let mix = operation.mixes.and_then(|mixes| Mix::new(mixes, &before));
    let loose = mix.clone().filter(|_| operation.loose);
    let wrong = disagreement(&live, &after);
    let running = Allowed::Running { before: before.clone(), after: after.clone(), mix };
    let done = Allowed::Done { before, after, loose };
    Ok(Some(Recording { first, spans: vec![(events.len(), running)], events, done, wrong }))
}

fn run(step: &Step, live: &mut Live) -> super::live::Done {
    control::set_thread(step.lane);
    (step.operation().run)(live)
}

/// What a live pool shows is what its medium holds, but for times that are in memory.
fn disagreement(live: &Live, durable: &Tree) -> Option<String> {
    let durable = durable.clone().without_times();
    match Tree::read(&live.fs).map(Tree::without_times) {
        Ok(shown) if shown == durable => None,
        Ok(shown) => Some(format!("the live pool differs: {}", shown.difference(&durable))),
        Err(error) => Some(format!("the live pool cannot be read: {error}")),
    }
}

fn record_format(scratch: &Scratch) -> Result<Recording, FsError> {
    let recorder = Arc::new(Recorder::new(scratch.clone()));
    let media: Arc<dyn Media> = recorder.clone();
    operations::format(&media)?;
    let empty = durable_tree(scratch)?;
    let events = recorder.take();
    let spans = vec![(events.len(), Allowed::Format { empty: empty.clone() })];
    let done = Allowed::Done { before: empty.clone(), after: empty, loose: None };
    Ok(Recording { events, first: 0, spans, done, wrong: None })
}

/// One operation is stopped at a fence, others run to their end, then it goes on. What may be
/// found is told by runs without a crash: the others alone, and the stopped one before them. That
/// is the same because they do not touch the same files and directories.
fn record_stopped(
    stopped: &Step,
    fence: u32,
    steps: &[Step],
    scratch: &Scratch,
) -> Result<Option<Recording>, FsError> {
    let without = trees(None, steps, scratch)?;
    let with = trees(Some(stopped), steps, scratch)?;
    control::repeat(0, NOW);
    let gate = Arc::new(Gate::new(scratch));
    let mut live = Live::open(gate.clone())?;
    let mut other = live.another();
    let mut ends = Vec::new();
    let mut first = 0;
    let came = gate.run(
        fence,
        || {
            control::repeat(stopped.lane, NOW + LATER);
            let _ = (stopped.operation().run)(&mut other);
        },
        || {
            first = gate.recorder.recorded();
            for step in steps {
                let _ = run(step, &mut live);
                ends.push(gate.recorder.recorded());
            }
        },
    );
    if !came {
        return Ok(None);
    }
    let events = gate.recorder.take();
    let mut spans = Vec::new();
    for (index, end) in ends.into_iter().enumerate() {
        let trees = [&without[index], &without[index + 1], &with[index], &with[index + 1]];
        spans.push((end, Allowed::OneOf(trees.into_iter().cloned().collect())));
    }
    let (without, with) = (without.last().cloned(), with.last().cloned());
    let after = with.clone().expect("there is a tree before the first step");
    spans.push((events.len(), Allowed::OneOf(without.into_iter().chain(with).collect())));
    let wrong = disagreement(&live, &after);
    let done = Allowed::OneOf(vec![after]);
    Ok(Some(Recording { events, first, spans, done, wrong }))
}

/// The trees before and after each step, after `earlier` if that is given. Changes nothing.
fn trees(earlier: Option<&Step>, steps: &[Step], scratch: &Scratch) -> Result<Vec<Tree>, FsError> {
    scratch.mark();
    let all = || -> Result<Vec<Tree>, FsError> {
        control::repeat(0, NOW);
        let mut live = Live::open(Arc::new(scratch.clone()))?;
        if let Some(step) = earlier {
            control::repeat(step.lane, NOW + LATER);
            let _ = (step.operation().run)(&mut live);
            control::repeat(0, NOW);
        }
        let mut trees = vec![durable_tree(scratch)?];
        for step in steps {
            let _ = run(step, &mut live);
            trees.push(durable_tree(scratch)?);
        }
        Ok(trees)
    };
    let trees = all();
    scratch.back();
    trees
}
