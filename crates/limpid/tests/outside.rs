//! Goal: a cache outside is kept out of just the bytes that change, from before the change until
//! after it, and is told of names and attributes when they have changed.
//!
//! Method: a cache that looks at the file when it is called, past itself.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use limpid::{File, Held, Opening, OutsideCache, Pool, RenameFlags};

const PAGE: u64 = 4096;
const LEN: u64 = 8 * PAGE;

/// What the cache was told, and what it saw of the file.
#[derive(Default)]
struct Calls {
    /// The ranges it was kept out of, with the bytes before and after.
    changes: Vec<(Range<u64>, Vec<u8>, Vec<u8>)>,
    fetched: Vec<Range<u64>>,
    determined: Vec<Range<u64>>,
    /// What was taken out or put in.
    moved: Vec<Range<u64>>,
    attributes: Vec<u64>,
    /// Names, and which inode stood there then.
    names: Vec<(String, Option<u64>)>,
    gone: Vec<u64>,
    /// Done once when the cache is kept out: somebody is faster.
    faster: Option<Box<dyn FnOnce() + Send>>,
}

struct Cache {
    pool: Pool,
    calls: Mutex<Calls>,
}

impl Cache {
    fn new() -> Arc<Cache> {
        let pool = Pool::memory(32 << 20).unwrap();
        let cache = Arc::new(Cache { pool, calls: Mutex::default() });
        let weak: std::sync::Weak<dyn OutsideCache> = Arc::downgrade(&cache) as _;
        assert!(cache.pool.set_outside_cache(weak));
        cache
    }

    /// The file past the cache.
    fn file(&self, ino: u64) -> File {
        self.pool.inodes().open(ino, Opening::BOTH).unwrap()
    }

    fn bytes(&self, ino: u64) -> Vec<u8> {
        let file = self.file(ino);
        let mut bytes = vec![0; file.len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn take(&self) -> Calls {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }
}

impl OutsideCache for Cache {
    fn write_back(&self, _: u64, bytes: Range<u64>) {
        self.calls.lock().unwrap().fetched.push(bytes);
    }
    fn write_back_holes(&self, _: u64, _: Range<u64>) {}
    fn determined(&self, _: u64, bytes: Range<u64>) {
        self.calls.lock().unwrap().determined.push(bytes);
    }
    fn collapsed(&self, _: u64, bytes: Range<u64>) {
        self.calls.lock().unwrap().moved.push(bytes);
    }
    fn inserted(&self, _: u64, bytes: Range<u64>) {
        self.calls.lock().unwrap().moved.push(bytes);
    }
    fn lost(&self, _: u64) -> Option<i32> {
        None
    }
    fn keep_out(&self, ino: u64, bytes: Range<u64>) -> u64 {
        let before = self.bytes(ino);
        let mut calls = self.calls.lock().unwrap();
        calls.changes.push((bytes, before, Vec::new()));
        let (number, faster) = (calls.changes.len() as u64 - 1, calls.faster.take());
        drop(calls);
        if let Some(faster) = faster {
            faster();
        }
        number
    }
    fn readmit(&self, ino: u64, kept_out: u64) {
        let after = self.bytes(ino);
        self.calls.lock().unwrap().changes[kept_out as usize].2 = after;
    }
    fn attributes_changed(&self, ino: u64) {
        self.calls.lock().unwrap().attributes.push(ino);
    }
    fn name_changed(&self, dir: u64, name: &[u8]) {
        let found = self.pool.inodes().lookup(dir, name).ok().map(|held| held.ino());
        let name = String::from_utf8(name.to_vec()).unwrap();
        self.calls.lock().unwrap().names.push((name, found));
    }
    fn last_name_gone(&self, held: Held) {
        assert_eq!(held.metadata().nlink, 0);
        self.calls.lock().unwrap().gone.push(held.ino());
    }
}

fn cached_file() -> (Arc<Cache>, File, u64) {
    let cache = Cache::new();
    let file = File::create(&cache.pool, "/f").unwrap();
    let ino = file.metadata().unwrap().ino;
    cache.file(ino).write_all_at(&[1; LEN as usize], 0).unwrap();
    cache.take();
    (cache, file, ino)
}

type Change = fn(&File);

/// Each way to change bytes.
const CHANGES: [(&str, Change); 9] = [
    ("write", |file| file.write_all_at(&[2; 100], PAGE + 50).unwrap()),
    ("write behind the end", |file| file.write_all_at(&[2; 100], LEN + 5000).unwrap()),
    ("append", |file| assert_eq!(file.append(&[2; 5000]).unwrap(), (LEN, 5000))),
    ("shrink", |file| file.set_len(2 * PAGE + 10).unwrap()),
    ("grow", |file| file.set_len(LEN + 10).unwrap()),
    ("punch", |file| file.punch_hole(PAGE + 1, 2 * PAGE).unwrap()),
    ("zero", |file| file.zero_range(PAGE, 2 * PAGE, true).unwrap()),
    ("collapse", |file| file.collapse_range(PAGE, PAGE).unwrap()),
    ("insert", |file| file.insert_range(PAGE, PAGE).unwrap()),
];

#[test]
fn the_cache_is_kept_out_while_bytes_change() {
    for (name, change) in CHANGES {
        let (cache, file, ino) = cached_file();
        change(&file);
        let calls = cache.take();
        let [(range, before, after)] = &calls.changes[..] else { panic!("{name}: kept out once") };
        assert_eq!(before, &[1; LEN as usize], "{name}: before the change");
        assert_eq!(after, &cache.bytes(ino), "{name}: after the change");
        let all = before.len().max(after.len());
        let at = |bytes: &[u8], index: usize| bytes.get(index).copied();
        let differs = (0..all).filter(|index| at(before, *index) != at(after, *index));
        let kept = differs.clone().all(|index| range.contains(&(index as u64)));
        assert!(differs.count() > 0 && kept, "{name}: {range:?}");
    }
}

#[test]
fn what_is_determined_is_told() {
    let determined = |change: Change| {
        let (cache, file, _ino) = cached_file();
        change(&file);
        cache.take().determined
    };
    assert_eq!(determined(|file| file.write_all_at(&[2; 100], 50).unwrap()), [50..150]);
    let append: Change = |file| assert_eq!(file.append(&[2; 100]).unwrap(), (LEN, 100));
    assert_eq!(determined(append), [LEN..LEN + 100]);
    assert_eq!(determined(|file| file.punch_hole(5, 10).unwrap()), [5..15]);
    assert_eq!(determined(|file| file.zero_range(5, 10, true).unwrap()), [5..15]);
    assert_eq!(determined(|file| file.set_len(7).unwrap()), [7..u64::MAX]);
}

#[test]
fn what_moves_is_told() {
    let (cache, file, _ino) = cached_file();
    file.collapse_range(PAGE, PAGE).unwrap();
    assert_eq!(cache.take().moved, [PAGE..2 * PAGE]);
    file.insert_range(0, PAGE).unwrap();
    assert_eq!(cache.take().moved, [0..PAGE]);
}

#[test]
fn an_append_to_a_file_that_shrank_meanwhile_keeps_out_of_where_it_lies() {
    let (cache, file, ino) = cached_file();
    let shorter = cache.file(ino);
    cache.calls.lock().unwrap().faster = Some(Box::new(move || shorter.set_len(100).unwrap()));
    assert_eq!(file.append(&[2; 10]).unwrap(), (100, 10));
    let calls = cache.take();
    let covers = |(range, ..): &(Range<u64>, _, _)| range.start <= 100 && range.end >= 110;
    assert!(calls.changes.iter().any(covers), "the cache may have the bytes it lies at");
}

#[test]
fn reads_fetch_what_they_read() {
    let (cache, file, _ino) = cached_file();
    file.read_exact_at(&mut [0; 100], 50).unwrap();
    assert_eq!(cache.take().fetched, [50..150]);
}

#[test]
fn names_are_told_when_they_have_changed() {
    let (cache, _file, ino) = cached_file();
    let pool = &cache.pool;
    let names = |calls: &Calls| calls.names.clone();
    pool.hard_link("/f", "/second").unwrap();
    let calls = cache.take();
    assert_eq!(names(&calls), [("second".to_owned(), Some(ino))]);
    assert!(calls.attributes.contains(&ino), "the number of its names");
    pool.write("/other", b"").unwrap();
    let other = pool.metadata("/other").unwrap().ino;
    cache.take();
    pool.rename("/second", "/other").unwrap();
    let calls = cache.take();
    let told = names(&calls);
    assert!(told.contains(&("other".to_owned(), Some(ino))), "{told:?}");
    assert!(told.contains(&("second".to_owned(), None)), "{told:?}");
    assert_eq!(calls.gone, [other]);
    assert!(calls.attributes.contains(&other) && calls.attributes.contains(&ino));
    pool.create_dir("/d", 0o755).unwrap();
    let dir = pool.metadata("/d").unwrap().ino;
    cache.take();
    pool.rename_with("/d", "/other", RenameFlags::EXCHANGE).unwrap();
    let told = names(&cache.take());
    assert!(told.contains(&("d".to_owned(), Some(ino))), "{told:?}");
    assert!(told.contains(&("other".to_owned(), Some(dir))), "{told:?}");
    pool.remove_dir("/other").unwrap();
    pool.remove_file("/d").unwrap();
    pool.remove_file("/f").unwrap();
    let calls = cache.take();
    let gone = ["other", "d", "f"].map(|name| (name.to_owned(), None));
    assert_eq!(names(&calls), gone);
    assert_eq!(calls.gone, [dir, ino], "the last names only");
}
