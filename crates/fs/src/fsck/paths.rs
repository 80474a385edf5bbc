//! The paths of the inodes that problems concern, found by reading the directories again.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::check::{Inodes, Problem};
use crate::core::Core;
use crate::dir;
use crate::fs::ROOT;
use crate::fsck::Finding;
use crate::tree;

/// Longest path that is told, in directories.
const MAX_DEPTH: usize = 64;

/// A name of an inode: the directory, and the name in it.
type Names = FxHashMap<u64, (u64, Vec<u8>)>;

/// Adds the path to each problem that concerns an inode.
pub(crate) fn name(core: &Core, inodes: &Inodes, problems: Vec<Problem>) -> Vec<Finding> {
    let wanted: FxHashSet<u64> =
        problems.iter().filter_map(|problem| problem.ino()).map(|ino| ino.0).collect();
    if wanted.is_empty() {
        return problems.into_iter().map(|problem| Finding { problem, path: None }).collect();
    }
    let mut names = Names::default();
    collect(core, inodes, &wanted, &mut names);
    // Now the directories above them.
    let mut above = FxHashSet::default();
    let starts = names.values().map(|(dir, _)| *dir).collect::<Vec<_>>();
    for mut at in starts {
        while at != ROOT && at != 0 && above.insert(at) {
            at = inodes.dirs.get(&at).map_or(0, |dir| dir.named);
        }
    }
    collect(core, inodes, &above, &mut names);
    let path = |problem: &Problem| path(&names, problem.ino()?.0);
    problems.into_iter().map(|problem| Finding { path: path(&problem), problem }).collect()
}

/// Finds a name of each wanted inode. What cannot be read is a problem that is known already.
fn collect(core: &Core, inodes: &Inodes, wanted: &FxHashSet<u64>, names: &mut Names) {
    if wanted.is_empty() {
        return;
    }
    for dir in inodes.dirs.keys() {
        let Ok(meta) = core.inodes.load(core, *dir) else { continue };
        let Ok(root) = meta.names() else { continue };
        let _ = tree::scan(core, *dir, root, 0, |key, value| {
            if let Ok((ino, _, name)) = dir::decode(&meta, key, value)
                && wanted.contains(&ino)
            {
                names.entry(ino).or_insert_with(|| (*dir, name.to_vec()));
            }
            Ok(true)
        });
    }
}

fn path(names: &Names, ino: u64) -> Option<Vec<u8>> {
    let mut parts = Vec::new();
    let mut at = ino;
    while at != ROOT {
        let (dir, name) = names.get(&at)?;
        parts.push(name);
        at = *dir;
        if parts.len() > MAX_DEPTH {
            return None;
        }
    }
    let mut path = Vec::new();
    for part in parts.iter().rev() {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    Some(path)
}
