//! The log of a repair: all blocks that it changes, made durable before the first is changed.
//!
//! The log lies in the journal, whose records are retired before, and in free blocks if that is
//! not enough. Its header, in the journal's first block, is written last: from then on the repair
//! is done as soon as somebody opens the pool; before, nothing has happened. Applying it can be
//! interrupted and repeated, since the log stays until all of it was applied.

use limpid_pmem::{Durability, Media, Persist};

use crate::error::{FsError, Result, What, corrupt};
use crate::journal::{HEADER, slot_at};
use crate::layout::{BLOCK, BLOCK_LEN, Geometry, JOURNAL, LANES, SLOT_BLOCKS, SLOTS};
use crate::recovery::Blocks;
use crate::seal;

/// First bytes of the header.
pub(crate) const MAGIC: &[u8; 8] = b"LIMPIDRP";
/// Offsets in the header, in bytes.
const CRC: usize = 8;
const COUNT: usize = 16;
const INDEX_CRC: usize = 24;
const RUNS: usize = 32;
const FIRST_RUN: usize = 40;
/// Runs of blocks that the header can name.
const MAX_RUNS: usize = (BLOCK_LEN - FIRST_RUN) / 16;
/// Bytes of an entry of the index: target block, checksum of its contents, 4 bytes of zeroes.
const ENTRY: usize = 16;
const PER_BLOCK: usize = BLOCK_LEN / ENTRY;
/// Block after the journal.
const JOURNAL_END: u64 = JOURNAL + LANES * SLOTS * SLOT_BLOCKS;

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

/// Makes everything durable that was stored before.
fn settle(media: &dyn Media) -> Result<()> {
    media.fence();
    if media.durability() == Durability::Process {
        media.sync(0..media.len())?;
    }
    Ok(())
}

/// True if a repair may change this block: all but the journal.
fn is_target(geometry: &Geometry, block: u64) -> bool {
    block < geometry.total && !(JOURNAL..JOURNAL_END).contains(&block)
}

/// Most blocks of a log. They are held in memory, so a pool says how many it may be: those of its
/// bitmaps and descriptors, and 256 MiB of others. A repair of more is refused.
fn most(geometry: &Geometry) -> u64 {
    (1 << 16) + (geometry.data - geometry.descriptors)
}

/// The blocks of a log, in order, from its runs.
fn places(runs: &[(u64, u64)]) -> impl Iterator<Item = u64> + '_ {
    runs.iter().flat_map(|(block, len)| *block..block + len)
}

/// Writes a log of `blocks` and makes it durable; `free` yields runs of blocks that nothing
/// refers to, before or after the repair. The journal is retired. Targets in the journal are
/// left out.
pub(crate) fn write(
    media: &dyn Media,
    geometry: &Geometry,
    salt: u32,
    blocks: &Blocks,
    free: &mut dyn Iterator<Item = (u64, u64)>,
) -> Result<()> {
    let targets: Vec<_> = blocks.iter().filter(|(block, _)| is_target(geometry, **block)).collect();
    let index_blocks = targets.len().div_ceil(PER_BLOCK);
    let mut wanted = (index_blocks + targets.len()) as u64;
    let mut runs = Vec::new();
    let journal = std::iter::once((JOURNAL + 1, JOURNAL_END - JOURNAL - 1));
    for (block, len) in journal.chain(free) {
        if wanted == 0 {
            break;
        }
        runs.push((block, len.min(wanted)));
        wanted -= len.min(wanted);
    }
    if wanted > 0 || runs.len() > MAX_RUNS || targets.len() as u64 > most(geometry) {
        return Err(FsError::NoSpace);
    }
    let mut index = vec![0; index_blocks * BLOCK_LEN];
    for (entry, (block, bytes)) in index.chunks_exact_mut(ENTRY).zip(&targets) {
        entry[..8].copy_from_slice(&block.to_le_bytes());
        entry[8..12].copy_from_slice(&seal::crc(&bytes[..]).to_le_bytes());
    }
    let contents = index.chunks_exact(BLOCK_LEN).chain(targets.iter().map(|(_, b)| &b[..]));
    for (place, bytes) in places(&runs).zip(contents) {
        media.write(place * BLOCK, bytes, Persist::Yes)?;
    }
    settle(media)?;
    let mut header = [0; BLOCK_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[COUNT..COUNT + 8].copy_from_slice(&(targets.len() as u64).to_le_bytes());
    header[INDEX_CRC..INDEX_CRC + 4].copy_from_slice(&seal::crc(&index).to_le_bytes());
    header[RUNS..RUNS + 8].copy_from_slice(&(runs.len() as u64).to_le_bytes());
    for (place, (block, len)) in header[FIRST_RUN..].chunks_exact_mut(16).zip(&runs) {
        place[..8].copy_from_slice(&block.to_le_bytes());
        place[8..].copy_from_slice(&len.to_le_bytes());
    }
    let crc = crc32c::crc32c_append(salt, &header);
    header[CRC..CRC + 4].copy_from_slice(&crc.to_le_bytes());
    media.write(JOURNAL * BLOCK, &header, Persist::Yes)?;
    settle(media)
}

/// The blocks of a log that was made durable and not yet applied; none if there is no such log.
pub(crate) fn find(media: &dyn Media, geometry: &Geometry, salt: u32) -> Result<Option<Blocks>> {
    let at = JOURNAL * BLOCK;
    if media.load_u64(at)? != u64::from_le_bytes(*MAGIC) {
        return Ok(None);
    }
    let mut header = [0; BLOCK_LEN];
    media.read(at, &mut header)?;
    let crc = half(&header, CRC);
    header[CRC..CRC + 4].fill(0);
    if crc32c::crc32c_append(salt, &header) != crc {
        // It was being written when a crash came: the repair has not begun.
        return Ok(None);
    }
    let bad = |why| corrupt(What::Journal, at, why);
    let (count, run_count) = (word(&header, COUNT), word(&header, RUNS));
    if run_count > MAX_RUNS as u64 || count > most(geometry) {
        return bad("a repair's log of impossible length");
    }
    let runs: Vec<(u64, u64)> = header[FIRST_RUN..]
        .chunks_exact(16)
        .take(run_count as usize)
        .map(|run| (word(run, 0), word(run, 8)))
        .collect();
    let inside = |(block, len): &(u64, u64)| {
        let in_journal = *block > JOURNAL && block.saturating_add(*len) <= JOURNAL_END;
        in_journal || geometry.is_data(*block, *len)
    };
    let index_blocks = count.div_ceil(PER_BLOCK as u64);
    let mut total = 0u64;
    if !runs.iter().all(|run| {
        total = total.saturating_add(run.1);
        inside(run)
    }) || total != count + index_blocks
    {
        return bad("a repair's log in impossible places");
    }
    let mut places = places(&runs);
    let mut index = vec![0; index_blocks as usize * BLOCK_LEN];
    for (bytes, place) in index.chunks_exact_mut(BLOCK_LEN).zip(&mut places) {
        media.read(place * BLOCK, bytes)?;
    }
    if seal::crc(&index) != half(&header, INDEX_CRC) {
        return bad("the index of a repair's log does not match its checksum");
    }
    let mut blocks = Blocks::new();
    for (entry, place) in index.chunks_exact(ENTRY).take(count as usize).zip(places) {
        let target = word(entry, 0);
        let mut bytes = Box::new([0; BLOCK_LEN]);
        media.read(place * BLOCK, &mut bytes[..])?;
        if seal::crc(&bytes[..]) != half(entry, 8) || !is_target(geometry, target) {
            return bad("a block of a repair's log does not match its checksum");
        }
        blocks.insert(target, bytes);
    }
    Ok(Some(blocks))
}

/// Writes the blocks of a log in place, and then removes it together with all that the journal
/// held before.
pub(crate) fn apply(media: &dyn Media, blocks: &Blocks) -> Result<()> {
    for (block, bytes) in blocks {
        media.write(block * BLOCK, &bytes[..], Persist::Yes)?;
    }
    settle(media)?;
    clear(media)
}

/// Empties the journal; the slot that holds a log's header last.
pub(crate) fn clear(media: &dyn Media) -> Result<()> {
    let slots = (0..LANES as usize).flat_map(|lane| (0..SLOTS as usize).map(move |s| (lane, s)));
    for (lane, slot) in slots.skip(1) {
        let at = slot_at(lane, slot);
        media.zero(at..at + HEADER as u64, Persist::Yes)?;
    }
    settle(media)?;
    media.zero(JOURNAL * BLOCK..JOURNAL * BLOCK + HEADER as u64, Persist::Yes)?;
    settle(media)
}

#[cfg(test)]
mod tests {
    use super::*;
    use limpid_pmem::VecMedia;

    /// A medium with a log of `count` blocks, and what it holds.
    fn logged(count: u64) -> (VecMedia, Geometry, Blocks) {
        let media = VecMedia::new(16 << 20);
        let geometry = Geometry::of(4096).unwrap();
        let blocks: Blocks =
            (0..count).map(|at| (geometry.data + at, Box::new([at as u8; BLOCK_LEN]))).collect();
        let mut free = [(geometry.data + 2000, 500), (geometry.data + 2600, 500)].into_iter();
        write(&media, &geometry, 5, &blocks, &mut free).unwrap();
        (media, geometry, blocks)
    }

    #[test]
    fn a_log_is_found_applied_and_gone() {
        for count in [1, 256, 257, 700] {
            let (media, geometry, blocks) = logged(count);
            assert_eq!(find(&media, &geometry, 6).unwrap(), None, "another pool's");
            assert_eq!(find(&media, &geometry, 5).unwrap().as_ref(), Some(&blocks));
            apply(&media, &blocks).unwrap();
            assert_eq!(find(&media, &geometry, 5).unwrap(), None);
            let mut bytes = [0; BLOCK_LEN];
            media.read((geometry.data + count - 1) * BLOCK, &mut bytes).unwrap();
            assert_eq!(bytes, [(count - 1) as u8; BLOCK_LEN]);
        }
    }

    #[test]
    fn a_log_that_would_fill_the_memory_is_not_read() {
        let media = VecMedia::new(16 << 20);
        let geometry = Geometry::of(1 << 34).unwrap();
        let (count, index) = (1u64 << 31, (1u64 << 31) / PER_BLOCK as u64);
        let mut header = [0; BLOCK_LEN];
        header[..8].copy_from_slice(MAGIC);
        for (at, value) in [(COUNT, count), (RUNS, 1), (FIRST_RUN, geometry.data)] {
            header[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        header[FIRST_RUN + 8..FIRST_RUN + 16].copy_from_slice(&(count + index).to_le_bytes());
        let crc = crc32c::crc32c_append(5, &header);
        header[CRC..CRC + 4].copy_from_slice(&crc.to_le_bytes());
        media.write(JOURNAL * BLOCK, &header, Persist::No).unwrap();
        let found = find(&media, &geometry, 5);
        assert!(matches!(found, Err(FsError::Corrupt { what: What::Journal, .. })), "{found:?}");
    }

    #[test]
    fn a_rotten_log_is_an_error() {
        for at in [JOURNAL_END - 1, JOURNAL + 1] {
            let (media, geometry, _) = logged(500);
            media.write(at * BLOCK + 9, &[0xee; 8], Persist::No).unwrap();
            assert!(find(&media, &geometry, 5).is_err(), "{at}");
        }
    }
}
