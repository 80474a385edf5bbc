//! Inodes: their records, what they refer to, and the names that refer to them.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::attributes::{FileKind, Ino};
use crate::check::{Checker, Problem};
use crate::dir;
use crate::error::FsError;
use crate::fs::ROOT;
use crate::inodes;
use crate::layout::{BLOCK, INODES_PER_BLOCK};
use crate::map;
use crate::record::{Body, Meta, Slot};
use crate::tree;
use crate::xattr;

/// What is known of an inode in use.
struct Seen {
    kind: FileKind,
    nlink: u32,
    /// Parent of a directory, as it says itself.
    parent: u64,
}

/// What the walk over all inodes finds.
#[derive(Default)]
pub(crate) struct Inodes {
    used: FxHashMap<u64, Seen>,
    free: FxHashSet<u64>,
    virgin: FxHashSet<u64>,
    /// Names by inode.
    names: FxHashMap<u64, u32>,
    /// Names of directories: directory, its parent.
    parents: FxHashMap<u64, u64>,
    subdirs: FxHashMap<u64, u32>,
    /// Names: directory, inode, kind.
    entries: Vec<(u64, u64, FileKind)>,
}

impl Inodes {
    /// Reads every record, and whatever belongs to those in use.
    pub fn walk(&mut self, checker: &mut Checker<'_>) {
        let core = checker.core;
        let table = core.inodes.table();
        checker.mark_tree(inodes::OWNER, table.root);
        let mut runs = Vec::new();
        let result = tree::scan(core, inodes::OWNER, table.root, 0, |first, value| {
            runs.push((first, inodes::decode(first, value, &core.geometry)?));
            Ok(true)
        });
        checker.note(result);
        for (_, (block, len)) in &runs {
            checker.mark(*block, *len);
        }
        for (first, (_, len)) in runs {
            let end = first.saturating_add(len).min(table.blocks);
            for ino in first * INODES_PER_BLOCK..end * INODES_PER_BLOCK {
                if ino > 0 {
                    self.visit(checker, ino);
                }
            }
        }
    }

    fn visit(&mut self, checker: &mut Checker<'_>, ino: u64) {
        let slot = checker.core.inodes.slot(checker.core, ino);
        match checker.note(slot) {
            Some((_, Slot::Virgin)) => {
                self.virgin.insert(ino);
            }
            Some((_, Slot::Free { .. })) => {
                self.free.insert(ino);
            }
            Some((_, Slot::Used(meta))) => {
                let seen = Seen { kind: meta.kind, nlink: meta.nlink, parent: meta.link };
                self.used.insert(ino, seen);
                let blocks = self.contents(checker, &meta) + attributes(checker, &meta);
                if blocks != meta.blocks {
                    let recorded = meta.blocks;
                    checker.report(Problem::Blocks { ino: Ino(ino), recorded, found: blocks });
                }
            }
            None => {}
        }
    }

    /// Checks what an inode holds; returns how many blocks that takes.
    fn contents(&mut self, checker: &mut Checker<'_>, meta: &Meta) -> u64 {
        let core = checker.core;
        let mut blocks = 0;
        if let Body::Tree(root) = meta.body {
            blocks += checker.mark_tree(meta.ino, root);
        }
        match meta.kind {
            FileKind::File => {
                let map = checker.note(map::load(core, meta)).unwrap_or_default();
                let end = meta.size.div_ceil(BLOCK);
                for run in map.values() {
                    checker.mark(run.block, run.len);
                    blocks += run.len;
                    if run.end() > end && !run.unwritten {
                        checker.report(Problem::PastEnd(Ino(meta.ino)));
                    }
                }
            }
            FileKind::Directory => self.names(checker, meta),
            FileKind::Symlink => {
                if let Body::TargetBlock { block, crc } = meta.body {
                    checker.mark(block, 1);
                    blocks += 1;
                    let mut target = vec![0; meta.size as usize];
                    let read = core.media.read(block * BLOCK, &mut target);
                    checker.note(read.map_err(FsError::from));
                    if crc32c::crc32c(&target) != crc {
                        let error = crate::error::corrupt::<()>(
                            crate::error::What::Symlink,
                            block * BLOCK,
                            "its checksum does not match",
                        );
                        checker.note(error);
                    }
                }
            }
            _ => {}
        }
        blocks
    }

    fn names(&mut self, checker: &mut Checker<'_>, meta: &Meta) {
        let core = checker.core;
        let Some(root) = checker.note(meta.names()) else {
            return;
        };
        let mut wrong = Vec::new();
        let result = tree::scan(core, meta.ino, root, 0, |key, value| {
            let (ino, kind, name) = dir::decode(meta, key, value)?;
            if dir::check_name(name).is_err() || dir::bucket(core, name) != key & !0xff {
                wrong.push(key);
            }
            self.entries.push((meta.ino, ino, kind));
            Ok(true)
        });
        checker.note(result);
        for key in wrong {
            checker.report(Problem::Key { dir: Ino(meta.ino), key });
        }
    }

    /// Compares the inodes with their names, the orphans and the free lists.
    pub fn compare(&mut self, checker: &mut Checker<'_>, orphans: &[u64]) {
        for (dir, ino, kind) in std::mem::take(&mut self.entries) {
            if self.used.get(&ino).is_none_or(|seen| seen.kind != kind) {
                checker.report(Problem::Dangling { dir: Ino(dir), ino: Ino(ino) });
                continue;
            }
            *self.names.entry(ino).or_default() += 1;
            if kind == FileKind::Directory {
                *self.subdirs.entry(dir).or_default() += 1;
                if self.parents.insert(ino, dir).is_some() || ino == ROOT {
                    checker.report(Problem::Parent(Ino(ino)));
                }
            }
        }
        self.links(checker);
        self.reachable(checker);
        let listed: FxHashSet<u64> = orphans.iter().copied().collect();
        for ino in &listed {
            if !self.used.contains_key(ino) {
                checker.report(Problem::FalseOrphan(Ino(*ino)));
            }
        }
        for (ino, seen) in &self.used {
            if seen.nlink == 0 && !listed.contains(ino) {
                checker.report(Problem::Lost(Ino(*ino)));
            }
        }
        self.free_lists(checker);
    }

    fn links(&self, checker: &mut Checker<'_>) {
        for (ino, seen) in &self.used {
            let names = self.names.get(ino).copied().unwrap_or(0);
            let subdirs = self.subdirs.get(ino).copied().unwrap_or(0);
            let found = match seen.kind {
                FileKind::Directory if names == 0 && *ino != ROOT => 0,
                FileKind::Directory => 2 + subdirs,
                _ => names,
            };
            if found != seen.nlink {
                let recorded = seen.nlink;
                checker.report(Problem::Links { ino: Ino(*ino), recorded, found });
            }
        }
    }

    /// Every directory hangs below the one it calls its parent, and so below the root.
    fn reachable(&self, checker: &mut Checker<'_>) {
        let mut good: FxHashSet<u64> = [ROOT].into_iter().collect();
        for (ino, seen) in &self.used {
            if seen.kind != FileKind::Directory || seen.nlink == 0 {
                continue;
            }
            let named = self.parents.get(ino).copied().unwrap_or(ROOT);
            if named != seen.parent {
                checker.report(Problem::Parent(Ino(*ino)));
            }
            let mut way = FxHashSet::default();
            let mut at = *ino;
            while !good.contains(&at) && way.insert(at) {
                at = self.parents.get(&at).copied().unwrap_or(at);
            }
            if good.contains(&at) {
                good.extend(way);
            } else {
                checker.report(Problem::Parent(Ino(*ino)));
            }
        }
    }

    /// Every free record is in one list, every unused one in one range, and none else is.
    fn free_lists(&mut self, checker: &mut Checker<'_>) {
        let core = checker.core;
        for (first, fresh) in core.inodes.free_lists() {
            for ino in fresh {
                if !self.virgin.remove(&ino) && ino != 0 {
                    checker.report(Problem::FreeInodes(Ino(ino)));
                }
            }
            let mut at = first;
            while at != 0 {
                // Each inode is taken out once, so a list that turns back ends here.
                if !self.free.remove(&at) {
                    checker.report(Problem::FreeInodes(Ino(at)));
                    break;
                }
                at = match core.inodes.slot(core, at) {
                    Ok((_, Slot::Free { next, .. })) => next,
                    _ => 0,
                };
            }
        }
        for ino in self.free.drain().chain(self.virgin.drain()) {
            checker.report(Problem::FreeInodes(Ino(ino)));
        }
        let (recorded, found) = (core.inodes.live(), self.used.len() as u64);
        if recorded != found {
            checker.report(Problem::InodeCount { recorded, found });
        }
    }
}

/// Checks the attributes of an inode; returns how many blocks they take.
fn attributes(checker: &mut Checker<'_>, meta: &Meta) -> u64 {
    let core = checker.core;
    let mut blocks = checker.mark_tree(xattr::owner(meta), meta.xattrs);
    let mut values = Vec::new();
    let result = xattr::scan(core, meta, |_, xattr| {
        values.extend_from_slice(xattr.blocks());
        xattr.value(core, meta.at)?;
        Ok(true)
    });
    checker.note(result);
    blocks += values.len() as u64;
    values.iter().for_each(|block| checker.mark(*block, 1));
    blocks
}
