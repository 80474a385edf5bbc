//! Which workloads are searched.

use super::operations;
use super::workload::Workload;

/// Sequences of three and four that combine what belongs together, threads included: names that
/// go round, blocks that change their use, lanes whose records overtake each other.
const CHOSEN: &[&str] = &[
    "create.1+rename-dir+chmod",
    "create+create.1+unlink",
    "mkdir.1+rename-dir+rmdir",
    "append.1+append-pages+append",
    "append+append+append",
    "append-tree+unlink-tree+append-pages",
    "write-hole+punch-tree+write-hole",
    "write-hole+unlink-tree+xattr-large",
    "write-past-end+truncate+append",
    "overwrite+truncate+append",
    "truncate-page+append+append-pages",
    "truncate-tree+write-hole+truncate-empty",
    "collapse-tree+insert+punch-tree",
    "insert+write-hole+collapse-tree",
    "allocate-keep+append+truncate",
    "zero+overwrite+punch",
    "xattr-large+unlink+create",
    "xattr-replace+xattr-remove+unlink-xattrs",
    "xattr+rename-replace+xattr-large",
    "link+unlink+rename-replace",
    "link.1+rename-exchange+unlink-linked",
    "rename+rename-replace-tree+create",
    "rename-across+rename-dir+rename-dir-replace",
    "rename-dir-replace+rename-dirs-exchange+mkdir",
    "unlink-open+create+append-pages",
    "unlink-open+unlink-tree+close",
    "unnamed+unlink-open+sync",
    "map-flush+sync+append",
    "map-flush+append+map-store",
    "map-flush-hole+punch-tree+map-flush-hole",
    "chmod.1+chmod+chmod",
    "chmod.1+xattr+append",
    "rename.1+rename-exchange+append",
    "truncate-grow.1+append+append",
    "write-unwritten+append-pages.1+write-hole",
    "close+create+close",
    "sync+create.1+sync",
    "chmod.1+chmod+chmod+chmod",
    "append.1+append+chmod+truncate",
    "create.1+unlink-linked+mkdir+link",
    "xattr.2+append.1+chmod+punch",
    "create-split.1+create+mkdir+symlink-long",
];

/// Operations that are stopped in the middle, and how many fences they have at most …
const STOPPED: &[(&str, u32)] =
    &[("chmod.2", 2), ("append.2", 3), ("truncate-grow.2", 4), ("write-unwritten.2", 3)];

/// … and what others do meanwhile: nothing that touches the same files or directories, or that
/// takes several transactions that can be told from outside. The floor
/// of the journal cannot rise, so records of many lanes wait to be replayed, slots run out, blocks
/// change their use under records that still speak of them.
const MEANWHILE: &[&str] = &[
    "create",
    "create+unlink-linked+mkdir",
    "link+rename-across.1+unlink-tree",
    "append-pages+append-tree.1+truncate-tree",
    "xattr-again+unlink-xattrs+append-pages",
    "xattr-again.1+unlink-xattrs+append-pages+append-tree",
    "xattr-again.1+xattr-replace.1+xattr-again.3+xattr-again.3+xattr-again.3+xattr-remove.3",
    "create+mkdir+symlink-long+unlink-linked+create-split+mkdir.1+append-pages.1",
    "truncate-tree+write-hole+xattr-large",
    "collapse-tree+insert+truncate-empty",
];

/// All sequences of one and two operations, and chosen longer ones. In every other sequence of two
/// the first is done by another thread, and so in another lane of the journal. Operations whose
/// stores nobody flushes come last only.
pub fn workloads() -> Vec<Workload> {
    catalog(1)
}

/// As [`workloads`], with every fifth of the sequences of two, which are nearly all of them.
pub fn workloads_in_ci() -> Vec<Workload> {
    catalog(5)
}

/// All workloads, with one of `stride` sequences of two.
fn catalog(stride: usize) -> Vec<Workload> {
    let names: Vec<&str> = operations::ALL.iter().map(|operation| operation.name).collect();
    let first: Vec<_> = operations::ALL.iter().filter(|operation| !operation.loose).collect();
    let mut texts: Vec<String> = vec!["format".into()];
    texts.extend(names.iter().map(|name| (*name).to_string()));
    texts.extend(CHOSEN.iter().map(|text| (*text).to_string()));
    for (stopped, fences) in STOPPED {
        for fence in 1..=*fences {
            texts.extend(MEANWHILE.iter().map(|steps| format!("{stopped}~{fence}|{steps}")));
        }
    }
    for (index, first) in first.iter().enumerate() {
        for (other, second) in names.iter().enumerate() {
            if !(index * names.len() + other).is_multiple_of(stride) {
                continue;
            }
            let lane = if (index + other) % 2 == 0 { "" } else { ".1" };
            texts.push(format!("{}{lane}+{second}", first.name));
        }
    }
    let parse = |text: &String| Workload::named(text).expect("the catalogue names operations");
    texts.iter().map(parse).collect()
}
