//! The locks of the file system, the library and the mount, each with a class, and the checker of
//! their order.
//!
//! In builds with debug assertions every lock that is taken is compared with what the thread holds:
//!
//! - *Classes.* Who takes a lock of class B while he holds one of class A says that A comes before
//!   B. What all threads have said so far is one graph; a lock that would close a circle in it
//!   panics before it is taken, and names both ways. So a wrong order is found when it is used for
//!   the first time, by one thread alone, and not when two threads meet.
//! - *Locks of one class* are not held together, unless how they are ordered is said where they are
//!   taken: by number ([`by_number`]), the child of the only one held ([`child`]), or in any order
//!   by who holds a lock of another class ([`under`]). Each is checked.
//!
//! A lock that is tried does not wait, so it says nothing when it is taken; what is taken while it
//! is held does.
//!
//! In other builds the types are parking_lot's own and the rest is nothing.
//!
//! What is held is noted per thread: a coroutine that holds a lock must not be continued on another
//! thread, which the guards' types forbid, and must not be left for another one on its thread.
//!
//! ```
//! use limpid_locks::{Class, mutex};
//! static ACCOUNTS: Class = Class::new("accounts");
//! static LOG: Class = Class::new("log");
//! let (account, log) = (mutex(&ACCOUNTS, 7), mutex(&LOG, Vec::new()));
//! let account = account.lock();
//! log.lock().push(*account); // from now on accounts come before the log
//! ```
#![forbid(unsafe_code)]

#[cfg(debug_assertions)]
mod checked;
#[cfg(debug_assertions)]
mod order;
mod seam;

pub use seam::StdSeam;

/// What locks of one kind have in common: their place in the order. A static.
#[derive(Debug)]
pub struct Class {
    #[cfg_attr(not(debug_assertions), allow(dead_code))]
    name: &'static str,
    #[cfg(debug_assertions)]
    id: std::sync::OnceLock<usize>,
}

impl Class {
    /// A class with a name for people.
    pub const fn new(name: &'static str) -> Class {
        Class {
            name,
            #[cfg(debug_assertions)]
            id: std::sync::OnceLock::new(),
        }
    }
}

#[cfg(debug_assertions)]
mod build {
    pub use crate::checked::{
        Condvar, MappedMutexGuard, MappedRwLockReadGuard, Mutex, MutexGuard, RwLock,
        RwLockReadGuard, RwLockWriteGuard, mutex, rw_lock,
    };
    pub use crate::order::{Held, assert_none_held, by_number, child, class_here, under};
}

#[cfg(not(debug_assertions))]
mod build {
    pub use parking_lot::{
        Condvar, MappedMutexGuard, MappedRwLockReadGuard, Mutex, MutexGuard, RwLock,
        RwLockReadGuard, RwLockWriteGuard,
    };

    use crate::Class;

    /// A mutex of a class.
    #[inline]
    pub fn mutex<T>(_: &'static Class, value: T) -> Mutex<T> {
        Mutex::new(value)
    }

    /// A reader-writer lock of a class.
    #[inline]
    pub fn rw_lock<T>(_: &'static Class, value: T) -> RwLock<T> {
        RwLock::new(value)
    }

    /// The class of locks that are made at the caller's place in the source.
    #[inline]
    pub fn class_here() -> &'static Class {
        static ANY: Class = Class::new("any");
        &ANY
    }

    /// Takes a lock that is ordered by `number` among the locks of its class: whoever holds some
    /// takes one with a larger number only.
    #[inline]
    pub fn by_number<R>(_: u64, take: impl FnOnce() -> R) -> R {
        take()
    }

    /// Takes the lock of something that lies in what the one lock of its class that is held
    /// belongs to, as a directory in its parent.
    #[inline]
    pub fn child<R>(take: impl FnOnce() -> R) -> R {
        take()
    }

    /// Takes a lock that may be taken beside others of its class because a lock of class `class`
    /// is held.
    #[inline]
    pub fn under<R>(_: &'static Class, take: impl FnOnce() -> R) -> R {
        take()
    }

    /// Panics if this thread holds a lock.
    #[inline]
    pub fn assert_none_held(_: &str) {}

    /// The note that this thread holds a lock, for locks that are not this crate's.
    #[derive(Debug)]
    pub struct Held;

    impl Held {
        /// Before a lock of a class is taken: checks its order and notes it until this is dropped.
        #[inline]
        pub fn take<T>(_: &'static Class, _: &T) -> Held {
            Held
        }
    }
}

pub use build::*;
