//! parking_lot's locks, with the checks of [`order`](crate::order).

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use parking_lot::WaitTimeoutResult;

use crate::Class;
use crate::order::Held;

/// A mutex of a class.
pub struct Mutex<T> {
    class: &'static Class,
    lock: parking_lot::Mutex<T>,
}

/// A mutex of a class.
pub fn mutex<T>(class: &'static Class, value: T) -> Mutex<T> {
    Mutex { class, lock: parking_lot::Mutex::new(value) }
}

impl<T> Mutex<T> {
    /// Waits for the lock.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = Held::take(self.class, self);
        MutexGuard { guard: self.lock.lock(), _held: held }
    }

    /// Takes the lock if it is free.
    #[track_caller]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = self.lock.try_lock()?;
        Some(MutexGuard { guard, _held: Held::tried(self.class, self) })
    }

    /// The value of a mutex that nobody else has.
    pub fn get_mut(&mut self) -> &mut T {
        self.lock.get_mut()
    }
}

/// A reader-writer lock of a class.
pub struct RwLock<T> {
    class: &'static Class,
    lock: parking_lot::RwLock<T>,
}

/// A reader-writer lock of a class.
pub fn rw_lock<T>(class: &'static Class, value: T) -> RwLock<T> {
    RwLock { class, lock: parking_lot::RwLock::new(value) }
}

impl<T> RwLock<T> {
    /// Waits for a share.
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let held = Held::take(self.class, self);
        RwLockReadGuard { guard: self.lock.read(), _held: held }
    }

    /// Waits for the whole.
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let held = Held::take(self.class, self);
        RwLockWriteGuard { guard: self.lock.write(), _held: held }
    }
}

/// Makes the guards: parking_lot's, which goes first, with the note.
macro_rules! guards {
    ($($(#[$doc:meta])* $name:ident $($mutable:ident)?;)*) => {$(
        $(#[$doc])*
        pub struct $name<'a, T> {
            guard: parking_lot::$name<'a, T>,
            _held: Held,
        }

        impl<T> Deref for $name<'_, T> {
            type Target = T;

            fn deref(&self) -> &T {
                &self.guard
            }
        }

        $(
            impl<T> DerefMut for $name<'_, T> {
                fn deref_mut(&mut self) -> &$mutable T {
                    &mut self.guard
                }
            }
        )?

        impl<T: fmt::Debug> fmt::Debug for $name<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                (**self).fmt(f)
            }
        }
    )*};
}

guards! {
    /// A mutex held.
    MutexGuard mut;
    /// A mutex held, of which a part is shown.
    MappedMutexGuard mut;
    /// A reader-writer lock held by one of several readers.
    RwLockReadGuard;
    /// A reader-writer lock held by one of several readers, of which a part is shown.
    MappedRwLockReadGuard;
    /// A reader-writer lock held by the one writer.
    RwLockWriteGuard mut;
}

impl<'a, T> MutexGuard<'a, T> {
    /// Shows a part only.
    pub fn map<U>(this: Self, part: impl FnOnce(&mut T) -> &mut U) -> MappedMutexGuard<'a, U> {
        let guard = parking_lot::MutexGuard::map(this.guard, part);
        MappedMutexGuard { guard, _held: this._held }
    }
}

impl<'a, T> RwLockReadGuard<'a, T> {
    /// Shows a part only, if there is one.
    pub fn try_map<U>(
        this: Self,
        part: impl FnOnce(&T) -> Option<&U>,
    ) -> Result<MappedRwLockReadGuard<'a, U>, Self> {
        let _held = this._held;
        match parking_lot::RwLockReadGuard::try_map(this.guard, part) {
            Ok(guard) => Ok(MappedRwLockReadGuard { guard, _held }),
            Err(guard) => Err(RwLockReadGuard { guard, _held }),
        }
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mutex").field(self.class).finish()
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RwLock").field(self.class).finish()
    }
}

/// A condition to wait for. The mutex counts as held while it is waited for: the thread takes it
/// again before it does anything else, and holds what it held besides all the while.
#[derive(Debug, Default)]
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    /// One that nobody waits for.
    pub const fn new() -> Condvar {
        Condvar(parking_lot::Condvar::new())
    }

    /// Lets go of the mutex until it is notified.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.0.wait(&mut guard.guard);
    }

    /// As [`wait`](Condvar::wait), but not longer than this.
    pub fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        longest: Duration,
    ) -> WaitTimeoutResult {
        self.0.wait_for(&mut guard.guard, longest)
    }

    /// As [`wait`](Condvar::wait), but not longer than until then.
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, end: Instant) -> WaitTimeoutResult {
        self.0.wait_until(&mut guard.guard, end)
    }

    /// Wakes one thread.
    pub fn notify_one(&self) -> bool {
        self.0.notify_one()
    }

    /// Wakes all threads; how many.
    pub fn notify_all(&self) -> usize {
        self.0.notify_all()
    }
}
