//! All workloads, shared out to as many threads as there are processors.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::canaries::MediumBug;
use super::choose::Bound;
use super::operations;
use super::replay::{Broken, shrink};
use super::scratch::Scratch;
use super::search::{Counts, Found, Searcher};
use super::seen::Seen;
use super::workload::Workload;

/// What a run looked at, and what it found.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Workloads that were searched.
    pub workloads: u64,
    /// Sums over all of them.
    pub counts: Counts,
    /// States that the contract does not allow, one per workload, the smallest.
    pub broken: Vec<Broken>,
    /// How long it took.
    pub time: Duration,
}

/// What one workload came to.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the workload.
    pub workload: String,
    /// What was looked at.
    pub counts: Counts,
    /// The first state that the contract does not allow.
    pub broken: Option<Broken>,
}

/// The media that workloads start from.
pub(crate) struct Starts {
    pool: Vec<u8>,
    garbage: Vec<u8>,
}

impl Starts {
    pub fn new() -> Starts {
        Starts { pool: operations::start(), garbage: operations::garbage() }
    }

    /// A medium for a workload.
    pub fn scratch(&self, workload: &Workload) -> Scratch {
        let bytes = if workload.makes_pool() { &self.garbage } else { &self.pool };
        Scratch::new(bytes.clone())
    }
}

/// Searches workloads, several at once, and tells `progress` of each. Stops early, between two of
/// them, when `stop` says so.
pub fn search_all(
    workloads: &[Workload],
    bound: Bound,
    stop: &(dyn Fn() -> bool + Sync),
    progress: &mut (dyn FnMut(Row) + Send),
) -> Summary {
    let begun = Instant::now();
    let (starts, seen, next) = (Starts::new(), Seen::new(), AtomicUsize::new(0));
    let report = Mutex::new((Summary::default(), progress));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let pool = Scratch::new(starts.pool.clone());
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(workload) = workloads.get(index).filter(|_| !stop()) else { return };
            let scratch = match workload.makes_pool() {
                true => starts.scratch(workload),
                false => pool.clone(),
            };
            let (counts, found) = search_one(workload, &scratch, &seen, bound, None);
            let broken = found.map(|found| shrink(workload, &scratch, found, None));
            let (summary, progress) = &mut *report.lock().unwrap_or_else(PoisonError::into_inner);
            summary.workloads += 1;
            summary.counts.add(counts);
            summary.broken.extend(broken.clone());
            progress(Row { workload: workload.name(), counts, broken });
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let (mut summary, _) = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.time = begun.elapsed();
    summary
}

/// Searches one workload on a medium, whose changes are taken back.
pub(crate) fn search_one(
    workload: &Workload,
    scratch: &Scratch,
    seen: &Seen,
    bound: Bound,
    bug: Option<MediumBug>,
) -> (Counts, Option<Found>) {
    let mut searcher = Searcher::new(scratch.clone(), seen, bound, bug);
    let found = searcher.workload(workload).err();
    (searcher.counts, found)
}
