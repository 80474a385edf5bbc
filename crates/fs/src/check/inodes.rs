//! Inodes: their records, and what they refer to.

use rustc_hash::FxHashMap;
use smallvec::SmallVec;
use zerocopy::FromBytes;

use crate::attributes::{FileKind, Ino};
use crate::check::{Checker, Claim, Part, PoolTree, Problem};
use crate::error::{FsError, Result, What, corrupt};
use crate::inodes;
use crate::layout::{BLOCK, BLOCK_LEN, INODE, INODES_PER_BLOCK};
use crate::map;
use crate::record::{Body, INLINE_EXTENTS, Meta, Raw, Slot};
use crate::tree;
use crate::xattr;

/// Consecutive inode blocks on consecutive blocks.
#[derive(Clone, Copy)]
pub(crate) struct Run {
    pub first: u64,
    pub block: u64,
    pub len: u64,
    /// Index of its first record in the arrays of [`Inodes`].
    base: usize,
}

/// What a record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It cannot be read.
    Broken,
    Virgin,
    Free,
    Used(FileKind),
}

/// What is known of a directory.
#[derive(Clone, Copy)]
pub(crate) struct Dir {
    /// Its parent, as it says itself.
    pub parent: u64,
    /// The directory that names it, 0 for none.
    pub named: u64,
    pub subdirs: u32,
}

/// All inodes. Records are found by number through the runs; what is known of each lies in
/// arrays, since there are many.
#[derive(Default)]
pub(crate) struct Inodes {
    pub runs: Vec<Run>,
    state: Vec<State>,
    nlink: Vec<u32>,
    /// Names found.
    pub(super) names: Vec<u32>,
    pub dirs: FxHashMap<u64, Dir>,
}

impl Inodes {
    /// Reads every record, and whatever belongs to those in use. `listed` are the orphans.
    pub fn walk(checker: &mut Checker<'_>, listed: &[u64]) -> Inodes {
        let mut all = Inodes::default();
        all.table(checker);
        // The metadata of all inodes claims its blocks before any data does.
        let mut overhead = FxHashMap::default();
        let total = all.runs.iter().map(|run| run.len).sum::<u64>() * 2;
        let mut done = 0;
        for run in all.runs.clone() {
            for index in 0..run.len {
                all.visit_block(checker, run, index, &mut overhead);
                done += 1;
                checker.breathe();
                (checker.watch)(done, total);
            }
        }
        // A file whose own numbers contradict its extents claims what is left by the others.
        let mut doubtful = Vec::new();
        for run in all.runs.clone() {
            for index in 0..run.len {
                for slot in 0..INODES_PER_BLOCK {
                    let at = run.base + (index * INODES_PER_BLOCK + slot) as usize;
                    if all.state[at] == State::Used(FileKind::File) {
                        let ino = (run.first + index) * INODES_PER_BLOCK + slot;
                        let overhead = overhead.get(&ino).copied().unwrap_or(0);
                        if !extents(checker, ino, overhead, listed, false) {
                            doubtful.push((ino, overhead));
                        }
                    }
                }
                done += 1;
                checker.breathe();
                (checker.watch)(done, total);
            }
        }
        for (ino, overhead) in doubtful {
            extents(checker, ino, overhead, listed, true);
        }
        all
    }

    /// Reads the table. No block counts twice, so that what is read is bounded by the pool.
    fn table(&mut self, checker: &mut Checker<'_>) {
        let core = checker.core;
        let table = core.inodes.table();
        let claim = Claim::Pool(PoolTree::InodeTable);
        checker.mark_tree(claim, inodes::OWNER, table.root);
        let (mut end, mut base) = (0, 0);
        let mut runs = Vec::new();
        let result = tree::scan(core, inodes::OWNER, table.root, 0, |first, value| {
            let (block, len) = inodes::decode(first, value, &core.geometry)?;
            let place = crate::anchor::INODE_TABLE_AT;
            if first < end || first.checked_add(len).is_none_or(|end| end > table.blocks) {
                return corrupt(What::Anchor, place, "inode blocks overlap or are not counted");
            }
            end = first + len;
            runs.push((first, block, len));
            Ok(true)
        });
        if let Err(error) = result {
            let problem = Problem::Tree { tree: PoolTree::InodeTable, error };
            // What breaks the walk over the nodes breaks this one too.
            if !checker.problems.contains(&problem) {
                checker.report(problem);
            }
        }
        for (first, block, len) in runs {
            if !checker.used.is_free(&core.geometry, block, len) {
                let error = FsError::Corrupt {
                    what: What::Anchor,
                    at: block * BLOCK,
                    why: "inode blocks lie in other metadata",
                };
                checker.report(Problem::Tree { tree: PoolTree::InodeTable, error });
                continue;
            }
            checker.mark(claim, block, len);
            self.runs.push(Run { first, block, len, base });
            base += (len * INODES_PER_BLOCK) as usize;
        }
        self.state = vec![State::Broken; base];
        self.nlink = vec![0; base];
        self.names = vec![0; base];
    }

    fn visit_block(
        &mut self,
        checker: &mut Checker<'_>,
        run: Run,
        index: u64,
        overhead: &mut FxHashMap<u64, u64>,
    ) {
        let core = checker.core;
        let block_at = (run.block + index) * BLOCK;
        let mut bytes = [0; BLOCK_LEN];
        let read = core.media.read(block_at, &mut bytes).map_err(FsError::from);
        for slot in 0..INODES_PER_BLOCK {
            let ino = (run.first + index) * INODES_PER_BLOCK + slot;
            let place = run.base + (index * INODES_PER_BLOCK + slot) as usize;
            if ino == 0 {
                self.state[place] = State::Virgin;
                continue;
            }
            let start = (slot * INODE) as usize;
            let slot = read.and_then(|()| {
                let raw = Raw::ref_from_bytes(&bytes[start..start + INODE as usize]);
                let raw = raw.expect("a record has this length");
                raw.decode(ino, block_at + start as u64, &core.geometry)
            });
            self.state[place] = match checker.note(ino, Part::Record, slot) {
                Some(Slot::Virgin) => State::Virgin,
                Some(Slot::Free { .. }) => State::Free,
                Some(Slot::Used(meta)) => {
                    self.nlink[place] = meta.nlink;
                    let blocks = self.metadata(checker, &meta);
                    if meta.kind != FileKind::File {
                        count(checker, &meta, blocks);
                    } else if blocks > 0 {
                        overhead.insert(ino, blocks);
                    }
                    State::Used(meta.kind)
                }
                None => State::Broken,
            };
        }
    }

    /// Marks the metadata of an inode; returns how many blocks that takes.
    fn metadata(&mut self, checker: &mut Checker<'_>, meta: &Meta) -> u64 {
        let mut blocks = attributes(checker, meta);
        if meta.kind == FileKind::Directory {
            let dir = Dir { parent: meta.link, named: 0, subdirs: 0 };
            self.dirs.insert(meta.ino, dir);
        }
        match (meta.kind, meta.body) {
            (kind, Body::Tree(root)) => {
                let names = kind == FileKind::Directory;
                let part = if names { Part::Names } else { Part::Extents };
                blocks += checker.mark_tree(Claim::Inode(meta.ino, part), meta.ino, root);
            }
            (_, Body::TargetBlock { block, crc }) => {
                checker.mark(Claim::Inode(meta.ino, Part::Target), block, 1);
                blocks += 1;
                let read = target(checker, meta, block, crc);
                checker.note(meta.ino, Part::Target, read);
            }
            _ => {}
        }
        blocks
    }

    /// Where the arrays keep an inode; none if the table has no such inode.
    pub fn index(&self, ino: u64) -> Option<usize> {
        let block = ino / INODES_PER_BLOCK;
        let after = self.runs.partition_point(|run| run.first <= block);
        let run = self.runs[..after].last()?;
        let index = block - run.first;
        let slot = index * INODES_PER_BLOCK + ino % INODES_PER_BLOCK;
        (index < run.len && ino != 0).then_some(run.base + slot as usize)
    }

    /// What an inode's record holds; none if the table has no such inode.
    pub fn state(&self, ino: u64) -> Option<State> {
        self.index(ino).map(|at| self.state[at])
    }

    /// Names found of an inode.
    pub fn names_of(&self, ino: u64) -> u32 {
        self.index(ino).map_or(0, |at| self.names[at])
    }

    /// The link count that an inode's record gives.
    pub(super) fn nlink_of(&self, ino: u64) -> u32 {
        self.index(ino).map_or(0, |at| self.nlink[at])
    }

    /// All inodes with their states, in order.
    pub fn all(&self) -> impl Iterator<Item = (u64, State)> + '_ {
        self.runs.iter().flat_map(move |run| {
            let first = run.first * INODES_PER_BLOCK;
            let count = run.len * INODES_PER_BLOCK;
            let inodes =
                (0..count).map(move |slot| (first + slot, self.state[run.base + slot as usize]));
            inodes.filter(|(ino, _)| *ino != 0)
        })
    }
}

fn target(checker: &Checker<'_>, meta: &Meta, block: u64, crc: u32) -> Result<()> {
    let mut target = vec![0; meta.size as usize];
    checker.core.media.read(block * BLOCK, &mut target)?;
    if crc32c::crc32c(&target) != crc {
        return corrupt(What::Symlink, block * BLOCK, "its checksum does not match");
    }
    Ok(())
}

/// Marks the data of a file. If its size and its block count do not go with its extents, that is
/// reported if `doubtful` is set; else nothing is done, and the result is false. `overhead` is what
/// its metadata takes.
fn extents(
    checker: &mut Checker<'_>,
    ino: u64,
    overhead: u64,
    listed: &[u64],
    doubtful: bool,
) -> bool {
    let core = checker.core;
    let slot = core.inodes.slot(core, ino);
    let Some((_, Slot::Used(meta))) = checker.note(ino, Part::Record, slot) else {
        return true;
    };
    let runs: SmallVec<[crate::extent::Run; INLINE_EXTENTS]> = match &meta.body {
        Body::Extents { count, list } => list[..*count].iter().copied().collect(),
        Body::Tree(_) => {
            let map = map::load(core, &meta);
            let Some(map) = checker.note(ino, Part::Extents, map) else {
                return true;
            };
            map.into_values().collect()
        }
        _ => SmallVec::new(),
    };
    let blocks = overhead.saturating_add(runs.iter().map(|run| run.len).sum());
    let last = runs.iter().filter(|run| !run.unwritten).map(|run| run.end()).max().unwrap_or(0);
    // A truncation that a crash interrupted is finished when the pool is opened.
    let past = last > meta.size.div_ceil(BLOCK) && listed.binary_search(&ino).is_err();
    if (past || blocks != meta.blocks) && !doubtful {
        return false;
    }
    for run in &runs {
        checker.mark(Claim::Pages(ino, run.page), run.block, run.len);
    }
    if past {
        checker.report(Problem::PastEnd { ino: Ino(ino), size: last * BLOCK });
    }
    count(checker, &meta, blocks);
    true
}

fn count(checker: &mut Checker<'_>, meta: &Meta, found: u64) {
    if found != meta.blocks {
        let recorded = meta.blocks;
        checker.report(Problem::Blocks { ino: Ino(meta.ino), recorded, found });
    }
}

/// Checks the attributes of an inode; returns how many blocks they take.
fn attributes(checker: &mut Checker<'_>, meta: &Meta) -> u64 {
    if meta.xattrs.is_empty() {
        return 0;
    }
    let core = checker.core;
    let claim = Claim::Inode(meta.ino, Part::Attributes);
    let mut blocks = checker.mark_tree(claim, xattr::owner(meta), meta.xattrs);
    let mut values = Vec::new();
    let result = xattr::scan(core, meta, |_, xattr| {
        values.extend_from_slice(xattr.blocks());
        xattr.value(core, meta.at)?;
        Ok(true)
    });
    checker.note(meta.ino, Part::Attributes, result);
    blocks += values.len() as u64;
    values.iter().for_each(|block| checker.mark(claim, *block, 1));
    blocks
}
