//! What can be wrong with a pool: kinds, places, and a sentence about each.

use core::fmt;

use crate::attributes::Ino;
use crate::error::FsError;

/// A part of an inode that can be broken on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// The record itself.
    Record,
    /// The extents of a file.
    Extents,
    /// The tree of a directory's names.
    Names,
    /// The target of a symbolic link.
    Target,
    /// The tree of attributes, or a value.
    Attributes,
}

/// A tree of the pool itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolTree {
    /// The inode table.
    InodeTable,
    /// The orphans.
    Orphans,
}

/// Something wrong with a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A structure of the pool itself that cannot be read, or is impossible.
    Broken(FsError),
    /// The superblock in the first block differs from the backup.
    Superblocks,
    /// The journal's floor word, a committed record, or the log of a repair cannot be read.
    Journal(FsError),
    /// A tree of the pool itself is broken, or a root of one.
    Tree {
        /// Which.
        tree: PoolTree,
        /// How.
        error: FsError,
    },
    /// An inode is broken.
    Inode {
        /// The inode.
        ino: Ino,
        /// Which part of it.
        part: Part,
        /// How.
        error: FsError,
    },
    /// Blocks marked as used that nothing refers to.
    Leaked {
        /// First block.
        block: u64,
        /// Number of blocks.
        len: u64,
    },
    /// Blocks in use that are marked as free.
    Unmarked {
        /// First block.
        block: u64,
        /// Number of blocks.
        len: u64,
    },
    /// Blocks that belong to something else already. Metadata comes before data, a file whose size
    /// and block count go with its extents before others, a smaller inode before a larger.
    Shared {
        /// First block.
        block: u64,
        /// Number of blocks.
        len: u64,
        /// The inode that claims them too; none for a tree of the pool.
        ino: Option<Ino>,
        /// The part of the inode that does.
        part: Part,
        /// For extents, the page of the file that the first block is claimed for.
        page: u64,
    },
    /// An inode has another number of names than it says.
    Links {
        /// The inode.
        ino: Ino,
        /// What its record says.
        recorded: u32,
        /// What was found.
        found: u32,
    },
    /// An inode uses another number of blocks than it says.
    Blocks {
        /// The inode.
        ino: Ino,
        /// What its record says.
        recorded: u64,
        /// What was found.
        found: u64,
    },
    /// A file has written blocks past its end.
    PastEnd {
        /// The file.
        ino: Ino,
        /// Bytes up to the end of the last written block.
        size: u64,
    },
    /// A directory calls another one its parent than the one that names it.
    Parent {
        /// The directory.
        ino: Ino,
        /// The one that names it.
        named: Ino,
    },
    /// A directory cannot be reached from the root.
    Unreachable(Ino),
    /// An entry of a directory cannot be read.
    Entry {
        /// The directory.
        dir: Ino,
        /// The entry's key.
        key: u64,
        /// What is wrong.
        error: FsError,
    },
    /// A name stands for an inode that is not in use, or of another kind.
    Dangling {
        /// The directory.
        dir: Ino,
        /// The entry's key.
        key: u64,
        /// The inode.
        ino: Ino,
    },
    /// A second name of a directory, or a name of the root.
    SecondName {
        /// The directory that holds the name.
        dir: Ino,
        /// The entry's key.
        key: u64,
        /// The directory that is named.
        ino: Ino,
    },
    /// A key of a directory does not belong to its name.
    Key {
        /// The directory.
        dir: Ino,
        /// The key.
        key: u64,
    },
    /// A directory holds the same name twice.
    Duplicate {
        /// The directory.
        dir: Ino,
        /// The key of the second.
        key: u64,
    },
    /// An inode without names is not listed as an orphan.
    Lost(Ino),
    /// An orphan is not in use.
    FalseOrphan(Ino),
    /// The lists of free inodes disagree with the records.
    FreeInodes(Ino),
    /// Another number of inodes is in use than counted.
    InodeCount {
        /// What the shards say.
        recorded: u64,
        /// What was found.
        found: u64,
    },
}

impl Problem {
    /// A short name of the kind, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Problem::Broken(_) => "broken",
            Problem::Superblocks => "superblocks-differ",
            Problem::Journal(_) => "journal",
            Problem::Tree { tree: PoolTree::InodeTable, .. } => "inode-table",
            Problem::Tree { tree: PoolTree::Orphans, .. } => "orphan-list",
            Problem::Inode { part: Part::Record, .. } => "inode-record",
            Problem::Inode { part: Part::Extents, .. } => "extents",
            Problem::Inode { part: Part::Names, .. } => "directory",
            Problem::Inode { part: Part::Target, .. } => "link-target",
            Problem::Inode { part: Part::Attributes, .. } => "attributes",
            Problem::Leaked { .. } => "leaked-blocks",
            Problem::Unmarked { .. } => "unmarked-blocks",
            Problem::Shared { .. } => "shared-blocks",
            Problem::Links { .. } => "link-count",
            Problem::Blocks { .. } => "block-count",
            Problem::PastEnd { .. } => "data-past-end",
            Problem::Parent { .. } => "parent",
            Problem::Unreachable(_) => "unreachable",
            Problem::Entry { .. } => "entry",
            Problem::Dangling { .. } => "dangling-entry",
            Problem::SecondName { .. } => "second-name",
            Problem::Key { .. } => "entry-key",
            Problem::Duplicate { .. } => "duplicate-name",
            Problem::Lost(_) => "lost-inode",
            Problem::FalseOrphan(_) => "false-orphan",
            Problem::FreeInodes(_) => "free-inodes",
            Problem::InodeCount { .. } => "inode-count",
        }
    }

    /// The inode it concerns.
    pub fn ino(&self) -> Option<Ino> {
        match self {
            Problem::Inode { ino, .. }
            | Problem::Links { ino, .. }
            | Problem::Blocks { ino, .. }
            | Problem::PastEnd { ino, .. }
            | Problem::Parent { ino, .. }
            | Problem::Unreachable(ino)
            | Problem::Dangling { dir: ino, .. }
            | Problem::SecondName { ino, .. }
            | Problem::Key { dir: ino, .. }
            | Problem::Duplicate { dir: ino, .. }
            | Problem::Entry { dir: ino, .. }
            | Problem::Lost(ino)
            | Problem::FalseOrphan(ino)
            | Problem::FreeInodes(ino) => Some(*ino),
            Problem::Shared { ino, .. } => *ino,
            _ => None,
        }
    }

    /// The blocks it concerns: the first and how many.
    pub fn blocks(&self) -> Option<(u64, u64)> {
        match self {
            Problem::Leaked { block, len }
            | Problem::Unmarked { block, len }
            | Problem::Shared { block, len, .. } => Some((*block, *len)),
            _ => None,
        }
    }

    /// The device offset in bytes of what is wrong, if it is one place.
    pub fn byte(&self) -> Option<u64> {
        match (self.error(), self.blocks()) {
            (Some(FsError::Corrupt { at, .. }), _) => Some(at),
            (Some(FsError::Media(limpid_pmem::MediaError::Io { at })), _) => Some(at),
            (_, Some((block, _))) => Some(block * crate::layout::BLOCK),
            _ => None,
        }
    }

    /// The error behind it, which says at what byte the medium is wrong.
    pub fn error(&self) -> Option<FsError> {
        match self {
            Problem::Broken(error)
            | Problem::Journal(error)
            | Problem::Tree { error, .. }
            | Problem::Inode { error, .. }
            | Problem::Entry { error, .. } => Some(*error),
            _ => None,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Broken(error)
            | Problem::Journal(error)
            | Problem::Tree { error, .. }
            | Problem::Inode { error, .. } => write!(f, "{error}"),
            Problem::Superblocks => write!(f, "the superblock and its backup differ"),
            Problem::Leaked { block, len } => {
                write!(f, "{len} blocks from {block} on are marked as used, and nothing uses them")
            }
            Problem::Unmarked { block, len } => {
                write!(f, "{len} blocks from {block} on are in use and marked as free")
            }
            Problem::Shared { block, len, .. } => {
                write!(f, "{len} blocks from {block} on belong to something else already")
            }
            Problem::Links { recorded, found, .. } => {
                write!(f, "the link count is {recorded}, the names make {found}")
            }
            Problem::Blocks { recorded, found, .. } => {
                write!(f, "{recorded} blocks are counted, {found} are used")
            }
            Problem::PastEnd { size, .. } => write!(f, "data lies past the end, up to byte {size}"),
            Problem::Parent { named, .. } => {
                write!(f, "the parent noted is not {named:?}, which holds the name")
            }
            Problem::Unreachable(_) => write!(f, "the directory is not below the root"),
            Problem::Entry { key, error, .. } => write!(f, "entry {key:#x}: {error}"),
            Problem::Dangling { key, ino, .. } => {
                write!(f, "entry {key:#x} names {ino:?}, which is not in use or of another kind")
            }
            Problem::SecondName { dir, key, .. } => {
                write!(f, "entry {key:#x} of {dir:?} is a second name of a directory")
            }
            Problem::Key { key, .. } => write!(f, "entry {key:#x} has a key of another name"),
            Problem::Duplicate { key, .. } => write!(f, "entry {key:#x} repeats a name"),
            Problem::Lost(_) => write!(f, "the inode has no name and is not listed as an orphan"),
            Problem::FalseOrphan(_) => write!(f, "the orphan is not in use"),
            Problem::FreeInodes(_) => write!(f, "the lists of free inodes disagree with it"),
            Problem::InodeCount { recorded, found } => {
                write!(f, "{recorded} inodes are counted, {found} are in use")
            }
        }
    }
}
