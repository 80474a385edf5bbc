//! Dirty, in flight, clean: the way of a record to the medium, kept by types.
//!
//! A record must be durable before anything durable points to it. A store makes a [`Dirty`]
//! record, a flush an [`InFlight`] one, a fence a [`Clean`] one, and a function that publishes
//! asks for `Clean`. So a record that was not flushed and fenced cannot be published.
//!
//! Each state carries a value of the caller's choice, usually a small handle that says what was
//! stored, so that a proof for one record does not pass for another. Several records in flight
//! can share one fence: [`InFlight::and`].
//!
//! ```
//! use limpid_pmem::persist::{self, Clean};
//! use limpid_pmem::{Media, MediaError, Persist, VecMedia};
//!
//! /// Number of a slot of a journal.
//! struct Slot(u64);
//!
//! /// Points the head at a slot, which must be on the medium.
//! fn publish(media: &dyn Media, slot: &Clean<Slot>) -> Result<Clean<()>, MediaError> {
//!     let head = persist::store_u64(media, 0, slot.get().0, ())?;
//!     Ok(head.flush().fence())
//! }
//!
//! let medium = VecMedia::new(8192);
//! let body = persist::store(&medium, 4096, b"record", Slot(1))?.flush();
//! let more = persist::store_through(&medium, 4200, b"more", ())?;
//! let (slot, _) = body.and(more).fence().split();
//! publish(&medium, &slot)?;
//! assert_eq!(medium.load_u64(0)?, 1);
//! # Ok::<(), MediaError>(())
//! ```
//!
//! ```compile_fail
//! # use limpid_pmem::persist::{self, Clean};
//! # use limpid_pmem::VecMedia;
//! # fn publish(_: &Clean<u64>) {}
//! # let medium = VecMedia::new(8192);
//! let record = persist::store(&medium, 4096, b"record", 1_u64).unwrap().flush();
//! publish(&record); // No fence yet: this does not compile.
//! ```

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

use crate::media::{Media, MediaError, Persist};

/// A record that was stored and may be in the caches only. A fence is of one thread, so this and
/// [`InFlight`] stay on the thread that stored.
#[must_use = "a dirty record is not on its way to the medium"]
pub struct Dirty<'m, R> {
    media: &'m dyn Media,
    range: Range<u64>,
    record: R,
    thread: PhantomData<*const ()>,
}

/// A record whose cache lines are being written back.
#[must_use = "a record in flight is not durable before a fence"]
pub struct InFlight<'m, R> {
    media: &'m dyn Media,
    record: R,
    thread: PhantomData<*const ()>,
}

/// Proof that a record was flushed and fenced. It proves nothing about stores made later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clean<R> {
    record: R,
}

/// Stores bytes that are to be flushed later.
pub fn store<'m, R>(
    media: &'m dyn Media,
    at: u64,
    bytes: &[u8],
    record: R,
) -> Result<Dirty<'m, R>, MediaError> {
    media.write(at, bytes, Persist::No)?;
    let range = at..at + bytes.len() as u64;
    Ok(Dirty { media, range, record, thread: PhantomData })
}

/// Stores the aligned 8 bytes at `at` at once: the usual way to publish.
pub fn store_u64<R>(
    media: &dyn Media,
    at: u64,
    value: u64,
    record: R,
) -> Result<Dirty<'_, R>, MediaError> {
    media.store_u64(at, value)?;
    Ok(Dirty { media, range: at..at + 8, record, thread: PhantomData })
}

/// Stores bytes and sends them to the medium at once.
pub fn store_through<'m, R>(
    media: &'m dyn Media,
    at: u64,
    bytes: &[u8],
    record: R,
) -> Result<InFlight<'m, R>, MediaError> {
    media.write(at, bytes, Persist::Yes)?;
    Ok(InFlight { media, record, thread: PhantomData })
}

impl<'m, R> Dirty<'m, R> {
    /// Starts the write-back of the record.
    pub fn flush(self) -> InFlight<'m, R> {
        self.media.flush(self.range);
        InFlight { media: self.media, record: self.record, thread: PhantomData }
    }
}

impl<'m, R> InFlight<'m, R> {
    /// Both records, to share one fence.
    ///
    /// # Panics
    /// If they are on different media.
    pub fn and<S>(self, other: InFlight<'m, S>) -> InFlight<'m, (R, S)> {
        assert!(
            core::ptr::addr_eq(self.media, other.media),
            "records on two media cannot share a fence"
        );
        InFlight { media: self.media, record: (self.record, other.record), thread: PhantomData }
    }

    /// The same record under another value, for instance several gathered into a list.
    pub fn map<S>(self, change: impl FnOnce(R) -> S) -> InFlight<'m, S> {
        InFlight { media: self.media, record: change(self.record), thread: PhantomData }
    }

    /// Waits until the record is on the medium.
    pub fn fence(self) -> Clean<R> {
        self.media.fence();
        Clean { record: self.record }
    }
}

impl<R> Clean<R> {
    /// What is proved to be on the medium.
    pub fn get(&self) -> &R {
        &self.record
    }

    /// Gives up the proof.
    pub fn into_inner(self) -> R {
        self.record
    }
}

impl<R, S> Clean<(R, S)> {
    /// The proofs one by one.
    pub fn split(self) -> (Clean<R>, Clean<S>) {
        (Clean { record: self.record.0 }, Clean { record: self.record.1 })
    }
}

impl<R: fmt::Debug> fmt::Debug for Dirty<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dirty").field("range", &self.range).field("record", &self.record).finish()
    }
}

impl<R: fmt::Debug> fmt::Debug for InFlight<'_, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("record", &self.record).finish()
    }
}
