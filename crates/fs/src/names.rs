//! Names: looking up, listing, creating and linking.

use std::sync::Arc;

use limpid_locks::RwLockReadGuard;

use crate::attributes::{FileKind, Ino, Kind, NewNode, Timespec};
use crate::dir::{self, DirEntry};
use crate::error::{FsError, Result, What, corrupt};
use crate::fs::Fs;
use crate::inode::{Inode, State, is_device};
use crate::layout::{BLOCK, BLOCK_LEN};
use crate::orphans;
use crate::record::{Body, INLINE_TARGET, Meta};
use crate::tree::TreeRoot;
use crate::tx::Tx;

/// Largest number of links of an inode.
pub const MAX_LINKS: u32 = i32::MAX as u32;
/// Longest target of a symbolic link in bytes.
pub const MAX_TARGET: usize = 4095;

impl Fs {
    /// Looks a name up and opens its inode, with nothing in between.
    pub fn open_child(&self, dir: Ino, name: &[u8]) -> Result<Arc<Inode>> {
        if name.len() > dir::MAX_NAME {
            return Err(FsError::NameTooLong);
        }
        let dir = self.directory(dir)?;
        let state = live(&dir)?;
        let found = dir::get(&self.core, &state.meta, name)?;
        self.child(&dir, &found)?;
        self.table.open(&self.core, found.ino)
    }

    /// Calls `each` for the names of a directory, from `cookie` on (0 for all), until it returns
    /// false. Names added or removed meanwhile are shown or not; all others exactly once. No lock
    /// is held while `each` runs.
    pub fn read_dir(
        &self,
        dir: Ino,
        cookie: u64,
        each: &mut dyn FnMut(DirEntry<'_>) -> bool,
    ) -> Result<()> {
        let dir = self.directory(dir)?;
        let mut next = Some(cookie);
        while let Some(from) = next {
            let (entries, more) = {
                let state = dir.read();
                if dir.is_freed() {
                    return Ok(());
                }
                dir::list_leaf(&self.core, &state.meta, from)?
            };
            for (key, ino, kind, name) in &entries {
                let entry = DirEntry { name, ino: Ino(*ino), kind: *kind, cookie: key + 1 };
                if !each(entry) {
                    return Ok(());
                }
            }
            next = more;
        }
        Ok(())
    }

    /// The target of a symbolic link.
    pub fn read_link(&self, ino: Ino) -> Result<Vec<u8>> {
        let inode = self.table.get(&self.core, ino.0)?;
        let state = inode.read();
        let len = state.meta.size as usize;
        match state.meta.body {
            Body::Target(target) => Ok(target[..len].to_vec()),
            Body::TargetBlock { block, crc } => {
                let mut target = vec![0; len];
                self.core.media.read(block * BLOCK, &mut target)?;
                if crc32c::crc32c(&target) != crc {
                    return corrupt(What::Symlink, block * BLOCK, "its checksum does not match");
                }
                Ok(target)
            }
            _ => Err(FsError::Invalid),
        }
    }

    /// Creates an inode with a name, and opens it.
    pub fn create(&self, dir: Ino, name: &[u8], node: NewNode<'_>) -> Result<Arc<Inode>> {
        self.core.writable()?;
        dir::check_name(name)?;
        self.write_overdue_times();
        let parent = self.directory(dir)?;
        let mut state = parent.write();
        if state.meta.nlink == 0 {
            return Err(FsError::NotFound);
        }
        let key = match dir::find(&self.core, &state.meta, name)? {
            Ok(_) => return Err(FsError::Exists),
            Err(key) => key,
        };
        let kind = node.kind.file_kind();
        if kind == FileKind::Directory && state.meta.nlink >= MAX_LINKS {
            return Err(FsError::TooManyLinks);
        }
        let mut guard = self.core.inodes.lock(&self.core)?;
        let mut shard = *guard;
        let meta = parent.update(&mut state, Tx::new(&self.core), |tx, meta, _| {
            let (ino, generation, at) = shard.take(&self.core)?;
            shard.put(tx);
            let mut new = new_meta(tx, &node, (ino, generation, at))?;
            if kind == FileKind::Directory {
                new.link = dir.0;
                meta.nlink += 1;
            }
            tx.put_inode(&new);
            dir::put(tx, meta, key, name, ino, kind)?;
            meta.mtime = Timespec::now();
            meta.ctime = meta.mtime;
            Ok(new)
        })?;
        *guard = shard;
        drop(guard);
        Ok(self.table.add(Inode::new(self.core.clone(), meta)))
    }

    /// Creates a regular file without a name, and opens it. It is gone when it is closed, unless
    /// [`link`](Fs::link) gave it a name.
    pub fn create_unnamed(&self, node: NewNode<'_>) -> Result<Arc<Inode>> {
        self.core.writable()?;
        if node.kind != Kind::File {
            return Err(FsError::Invalid);
        }
        let mut guard = self.core.inodes.lock(&self.core)?;
        let mut orphans = self.core.orphans.lock();
        let (mut shard, mut root) = (*guard, *orphans);
        let mut tx = Tx::new(&self.core);
        let place = shard.take(&self.core)?;
        shard.put(&mut tx);
        let meta = Meta { nlink: 0, ..new_meta(&mut tx, &node, place)? };
        tx.put_inode(&meta);
        orphans::add(&mut tx, &mut root, meta.ino)?;
        tx.commit()?;
        (*guard, *orphans) = (shard, root);
        drop((guard, orphans));
        let inode = self.table.add(Inode::new(self.core.clone(), meta));
        self.table.set_orphan(meta.ino);
        Ok(inode)
    }

    /// Gives an inode, which is not a directory, another name.
    pub fn link(&self, ino: Ino, dir: Ino, name: &[u8]) -> Result<()> {
        self.core.writable()?;
        dir::check_name(name)?;
        let parent = self.directory(dir)?;
        let inode = self.table.get(&self.core, ino.0)?;
        if inode.kind() == FileKind::Directory {
            return Err(FsError::IsDirectory);
        }
        let mut state = parent.write();
        if state.meta.nlink == 0 {
            return Err(FsError::NotFound);
        }
        let key = match dir::find(&self.core, &state.meta, name)? {
            Ok(_) => return Err(FsError::Exists),
            Err(key) => key,
        };
        let mut target = inode.write();
        if inode.is_freed() {
            return Err(FsError::NotFound);
        }
        if target.meta.nlink >= MAX_LINKS {
            return Err(FsError::TooManyLinks);
        }
        let mut orphans = (target.meta.nlink == 0).then(|| self.core.orphans.lock());
        let mut root = orphans.as_deref().copied();
        let mut tx = Tx::new(&self.core);
        let mut meta = parent.merged(&state.meta);
        dir::put(&mut tx, &mut meta, key, name, ino.0, inode.kind())?;
        meta.mtime = Timespec::now();
        meta.ctime = meta.mtime;
        tx.put_inode(&meta);
        let mut linked = inode.merged(&target.meta);
        linked.nlink += 1;
        linked.ctime = meta.ctime;
        tx.put_inode(&linked);
        if let Some(root) = &mut root {
            orphans::remove(&mut tx, root, ino.0)?;
        }
        tx.commit()?;
        if let (Some(orphans), Some(root)) = (&mut orphans, root) {
            **orphans = root;
        }
        drop(orphans);
        self.table.cancel_free(ino.0);
        parent.set_meta(&mut state, meta);
        inode.set_meta(&mut target, linked);
        Ok(())
    }
}

/// The shared lock of a directory that still exists.
pub(crate) fn live(dir: &Inode) -> Result<RwLockReadGuard<'_, State>> {
    let state = dir.read();
    if dir.is_freed() { Err(FsError::NotFound) } else { Ok(state) }
}

/// The record of a new inode. Writes the target of a long symbolic link.
fn new_meta(
    tx: &mut Tx<'_>,
    node: &NewNode<'_>,
    (ino, generation, at): (u64, u32, u64),
) -> Result<Meta> {
    let now = Timespec::now();
    let kind = node.kind.file_kind();
    let mut meta = Meta {
        at,
        ino,
        generation,
        kind,
        mode: node.mode as u16 & 0o7777,
        uid: node.uid,
        gid: node.gid,
        nlink: 1,
        size: 0,
        blocks: 0,
        link: 0,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        xattrs: TreeRoot::EMPTY,
        body: Body::EMPTY,
    };
    match node.kind {
        Kind::Directory => {
            meta.nlink = 2;
            meta.body = Body::Tree(TreeRoot::EMPTY);
        }
        Kind::Symlink(target) => {
            if target.is_empty() || target.contains(&0) {
                return Err(FsError::Invalid);
            }
            if target.len() > MAX_TARGET {
                return Err(FsError::NameTooLong);
            }
            meta.size = target.len() as u64;
            meta.body = if target.len() <= INLINE_TARGET {
                let mut inline = [0; INLINE_TARGET];
                inline[..target.len()].copy_from_slice(target);
                Body::Target(inline)
            } else {
                let (block, _) = tx.allocate(crate::alloc::Want::Blocks(1), None)?;
                let mut bytes = [0; BLOCK_LEN];
                bytes[..target.len()].copy_from_slice(target);
                tx.write_fresh(block, &bytes)?;
                meta.blocks = 1;
                Body::TargetBlock { block, crc: crc32c::crc32c(target) }
            };
        }
        Kind::CharDevice(rdev) | Kind::BlockDevice(rdev) => meta.link = rdev,
        Kind::File | Kind::Fifo | Kind::Socket => {}
    }
    debug_assert!(is_device(kind) || meta.link == 0);
    Ok(meta)
}
