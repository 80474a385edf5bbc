//! Extended attributes: a tree per inode, keyed by the hash of the attribute's name like the names
//! of a directory.
//!
//! A value of up to 1000 bytes lies beside its name; a larger one in blocks of its own, which are
//! listed there with a checksum of the value.

use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::alloc::Want;
use crate::attributes::Timespec;
use crate::core::Core;
use crate::dir::bucket;
use crate::error::{FsError, Result, What, corrupt};
use crate::inode::Inode;
use crate::layout::{BLOCK, BLOCK_LEN, Geometry};
use crate::record::Meta;
use crate::tree;
use crate::tx::Tx;

/// Longest value in bytes.
pub const MAX_XATTR_VALUE: usize = 65536;
/// Longest name in bytes.
pub const MAX_XATTR_NAME: usize = 255;
/// Longest value that lies beside its name.
const INLINE_VALUE: usize = 1000;
const MAX_BLOCKS: usize = MAX_XATTR_VALUE / BLOCK_LEN;

bitflags::bitflags! {
    /// How to set an extended attribute.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct XattrFlags: u32 {
        /// Fail if the attribute exists.
        const CREATE = 1;
        /// Fail if it does not.
        const REPLACE = 2;
    }
}

/// The head of an attribute in its tree; the name follows, then the value or its blocks (u64).
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawXattr {
    name_len: u8,
    external: u8,
    reserved: [u8; 2],
    value_len: U32,
    crc: U32,
}
const HEADER: usize = size_of::<RawXattr>();
const _: () = assert!(HEADER == 12);
const _: () = assert!(HEADER + MAX_XATTR_NAME + INLINE_VALUE <= crate::node::MAX_VALUE);

/// An attribute that was checked.
pub(crate) struct Xattr<'a> {
    pub name: &'a [u8],
    len: usize,
    crc: u32,
    place: Place<'a>,
}

enum Place<'a> {
    Inline(&'a [u8]),
    Blocks([u64; MAX_BLOCKS]),
}

impl<'a> Xattr<'a> {
    /// Checks and decodes an attribute of the inode whose record lies at `at`.
    pub fn decode(bytes: &'a [u8], at: u64, geometry: &Geometry) -> Result<Xattr<'a>> {
        let bad = |why| corrupt(What::Xattr, at, why);
        let Ok((head, rest)) = RawXattr::ref_from_prefix(bytes) else {
            return bad("an attribute that is too short");
        };
        let (name_len, len) = (usize::from(head.name_len), head.value_len.get() as usize);
        if name_len == 0 || name_len > rest.len() || len > MAX_XATTR_VALUE {
            return bad("an attribute of impossible length");
        }
        let (name, rest) = rest.split_at(name_len);
        let place = if head.external == 0 {
            if rest.len() != len {
                return bad("a value of impossible length");
            }
            Place::Inline(rest)
        } else {
            let mut blocks = [0; MAX_BLOCKS];
            if rest.len() != len.div_ceil(BLOCK_LEN) * 8 || len == 0 {
                return bad("impossible blocks of a value");
            }
            for (block, raw) in blocks.iter_mut().zip(rest.chunks_exact(8)) {
                *block = U64::read_from_bytes(raw).expect("8 bytes").get();
                if !geometry.is_data(*block, 1) {
                    return bad("a value outside the data area");
                }
            }
            Place::Blocks(blocks)
        };
        Ok(Xattr { name, len, crc: head.crc.get(), place })
    }

    /// Length of the value in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The blocks of a value that has its own.
    pub fn blocks(&self) -> &[u64] {
        match &self.place {
            Place::Inline(_) => &[],
            Place::Blocks(blocks) => &blocks[..self.len.div_ceil(BLOCK_LEN)],
        }
    }

    /// Reads the value.
    pub fn value(&self, core: &Core, at: u64) -> Result<Vec<u8>> {
        let value = match &self.place {
            Place::Inline(value) => value.to_vec(),
            Place::Blocks(_) => {
                let mut value = vec![0; self.len];
                for (block, part) in self.blocks().iter().zip(value.chunks_mut(BLOCK_LEN)) {
                    core.media.read(block * BLOCK, part)?;
                }
                value
            }
        };
        if crc32c::crc32c(&value) != self.crc {
            return corrupt(What::Xattr, at, "a value's checksum does not match");
        }
        Ok(value)
    }
}

/// Calls `visit` for each attribute of an inode.
pub(crate) fn scan(
    core: &Core,
    meta: &Meta,
    mut visit: impl FnMut(u64, &Xattr<'_>) -> Result<bool>,
) -> Result<()> {
    tree::scan(core, owner(meta), meta.xattrs, 0, |key, bytes| {
        visit(key, &Xattr::decode(bytes, meta.at, &core.geometry)?)
    })
}

/// Owner of the nodes of an inode's attributes: distinct from that of its extents or names.
pub(crate) fn owner(meta: &Meta) -> u64 {
    meta.ino | 1 << 63
}

/// An attribute found: its key and the blocks of its value. Or a key that is free for it.
type Found<T> = core::result::Result<(u64, T), u64>;

/// Looks an attribute up, and takes what `take` says from it.
fn find<T>(
    core: &Core,
    meta: &Meta,
    name: &[u8],
    mut take: impl FnMut(&Xattr<'_>) -> Result<T>,
) -> Result<Found<T>> {
    let first = bucket(core, name);
    let (mut free, mut found) = (first, None);
    tree::scan(core, owner(meta), meta.xattrs, first, |key, bytes| {
        if key > first | 0xff {
            return Ok(false);
        }
        let xattr = Xattr::decode(bytes, meta.at, &core.geometry)?;
        if xattr.name == name {
            found = Some((key, take(&xattr)?));
            return Ok(false);
        }
        if key == free {
            free += 1;
        }
        Ok(true)
    })?;
    match found {
        Some(found) => Ok(Ok(found)),
        None if free > first | 0xff => Err(FsError::NoSpace),
        None => Ok(Err(free)),
    }
}

/// Frees a part of an inode's attributes.
pub(crate) fn free_some(tx: &mut Tx<'_>, meta: &mut Meta) -> Result<()> {
    let mut some = Vec::new();
    scan(tx.core, meta, |key, xattr| {
        some.push((key, xattr.blocks().to_vec()));
        Ok(some.len() < 16)
    })?;
    for (key, blocks) in some {
        if tx.is_full() {
            break;
        }
        remove(tx, meta, key, &blocks)?;
    }
    Ok(())
}

fn remove(tx: &mut Tx<'_>, meta: &mut Meta, key: u64, blocks: &[u64]) -> Result<()> {
    let (mut root, mut freed) = (meta.xattrs, 0);
    tree::remove(tx, owner(meta), &mut root, &mut freed, key)?;
    meta.xattrs = root;
    free_value(tx, meta, blocks);
    meta.add_blocks(freed);
    Ok(())
}

fn free_value(tx: &mut Tx<'_>, meta: &mut Meta, blocks: &[u64]) {
    blocks.iter().for_each(|block| tx.free(*block, 1));
    meta.add_blocks(-(blocks.len() as i64));
}

/// Writes an attribute at `key`; its value's blocks are taken here.
fn put(tx: &mut Tx<'_>, meta: &mut Meta, key: u64, name: &[u8], value: &[u8]) -> Result<()> {
    let external = value.len() > INLINE_VALUE;
    let head = RawXattr {
        name_len: name.len() as u8,
        external: external.into(),
        reserved: [0; 2],
        value_len: (value.len() as u32).into(),
        crc: crc32c::crc32c(value).into(),
    };
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend_from_slice(name);
    if external {
        for part in value.chunks(BLOCK_LEN) {
            let (block, _) = tx.allocate(Want::Blocks(1), None)?;
            tx.write_fresh(block, part)?;
            meta.add_blocks(1);
            bytes.extend_from_slice(&block.to_le_bytes());
        }
    } else {
        bytes.extend_from_slice(value);
    }
    let (mut root, mut blocks) = (meta.xattrs, 0);
    tree::insert(tx, owner(meta), &mut root, &mut blocks, key, &bytes)?;
    meta.xattrs = root;
    meta.add_blocks(blocks);
    Ok(())
}

impl Inode {
    pub(crate) fn get_xattr(&self, name: &[u8]) -> Result<Vec<u8>> {
        let state = self.read();
        let found =
            find(&self.core, &state.meta, name, |xattr| xattr.value(&self.core, state.meta.at))?;
        found.map(|(_, value)| value).map_err(|_| FsError::NoAttribute)
    }

    pub(crate) fn set_xattr(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
        self.core.writable()?;
        if name.is_empty() || name.contains(&0) {
            return Err(FsError::InvalidName);
        }
        if name.len() > MAX_XATTR_NAME || value.len() > MAX_XATTR_VALUE {
            return Err(FsError::AttributeTooLarge);
        }
        let mut state = self.write();
        let found = find(&self.core, &state.meta, name, |xattr| Ok(xattr.blocks().to_vec()))?;
        if found.is_ok() && flags.contains(XattrFlags::CREATE) {
            return Err(FsError::Exists);
        }
        if found.is_err() && flags.contains(XattrFlags::REPLACE) {
            return Err(FsError::NoAttribute);
        }
        self.update(&mut state, Tx::new(&self.core), |tx, meta, _| {
            let key = match found {
                Ok((key, blocks)) => {
                    free_value(tx, meta, &blocks);
                    key
                }
                Err(key) => key,
            };
            meta.ctime = Timespec::now();
            put(tx, meta, key, name, value)
        })
    }

    pub(crate) fn list_xattrs(&self) -> Result<Vec<Vec<u8>>> {
        let state = self.read();
        let mut names = Vec::new();
        scan(&self.core, &state.meta, |_, xattr| {
            names.push(xattr.name.to_vec());
            Ok(true)
        })?;
        Ok(names)
    }

    pub(crate) fn remove_xattr(&self, name: &[u8]) -> Result<()> {
        self.core.writable()?;
        let mut state = self.write();
        let found = find(&self.core, &state.meta, name, |xattr| Ok(xattr.blocks().to_vec()))?;
        let (key, blocks) = found.map_err(|_| FsError::NoAttribute)?;
        self.update(&mut state, Tx::shrinking(&self.core), |tx, meta, _| {
            meta.ctime = Timespec::now();
            remove(tx, meta, key, &blocks)
        })
    }
}
