//! What a mount with `sync` or `dirsync` promises: that changes are durable when they return.
//!
//! Every request is counted by what it does before it is answered ([`Server::counted`]), and what
//! it does tells whether it has to be made durable, so no kind of change can be forgotten. Bytes
//! are the exception: a write makes its own file durable, as it does for O_SYNC.

use std::sync::atomic::{AtomicU8, Ordering};

use fuser::Errno;
use rustix::fs::OFlags;
use rustix::mount::MountFlags;

use crate::handles::Handle;
use crate::metrics::Op;
use crate::server::{Served, Server, errno};

/// The attribute of the mount's root through which who mounts it anew tells what is to be durable:
/// [`Level::word`].
pub(crate) const DURABILITY_XATTR: &str = "system.limpid.durability";

/// What is durable when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Level {
    /// What a sync covered.
    Async,
    /// Changes of names.
    Names,
    /// Every change.
    All,
}

impl Level {
    const EACH: [Level; 3] = [Level::Async, Level::Names, Level::All];

    /// What the flags of a mount ask for.
    pub fn of(flags: MountFlags) -> Level {
        if flags.contains(MountFlags::SYNCHRONOUS) {
            Level::All
        } else if flags.contains(MountFlags::DIRSYNC) {
            Level::Names
        } else {
            Level::Async
        }
    }

    /// As mount(8) calls it.
    pub fn word(self) -> &'static str {
        match self {
            Level::Async => "async",
            Level::Names => "dirsync",
            Level::All => "sync",
        }
    }

    fn from_word(word: &[u8]) -> Option<Level> {
        Level::EACH.into_iter().find(|level| level.word().as_bytes() == word)
    }
}

/// The level that holds now; mounting anew changes it.
pub(crate) struct Durability(AtomicU8);

impl Durability {
    pub fn new(level: Level) -> Durability {
        Durability(AtomicU8::new(level as u8))
    }

    fn is_at_least(&self, level: Level) -> bool {
        self.0.load(Ordering::Relaxed) >= level as u8
    }

    /// Sets the level by its word.
    pub fn set(&self, word: &[u8]) -> Served<()> {
        let level = Level::from_word(word).ok_or(Errno::EINVAL)?;
        self.0.store(level as u8, Ordering::Relaxed);
        Ok(())
    }
}

/// From which level on what requests of a kind change is durable; none if they change nothing.
fn level(op: Op) -> Option<Level> {
    match op {
        Op::Create | Op::Remove | Op::Rename | Op::Link => Some(Level::Names),
        Op::Change | Op::Allocate | Op::Copy | Op::Xattr => Some(Level::All),
        // See `written_durably`.
        Op::Write => None,
        Op::Lookup | Op::Attributes | Op::Open | Op::Read | Op::List | Op::Sync => None,
    }
}

impl Server {
    /// What follows each request that went well, before it is answered.
    #[inline]
    pub fn done_durably(&self, op: Op) -> Served<()> {
        if !self.durability.is_at_least(Level::Names) {
            return Ok(());
        }
        match level(op) {
            Some(level) if self.durability.is_at_least(level) => self.pool.sync().map_err(errno),
            _ => Ok(()),
        }
    }

    /// What follows a write of a program to a file that is open with these flags.
    pub fn written_durably(&self, handle: &Handle, flags: i32) -> Served<()> {
        let flags = OFlags::from_bits_retain(flags as u32);
        if self.durability.is_at_least(Level::All) || flags.contains(OFlags::SYNC) {
            handle.file.sync_all().map_err(errno)
        } else if flags.contains(OFlags::DSYNC) {
            handle.file.sync_data().map_err(errno)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_have_words_and_contain_each_other() {
        let durability = Durability::new(Level::of(MountFlags::empty()));
        assert!(!durability.is_at_least(Level::Names));
        for level in Level::EACH {
            durability.set(level.word().as_bytes()).unwrap();
            assert!(Level::EACH.iter().all(|it| durability.is_at_least(*it) == (*it <= level)));
        }
        assert!(durability.set(b"").is_err());
        let both = MountFlags::SYNCHRONOUS | MountFlags::DIRSYNC;
        assert_eq!(Level::of(both), Level::All);
        assert_eq!(Level::of(MountFlags::DIRSYNC), Level::Names);
    }
}
