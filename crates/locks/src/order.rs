//! What each thread holds, the graph of classes, and the checks.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Class;

/// Most classes that there can be: one bit each.
const MOST: usize = 64;

type Site = &'static Location<'static>;

/// What is behind a lock that this thread holds.
#[derive(Clone, Copy)]
struct Note {
    class: &'static Class,
    address: usize,
    number: Option<u64>,
    site: Site,
}

/// How a lock is ordered among those of its class.
#[derive(Clone, Copy)]
enum Nesting {
    Not,
    ByNumber(u64),
    Child,
    Under(&'static Class),
}

thread_local! {
    static HELD: RefCell<Vec<Note>> = const { RefCell::new(Vec::new()) };
    static NESTING: Cell<Nesting> = const { Cell::new(Nesting::Not) };
}

/// For each class the classes that come directly after it.
static AFTER: [AtomicU64; MOST] = [const { AtomicU64::new(0) }; MOST];

/// What is needed when something new is seen only.
#[derive(Default)]
struct Graph {
    classes: Vec<&'static Class>,
    /// Where the first of two classes was held, and the second taken, when that was first seen.
    seen: HashMap<(usize, usize), (Site, Site)>,
    /// The classes that are known by where their locks are made.
    made_at: HashMap<(&'static str, u32, u32), &'static Class>,
}

static GRAPH: Mutex<Option<Graph>> = Mutex::new(None);

fn graph() -> MutexGuard<'static, Option<Graph>> {
    let mut graph = GRAPH.lock().unwrap_or_else(PoisonError::into_inner);
    graph.get_or_insert_default();
    graph
}

impl Class {
    fn id(&'static self) -> usize {
        *self.id.get_or_init(|| {
            let mut graph = graph();
            let classes = &mut graph.get_or_insert_default().classes;
            assert!(classes.len() < MOST, "there are more than {MOST} classes of locks");
            classes.push(self);
            classes.len() - 1
        })
    }
}

/// The class of locks that are made at the caller's place in the source.
#[track_caller]
pub fn class_here() -> &'static Class {
    let site = Location::caller();
    let key = (site.file(), site.line(), site.column());
    // What this thread knows it knows in a child as well, where the graph may stay locked for
    // ever: another thread may hold it while this one forks.
    if let Some(class) = MADE_AT.with_borrow(|made_at| made_at.get(&key).copied()) {
        return class;
    }
    let mut graph = graph();
    let class = *graph.get_or_insert_default().made_at.entry(key).or_insert_with(|| {
        let name = format!("made at {site}").leak();
        Box::leak(Box::new(Class::new(name)))
    });
    MADE_AT.with_borrow_mut(|made_at| made_at.insert(key, class));
    class
}

thread_local! {
    /// The classes of locks that this thread has made.
    static MADE_AT: RefCell<HashMap<(&'static str, u32, u32), &'static Class>> = RefCell::default();
}

fn nested<R>(nesting: Nesting, take: impl FnOnce() -> R) -> R {
    struct Restore(Nesting);
    impl Drop for Restore {
        fn drop(&mut self) {
            NESTING.set(self.0);
        }
    }
    let _restore = Restore(NESTING.replace(nesting));
    take()
}

/// Takes a lock that is ordered by `number` among the locks of its class: whoever holds some
/// takes one with a larger number only.
pub fn by_number<R>(number: u64, take: impl FnOnce() -> R) -> R {
    nested(Nesting::ByNumber(number), take)
}

/// Takes the lock of something that lies in what the one lock of its class that is held belongs
/// to, as a directory in its parent.
pub fn child<R>(take: impl FnOnce() -> R) -> R {
    nested(Nesting::Child, take)
}

/// Takes a lock that may be taken beside others of its class because a lock of class `class` is
/// held.
pub fn under<R>(class: &'static Class, take: impl FnOnce() -> R) -> R {
    nested(Nesting::Under(class), take)
}

/// Panics if this thread holds a lock.
pub fn assert_none_held(what: &str) {
    let held = HELD.with_borrow(|held| held.first().copied());
    if let Some(note) = held.filter(|_| !std::thread::panicking()) {
        panic!("lock order: {what} while `{}` is held since {}", note.class.name, note.site);
    }
}

/// The note that this thread holds a lock, for locks that are not this crate's. It stays on its
/// thread.
#[derive(Debug)]
pub struct Held {
    address: usize,
    on_this_thread: PhantomData<*const ()>,
}

impl Held {
    /// Before a lock of a class is taken: checks its order and notes it until this is dropped.
    #[track_caller]
    pub fn take<T>(class: &'static Class, lock: &T) -> Held {
        let address = std::ptr::from_ref(lock).addr();
        let note = note(class, address, Location::caller());
        check(&note);
        Held::of(note)
    }

    /// A lock that was tried, and taken: what is tried does not wait.
    #[track_caller]
    pub(crate) fn tried<T>(class: &'static Class, lock: &T) -> Held {
        Held::of(note(class, std::ptr::from_ref(lock).addr(), Location::caller()))
    }

    fn of(note: Note) -> Held {
        let address = note.address;
        let _ = HELD.try_with(|held| held.borrow_mut().push(note));
        Held { address, on_this_thread: PhantomData }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = HELD.try_with(|held| {
            let mut held = held.borrow_mut();
            if let Some(place) = held.iter().rposition(|note| note.address == self.address) {
                held.remove(place);
            }
        });
    }
}

fn note(class: &'static Class, address: usize, site: Site) -> Note {
    let number = match NESTING.get() {
        Nesting::ByNumber(number) => Some(number),
        _ => None,
    };
    Note { class, address, number, site }
}

/// Panics if `new` must not be waited for with what this thread holds.
fn check(new: &Note) {
    if std::thread::panicking() {
        return;
    }
    let Ok(held) = HELD.try_with(|held| held.borrow().clone()) else { return };
    let same: Vec<&Note> = held.iter().filter(|note| note.class.id() == new.class.id()).collect();
    if let Some(why) = nesting_is_wrong(new, &same, &held) {
        let (name, site) = (new.class.name, new.site);
        let since: Vec<String> = same.iter().map(|note| note.site.to_string()).collect();
        panic!("lock order: `{name}` is taken at {site} {why}; held since {since:?}");
    }
    let to = new.class.id();
    for note in held.iter().filter(|note| note.class.id() != to) {
        let from = note.class.id();
        if AFTER[from].load(Ordering::Relaxed) >> to & 1 == 0 {
            add(note, new);
        }
    }
}

/// Why a lock may not be taken beside those of its class.
fn nesting_is_wrong(new: &Note, same: &[&Note], held: &[Note]) -> Option<String> {
    match NESTING.get() {
        Nesting::Under(class) => {
            let free = held.iter().any(|note| note.class.id() == class.id());
            (!free).then(|| format!("beside others, without `{}`", class.name))
        }
        _ if same.is_empty() => None,
        _ if same.iter().any(|note| note.address == new.address) => Some("twice".into()),
        Nesting::Child => (same.len() > 1).then(|| "as a child, beside two of its class".into()),
        Nesting::ByNumber(number) => {
            let below = same.iter().all(|note| note.number.is_some_and(|held| held < number));
            (!below).then(|| format!("with number {number}, which is not above those held"))
        }
        Nesting::Not => Some("while another one is held, and nothing says in which order".into()),
    }
}

/// Adds "`held` comes before `new`" to the graph, unless the other way round was seen.
fn add(held: &Note, new: &Note) {
    let (from, to) = (held.class.id(), new.class.id());
    let mut guard = graph();
    let graph = guard.get_or_insert_default();
    if let Some(path) = path(to, from) {
        let mut text = format!(
            "lock order: `{}` is taken at {} while `{}` is held since {}, but before:",
            new.class.name, new.site, held.class.name, held.site
        );
        for pair in path.windows(2) {
            let (first, second) = (graph.classes[pair[0]].name, graph.classes[pair[1]].name);
            let (since, at) = graph.seen[&(pair[0], pair[1])];
            let _ = write!(text, "\n  `{second}` at {at} while `{first}` was held since {since}");
        }
        drop(guard);
        panic!("{text}");
    }
    graph.seen.insert((from, to), (held.site, new.site));
    AFTER[from].fetch_or(1 << to, Ordering::Relaxed);
}

/// The classes from `from` to `to`, each before the next, if that is so.
fn path(from: usize, to: usize) -> Option<Vec<usize>> {
    let mut came_from = [usize::MAX; MOST];
    came_from[from] = from;
    let mut todo = vec![from];
    while let Some(at) = todo.pop() {
        if at == to {
            let mut path = vec![at];
            while path.last() != Some(&from) {
                path.push(came_from[path[path.len() - 1]]);
            }
            path.reverse();
            return Some(path);
        }
        let after = AFTER[at].load(Ordering::Relaxed);
        for next in (0..MOST).filter(|next| after >> next & 1 == 1) {
            if came_from[next] == usize::MAX {
                came_from[next] = at;
                todo.push(next);
            }
        }
    }
    None
}
