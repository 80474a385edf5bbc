//! Names against inodes: entries, link counts, the tree of directories, orphans, free inodes.

use rustc_hash::FxHashSet;

use crate::attributes::{FileKind, Ino};
use crate::check::inodes::{Inodes, State};
use crate::check::{Checker, Part, Problem};
use crate::core::Core;
use crate::dir;
use crate::fs::ROOT;
use crate::record::Slot;
use crate::tree;

/// One entry of a directory.
struct Entry {
    dir: u64,
    key: u64,
    ino: u64,
    kind: FileKind,
}

/// The names of one bucket, to find one that is there twice.
#[derive(Default)]
struct Bucket {
    key: u64,
    names: Vec<Vec<u8>>,
    count: usize,
}

impl Bucket {
    /// Adds a name; false if it is there already.
    fn add(&mut self, key: u64, name: &[u8]) -> bool {
        if self.key != key & !0xff {
            (self.key, self.count) = (key & !0xff, 0);
        }
        if self.names[..self.count].iter().any(|other| other == name) {
            return false;
        }
        if self.count == self.names.len() {
            self.names.push(Vec::new());
        }
        // The memory of an earlier bucket's name serves this one.
        self.names[self.count].clear();
        self.names[self.count].extend_from_slice(name);
        self.count += 1;
        true
    }
}

impl Inodes {
    /// Reads all directories and counts the names of each inode.
    pub fn names(&mut self, checker: &mut Checker<'_>) {
        let mut dirs: Vec<u64> = self.dirs.keys().copied().collect();
        dirs.sort_unstable();
        for dir in dirs {
            self.directory(checker, dir);
            checker.breathe();
        }
    }

    fn directory(&mut self, checker: &mut Checker<'_>, ino: u64) {
        let core = checker.core;
        let meta = core.inodes.load(core, ino);
        let root = meta.and_then(|meta| Ok((meta, meta.names()?)));
        let Some((meta, root)) = checker.note(ino, Part::Names, root) else {
            return;
        };
        let mut bucket = Bucket::default();
        let result = tree::scan(core, ino, root, 0, |key, value| {
            let (target, kind, name) = match dir::decode(&meta, key, value) {
                Ok(entry) => entry,
                Err(error) => {
                    checker.report(Problem::Entry { dir: Ino(ino), key, error });
                    return Ok(true);
                }
            };
            if dir::check_name(name).is_err() || dir::bucket(core, name) != key & !0xff {
                checker.report(Problem::Key { dir: Ino(ino), key });
            } else if !bucket.add(key, name) {
                checker.report(Problem::Duplicate { dir: Ino(ino), key });
            }
            self.entry(checker, Entry { dir: ino, key, ino: target, kind });
            Ok(true)
        });
        checker.note(ino, Part::Names, result);
    }

    fn entry(&mut self, checker: &mut Checker<'_>, entry: Entry) {
        let Entry { dir, key, ino, kind } = entry;
        let at = self.index(ino).filter(|_| self.state(ino) == Some(State::Used(kind)));
        let Some(at) = at else {
            checker.report(Problem::Dangling { dir: Ino(dir), key, ino: Ino(ino) });
            return;
        };
        if kind == FileKind::Directory {
            let child = self.dirs.get_mut(&ino).expect("every directory in use is there");
            if child.named != 0 || ino == ROOT {
                checker.report(Problem::SecondName { dir: Ino(dir), key, ino: Ino(ino) });
                return;
            }
            child.named = dir;
            self.dirs.get_mut(&dir).expect("it is being read").subdirs += 1;
        }
        self.names[at] += 1;
    }

    /// Compares the inodes with their names, the orphans and the free lists.
    pub fn compare(&mut self, checker: &mut Checker<'_>, orphans: &[u64]) {
        self.links(checker, orphans);
        self.reachable(checker);
        for ino in orphans {
            if !matches!(self.state(*ino), Some(State::Used(_) | State::Broken)) {
                checker.report(Problem::FalseOrphan(Ino(*ino)));
            }
        }
        self.free_lists(checker);
    }

    fn links(&self, checker: &mut Checker<'_>, orphans: &[u64]) {
        let mut used = 0;
        for (ino, state) in self.all() {
            let State::Used(kind) = state else {
                continue;
            };
            used += 1;
            let (names, recorded) = (self.names_of(ino), self.nlink_of(ino));
            let subdirs = self.dirs.get(&ino).map_or(0, |dir| dir.subdirs);
            let found = match kind {
                FileKind::Directory if names == 0 && ino != ROOT => 0,
                FileKind::Directory => 2 + subdirs,
                _ => names,
            };
            if found != recorded {
                checker.report(Problem::Links { ino: Ino(ino), recorded, found });
            } else if found == 0 && orphans.binary_search(&ino).is_err() {
                checker.report(Problem::Lost(Ino(ino)));
            }
        }
        let recorded = checker.core.inodes.live();
        if recorded != used {
            checker.report(Problem::InodeCount { recorded, found: used });
        }
    }

    /// Every directory hangs below the one it calls its parent, and so below the root.
    fn reachable(&self, checker: &mut Checker<'_>) {
        match self.dirs.get(&ROOT) {
            Some(root) if root.parent == ROOT => {}
            Some(_) => checker.report(Problem::Parent { ino: Ino(ROOT), named: Ino(ROOT) }),
            // Whatever the root's record says instead, there is no directory.
            None => checker.report(Problem::Unreachable(Ino(ROOT))),
        }
        let mut good: FxHashSet<u64> = [ROOT].into_iter().collect();
        for (ino, dir) in &self.dirs {
            if *ino == ROOT || dir.named == 0 {
                continue;
            }
            if dir.named != dir.parent {
                let named = Ino(dir.named);
                checker.report(Problem::Parent { ino: Ino(*ino), named });
            }
            let mut way = FxHashSet::default();
            let mut at = *ino;
            while at != 0 && !good.contains(&at) && way.insert(at) {
                at = self.dirs.get(&at).map_or(0, |dir| dir.named);
            }
            if good.contains(&at) {
                good.extend(way);
            } else if at != 0 {
                // It turns in a circle. One that ends nowhere is below a nameless directory,
                // which is a problem of that one.
                checker.report(Problem::Unreachable(Ino(*ino)));
            }
        }
    }

    /// Every free record is in one list, every unused one in one range, and none else is.
    fn free_lists(&self, checker: &mut Checker<'_>) {
        let core = checker.core;
        let mut seen = vec![false; self.names.len()];
        let mut see = |ino, wanted| {
            let at = self.index(ino).filter(|_| self.state(ino) == Some(wanted));
            at.is_some_and(|at| !std::mem::replace(&mut seen[at], true))
        };
        for (first, fresh) in core.inodes.free_lists() {
            for ino in fresh.filter(|ino| *ino != 0) {
                if !see(ino, State::Virgin) {
                    checker.report(Problem::FreeInodes(Ino(ino)));
                }
            }
            let mut at = first;
            while at != 0 {
                // Each inode is seen once, so a list that turns back ends here.
                if !see(at, State::Free) {
                    checker.report(Problem::FreeInodes(Ino(at)));
                    break;
                }
                at = next_free(core, at);
            }
        }
        for (ino, state) in self.all() {
            if matches!(state, State::Virgin | State::Free) && see(ino, state) {
                checker.report(Problem::FreeInodes(Ino(ino)));
            }
        }
    }
}

fn next_free(core: &Core, ino: u64) -> u64 {
    match core.inodes.slot(core, ino) {
        Ok((_, Slot::Free { next, .. })) => next,
        _ => 0,
    }
}
