//! A medium that writes down what reaches it, for crash tests.

use core::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use crate::media::{Durability, Media, MediaError, Persist};

/// One thing that was done to a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who did it: a fence orders only its own thread's flushes.
    pub thread: ThreadId,
    /// What was done.
    pub op: Op,
}

/// What was done to a medium. Ranges and offsets are device offsets in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Bytes were stored, whether by a write, a zeroing, a copy or a single word.
    Store {
        /// Where.
        at: u64,
        /// What.
        bytes: Box<[u8]>,
    },
    /// The write-back of a range was started; follows each store with [`Persist::Yes`] too.
    Flush(Range<u64>),
    /// A fence.
    Fence,
    /// A sync of a range.
    Sync(Range<u64>),
}

/// Passes everything on to the medium inside and records it, if it succeeded.
///
/// The order of the log is the order in which the stores were done: stores wait for each other.
///
/// ```
/// use limpid_pmem::{Media, Op, Persist, Recorder, VecMedia};
/// let medium = Recorder::new(VecMedia::new(4096));
/// medium.write(8, &[1, 2], Persist::Yes)?;
/// medium.fence();
/// let ops: Vec<Op> = medium.take().into_iter().map(|event| event.op).collect();
/// assert_eq!(ops, [Op::Store { at: 8, bytes: [1, 2].into() }, Op::Flush(8..10), Op::Fence]);
/// # Ok::<(), limpid_pmem::MediaError>(())
/// ```
#[derive(Debug)]
pub struct Recorder<M> {
    inner: M,
    log: Mutex<Vec<Event>>,
}

impl<M: Media> Recorder<M> {
    /// Records what is done to `inner` from now on.
    pub fn new(inner: M) -> Recorder<M> {
        Recorder { inner, log: Mutex::default() }
    }

    /// The medium inside; what is done to it directly is not recorded.
    pub fn inner(&self) -> &M {
        &self.inner
    }

    /// The medium inside, without the log.
    pub fn into_inner(self) -> M {
        self.inner
    }

    /// The log up to now, which starts anew.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.lock())
    }

    /// Number of events in the log.
    pub fn recorded(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does a store under the log's lock and records what the medium then holds.
    fn store(
        &self,
        at: u64,
        len: u64,
        persist: Persist,
        store: impl FnOnce() -> Result<(), MediaError>,
    ) -> Result<(), MediaError> {
        let mut log = self.lock();
        store()?;
        let mut bytes = vec![0; len as usize].into_boxed_slice();
        self.inner.read(at, &mut bytes)?;
        log.push(event(Op::Store { at, bytes }));
        if persist == Persist::Yes {
            log.push(event(Op::Flush(at..at + len)));
        }
        Ok(())
    }
}

fn event(op: Op) -> Event {
    Event { thread: thread::current().id(), op }
}

impl<M: Media> Media for Recorder<M> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn granularity(&self) -> u64 {
        self.inner.granularity()
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.inner.read(at, into)
    }

    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        self.store(at, from.len() as u64, persist, || self.inner.write(at, from, persist))
    }

    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        let len = range.end.saturating_sub(range.start);
        self.store(range.start, len, persist, || self.inner.zero(range, persist))
    }

    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError> {
        self.store(to, len, persist, || self.inner.copy(from, to, len, persist))
    }

    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        self.inner.load_u64(at)
    }

    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.store(at, 8, Persist::No, || self.inner.store_u64(at, value))
    }

    fn flush(&self, range: Range<u64>) {
        let mut log = self.lock();
        self.inner.flush(range.clone());
        log.push(event(Op::Flush(range)));
    }

    fn fence(&self) {
        let mut log = self.lock();
        self.inner.fence();
        log.push(event(Op::Fence));
    }

    fn sync(&self, range: Range<u64>) -> Result<(), MediaError> {
        let mut log = self.lock();
        self.inner.sync(range.clone())?;
        log.push(event(Op::Sync(range)));
        Ok(())
    }
}
