//! The entries of a journal record: a tag word each, then its payload.
//!
//! | tag | bits 8..16 | bits 16..64 | payload |
//! |---|---|---|---|
//! | 1 granules | count, 1 to 64 | number of the first granule | count × 64 bytes |
//! | 2 bits | 1 set, 0 clear | number of the first bit (block − first data block) | length, u64 |
//! | 3 revoke | 0 | block | none |

use crate::error::{Result, What, corrupt};
use crate::layout::{BLOCK, GRANULE, GROUP, Geometry};

const GRANULES: u64 = 1;
const BITS: u64 = 2;
const REVOKE: u64 = 3;

/// One change of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// New bytes at a device offset; both are multiples of 64 bytes, within one block.
    Granules { at: u64, bytes: &'a [u8] },
    /// Blocks that are now in use, or free; all of one group.
    Bits { block: u64, len: u64, set: bool },
    /// A block that is no tree node any more.
    Revoke { block: u64 },
}

impl Entry<'_> {
    /// Appends the entry to a record.
    pub fn encode(&self, geometry: &Geometry, record: &mut Vec<u8>) {
        match *self {
            Entry::Granules { at, bytes } => {
                let count = (bytes.len() / GRANULE) as u64;
                debug_assert!((1..=64).contains(&count) && at % GRANULE as u64 == 0);
                let word = GRANULES | count << 8 | (at / GRANULE as u64) << 16;
                record.extend_from_slice(&word.to_le_bytes());
                record.extend_from_slice(bytes);
            }
            Entry::Bits { block, len, set } => {
                let word = BITS | u64::from(set) << 8 | (block - geometry.data) << 16;
                record.extend_from_slice(&word.to_le_bytes());
                record.extend_from_slice(&len.to_le_bytes());
            }
            Entry::Revoke { block } => {
                record.extend_from_slice(&(REVOKE | block << 16).to_le_bytes());
            }
        }
    }
}

/// Decodes and checks all entries of a record; `at` is the record's device offset.
pub(crate) fn decode<'a>(
    mut bytes: &'a [u8],
    at: u64,
    geometry: &Geometry,
    visit: &mut dyn FnMut(Entry<'a>) -> Result<()>,
) -> Result<()> {
    let bad = |why| corrupt(What::Journal, at, why);
    while let Some((word, rest)) = bytes.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*word);
        let (tag, small, number) = (word & 0xff, (word >> 8) & 0xff, word >> 16);
        bytes = rest;
        match tag {
            GRANULES => {
                let len = small as usize * GRANULE;
                let start = number * GRANULE as u64;
                let block = start / BLOCK;
                if len == 0 || len > bytes.len() || start % BLOCK + len as u64 > BLOCK {
                    return bad("a change of impossible length");
                }
                if !geometry.is_journaled(block) {
                    return bad("a change outside the metadata");
                }
                let (change, rest) = bytes.split_at(len);
                bytes = rest;
                visit(Entry::Granules { at: start, bytes: change })?;
            }
            BITS => {
                let Some((len, rest)) = bytes.split_first_chunk::<8>() else {
                    return bad("a run of bits without length");
                };
                bytes = rest;
                let len = u64::from_le_bytes(*len);
                let block = geometry.data.saturating_add(number);
                if len > GROUP || !geometry.is_data(block, len) || small > 1 {
                    return bad("a run of bits outside the data area");
                }
                if geometry.group_of(block) != geometry.group_of(block + len - 1) {
                    return bad("a run of bits over two groups");
                }
                visit(Entry::Bits { block, len, set: small == 1 })?;
            }
            REVOKE => {
                if !geometry.is_data(number, 1) {
                    return bad("a revoked block outside the data area");
                }
                visit(Entry::Revoke { block: number })?;
            }
            _ => return bad("an unknown entry"),
        }
    }
    if bytes.is_empty() { Ok(()) } else { bad("bytes after the last entry") }
}
