//! The journal: lanes of two slots, one transaction per slot, two fences per transaction.
//!
//! A transaction is committed when its record is whole: the record's checksum tells. It is then
//! applied in place. So that nothing has to be written to retire a record, each record carries a
//! *floor*: every transaction with a smaller number had been applied and fenced when this one
//! took its number. Recovery takes the largest floor it finds (in records, or in the floor word)
//! and replays the records from there on, in the order of their numbers.
//!
//! Why this is right:
//!
//! 1. *Order.* The locks of everything a transaction changes are held from its first look until
//!    it is applied and fenced, and its number is taken while they are held. Of two transactions
//!    that change the same granule, the second has the larger number, and a durable record only
//!    when the first has been applied: replay in order of numbers ends in the last one's state.
//! 2. *Nothing needed is overwritten.* The slot of record N is used again only when a durable
//!    record (the other slot of the lane) or the floor word has a floor above N. That evidence
//!    itself disappears only when later evidence, which is larger, is durable. So recovery's
//!    floor is above N, and every record from the floor on is still there.
//! 3. *Nothing needless does harm.* A record from the floor on may have been applied already, or
//!    even be followed by applied ones; all those are replayed too, and by 1 the last one wins.
//! 4. *Reused nodes.* A block that held a tree node may hold file data after it was freed, and
//!    data is not journaled. The freeing record says so (revoke), and recovery leaves granules of
//!    that block in earlier records alone. The freeing record is itself from the floor on
//!    whenever an earlier one is.
//! 5. *Bits.* Changes of bitmaps are recorded as runs of bits to set or clear; replaying all runs
//!    from the floor on in order gives each bit its last value, and the bitmap's checksum, which
//!    is in the descriptor's granule, matches again.
//!
//! The lock of a lane is a leaf but for the lock of the floor word and the usage locks; the crate's
//! documentation lists all.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;

use limpid_locks::{Mutex, MutexGuard, mutex};
use limpid_pmem::{Durability, Media, Persist};

use crate::anchor::FLOOR_AT;
use crate::canary::{Step, left_out};
use crate::classes::{FLOOR, LANE};
use crate::error::{FsError, Result, committed_already};
use crate::layout::{BLOCK, JOURNAL, LANES, SLOT_BLOCKS, SLOTS};
use crate::seal;

/// Bytes of a slot.
pub(crate) const SLOT_BYTES: usize = (SLOT_BLOCKS * BLOCK) as usize;
/// Bytes of a record's header.
pub(crate) const HEADER: usize = 64;
const MAGIC: u64 = u64::from_le_bytes(*b"LIMPIDTX");

/// Device offset of a slot.
pub(crate) fn slot_at(lane: usize, slot: usize) -> u64 {
    (JOURNAL + (lane as u64 * SLOTS + slot as u64) * SLOT_BLOCKS) * BLOCK
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub seq: u64,
    pub floor: u64,
    /// Bytes of entries after the header.
    pub len: usize,
}

impl Header {
    /// Completes a record whose entries follow [`HEADER`] free bytes.
    pub fn write(seq: u64, floor: u64, record: &mut [u8], salt: u32) {
        let len = (record.len() - HEADER) as u32;
        record[..HEADER].fill(0);
        record[0..8].copy_from_slice(&MAGIC.to_le_bytes());
        record[8..16].copy_from_slice(&seq.to_le_bytes());
        record[16..24].copy_from_slice(&floor.to_le_bytes());
        record[24..28].copy_from_slice(&len.to_le_bytes());
        let crc = crc32c::crc32c_append(salt, &record[..covered(len as usize)]);
        record[28..32].copy_from_slice(&crc.to_le_bytes());
    }

    /// True if a record may begin with these bytes; saves reading the whole slot.
    pub fn looks_like_one(head: &[u8]) -> bool {
        head.starts_with(&MAGIC.to_le_bytes())
    }

    /// The header of the record in `slot`, if there is a whole one.
    pub fn read(slot: &mut [u8], salt: u32) -> Option<Header> {
        let word = |at: usize| u64::from_le_bytes(slot[at..at + 8].try_into().expect("8 bytes"));
        let half = |at: usize| u32::from_le_bytes(slot[at..at + 4].try_into().expect("4 bytes"));
        let (len, crc) = (half(24) as usize, half(28));
        let header = Header { seq: word(8), floor: word(16), len };
        if word(0) != MAGIC || len > slot.len() - HEADER || header.floor > header.seq {
            return None;
        }
        slot[28..32].fill(0);
        (crc32c::crc32c_append(salt, &slot[..covered(len)]) == crc).then_some(header)
    }
}

/// Bytes of a record with `len` bytes of entries that its checksum covers: all.
fn covered(len: usize) -> usize {
    if left_out(Step::ChecksumEntries) { HEADER } else { HEADER + len }
}

/// What a lane's two slots hold; on cache lines of its own, since each thread has its lane.
#[derive(Default)]
#[repr(align(128))]
struct Lane {
    /// Number and floor of the record in each slot; zeroes for none that matters.
    slots: [(u64, u64); 2],
    next: usize,
}

/// Numbers in use, without a lock.
///
/// A transaction first notes a lower bound of its number in its lane's word, then draws the number.
/// So whoever reads `next` and then the words misses none: a word noted after the look belongs to
/// a number drawn after it, which is not below the `next` that was read.
struct Sequence {
    next: AtomicU64,
    /// The number of the transaction each lane is busy with, or a lower bound; [`IDLE`] for none.
    active: [Active; LANES as usize],
}

const IDLE: u64 = u64::MAX;
/// For [`Journal::failed_at`]: it was not the medium.
const PANICKED: u64 = IDLE - 1;

/// On a cache line of its own, since each thread has its lane.
#[repr(align(128))]
struct Active(AtomicU64);

impl Sequence {
    fn new(next: u64) -> Sequence {
        let active = std::array::from_fn(|_| Active(AtomicU64::new(IDLE)));
        Sequence { next: AtomicU64::new(next), active }
    }

    /// The next number, for the owner of a lane.
    fn draw(&self, lane: usize) -> u64 {
        let word = &self.active[lane].0;
        word.store(self.next.load(SeqCst), SeqCst);
        let seq = self.next.fetch_add(1, SeqCst);
        word.store(seq, SeqCst);
        seq
    }

    /// The lane's transaction was applied and fenced.
    fn done(&self, lane: usize) {
        self.active[lane].0.store(IDLE, SeqCst);
    }

    /// Every transaction below was applied and fenced.
    fn floor(&self) -> u64 {
        let next = self.next.load(SeqCst);
        self.active.iter().map(|word| word.0.load(SeqCst)).min().unwrap_or(next).min(next)
    }
}

/// The journal of an open pool.
pub(crate) struct Journal {
    salt: u32,
    lanes: [Mutex<Lane>; LANES as usize],
    sequence: Sequence,
    /// The floor word on the medium; raised with `raising` held.
    durable_floor: AtomicU64,
    raising: Mutex<()>,
    /// Device offset where the medium failed a transaction; [`IDLE`] while none was, [`PANICKED`]
    /// if a commit panicked.
    failed_at: AtomicU64,
}

/// A committed record that is not applied yet. Dropping it without [`Journal::finish`] stops the
/// journal, before anybody else gets the lane: that keeps the floor below its number for ever, so
/// the next recovery replays it.
pub(crate) struct Committed<'a> {
    journal: &'a Journal,
    /// The lane and its number; none on a medium that needs no record.
    lane: Option<(MutexGuard<'a, Lane>, usize)>,
    finished: bool,
}

impl Drop for Committed<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.journal.stop(PANICKED);
        }
    }
}

/// Stops the journal if it is dropped by a panic. Who holds locks of what a commit has changed
/// creates it after them, so that it is dropped before.
pub(crate) struct StopOnPanic<'a> {
    journal: &'a Journal,
    /// The thread was panicking before: what is closed on the way out may commit.
    already: bool,
}

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() && !self.already {
            self.journal.stop(PANICKED);
        }
    }
}

impl Journal {
    /// A journal whose records below `next` do not matter any more; the floor word says so.
    pub fn new(salt: u32, next: u64) -> Journal {
        Journal {
            salt,
            lanes: std::array::from_fn(|_| mutex(&LANE, Lane::default())),
            sequence: Sequence::new(next),
            durable_floor: AtomicU64::new(next),
            raising: mutex(&FLOOR, ()),
            failed_at: AtomicU64::new(IDLE),
        }
    }

    /// Writes a record and makes it durable: the transaction is committed when this returns.
    /// `record` starts with [`HEADER`] bytes of room for the header. One fence.
    ///
    /// Nothing is written to a medium of [`Durability::None`]: whatever interrupts the
    /// transaction ends the pool as well, so nobody will ever look for the record.
    pub fn commit(&self, media: &dyn Media, record: &mut [u8]) -> Result<Committed<'_>> {
        assert!(record.len() <= SLOT_BYTES, "the transaction bounds its record");
        self.stopped()?;
        if media.durability() == Durability::None {
            return Ok(Committed { journal: self, lane: None, finished: false });
        }
        let (index, mut lane) = self.free_lane(media)?;
        // Whoever failed in this lane stopped the journal before letting it go, and its number
        // must not be drawn over: the floor would rise above it.
        self.stopped()?;
        // Before the number is drawn: a record that was begun cannot be left out.
        let at = slot_at(index, lane.next);
        media.reserve(at..at + record.len() as u64)?;
        let seq = self.sequence.draw(index);
        let floor = self.sequence.floor().min(seq);
        Header::write(seq, floor, record, self.salt);
        let slot = if left_out(Step::KeepSlot) { 0 } else { lane.next };
        let persist = if left_out(Step::FlushRecord) { Persist::No } else { Persist::Yes };
        let written = media.write(slot_at(index, slot), record, persist);
        written.map_err(|error| committed_already(error.into()))?;
        if !left_out(Step::FenceRecord) {
            media.fence();
        }
        lane.slots[slot] = (seq, floor);
        lane.next = 1 - slot;
        Ok(Committed { journal: self, lane: Some((lane, index)), finished: false })
    }

    /// Retires a committed record that has been applied. The caller's stores are on their way
    /// to the medium; this fences them.
    pub fn finish(&self, media: &dyn Media, mut committed: Committed<'_>) {
        if !left_out(Step::FenceApplied) {
            media.fence();
        }
        committed.finished = true;
        if let Some((lane, index)) = committed.lane.take() {
            self.sequence.done(index);
            drop(lane);
        }
    }

    /// A lane whose next slot may be overwritten (see 2 above).
    fn free_lane(&self, media: &dyn Media) -> Result<(usize, MutexGuard<'_, Lane>)> {
        let first = crate::thread::index() % self.lanes.len();
        let known = self.durable_floor.load(SeqCst);
        for step in 0..self.lanes.len() {
            let index = (first + step) % self.lanes.len();
            if let Some(lane) = self.lanes[index].try_lock() {
                let evidence = lane.slots[1 - lane.next].1.max(known);
                if evidence > lane.slots[lane.next].0 {
                    return Ok((index, lane));
                }
            }
        }
        // All lanes are busy, or wait for an old transaction of another thread. That one holds
        // all it needs, so it ends; then the floor word can say so.
        let lane = self.lanes[first].lock();
        let old = lane.slots[lane.next].0;
        loop {
            let floor = self.sequence.floor();
            if floor > old {
                self.raise_floor(media, floor)?;
                return Ok((first, lane));
            }
            self.stopped()?;
            thread::yield_now();
        }
    }

    /// Makes the floor word durable, so that no record below `floor` is replayed.
    fn raise_floor(&self, media: &dyn Media, floor: u64) -> Result<()> {
        let _raising = self.raising.lock();
        if floor > self.durable_floor.load(SeqCst) {
            media.store_u64(FLOOR_AT, seal::seal_word(floor, self.salt))?;
            media.flush(FLOOR_AT..FLOOR_AT + 8);
            media.fence();
            self.durable_floor.store(floor, SeqCst);
        }
        Ok(())
    }

    /// Retires all records for good. No transaction is running.
    pub fn retire(&self, media: &dyn Media) -> Result<()> {
        let floor = self.sequence.floor();
        self.raise_floor(media, floor)
    }

    /// Takes no more transactions: the medium failed one at byte `at`, so the floor cannot rise
    /// again. The first failure is the one that is told.
    pub fn stop_at(&self, at: u64) {
        self.stop(at.min(PANICKED - 1));
    }

    fn stop(&self, why: u64) {
        let _ = self.failed_at.compare_exchange(IDLE, why, SeqCst, SeqCst);
    }

    /// Takes no more transactions if the caller panics before this is dropped.
    pub fn stop_on_panic(&self) -> StopOnPanic<'_> {
        StopOnPanic { journal: self, already: thread::panicking() }
    }

    /// An error once the journal takes no more transactions.
    pub fn stopped(&self) -> Result<()> {
        match self.failed_at.load(SeqCst) {
            IDLE => Ok(()),
            PANICKED => Err(FsError::Panicked),
            at => Err(FsError::Stopped { at }),
        }
    }

    /// Where the medium failed, if it was that.
    pub fn stopped_at(&self) -> Option<u64> {
        Some(self.failed_at.load(SeqCst)).filter(|at| *at < PANICKED)
    }
}
