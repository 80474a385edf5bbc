//! Names in a directory: a tree keyed by the hash of the name.
//!
//! A key is 55 bits of the hash, shifted up by 8; names whose hashes agree (a bucket) take
//! different low bytes. A key never changes while its name exists, so it serves as the cookie of a
//! directory listing: whatever is added or removed meanwhile, the listing goes on after the same
//! place. Bucket 0 is not used, so cookies below 256 are free for "." and "..".

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::attributes::{FileKind, Ino};
use crate::core::Core;
use crate::error::{FsError, Result, What, corrupt};
use crate::layout::BLOCK_LEN;
use crate::node::View;
use crate::record::{Body, Meta};
use crate::tree;
use crate::tx::Tx;

/// Longest name in bytes.
pub const MAX_NAME: usize = 255;

const HEADER: usize = 9;

/// An entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// The name, 1 to 255 bytes.
    pub name: &'a [u8],
    /// The inode.
    pub ino: Ino,
    /// What the inode is.
    pub kind: FileKind,
    /// Where a listing goes on after this entry; at least 256, below 2^63.
    pub cookie: u64,
}

/// A name found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub key: u64,
    pub ino: u64,
    pub kind: FileKind,
}

/// Checks that bytes can be a name.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > MAX_NAME {
        return Err(FsError::NameTooLong);
    }
    if name.is_empty()
        || name == b"."
        || name == b".."
        || name.iter().any(|b| matches!(b, 0 | b'/'))
    {
        return Err(FsError::InvalidName);
    }
    Ok(())
}

/// First key of the bucket of a name; the hash is keyed, so nobody can aim for one bucket.
pub(crate) fn bucket(core: &Core, name: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new_with_key(&core.superblock.hash_seed);
    hasher.write(name);
    ((hasher.finish() >> 1) & !0xff).max(256)
}

/// Looks a name up: the entry, or a key that is free for it.
pub(crate) fn find(
    core: &Core,
    meta: &Meta,
    name: &[u8],
) -> Result<core::result::Result<Found, u64>> {
    let root = meta.names()?;
    let first = bucket(core, name);
    let last = first | 0xff;
    let (mut free, mut next) = (first, if root.is_empty() { None } else { Some(first) });
    let mut bytes = [0; BLOCK_LEN];
    while let Some(from) = next.filter(|from| *from <= last) {
        next = tree::leaf(core, meta.ino, root, from, &mut bytes)?;
        let view = View(&bytes);
        let start = view.search(from).unwrap_or_else(|place| place);
        for index in start..view.count() {
            let key = view.key(index);
            if key > last {
                return Ok(Err(free));
            }
            let (ino, kind, other) = decode(meta, key, view.value(index))?;
            if other == name {
                return Ok(Ok(Found { key, ino, kind }));
            }
            if key == free {
                free += 1;
            }
        }
    }
    if free > last { Err(FsError::NoSpace) } else { Ok(Err(free)) }
}

/// The entry of a name, which must exist.
pub(crate) fn get(core: &Core, meta: &Meta, name: &[u8]) -> Result<Found> {
    find(core, meta, name)?.map_err(|_| FsError::NotFound)
}

/// Adds or replaces the entry at `key`.
pub(crate) fn put(
    tx: &mut Tx<'_>,
    meta: &mut Meta,
    key: u64,
    name: &[u8],
    ino: u64,
    kind: FileKind,
) -> Result<()> {
    let mut value = [0; HEADER + MAX_NAME];
    value[..8].copy_from_slice(&ino.to_le_bytes());
    value[8] = kind as u8;
    value[HEADER..HEADER + name.len()].copy_from_slice(name);
    let (mut root, mut blocks) = (meta.names()?, 0);
    let value = &value[..HEADER + name.len()];
    tree::insert(tx, meta.ino, &mut root, &mut blocks, key, value)?;
    meta.body = Body::Tree(root);
    meta.add_blocks(blocks);
    Ok(())
}

/// Removes the entry at `key`.
pub(crate) fn remove(tx: &mut Tx<'_>, meta: &mut Meta, key: u64) -> Result<()> {
    let (mut root, mut blocks) = (meta.names()?, 0);
    if !tree::remove(tx, meta.ino, &mut root, &mut blocks, key)? {
        return corrupt(What::DirectoryEntry, meta.at, "an entry has vanished");
    }
    meta.body = Body::Tree(root);
    meta.add_blocks(blocks);
    Ok(())
}

/// Checks and decodes an entry.
pub(crate) fn decode<'a>(
    meta: &Meta,
    key: u64,
    value: &'a [u8],
) -> Result<(u64, FileKind, &'a [u8])> {
    let bad = |why| corrupt(What::DirectoryEntry, meta.at, why);
    if value.len() <= HEADER || value.len() > HEADER + MAX_NAME || key < 256 || key >> 63 != 0 {
        return bad("an entry of impossible length or key");
    }
    let ino = u64::from_le_bytes(value[..8].try_into().expect("8 bytes"));
    let Some(kind) = FileKind::from_u8(value[8]) else {
        return bad("an entry of unknown kind");
    };
    Ok((ino, kind, &value[HEADER..]))
}

/// Collects the entries of one leaf, from key `from` on, and where to go on. The names are
/// copied, so that the caller can hand them out without a lock.
#[allow(clippy::type_complexity)]
pub(crate) fn list_leaf(
    core: &Core,
    meta: &Meta,
    from: u64,
) -> Result<(Vec<(u64, u64, FileKind, Vec<u8>)>, Option<u64>)> {
    let root = meta.names()?;
    if root.is_empty() {
        return Ok((Vec::new(), None));
    }
    let mut bytes = [0; BLOCK_LEN];
    let next = tree::leaf(core, meta.ino, root, from, &mut bytes)?;
    let view = View(&bytes);
    let start = view.search(from).unwrap_or_else(|place| place);
    let mut entries = Vec::with_capacity(view.count() - start);
    for index in start..view.count() {
        let key = view.key(index);
        let (ino, kind, name) = decode(meta, key, view.value(index))?;
        entries.push((key, ino, kind, name.to_vec()));
    }
    Ok((entries, next))
}
