//! The seam of the DAX layer, each call a step of the controlled scheduler.
//!
//! - A mutex: one step, then the closure runs with nobody else in between. Mutexes taken inside a
//!   closure make no step of their own: whoever could interfere would need the outer one, or
//!   commutes with what was done before.
//! - A reader-writer lock: taking is a step. A writer that has to wait is queued, and then new
//!   readers wait behind it, as std's lock does. Giving back is no step: it only lets others go on.
//! - A parker: parking is a step if nobody has unparked it; unparking is none, for the same reason.

use std::any::type_name;
use std::hash::BuildHasher;
use std::ops::{Deref, DerefMut};
use std::sync::{TryLockError, TryLockResult};

use limpid_dax::{Mutex, Parker, RwLock, Seam};
use rustc_hash::FxBuildHasher;

use crate::sim::Pte;
use crate::world::{self, Alone, Pending};

/// Implements [`Seam`] over the scheduler.
#[derive(Debug)]
pub struct SimSeam;

impl Seam for SimSeam {
    type Mutex<T: Send + 'static> = SimMutex<T>;
    type RwLock<T: Send + Sync + 'static> = SimRwLock<T>;
    type Parker = SimParker;
}

/// What is behind a mutex, as far as the explorer has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The index: read out after each change.
    Index,
    /// The pins: read out after each change, too.
    Pins,
    /// A wait queue: known from the parkers.
    Queue,
    /// Kept for people, read by no operation: no step.
    Silent,
    /// Anything else: told apart by the order of its uses.
    Opaque,
}

fn class_of<T>() -> Class {
    let name = type_name::<T>();
    if name.ends_with("index::Index") {
        Class::Index
    } else if name.ends_with("pins::Pins") {
        Class::Pins
    } else if name.contains("wait::Waiter") {
        Class::Queue
    } else if name.ends_with("reasons::Reasons") {
        Class::Silent
    } else {
        Class::Opaque
    }
}

const GRANTED: &str = "the scheduler granted it";

/// Panics are injected: what a lock guards is used after one as before, as in production.
fn unpoisoned<G>(lock: TryLockResult<G>) -> Option<G> {
    match lock {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// A mutex under the scheduler.
#[derive(Debug)]
pub struct SimMutex<T> {
    class: Class,
    /// The file that it belongs to, if it is of an index or of pins.
    file: usize,
    data: std::sync::Mutex<T>,
}

impl<T: Send + 'static> Mutex<T> for SimMutex<T> {
    fn new(value: T) -> Self {
        let class = class_of::<T>();
        // The index of a file is made before its pins, and both before the next file's.
        let file = world::with(|world| {
            world.indexes += usize::from(class == Class::Index);
            world.indexes.saturating_sub(1)
        });
        SimMutex { class, file, data: std::sync::Mutex::new(value) }
    }

    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let alone = (self.class != Class::Silent).then(|| {
            let class = self.class;
            world::step(Pending::Step, || match class {
                Class::Index => "index".into(),
                Class::Queue => "wake".into(),
                Class::Pins => "pins".into(),
                _ => "mutex".into(),
            });
            world::with(|world| match class {
                Class::Index => {
                    world.observe(world.files[self.file].index_hash);
                    world.files[self.file].index_touched = true;
                }
                Class::Pins => {
                    world.observe(world.files[self.file].pins_hash);
                    world.files[self.file].index_touched = true;
                }
                Class::Opaque => {
                    world.observe(world.opaque);
                    if let Some(actor) = world.running {
                        world.opaque = world.actors[actor].seen;
                    }
                }
                _ => {}
            });
            Alone::new()
        });
        let data = unpoisoned(self.data.try_lock());
        let result = work(&mut data.expect("no step is made while a mutex is held"));
        drop(alone);
        result
    }
}

/// A reader-writer lock under the scheduler.
#[derive(Debug)]
pub struct SimRwLock<T> {
    /// Three for each file, in the order in which a mapping makes them.
    id: u32,
    data: std::sync::RwLock<T>,
}

/// The file whose maps a lock is of.
fn maps_of(id: u32) -> Option<usize> {
    (id % 3 == 2).then_some(id as usize / 3)
}

fn lock_name(id: u32) -> &'static str {
    match id {
        0 => "inode lock",
        1 => "invalidate lock",
        2 => "i_mmap",
        3 => "inode lock 2",
        4 => "invalidate lock 2",
        _ => "i_mmap 2",
    }
}

impl<T: Send + Sync + 'static> RwLock<T> for SimRwLock<T> {
    type Shared<'a> = Shared<'a, T>;
    type Exclusive<'a> = Exclusive<'a, T>;

    fn new(value: T) -> Self {
        let id = world::with(|world| {
            world.locks.push(Default::default());
            world.locks.len() as u32 - 1
        });
        SimRwLock { id, data: std::sync::RwLock::new(value) }
    }

    fn shared(&self) -> Shared<'_, T> {
        world::step(Pending::Shared(self.id), || format!("{} shared", lock_name(self.id)));
        world::with(|world| {
            if let Some(actor) = world.running {
                assert_eq!(world.depth, 0, "no lock is waited for under a mutex");
                let lock = &mut world.locks[self.id as usize];
                assert_eq!(lock.readers & 1 << actor, 0, "a share is taken once");
                lock.readers |= 1 << actor;
            }
            if let Some(file) = maps_of(self.id) {
                world.observe(world.files[file].maps_hash);
            }
        });
        Shared { id: self.id, data: unpoisoned(self.data.try_read()).expect(GRANTED) }
    }

    fn exclusive(&self) -> Exclusive<'_, T> {
        let what = || format!("{} exclusive", lock_name(self.id));
        world::step(Pending::Exclusive(self.id), what);
        let wait = world::with(|world| {
            let Some(actor) = world.running else { return false };
            let lock = &mut world.locks[self.id as usize];
            let busy = lock.readers != 0 || lock.writer != 0;
            if busy {
                lock.queued |= 1 << actor;
            }
            busy
        });
        if wait {
            world::note(|| "waits".into());
            world::step(Pending::Queued(self.id), what);
        }
        world::with(|world| {
            if let Some(actor) = world.running {
                let lock = &mut world.locks[self.id as usize];
                lock.queued &= !(1 << actor);
                lock.writer = 1 << actor;
            }
        });
        Exclusive { id: self.id, data: unpoisoned(self.data.try_write()).expect(GRANTED) }
    }
}

/// A held share.
#[derive(Debug)]
pub struct Shared<'a, T> {
    id: u32,
    data: std::sync::RwLockReadGuard<'a, T>,
}

impl<T> Deref for Shared<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> Drop for Shared<'_, T> {
    fn drop(&mut self) {
        world::with(|world| {
            if let Some(actor) = world.running {
                world.locks[self.id as usize].readers &= !(1 << actor);
            }
        });
    }
}

/// A lock held whole.
#[derive(Debug)]
pub struct Exclusive<'a, T> {
    id: u32,
    data: std::sync::RwLockWriteGuard<'a, T>,
}

impl<T> Deref for Exclusive<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.data
    }
}

impl<T> DerefMut for Exclusive<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.data
    }
}

impl<T> Drop for Exclusive<'_, T> {
    fn drop(&mut self) {
        world::with(|world| {
            if world.running.is_some() {
                world.locks[self.id as usize].writer = 0;
                for (map, pages) in std::mem::take(&mut world.put_off) {
                    world.tables[map].ptes.fill(pages, Pte::None);
                }
            }
            // Whoever takes this lock exclusive adds or removes a map: of one actor, the next.
            if let (Some(file), Some(actor)) = (maps_of(self.id), world.running) {
                let change = (world.files[file].maps_hash, actor, world.actors[actor].op);
                world.files[file].maps_hash = FxBuildHasher.hash_one(change);
            }
        });
    }
}

/// A parker under the scheduler.
#[derive(Debug)]
pub struct SimParker {
    id: u32,
}

impl Parker for SimParker {
    fn new() -> Self {
        world::with(|world| {
            let id = world.parkers.len() as u32;
            let actor = world.running.expect("only actors wait");
            world.parkers.push(world::Park { actor, unparked: false });
            world.actors[actor].parker = Some(id);
            SimParker { id }
        })
    }

    fn park(&self) {
        if !world::with(|world| world.parkers[self.id as usize].unparked) {
            world::step(Pending::Park(self.id), || "woken".into());
        }
        world::with(|world| {
            let actor = world.parkers[self.id as usize].actor;
            world.actors[actor].parker = None;
        });
    }

    fn unpark(&self) {
        world::with(|world| world.parkers[self.id as usize].unparked = true);
    }
}
