//! The lock/wait seam of the DAX layer in production: std's futex-based locks.
//!
//! The class of a lock is where the DAX layer makes it (`crates/dax/src/mapping.rs`), so that its
//! order is checked as that of all other locks.

use std::ops::{Deref, DerefMut};
use std::sync::{
    Condvar, Mutex as StdMutex, PoisonError, RwLock as StdRwLock, RwLockReadGuard, RwLockWriteGuard,
};

use crate::{Class, Held, class_here};
use limpid_dax::{Mutex, Parker, RwLock, Seam};

/// std's locks behind the seam of the DAX layer.
pub struct StdSeam;

impl Seam for StdSeam {
    type Mutex<T: Send + 'static> = Leaf<T>;
    type RwLock<T: Send + Sync + 'static> = Lock<T>;
    type Parker = Event;
}

/// A mutex. A panic inside a closure is a bug that its own thread reports; the data behind it is
/// still the best there is, so poisoning is ignored.
pub struct Leaf<T> {
    class: &'static Class,
    lock: StdMutex<T>,
}

impl<T: Send> Mutex<T> for Leaf<T> {
    #[track_caller]
    fn new(value: T) -> Self {
        Leaf { class: class_here(), lock: StdMutex::new(value) }
    }

    #[inline]
    #[track_caller]
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let _held = Held::take(self.class, self);
        work(&mut self.lock.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A reader-writer lock.
pub struct Lock<T> {
    class: &'static Class,
    lock: StdRwLock<T>,
}

/// A [`Lock`] held by one of several readers.
pub struct Shared<'a, T> {
    guard: RwLockReadGuard<'a, T>,
    _held: Held,
}

impl<T> Deref for Shared<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

/// A [`Lock`] held by the one writer.
pub struct Exclusive<'a, T> {
    guard: RwLockWriteGuard<'a, T>,
    _held: Held,
}

impl<T> Deref for Exclusive<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Exclusive<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: Send + Sync> RwLock<T> for Lock<T> {
    type Shared<'a>
        = Shared<'a, T>
    where
        Self: 'a;
    type Exclusive<'a>
        = Exclusive<'a, T>
    where
        Self: 'a;

    #[track_caller]
    fn new(value: T) -> Self {
        Lock { class: class_here(), lock: StdRwLock::new(value) }
    }

    #[inline]
    #[track_caller]
    fn shared(&self) -> Self::Shared<'_> {
        let _held = Held::take(self.class, self);
        Shared { guard: self.lock.read().unwrap_or_else(PoisonError::into_inner), _held }
    }

    #[inline]
    #[track_caller]
    fn exclusive(&self) -> Self::Exclusive<'_> {
        let _held = Held::take(self.class, self);
        Exclusive { guard: self.lock.write().unwrap_or_else(PoisonError::into_inner), _held }
    }
}

/// A one-shot event.
pub struct Event {
    set: StdMutex<bool>,
    changed: Condvar,
}

impl Parker for Event {
    fn new() -> Self {
        Event { set: StdMutex::new(false), changed: Condvar::new() }
    }

    fn park(&self) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        while !*set {
            set = self.changed.wait(set).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn unpark(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}
