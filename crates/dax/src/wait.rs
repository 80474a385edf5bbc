//! Waits for entries and pins, in hashed queues.
//!
//! A waiter joins the queue of its key while it holds the index mutex under which it saw that it
//! must wait; a waker calls [`WaitTable::wake`] after it changed the state under the same mutex.
//! So no wake can be missed. Two kinds of waiters:
//! - an *exclusive* one (a fault) will take the entry when woken, and its unlock wakes the next;
//! - any other (a scan) only looks, and is woken by every wake without using it up.
//!
//! Rule against lost wakes (bugs C2 and C4 of Linux): an ordinary unlock wakes one exclusive
//! waiter; whoever removes an entry, or replaces it by another size, wakes all, since a waiter
//! that finds nothing passes no wake on.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::cover::{Branch, cover};
use crate::seam::{Mutex, Parker, Seam};
use crate::units::PageIndex;

const QUEUES: usize = 256;

/// What is waited for: a file, and the first page of an entry in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub file: u64,
    pub start: PageIndex,
}

impl Key {
    /// The key of the pins of a file, which no entry can have.
    pub fn pins(file: u64) -> Key {
        Key { file, start: PageIndex(u64::MAX) }
    }

    fn hash(self) -> usize {
        let mixed = (self.file ^ self.start.0.rotate_left(20)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize
    }
}

/// Whom to wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    /// The first exclusive waiter, and all who only look.
    One,
    /// Everybody.
    All,
}

struct Waiter<S: Seam> {
    key: Key,
    exclusive: bool,
    parker: Arc<S::Parker>,
}

/// A place in a queue. Dropping it without waiting would lose a wake, so it must be waited on.
#[must_use]
pub(crate) struct Ticket<S: Seam>(Arc<S::Parker>);

impl<S: Seam> Ticket<S> {
    /// Sleeps until woken. No lock of classes 2 and above except entry locks taken earlier in
    /// the order may be held; the index mutex never.
    pub fn wait(self) {
        self.0.park();
    }
}

/// The hashed queues, shared by all files of a pool.
pub struct WaitTable<S: Seam> {
    queues: Box<[S::Mutex<Vec<Waiter<S>>>]>,
}

impl<S: Seam> WaitTable<S> {
    /// Makes empty queues, as many as a pool needs.
    pub fn new() -> Self {
        Self::with_queues(QUEUES)
    }

    /// Makes so many empty queues, at least one. Keys share them; fewer cost more looks, and are
    /// never wrong.
    pub fn with_queues(count: usize) -> Self {
        WaitTable { queues: (0..count.max(1)).map(|_| S::Mutex::new(Vec::new())).collect() }
    }

    fn queue(&self, key: Key) -> &S::Mutex<Vec<Waiter<S>>> {
        &self.queues[key.hash() % self.queues.len()]
    }

    /// Joins the queue of `key`. Called with the mutex held under which the need was seen.
    pub(crate) fn join(&self, key: Key, exclusive: bool) -> Ticket<S> {
        let parker = Arc::new(S::Parker::new());
        let waiter = Waiter { key, exclusive, parker: parker.clone() };
        self.queue(key).with(|queue| queue.push(waiter));
        Ticket(parker)
    }

    /// Wakes waiters of `key`, in the order in which they came.
    pub(crate) fn wake(&self, key: Key, whom: Wake) {
        let woken: Vec<Waiter<S>> = self.queue(key).with(|queue| {
            let mut one_left = true;
            queue
                .extract_if(.., |waiter| {
                    if waiter.key != key {
                        cover(Branch::WakePassesOtherKeys);
                        return false;
                    }
                    let take = whom == Wake::All || !waiter.exclusive || one_left;
                    one_left &= !waiter.exclusive;
                    match (take, waiter.exclusive) {
                        (true, true) => cover(Branch::WakeTaker),
                        (true, false) => cover(Branch::WakeLooker),
                        (false, _) => cover(Branch::WakeLeavesTaker),
                    }
                    take
                })
                .collect()
        });
        for waiter in woken {
            waiter.parker.unpark();
        }
    }
}

impl<S: Seam> Default for WaitTable<S> {
    fn default() -> Self {
        Self::new()
    }
}
