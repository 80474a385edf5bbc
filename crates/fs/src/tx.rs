//! A transaction: changes of metadata that reach the medium all or not at all.
//!
//! Changes are collected in memory; [`Tx::commit`] writes them to the journal, applies them, and
//! returns when they are durable. Dropping a transaction undoes it: the medium was not touched
//! but for blocks nobody refers to, and reserved blocks go back.
//!
//! Whoever begins a transaction holds the locks of all it reads and changes, until the commit
//! has returned. The images of the groups are locked by the commit itself, last (the crate's
//! documentation lists all locks).

use std::cell::{Cell, RefCell};
use std::ops::Range;

use limpid_pmem::{MediaError, Persist};
use smallvec::SmallVec;

use crate::alloc::{Purpose, Want};
use crate::canary::{Step, left_out};
use crate::core::Core;
use crate::entry::Entry;
use crate::error::{FsError, Result, What, committed_already, corrupt, is_full};
use crate::journal::{HEADER, SLOT_BYTES};
use crate::layout::{BLOCK, BLOCK_LEN, GRANULE, GROUP, by_group};
use crate::node::{Bytes, Expected, NodeBuf, runs, verify};
use crate::record::Meta;
use crate::space::ImageGuard;
use crate::tree::Nodes;
use zerocopy::IntoBytes;

/// Bytes of changes a transaction may have collected before an operation that can go on in
/// another one should commit. What one more step may add has room above.
const FULL: usize = SLOT_BYTES / 3;

thread_local! {
    /// The record under construction; kept between transactions for its memory.
    static RECORD: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The changed bytes of the last transaction; the next one uses their memory.
    static BYTES: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A run of blocks of one group that changes hands.
#[derive(Clone, Copy)]
struct Change {
    group: usize,
    first: u64,
    len: u64,
    used: bool,
}

/// The locked images of the groups a transaction changes, in order.
type Images<'a> = SmallVec<[(usize, ImageGuard<'a>); 2]>;

/// See the module's documentation.
pub(crate) struct Tx<'a> {
    pub core: &'a Core,
    purpose: Purpose,
    nodes: Vec<NodeBuf>,
    /// Changed bytes: device offset, start and length in `bytes`.
    puts: SmallVec<[(u64, usize, usize); 4]>,
    bytes: Vec<u8>,
    allocated: SmallVec<[(u64, u64); 4]>,
    freed: SmallVec<[(u64, u64); 4]>,
    revoked: SmallVec<[u64; 4]>,
    /// Blocks were written directly; they have to be durable before the commit.
    unfenced: bool,
    /// Bytes the changes of bitmaps will need in the record, at most.
    weight: u64,
    committed: bool,
    /// The part of a block that is still to be asked for; see [`warm`](Tx::warm).
    warm: Range<u64>,
}

impl<'a> Tx<'a> {
    /// A transaction of an operation that makes something new.
    pub fn new(core: &'a Core) -> Tx<'a> {
        Tx::with_purpose(core, Purpose::Grow)
    }

    /// A transaction of an operation that frees space, which may use the reserve for it.
    pub fn shrinking(core: &'a Core) -> Tx<'a> {
        Tx::with_purpose(core, Purpose::Shrink)
    }

    /// A transaction that maps blocks a file has already: it never finds the pool full.
    pub fn promised(core: &'a Core) -> Tx<'a> {
        Tx::with_purpose(core, Purpose::Promised)
    }

    fn with_purpose(core: &'a Core, purpose: Purpose) -> Tx<'a> {
        Tx {
            core,
            purpose,
            nodes: Vec::new(),
            puts: SmallVec::new(),
            bytes: BYTES.take(),
            allocated: SmallVec::new(),
            freed: SmallVec::new(),
            revoked: SmallVec::new(),
            unfenced: false,
            weight: 0,
            committed: false,
            warm: 0..0,
        }
    }

    /// The block will probably be written next. Its cache lines are asked for a quarter at each
    /// step of the commit: they come while the commit computes, where all at once would make it
    /// wait for them.
    pub fn warm(&mut self, block: u64) {
        self.warm = block * BLOCK..(block + 1) * BLOCK;
    }

    /// Asks for the next quarter.
    fn warm_on(&mut self) {
        let end = self.warm.end.min(self.warm.start + BLOCK / 4);
        if self.warm.start < end {
            self.core.media.prefetch(self.warm.start..end);
            self.warm.start = end;
        }
    }

    /// True if so much was collected that the operation should go on in another transaction.
    pub fn is_full(&self) -> bool {
        self.nodes.len() * BLOCK_LEN + self.bytes.len() + self.weight as usize > FULL
    }

    /// A run of bits and a descriptor for each group that the blocks lie in.
    fn weigh(&mut self, len: u64) {
        self.weight += (len / GROUP + 2) * 96;
    }

    /// Changes bytes at a multiple of 64; a later change of the same place replaces this one.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        debug_assert!(at.is_multiple_of(GRANULE as u64) && bytes.len().is_multiple_of(GRANULE));
        if let Some((_, start, len)) = self.puts.iter().find(|(place, ..)| *place == at) {
            self.bytes[*start..start + len].copy_from_slice(bytes);
            return;
        }
        self.puts.push((at, self.bytes.len(), bytes.len()));
        self.bytes.extend_from_slice(bytes);
    }

    /// Changes an inode's record.
    pub fn put_inode(&mut self, meta: &Meta) {
        self.put(meta.at, meta.encode().as_bytes());
    }

    /// Reserves blocks and marks them as used: the first, and how many.
    pub fn allocate(&mut self, want: Want, goal: Option<u64>) -> Result<(u64, u64)> {
        let core = self.core;
        let run =
            core.space.reserve(&*core.media, want, goal, self.purpose).ok_or(FsError::NoSpace)?;
        self.weigh(run.1);
        self.allocated.push(run);
        Ok(run)
    }

    /// Marks blocks as used that were reserved before. The transaction owns the reservation now.
    pub fn adopt(&mut self, block: u64, len: u64) {
        self.weigh(len);
        self.allocated.push((block, len));
    }

    /// Frees blocks; they can be given out again after the commit.
    pub fn free(&mut self, block: u64, len: u64) {
        self.weigh(len);
        self.freed.push((block, len));
    }

    /// Writes a whole fresh block outside the journal; only this transaction's commit makes
    /// anything refer to it.
    pub fn write_fresh(&mut self, block: u64, bytes: &[u8]) -> Result<()> {
        self.unfenced = true;
        Ok(self.core.media.write(block * BLOCK, bytes, Persist::Yes)?)
    }

    /// Notes that blocks were written by the caller and have to be durable before the commit.
    pub fn fence_first(&mut self) {
        self.unfenced = true;
    }

    /// Adds an empty node to a tree; returns its block.
    pub fn new_node(&mut self, owner: u64, level: u32) -> Result<u64> {
        let (block, _) = self.allocate(Want::Blocks(1), None)?;
        if self.nodes.iter().any(|node| node.block == block) {
            return corrupt(What::BlockState, block * BLOCK, "a block in use is marked as free");
        }
        self.nodes.push(NodeBuf::new(Expected { owner, block, level }));
        Ok(block)
    }

    /// Frees a tree node.
    pub fn free_node(&mut self, block: u64) {
        self.nodes.retain(|node| node.block != block);
        self.revoked.push(block);
        self.free(block, 1);
    }

    /// A node to change.
    pub fn node(&mut self, expected: Expected) -> Result<&mut NodeBuf> {
        let index = match self.nodes.iter().position(|node| node.block == expected.block) {
            Some(index) => {
                crate::node::check_identity(&self.nodes[index].bytes, expected)?;
                index
            }
            None => {
                let mut bytes: Box<Bytes> = Box::new([0; BLOCK_LEN]);
                self.core.load_to_change(expected, &mut bytes)?;
                self.nodes.push(NodeBuf { block: expected.block, bytes, dirty: 0 });
                self.nodes.len() - 1
            }
        };
        Ok(&mut self.nodes[index])
    }

    /// Takes a node out, to work on two at once; [`give`](Tx::give) puts it back.
    pub fn take(&mut self, expected: Expected) -> Result<NodeBuf> {
        self.node(expected)?;
        let index = self.nodes.iter().position(|node| node.block == expected.block);
        Ok(self.nodes.swap_remove(index.expect("it was just loaded")))
    }

    /// See [`take`](Tx::take).
    pub fn give(&mut self, node: NodeBuf) {
        self.nodes.push(node);
    }

    /// Makes the changes durable, all or none. After an error none is made, or, if the medium
    /// failed half-way, no other transaction is started until the pool is opened again. The same
    /// holds after a panic in here, which leaves the changes to the next recovery.
    pub fn commit(mut self) -> Result<()> {
        self.core.writable()?;
        let changes = self.changes();
        self.warm_on();
        let mut images = self.lock_images(&changes)?;
        let core = self.core;
        let _stop = core.journal.stop_on_panic();
        // Until it is known that nothing was committed, the blocks may be in use.
        self.committed = true;
        let result = RECORD.with(|record| {
            let mut record = record.take();
            let result = self
                .build(&changes, &mut images, &mut record)
                .and_then(|()| self.write(&changes, &images, &mut record));
            // Room is asked for before anything is written.
            let media_failed = matches!(result, Err(FsError::Media(error)) if !is_full(&error));
            if result.is_err() && !media_failed {
                undo(&changes, &mut images);
                self.committed = false;
            }
            RECORD.with(|place| place.replace(record));
            result
        });
        result?;
        for (_, image) in &mut images {
            image.set_initialised();
        }
        for node in &self.nodes {
            self.core.verified.set(&self.core.geometry, node.block, true);
        }
        for block in &self.revoked {
            self.core.verified.set(&self.core.geometry, *block, false);
        }
        for (block, len) in &self.freed {
            self.core.space.release(*block, *len);
        }
        drop(images);
        Ok(())
    }

    /// All blocks that change hands, by group; within a group what is taken comes first.
    fn changes(&self) -> SmallVec<[Change; 4]> {
        let runs = self.allocated.iter().map(|run| (run, true));
        let runs = runs.chain(self.freed.iter().map(|run| (run, false)));
        let mut changes: SmallVec<[Change; 4]> = SmallVec::new();
        for ((block, len), used) in runs {
            for (group, first, len) in by_group(&self.core.geometry, *block, *len) {
                match changes.last_mut() {
                    Some(last)
                        if last.group == group
                            && last.used == used
                            && last.first + last.len == first =>
                    {
                        last.len += len;
                    }
                    _ => changes.push(Change { group, first, len, used }),
                }
            }
        }
        changes.sort_by_key(|change| change.group);
        changes
    }

    /// Locks the images of all groups concerned, in order, and makes the changes there; on an
    /// error they are undone.
    fn lock_images(&mut self, changes: &[Change]) -> Result<Images<'a>> {
        let core = self.core;
        let mut images: Images<'a> = SmallVec::new();
        let _stop = core.journal.stop_on_panic();
        for (done, change) in changes.iter().enumerate() {
            let step = || -> Result<()> {
                if images.last().is_none_or(|(group, _)| *group != change.group) {
                    let image = core.space.image(&*core.media, change.group)?;
                    self.unfenced |= core.space.initialise(&*core.media, change.group, &image)?;
                    images.push((change.group, image));
                }
                let block = core.geometry.group_start(change.group) + change.first;
                let image = &mut images.last_mut().expect("it was just pushed").1;
                image.change(change.first, change.len, change.used, block)
            };
            let mut step = step;
            if let Err(error) = step() {
                undo(&changes[..done], &mut images);
                return Err(error);
            }
        }
        Ok(images)
    }

    /// Writes the record's entries, with the checksums of all that changed.
    fn build(
        &mut self,
        changes: &[Change],
        images: &mut [(usize, ImageGuard<'a>)],
        record: &mut Vec<u8>,
    ) -> Result<()> {
        let geometry = &self.core.geometry;
        record.clear();
        record.resize(HEADER, 0);
        for change in changes {
            let block = geometry.group_start(change.group) + change.first;
            Entry::Bits { block, len: change.len, set: change.used }.encode(geometry, record);
        }
        for (group, image) in images {
            let descriptor = image.descriptor(*group);
            self.puts.push((geometry.descriptor_at(*group), self.bytes.len(), GRANULE));
            self.bytes.extend_from_slice(descriptor.as_bytes());
        }
        for block in self.revoked.iter().filter(|_| !left_out(Step::Revoke)) {
            Entry::Revoke { block: *block }.encode(geometry, record);
        }
        for (at, start, len) in &self.puts {
            let bytes = &self.bytes[*start..start + len];
            Entry::Granules { at: *at, bytes }.encode(geometry, record);
        }
        for node in self.nodes.iter_mut().filter(|node| node.dirty != 0) {
            if !left_out(Step::SealNode) {
                node.seal();
            }
            for (first, count) in runs(node.dirty) {
                let at = node.block * BLOCK + (first * GRANULE) as u64;
                let bytes = &node.bytes[first * GRANULE..(first + count) * GRANULE];
                Entry::Granules { at, bytes }.encode(geometry, record);
            }
            if left_out(Step::SealNode) {
                node.seal();
            }
        }
        if record.len() > SLOT_BYTES { Err(FsError::TooLarge) } else { Ok(()) }
    }

    /// Commits the record and applies the changes in place.
    fn write(
        &mut self,
        changes: &[Change],
        images: &[(usize, ImageGuard<'a>)],
        record: &mut [u8],
    ) -> Result<()> {
        let media = &*self.core.media;
        if self.unfenced && !left_out(Step::FencePayload) {
            media.fence();
        }
        if left_out(Step::CommitBeforeApply) {
            self.apply(changes, images)?;
        }
        self.reserve(changes)?;
        self.warm_on();
        let committed =
            self.core.journal.commit(media, record).map_err(|error| self.stop(error))?;
        self.warm_on();
        // The lane is let go after the journal was stopped.
        let applied = self.apply(changes, images);
        applied.map_err(|error| self.stop(committed_already(error)))?;
        self.warm_on();
        self.core.journal.finish(media, committed);
        Ok(())
    }

    /// Sees to it that what [`apply`](Tx::apply) stores finds room on the host: once the record is
    /// committed there is no way back.
    fn reserve(&self, changes: &[Change]) -> Result<()> {
        let media = &*self.core.media;
        for change in changes {
            let at = self.core.geometry.bitmap_at(change.group);
            media.reserve(at..at + BLOCK)?;
        }
        for (at, _, len) in &self.puts {
            media.reserve(*at..*at + *len as u64)?;
        }
        for node in self.nodes.iter().filter(|node| node.dirty != 0) {
            media.reserve(node.block * BLOCK..(node.block + 1) * BLOCK)?;
        }
        Ok(())
    }

    /// Makes the changes in place; they are on their way to the medium then.
    fn apply(&self, changes: &[Change], images: &[(usize, ImageGuard<'a>)]) -> Result<()> {
        let media = &*self.core.media;
        let persist = if left_out(Step::FlushApplied) { Persist::No } else { Persist::Yes };
        for change in changes.iter().filter(|_| !left_out(Step::ApplyBits)) {
            let (_, image) = images
                .iter()
                .find(|(group, _)| *group == change.group)
                .expect("every changed group is locked");
            let at = self.core.geometry.bitmap_at(change.group);
            image.apply(media, at, change.first, change.len)?;
        }
        for (at, start, len) in &self.puts {
            media.write(*at, &self.bytes[*start..start + len], persist)?;
        }
        for node in self.nodes.iter().filter(|node| node.dirty != 0) {
            debug_assert!(self.check(node));
            for (first, count) in runs(node.dirty) {
                let at = node.block * BLOCK + (first * GRANULE) as u64;
                let bytes = &node.bytes[first * GRANULE..(first + count) * GRANULE];
                media.write(at, bytes, persist)?;
            }
        }
        Ok(())
    }

    /// Passes on why a commit failed. After a failure of the medium the record may be whole or not;
    /// nobody can say before the next recovery, so the journal stops.
    fn stop(&self, error: FsError) -> FsError {
        if let FsError::Media(failure) = error
            && !is_full(&failure)
        {
            self.core.journal.stop_at(match failure {
                MediaError::Io { at }
                | MediaError::Full { at }
                | MediaError::OutOfRange { at, .. } => at,
                MediaError::Buffer | MediaError::ReadOnly | MediaError::Forked => 0,
            });
        }
        error
    }

    /// In debug builds: a node that is written is a node that can be read.
    fn check(&self, node: &NodeBuf) -> bool {
        let owner = u64::from_le_bytes(node.bytes[8..16].try_into().expect("8 bytes"));
        let level = u32::from(node.bytes[6]);
        verify(&node.bytes, Expected { owner, block: node.block, level }).is_ok()
    }
}

/// Takes the changes back.
fn undo(changes: &[Change], images: &mut [(usize, ImageGuard<'_>)]) {
    for change in changes.iter().rev() {
        let image = images.iter_mut().find(|(group, _)| *group == change.group);
        if let Some((_, image)) = image {
            image
                .change(change.first, change.len, !change.used, 0)
                .expect("what was done can be undone");
        }
    }
}

impl Nodes for Tx<'_> {
    fn load(&self, expected: Expected, into: &mut Bytes) -> Result<()> {
        match self.nodes.iter().find(|node| node.block == expected.block) {
            Some(node) => {
                into.copy_from_slice(&node.bytes[..]);
                crate::node::check_identity(into, expected)
            }
            None => self.core.load(expected, into),
        }
    }
}

impl Drop for Tx<'_> {
    fn drop(&mut self) {
        if !self.committed {
            for (block, len) in self.allocated.drain(..) {
                self.core.space.release(block, len);
            }
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        BYTES.set(bytes);
    }
}
