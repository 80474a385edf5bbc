//! The seam: every point where two actors can affect each other goes through these traits.
//!
//! In production they are std's locks and futexes; under the explorer each call is a step of a
//! controlled scheduler. The DAX layer uses no other synchronisation.

use core::ops::{Deref, DerefMut};

/// The set of primitives.
pub trait Seam: Send + Sync + 'static + Sized {
    /// A mutex that owns its data.
    type Mutex<T: Send + 'static>: Mutex<T>;
    /// A reader-writer lock that owns its data.
    type RwLock<T: Send + Sync + 'static>: RwLock<T>;
    /// What one sleeping thread waits on.
    type Parker: Parker;
}

/// A leaf mutex: closures keep it from being held across a wait.
pub trait Mutex<T>: Send + Sync {
    /// Makes one.
    fn new(value: T) -> Self;
    /// Runs `work` with the mutex held.
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R;
}

/// A reader-writer lock; waiting writers must not starve.
pub trait RwLock<T>: Send + Sync {
    /// Held by one of several readers.
    type Shared<'a>: Deref<Target = T>
    where
        Self: 'a;
    /// Held by the one writer.
    type Exclusive<'a>: DerefMut<Target = T>
    where
        Self: 'a;
    /// Makes one.
    fn new(value: T) -> Self;
    /// Waits for a share.
    fn shared(&self) -> Self::Shared<'_>;
    /// Waits for the whole.
    fn exclusive(&self) -> Self::Exclusive<'_>;
}

/// A one-shot event: `unpark` may come before `park`.
pub trait Parker: Send + Sync {
    /// Makes one that was not unparked yet.
    fn new() -> Self;
    /// Sleeps until `unpark` was called.
    fn park(&self);
    /// Lets the sleeper go on.
    fn unpark(&self);
}
