//! All workloads, shared out to as many threads as there are processors.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use limpid_fs::FsError;

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
) -> Result<Summary, FsError> {
    let begun = Instant::now();
    let (starts, seen, next) = (Starts::new(), Seen::new(), AtomicUsize::new(0));
    let failed = AtomicBool::new(false);
    let report = Mutex::new((Summary::default(), progress));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || -> Result<(), FsError> {
        let pool = Scratch::new(starts.pool.clone());
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(workload) = workloads.get(index).filter(|_| !stop()) else { return Ok(()) };
            if failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let scratch = match workload.makes_pool() {
                true => starts.scratch(workload),
                false => pool.clone(),
            };
            let (counts, found) = search_one(workload, &scratch, &seen, bound)?;
            let broken = found.map(|found| shrink(workload, &scratch, found));
            let (summary, progress) = &mut *report.lock().unwrap_or_else(PoisonError::into_inner);
            summary.workloads += 1;
            summary.counts.add(counts);
            summary.broken.extend(broken.clone());
            progress(Row { workload: workload.name(), counts, broken });
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let done = work();
                    failed.fetch_or(done.is_err(), Ordering::Relaxed);
                    done
                })
            })
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(join).collect::<Result<Vec<()>, FsError>>()
    })?;
    let (mut summary, _) = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.time = begun.elapsed();
    Ok(summary)
}

/// Searches one workload on a medium, whose changes are taken back.
pub(crate) fn search_one(
    workload: &Workload,
    scratch: &Scratch,
    seen: &Seen,
    bound: Bound,
) -> Result<(Counts, Option<Found>), FsError> {
    let mut searcher = Searcher::new(scratch.clone(), seen, bound);
    let found = searcher.workload(workload)?.err();
    Ok((searcher.counts, found))
}
