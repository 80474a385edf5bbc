//! The classes of this crate's locks, outermost first, as the crate's documentation lists them.
//! `limpid-locks` checks the order in debug builds.

use limpid_locks::Class;

/// [`Fs::tree`](crate::fs::Fs).
pub(crate) static TREE: Class = Class::new("fs: the tree of directories");
/// Inodes of directories.
pub(crate) static DIRECTORY: Class = Class::new("fs: a directory's inode");
/// Inodes of other kinds, by number.
pub(crate) static INODE: Class = Class::new("fs: an inode");
/// The objects in memory.
pub(crate) static OBJECTS: Class = Class::new("fs: objects in memory");
/// Objects whose times want to be written.
pub(crate) static OVERDUE: Class = Class::new("fs: overdue times");
/// A shard of free inodes.
pub(crate) static FREE_INODES: Class = Class::new("fs: free inodes");
/// Root and size of the inode table.
pub(crate) static INODE_TABLE: Class = Class::new("fs: inode table");
/// Places of inode blocks already looked up.
pub(crate) static INODE_PLACES: Class = Class::new("fs: places of inode blocks");
/// The orphans' root.
pub(crate) static ORPHANS: Class = Class::new("fs: orphans");
/// Images of groups, by number.
pub(crate) static IMAGE: Class = Class::new("fs: a group's image");
/// A lane of the journal.
pub(crate) static LANE: Class = Class::new("fs: a lane of the journal");
/// The floor word of the journal.
pub(crate) static FLOOR: Class = Class::new("fs: the journal's floor");
/// Soft reservations.
pub(crate) static SOFT: Class = Class::new("fs: soft reservations");
/// Usages of groups.
pub(crate) static USAGE: Class = Class::new("fs: a group's usage");
/// The changed blocks over a medium.
pub(crate) static OVERLAY: Class = Class::new("fs: blocks over a medium");
