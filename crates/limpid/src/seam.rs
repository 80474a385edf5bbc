//! The lock/wait seam in production: std's futex-based locks. Public for who drives the DAX layer
//! with a medium or page tables of his own, as the crash explorer does.

use std::sync::{
    Condvar, Mutex as StdMutex, PoisonError, RwLock as StdRwLock, RwLockReadGuard, RwLockWriteGuard,
};

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
pub struct Leaf<T>(StdMutex<T>);

impl<T: Send> Mutex<T> for Leaf<T> {
    fn new(value: T) -> Self {
        Leaf(StdMutex::new(value))
    }

    #[inline]
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A reader-writer lock.
pub struct Lock<T>(StdRwLock<T>);

impl<T: Send + Sync> RwLock<T> for Lock<T> {
    type Shared<'a>
        = RwLockReadGuard<'a, T>
    where
        Self: 'a;
    type Exclusive<'a>
        = RwLockWriteGuard<'a, T>
    where
        Self: 'a;

    fn new(value: T) -> Self {
        Lock(StdRwLock::new(value))
    }

    #[inline]
    fn shared(&self) -> Self::Shared<'_> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn exclusive(&self) -> Self::Exclusive<'_> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
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
