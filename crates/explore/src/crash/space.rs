//! Space that runs out at every point: each request for blocks of each operation is refused once.

use std::sync::Arc;

use limpid_fs::{Access, Fs, FsError, control};

use super::live::{Done, Live, Refused};
use super::operations::{self, NOW, Operation};
use super::scratch::Scratch;
use super::tree::Tree;
use super::verdict::{Allowed, Mix, durable_tree};

/// A thread that has made no file yet, so that the first one needs inode blocks.
const NEW_THREAD: usize = 5;

/// What became of one operation.
#[derive(Clone, Debug)]
pub struct Refusals {
    /// Name of the operation.
    pub operation: &'static str,
    /// Requests for blocks it makes; each was refused once.
    pub requests: u64,
    /// How often it failed; at other times it found another way.
    pub failed: u64,
    /// What was wrong afterwards.
    pub wrong: Vec<String>,
}

/// Refuses every request for blocks of every operation, one at a time.
pub fn refuse_each_block() -> Result<Vec<Refusals>, FsError> {
    let scratch = Scratch::new(operations::start());
    let mut all = Vec::new();
    for operation in operations::ALL {
        for lane in [0, NEW_THREAD] {
            all.push(refuse(&scratch, operation, lane)?);
        }
    }
    Ok(all)
}

fn refuse(
    scratch: &Scratch,
    operation: &'static Operation,
    lane: usize,
) -> Result<Refusals, FsError> {
    let before = durable_tree(scratch)?;
    let mut refusals =
        Refusals { operation: operation.name, requests: 0, failed: 0, wrong: Vec::new() };
    scratch.mark();
    let (_, attempt) = attempt(scratch, operation, lane, 0)?;
    let after = durable_tree(scratch);
    scratch.back();
    let mix = operation.mixes.and_then(|mixes| Mix::new(mixes, &before));
    let allowed = Allowed::Running { before, after: after?, mix };
    let growth = if lane == NEW_THREAD { attempt.inode_blocks } else { 0 };
    loop {
        scratch.mark();
        let request = refusals.requests + 1;
        let tried = self::attempt(scratch, operation, lane, request);
        let judged = tried.map(|(live, attempt)| {
            let wrong = judge(scratch, &live, operation, &attempt, &allowed, growth);
            (attempt, wrong)
        });
        scratch.back();
        let (attempt, wrong) = judged?;
        if !attempt.refused {
            return Ok(refusals);
        }
        refusals.requests = request;
        refusals.failed += u64::from(attempt.done.is_err());
        if let Err(why) = wrong {
            refusals.wrong.push(format!("{} (request {request}): {why}", operation.name));
        }
    }
}

/// One run of an operation.
struct Attempt {
    done: Done,
    /// The request to refuse was made.
    refused: bool,
    free_before: u64,
    /// Blocks that became blocks of inodes, if the operation succeeded.
    inode_blocks: u64,
}

fn attempt(
    scratch: &Scratch,
    operation: &Operation,
    lane: usize,
    request: u64,
) -> Result<(Live, Attempt), FsError> {
    control::repeat(lane, NOW);
    let mut live = Live::open(Arc::new(scratch.clone()))?;
    let (free_before, files_before) = (live.fs.statfs().free, live.fs.statfs().files);
    control::refuse_space(request);
    let done = (operation.run)(&mut live);
    let refused = request > 0 && !control::refusal_is_ahead();
    control::refuse_space(0);
    control::repeat(0, 0);
    // A pool of the smallest size adds one block of inodes at a time.
    let inode_blocks = u64::from(live.fs.statfs().files > files_before);
    Ok((live, Attempt { done, refused, free_before, inode_blocks }))
}

/// After a refusal: everything is as before, or as after; nothing leaked; the next try succeeds.
fn judge(
    scratch: &Scratch,
    live: &Live,
    operation: &Operation,
    attempt: &Attempt,
    allowed: &Allowed,
    growth: u64,
) -> Result<(), String> {
    let text = |error: FsError| error.to_string();
    if let Some(problem) = live.fs.check().first() {
        return Err(format!("not sound: {problem:?}"));
    }
    let found = durable_tree(scratch).map_err(text)?;
    let shown = Tree::read(&live.fs).map_err(text)?.without_times();
    let durable = found.clone().without_times();
    if shown != durable {
        return Err(format!("the live pool differs: {}", shown.difference(&durable)));
    }
    match &attempt.done {
        // Another way was found, maybe with another inode; or the write tells how far it came.
        Ok(()) | Err(Refused::Short) => return Ok(()),
        Err(Refused::Fs(FsError::NoSpace)) => allowed.compare(&found)?,
        Err(other) => return Err(format!("refused with {other:?}")),
    }
    let free = live.fs.statfs().free;
    if free > attempt.free_before || free + growth < attempt.free_before {
        return Err(format!("{free} blocks are free, {} were", attempt.free_before));
    }
    let mut again = live.another();
    if let Err(why) = (operation.run)(&mut again) {
        return Err(format!("with space the next try fails: {why:?}"));
    }
    let (fs, _) = Fs::open(Arc::new(scratch.clone()), Access::ReadWrite).map_err(text)?;
    match fs.check().first() {
        None => Ok(()),
        Some(problem) => Err(format!("not sound after a crash: {problem:?}")),
    }
}
