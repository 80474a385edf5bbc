//! The block map of a file: in memory a sorted map of runs, on the medium a list in the inode's
//! record or, if there are too many runs for it, a tree.
//!
//! The map in memory is whole or absent. An edit changes it at once and adds what the medium needs
//! to a transaction; if the transaction fails, the caller drops the map and it is read again.

use std::collections::BTreeMap;

use crate::core::Core;
use crate::error::{Result, What, corrupt};
use crate::extent::Run;
use crate::record::{Body, INLINE_EXTENTS, Meta};
use crate::tree::{self, TreeRoot};
use crate::tx::Tx;

/// Runs by their first page.
pub(crate) type Map = BTreeMap<u64, Run>;

/// Reads the map of a file.
pub(crate) fn load(core: &Core, meta: &Meta) -> Result<Map> {
    match meta.body {
        Body::Extents { count, list } => {
            Ok(list[..count].iter().map(|run| (run.page, *run)).collect())
        }
        Body::Tree(root) => {
            let mut runs = Vec::new();
            let mut end = 0;
            let bad = |why| corrupt(What::Extents, meta.at, why);
            tree::scan(core, meta.ino, root, 0, |page, value| {
                let run = match Run::decode(page, value, &core.geometry) {
                    Ok(run) => run,
                    Err(why) => return bad(why),
                };
                if page < end {
                    return bad("two extents overlap");
                }
                end = run.end();
                runs.push((page, run));
                Ok(true)
            })?;
            Ok(runs.into_iter().collect())
        }
        _ => Ok(Map::new()),
    }
}

/// The run that holds `page`, or the first page after it that has one (`u64::MAX` for none).
pub(crate) fn find(map: &Map, page: u64) -> core::result::Result<Run, u64> {
    if let Some((_, run)) = map.range(..=page).next_back()
        && run.end() > page
    {
        return Ok(*run);
    }
    Err(map.range(page..).next().map_or(u64::MAX, |(next, _)| *next))
}

/// The runs in `start..end`, cut to it.
pub(crate) fn runs_in(map: &Map, start: u64, end: u64) -> impl Iterator<Item = Run> + '_ {
    let first = match find(map, start) {
        _ if start >= end => end,
        Ok(run) => run.page,
        Err(next) => next,
    };
    map.range(first.min(end)..end).map(move |(_, run)| run.clip(start, end))
}

/// The holes in `start..end`: first page and length.
pub(crate) fn holes_in(map: &Map, start: u64, end: u64) -> Vec<(u64, u64)> {
    let mut holes = Vec::new();
    let mut at = start;
    for run in runs_in(map, start, end) {
        if run.page > at {
            holes.push((at, run.page - at));
        }
        at = run.end();
    }
    if at < end {
        holes.push((at, end - at));
    }
    holes
}

/// The most extents that writes to the blocks of these runs can make of them, to any order: each
/// page of an unwritten one may become an extent. The record has to hold so many, or there has to
/// be a tree before: writes may not need a node that the pool has no room for (`space.rs`).
pub(crate) fn most_extents<'a>(runs: impl Iterator<Item = &'a Run>) -> u64 {
    runs.map(|run| if run.unwritten { run.len } else { 1 }).sum()
}

/// Replaces what `start..end` holds by `put`, sorted runs within that range.
pub(crate) fn edit(
    tx: &mut Tx<'_>,
    meta: &mut Meta,
    map: &mut Map,
    (start, end): (u64, u64),
    put: &[Run],
) -> Result<()> {
    if let [run] = put
        && (run.page, run.end()) == (start, end)
        && (!run.unwritten || matches!(meta.body, Body::Tree(_)))
        && let Some(longer) = lengthen(map, run)
    {
        return replace(tx, meta, &longer);
    }
    let before = map.range(..start).next_back().map(|(_, run)| *run);
    let mut old: Vec<Run> = before.filter(|run| run.end() >= start).into_iter().collect();
    old.extend(map.range(start..=end).map(|(_, run)| *run));
    let left = old.iter().filter(|run| run.page < start).map(|run| run.clip(run.page, start));
    let right = old.iter().filter(|run| run.end() > end).map(|run| run.clip(end, run.end()));
    let mut new: Vec<Run> = Vec::with_capacity(put.len() + 2);
    for run in left.chain(put.iter().copied()).chain(right) {
        match new.last_mut() {
            Some(last) if last.joins(&run) => last.len += run.len,
            _ => new.push(run),
        }
    }
    for run in &old {
        map.remove(&run.page);
    }
    map.extend(new.iter().map(|run| (run.page, *run)));
    match &mut meta.body {
        Body::Tree(root) => {
            let (mut root, mut blocks) = (*root, 0);
            for run in &old {
                if !new.iter().any(|other| other.page == run.page) {
                    let found = tree::remove(tx, meta.ino, &mut root, &mut blocks, run.page)?;
                    if !found {
                        return corrupt(What::Extents, meta.at, "an extent is missing");
                    }
                }
            }
            for run in new.iter().filter(|run| !old.contains(run)) {
                tree::insert(tx, meta.ino, &mut root, &mut blocks, run.page, &run.value())?;
            }
            meta.body = if root.is_empty() { Body::EMPTY } else { Body::Tree(root) };
            meta.add_blocks(blocks);
        }
        _ if most_extents(map.values()) <= INLINE_EXTENTS as u64 => {
            let mut list = [Run::EMPTY; INLINE_EXTENTS];
            for (place, run) in list.iter_mut().zip(map.values()) {
                *place = *run;
            }
            meta.body = Body::Extents { count: map.len(), list };
        }
        _ => {
            let (mut root, mut blocks) = (TreeRoot::EMPTY, 0);
            for run in map.values() {
                tree::insert(tx, meta.ino, &mut root, &mut blocks, run.page, &run.value())?;
            }
            meta.body = Body::Tree(root);
            meta.add_blocks(blocks);
        }
    }
    Ok(())
}

/// Adds a run to the one it continues, if nothing else lies in its way: what an append does. The
/// longer run, then.
fn lengthen(map: &mut Map, run: &Run) -> Option<Run> {
    if map.range(run.page..=run.end()).next().is_some() {
        return None;
    }
    let (_, last) = map.range_mut(..run.page).next_back()?;
    if !last.joins(run) {
        return None;
    }
    last.len += run.len;
    Some(*last)
}

/// Writes a run in place of the one with the same first page.
fn replace(tx: &mut Tx<'_>, meta: &mut Meta, run: &Run) -> Result<()> {
    match &mut meta.body {
        Body::Extents { count, list } => {
            match list[..*count].iter_mut().find(|other| other.page == run.page) {
                Some(place) => *place = *run,
                None => return corrupt(What::Extents, meta.at, "an extent is missing"),
            }
        }
        Body::Tree(root) => {
            let (mut root, mut blocks) = (*root, 0);
            tree::insert(tx, meta.ino, &mut root, &mut blocks, run.page, &run.value())?;
            meta.body = Body::Tree(root);
            meta.add_blocks(blocks);
        }
        _ => return corrupt(What::Extents, meta.at, "an extent is missing"),
    }
    Ok(())
}
