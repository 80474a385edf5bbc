//! Entries of directories, link counts, and what has no name: that goes to /lost+found.

use std::collections::BTreeSet;

use super::Repair;
use limpid_locks::mutex;

use crate::attributes::{FileKind, Ino, Kind, NewNode};
use crate::check::{Problem, State};
use crate::classes::TREE;
use crate::dir;
use crate::error::{FsError, Result};
use crate::fs::{Fs, ROOT};
use crate::record::Meta;
use crate::tree;
use crate::tx::Tx;

impl Repair<'_> {
    pub(super) fn entries(&self) -> Result<()> {
        for problem in &self.problems {
            match **problem {
                Problem::Entry { dir, key, .. }
                | Problem::Duplicate { dir, key }
                | Problem::SecondName { dir, key, .. } => self.drop_entry(dir.0, key)?,
                Problem::Dangling { dir, key, ino } => self.dangling(dir.0, key, ino.0)?,
                Problem::Key { dir, key } => self.rehash(dir.0, key)?,
                Problem::Parent { ino, named } => {
                    let meta = self.core.inodes.load(&self.core, ino.0)?;
                    self.put(&Meta { link: named.0, ..meta })?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Changes a directory in a transaction.
    fn change(
        &self,
        dir: u64,
        change: impl FnOnce(&mut Tx<'_>, &mut Meta) -> Result<()>,
    ) -> Result<()> {
        let core = &*self.core;
        let mut meta = core.inodes.load(core, dir)?;
        let mut tx = Tx::shrinking(core);
        change(&mut tx, &mut meta)?;
        tx.put_inode(&meta);
        tx.commit()
    }

    fn drop_entry(&self, dir: u64, key: u64) -> Result<()> {
        self.change(dir, |tx, meta| match dir::remove(tx, meta, key) {
            // Two problems of one entry remove it once.
            Err(FsError::Corrupt { .. }) => Ok(()),
            other => other,
        })
    }

    /// The entry at `key`: inode, kind, name.
    fn entry(&self, dir: u64, key: u64) -> Result<Option<(u64, FileKind, Vec<u8>)>> {
        let core = &*self.core;
        let meta = core.inodes.load(core, dir)?;
        let found = tree::floor(core, dir, meta.names()?, key, |at, value| {
            let entry = dir::decode(&meta, at, value)?;
            Ok((at == key).then(|| (entry.0, entry.1, entry.2.to_vec())))
        })?;
        Ok(found.flatten())
    }

    /// An entry whose inode is in use, of another kind, and has no other name, is of that kind.
    fn dangling(&self, dir: u64, key: u64, ino: u64) -> Result<()> {
        let inodes = &self.found.inodes;
        match (inodes.state(ino), self.entry(dir, key)?) {
            (Some(State::Used(kind)), Some((_, _, name))) if inodes.names_of(ino) == 0 => {
                self.change(dir, |tx, meta| dir::put(tx, meta, key, &name, ino, kind))
            }
            _ => self.drop_entry(dir, key),
        }
    }

    /// Puts a name where it belongs. One that is no name, or is there already, is dropped.
    fn rehash(&self, dir: u64, key: u64) -> Result<()> {
        let Some((ino, kind, name)) = self.entry(dir, key)? else {
            return Ok(());
        };
        self.drop_entry(dir, key)?;
        if dir::check_name(&name).is_err() {
            return Ok(());
        }
        self.change(dir, |tx, meta| match dir::find(tx.core, meta, &name)? {
            Ok(_) => Ok(()),
            Err(free) => dir::put(tx, meta, free, &name, ino, kind),
        })
    }

    pub(super) fn links(&self) -> Result<()> {
        let mut nameless = BTreeSet::new();
        for problem in &self.problems {
            match **problem {
                Problem::Links { ino, found: 0, .. } => drop(nameless.insert(ino.0)),
                Problem::Lost(ino) => drop(nameless.insert(ino.0)),
                Problem::Links { ino, found, .. } => {
                    let meta = self.core.inodes.load(&self.core, ino.0)?;
                    self.put(&Meta { nlink: found, ..meta })?;
                }
                Problem::Unreachable(ino) => drop(nameless.insert(self.cut_loose(ino.0)?)),
                _ => {}
            }
        }
        if nameless.is_empty() {
            return Ok(());
        }
        let home = self.lost_found()?;
        for ino in nameless {
            self.connect(home, ino)?;
        }
        Ok(())
    }

    /// Takes the name away from one directory of the circle that `ino` leads to: the smallest,
    /// which it returns.
    fn cut_loose(&self, ino: u64) -> Result<u64> {
        let dirs = &self.found.inodes.dirs;
        let above = |at: u64| dirs.get(&at).map_or(0, |dir| dir.named);
        let mut way = Vec::new();
        let mut at = ino;
        while at != 0 && !way.contains(&at) {
            way.push(at);
            at = above(at);
        }
        let start = way.iter().position(|other| *other == at).unwrap_or(0);
        let smallest = way[start..].iter().copied().min().unwrap_or(ino);
        let (core, parent) = (&*self.core, above(smallest));
        let meta = core.inodes.load(core, parent)?;
        let mut key = None;
        tree::scan(core, parent, meta.names()?, 0, |at, value| {
            if dir::decode(&meta, at, value)?.0 == smallest {
                key = Some(at);
            }
            Ok(key.is_none())
        })?;
        if let Some(key) = key {
            self.drop_entry(parent, key)?;
        }
        Ok(smallest)
    }

    /// The directory lost+found in the root, made if need be; another name if that is taken.
    fn lost_found(&self) -> Result<u64> {
        let fs = Fs { core: self.core.clone(), table: Default::default(), tree: mutex(&TREE, ()) };
        for number in 0u32.. {
            let name = match number {
                0 => "lost+found".to_owned(),
                _ => format!("lost+found.{number}"),
            };
            match fs.lookup(Ino(ROOT), name.as_bytes()) {
                Ok(found) if found.kind() == FileKind::Directory => return Ok(found.ino().0),
                Ok(_) => {}
                Err(FsError::NotFound) => {
                    let node = NewNode { kind: Kind::Directory, mode: 0o700, uid: 0, gid: 0 };
                    let made = fs.create(Ino(ROOT), name.as_bytes(), node)?;
                    let ino = made.ino().0;
                    fs.release(made)?;
                    return Ok(ino);
                }
                Err(error) => return Err(error),
            }
        }
        Err(FsError::NoSpace)
    }

    /// Gives an inode a name in `home`. Counts are put right by the next round.
    fn connect(&self, home: u64, ino: u64) -> Result<()> {
        let core = &*self.core;
        let meta = core.inodes.load(core, ino)?;
        for number in 0u32.. {
            let name = match number {
                0 => format!("#{ino}"),
                _ => format!("#{ino}.{number}"),
            };
            let dir = core.inodes.load(core, home)?;
            if let Err(key) = dir::find(core, &dir, name.as_bytes())? {
                let put = |tx: &mut Tx<'_>, dir: &mut Meta| {
                    dir::put(tx, dir, key, name.as_bytes(), ino, meta.kind)
                };
                self.change(home, put)?;
                break;
            }
        }
        if meta.kind == FileKind::Directory {
            self.put(&Meta { link: home, ..meta })?;
        }
        Ok(())
    }
}
