//! Recovery: what the journal still has to do when a pool is opened.
//!
//! It can be interrupted and repeated: the journal is left as it is until everything is applied
//! and fenced, and only then the floor word retires it.

use std::collections::BTreeMap;

use limpid_pmem::{Media, Persist};
use rustc_hash::FxHashMap;

use crate::anchor::FLOOR_AT;
use crate::bits::Bits;
use crate::canary::{Step, left_out};
use crate::entry::{self, Entry};
use crate::error::{FsError, Result, What};
use crate::journal::{HEADER, Header, SLOT_BYTES, slot_at};
use crate::layout::{BLOCK, BLOCK_LEN, GRANULE, Geometry, LANES, SLOTS};
use crate::seal;

/// Contents of changed blocks, whole, by block number.
pub(crate) type Blocks = BTreeMap<u64, Box<[u8; BLOCK_LEN]>>;

/// Largest number of a transaction that is believed. The floor word has 48 bits, so from here on
/// it would take 2^47 transactions to fill it: years, at one a microsecond.
pub(crate) const MAX_SEQ: u64 = seal::MAX_WORD / 2;

/// What recovery found.
pub(crate) struct Found {
    /// Transactions to replay.
    pub replayed: u32,
    /// Number of the next transaction.
    pub next: u64,
    /// The blocks as they are after the replay.
    pub blocks: Blocks,
}

/// Reads the journal and computes what the changed blocks become. Changes nothing.
pub(crate) fn find(media: &dyn Media, geometry: &Geometry, salt: u32) -> Result<Found> {
    find_noting(media, geometry, salt, &mut Err)
}

/// As [`find`], but `note` decides what becomes of damage: an error ends the search, else a
/// record that cannot be read is left out, and a floor word that cannot be read counts as 0.
///
/// Without the floor word the largest floor of the records has to do. A record written since the
/// word was last raised carries at least that floor. If there is none, no slot was used again
/// since then either: all records from the records' floor on are there, were applied, and
/// replaying them in order ends in the state that the last of them left.
pub(crate) fn find_noting(
    media: &dyn Media,
    geometry: &Geometry,
    salt: u32,
    note: &mut dyn FnMut(FsError) -> Result<()>,
) -> Result<Found> {
    let mut floor = durable_floor(media, salt, note)?;
    let mut records = BTreeMap::new();
    for lane in 0..LANES as usize {
        for slot in 0..SLOTS as usize {
            let at = slot_at(lane, slot);
            let mut head = vec![0; HEADER];
            media.read(at, &mut head)?;
            if !Header::looks_like_one(&head) {
                continue;
            }
            let mut bytes = vec![0; SLOT_BYTES];
            media.read(at, &mut bytes)?;
            if let Some(header) = Header::read(&mut bytes, salt) {
                if header.seq > MAX_SEQ {
                    let why = "a number that no transaction can have";
                    note(FsError::Corrupt { what: What::Journal, at, why })?;
                    continue;
                }
                if !left_out(Step::FloorOfRecords) {
                    floor = floor.max(header.floor);
                }
                bytes.truncate(HEADER + header.len);
                records.insert(header.seq, (at, bytes));
            }
        }
    }
    let next = records.last_key_value().map_or(0, |(seq, _)| seq + 1).max(floor).max(1);
    let mut records = records.split_off(&floor);
    let mut bad = Vec::new();
    for (seq, (at, bytes)) in &records {
        if let Err(error) = entry::decode(&bytes[HEADER..], *at, geometry, &mut |_| Ok(())) {
            note(error)?;
            bad.push(*seq);
        }
    }
    records.retain(|seq, _| !bad.contains(seq));
    let mut found = Found { replayed: records.len() as u32, next, blocks: Blocks::new() };
    let mut revoked = FxHashMap::default();
    for (seq, (at, bytes)) in &records {
        entry::decode(&bytes[HEADER..], *at, geometry, &mut |entry| {
            if let Entry::Revoke { block } = entry {
                revoked.insert(block, *seq);
            }
            Ok(())
        })?;
    }
    for (seq, (at, bytes)) in &records {
        entry::decode(&bytes[HEADER..], *at, geometry, &mut |entry| {
            replay(media, geometry, entry, &mut found.blocks, &|block| {
                revoked.get(&block).is_some_and(|by| by >= seq)
            })
        })?;
    }
    Ok(found)
}

/// The floor word; 0 if it is damaged and `note` takes that.
fn durable_floor(
    media: &dyn Media,
    salt: u32,
    note: &mut dyn FnMut(FsError) -> Result<()>,
) -> Result<u64> {
    let why = match seal::open_word(media.load_u64(FLOOR_AT)?, salt) {
        Some(floor) if floor <= MAX_SEQ => return Ok(floor),
        Some(_) => "the floor of the journal is impossible",
        None => "the floor of the journal is unreadable",
    };
    note(FsError::Corrupt { what: What::Anchor, at: FLOOR_AT, why })?;
    Ok(0)
}

/// Applies one entry to the blocks in memory.
fn replay(
    media: &dyn Media,
    geometry: &Geometry,
    entry: Entry<'_>,
    blocks: &mut Blocks,
    is_revoked: &dyn Fn(u64) -> bool,
) -> Result<()> {
    match entry {
        Entry::Granules { at, bytes } if !is_revoked(at / BLOCK) => {
            let block = load(media, blocks, at / BLOCK)?;
            let start = (at % BLOCK) as usize;
            block[start..start + bytes.len()].copy_from_slice(bytes);
        }
        Entry::Bits { block, len, set } => {
            let group = geometry.group_of(block);
            let bitmap = load(media, blocks, geometry.bitmap_at(group) / BLOCK)?;
            let mut bits = Bits::from_bytes(bitmap);
            bits.fill(block - geometry.group_start(group), len, set);
            bitmap.copy_from_slice(bits.as_bytes());
        }
        Entry::Granules { .. } | Entry::Revoke { .. } => {}
    }
    Ok(())
}

fn load<'a>(
    media: &dyn Media,
    blocks: &'a mut Blocks,
    block: u64,
) -> Result<&'a mut [u8; BLOCK_LEN]> {
    use std::collections::btree_map::Entry;
    match blocks.entry(block) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => {
            let mut bytes = Box::new([0; BLOCK_LEN]);
            media.read(block * BLOCK, &mut bytes[..])?;
            Ok(entry.insert(bytes))
        }
    }
}

/// Writes what was found in place, and retires the journal.
pub(crate) fn apply(media: &dyn Media, found: &Found, salt: u32) -> Result<()> {
    if left_out(Step::RecoverBeforeFloor) {
        retire(media, found, salt)?;
    }
    for (block, bytes) in &found.blocks {
        let mut old = [0; BLOCK_LEN];
        media.read(block * BLOCK, &mut old)?;
        for (index, (new, old)) in bytes.chunks(GRANULE).zip(old.chunks(GRANULE)).enumerate() {
            // Only what differs: a granule of a block that was not changed by a record may
            // belong to something that is stored outside the journal (the words of block 1).
            if new != old {
                let at = block * BLOCK + (index * GRANULE) as u64;
                media.write(at, new, Persist::Yes)?;
            }
        }
    }
    if !left_out(Step::FenceRecovery) {
        media.fence();
    }
    retire(media, found, salt)
}

/// Makes the floor word say that nothing of the journal matters any more.
fn retire(media: &dyn Media, found: &Found, salt: u32) -> Result<()> {
    media.store_u64(FLOOR_AT, seal::seal_word(found.next, salt))?;
    media.flush(FLOOR_AT..FLOOR_AT + 8);
    media.fence();
    Ok(())
}

#[cfg(test)]
mod tests;
