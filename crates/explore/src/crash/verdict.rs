//! Whether a recovered pool is one that the contract allows.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use limpid_dax::WriteAt;
use limpid_fs::{Access, Fs, FsError, Ino, Kind};

use super::live::{Live, Refused};
use super::operations::{Mixes, node};
use super::scratch::Scratch;
use super::tree::{Node, Tree};

const PAGE: u64 = 4096;

/// What may be found after a crash at some point of a workload.
pub(crate) enum Allowed {
    /// An operation is running: all of it, or nothing of it.
    Running { before: Tree, after: Tree, mix: Option<Mix> },
    /// It has returned. Stores that nobody flushed may still be lost.
    Done { before: Tree, after: Tree, loose: Option<Mix> },
    /// Several threads: one of these.
    OneOf(Vec<Tree>),
    /// A pool is being made: no pool, or an empty one.
    Format { empty: Tree },
}

/// A file that is changed in place: a mix of old and new, in words of 8 bytes, is allowed at some
/// places. Its times, and its number of blocks, may be those of any step.
#[derive(Clone, Debug)]
pub(crate) struct Mix {
    ino: Ino,
    bytes: Vec<Range<u64>>,
}

/// Opens the pool on `scratch`, which recovers it, and says what is wrong with it, if anything.
/// The pool is changed: afterwards one more operation is done, which has to work.
pub(crate) fn judge(scratch: &Scratch, allowed: &Allowed) -> Result<(), String> {
    let live = match Live::open(Arc::new(scratch.clone())) {
        Ok(live) => live,
        Err(FsError::NotAPool) if matches!(allowed, Allowed::Format { .. }) => return Ok(()),
        Err(error) => return Err(format!("it does not open: {error}")),
    };
    match allowed {
        // Right at the end a new pool may have only one good superblock: it opens by that.
        Allowed::Format { .. } => {}
        _ => sound(&live.fs)?,
    }
    let found = Tree::read(&live.fs).map_err(|error| format!("it cannot be read: {error}"))?;
    allowed.compare(&found)?;
    go_on(&live).map_err(|why| format!("the next operation fails: {why:?}"))?;
    match allowed {
        Allowed::Format { .. } => Ok(()),
        _ => sound(&live.fs).map_err(|why| format!("after one more operation: {why}")),
    }
}

fn sound(fs: &Fs) -> Result<(), String> {
    match &fs.check()[..] {
        [] => Ok(()),
        [first, ..] => Err(format!("not sound: {first:?}")),
    }
}

/// A file is made and written: that takes an inode, a name and a block.
fn go_on(live: &Live) -> Result<(), Refused> {
    let inode = live.fs.create(live.fs.root(), b"after the crash", node(Kind::File))?;
    live.fs.release(inode)?;
    live.file("after the crash", |file| file.write(WriteAt::Offset(10), 20, 15))
}

/// What a user sees when the journal's work is shown from memory and nothing is written.
pub(crate) fn durable_tree(scratch: &Scratch) -> Result<Tree, FsError> {
    let (fs, _) = Fs::open(Arc::new(scratch.clone()), Access::ReadOnly)?;
    Tree::read(&fs)
}

impl Allowed {
    pub fn compare(&self, found: &Tree) -> Result<(), String> {
        match self {
            Allowed::Format { empty } if found == empty => Ok(()),
            Allowed::Format { empty } => Err(format!("new pool: {}", found.difference(empty))),
            Allowed::OneOf(trees) if trees.contains(found) => Ok(()),
            Allowed::OneOf(trees) => {
                let differences = trees.iter().map(|tree| found.difference(tree));
                Err(format!("none of these: {}", differences.collect::<Vec<_>>().join(" / ")))
            }
            Allowed::Running { before, after, mix } => {
                let mixed = || mix.as_ref().is_some_and(|mix| mix.allows(found, before, after));
                if found == before || found == after || mixed() {
                    return Ok(());
                }
                let (before, after) = (found.difference(before), found.difference(after));
                Err(format!("neither before ({before}) nor after ({after}) the operation"))
            }
            Allowed::Done { before, after, loose } => {
                let mixed = || loose.as_ref().is_some_and(|mix| mix.allows(found, before, after));
                if found == after || mixed() {
                    return Ok(());
                }
                Err(format!("what had returned is lost: {}", found.difference(after)))
            }
        }
    }
}

impl Mix {
    /// What an operation may mix in the pool as it is before; none if the file is not there.
    pub fn new(mixes: Mixes, before: &Tree) -> Option<Mix> {
        let file = before.nodes.get(&format!("/{}", mixes.path))?;
        let mut bytes = Vec::new();
        for (start, end) in mixes.bytes {
            for page in start / PAGE..end.div_ceil(PAGE) {
                if mixes.fresh || file.pages.contains_key(&page) {
                    bytes.push(*start.max(&(page * PAGE))..*end.min(&((page + 1) * PAGE)));
                }
            }
        }
        (mixes.steps || !bytes.is_empty()).then_some(Mix { ino: file.attributes.ino, bytes })
    }

    /// True if the file is a mix of what it was before and after, and all else is as before or
    /// as after.
    fn allows(&self, found: &Tree, before: &Tree, after: &Tree) -> bool {
        let split = |tree: &Tree| {
            let (file, rest): (BTreeMap<_, _>, BTreeMap<_, _>) = tree
                .nodes
                .clone()
                .into_iter()
                .partition(|(_, node)| node.attributes.ino == self.ino);
            (file, rest)
        };
        let [(file, rest), (old, rest_old), (new, rest_new)] = [found, before, after].map(split);
        // The names are the same; all stand for one file, so one of them tells.
        let same_names = file.keys().eq(old.keys()) && file.keys().eq(new.keys());
        let values = (file.values().next(), old.values().next(), new.values().next());
        let (Some(file), Some(old), Some(new)) = values else { return false };
        same_names && (rest == rest_old || rest == rest_new) && self.allows_file(file, old, new)
    }

    fn allows_file(&self, found: &Node, old: &Node, new: &Node) -> bool {
        let stripped = |node: &Node| {
            let mut node = node.clone();
            node.forget_times();
            node.attributes.blocks = 0;
            node.pages.clear();
            node
        };
        let attributes = stripped(found);
        if attributes != stripped(old) && attributes != stripped(new) {
            return false;
        }
        let mixed = |at: u64| self.bytes.iter().any(|bytes| at + 8 > bytes.start && at < bytes.end);
        // Outside of the mix the contents are wholly old or wholly new, as far as the file goes.
        let (mut all_old, mut all_new) = (true, true);
        for at in (0..found.attributes.size).step_by(8) {
            let (word, old, new) = (found.word(at), old.word(at), new.word(at));
            if word != old && word != new {
                return false;
            }
            if !mixed(at) {
                all_old &= word == old;
                all_new &= word == new;
            }
        }
        all_old || all_new
    }
}
