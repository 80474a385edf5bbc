//! Goal: whatever mix of operations runs, every byte that a read or a load through any map shows
//! is the one that a plain array in memory shows.
//!
//! Method: random operations over several files and maps against `Vec<u8>`s, one thread; the seed
//! is printed. After each round the pool is checked and the page tables must still agree.

mod common;

use common::rng::Rng;
use common::rounds::rounds;
use common::{PAGE, maps_work};
use limpid::{File, Map, MapOptions, Pool, PoolOptions};

/// One file and what it should hold.
struct Twin {
    name: String,
    file: File,
    bytes: Vec<u8>,
    maps: Vec<(Map, Vec<u8>, bool)>,
}

const LIMIT: u64 = 3 << 20;

impl Twin {
    fn new(pool: &Pool, name: &str) -> Twin {
        let file = File::create(pool, name).unwrap();
        Twin { name: name.to_owned(), file, bytes: Vec::new(), maps: Vec::new() }
    }

    fn step(&mut self, rng: &mut Rng) {
        let size = self.bytes.len() as u64;
        let at = self.position(rng);
        let most = if rng.below(8) == 0 { 600_000 } else { 9000 };
        let len = 1 + rng.below(most);
        match rng.below(100) {
            0..20 => self.write(rng, at, len),
            20..27 => self.append(rng, len),
            27..45 => self.read(at, len),
            45..60 => self.load(rng),
            60..72 => self.store(rng),
            72..76 => self.resize(rng.below(LIMIT)),
            76..82 => self.punch(at, len),
            82..85 => self.zero(at, len, rng.below(2) == 0),
            85..88 => self.file.allocate_keep_size(at, len).unwrap(),
            88..90 => self.shift(rng, size),
            90..95 => self.open_map(rng),
            95..98 => drop_random(&mut self.maps, rng),
            _ => self.file.sync_all().unwrap(),
        }
    }

    /// Offsets crowd around page and 2 MiB bounds.
    fn position(&self, rng: &mut Rng) -> u64 {
        let anywhere = rng.below(LIMIT - 700_000);
        match rng.below(4) {
            0 => anywhere,
            1 => anywhere / PAGE as u64 * PAGE as u64,
            2 => (2 << 20) - 5000 + rng.below(10_000),
            _ => rng.below(20_000),
        }
    }

    fn grow(&mut self, len: u64) {
        if len > self.bytes.len() as u64 {
            self.bytes.resize(len as usize, 0);
        }
    }

    fn write(&mut self, rng: &mut Rng, at: u64, len: u64) {
        let data: Vec<u8> = fill(rng, len);
        assert_eq!(self.file.write_at(&data, at).unwrap(), data.len());
        self.grow(at + len);
        self.bytes[at as usize..(at + len) as usize].copy_from_slice(&data);
    }

    fn append(&mut self, rng: &mut Rng, len: u64) {
        if self.bytes.len() as u64 + len > LIMIT {
            return;
        }
        let data = fill(rng, len);
        let (at, written) = self.file.append(&data).unwrap();
        assert_eq!((at, written), (self.bytes.len() as u64, data.len()));
        self.bytes.extend_from_slice(&data);
    }

    fn read(&mut self, at: u64, len: u64) {
        let mut data = vec![0xa5; len as usize];
        let read = self.file.read_at(&mut data, at).unwrap();
        let start = (at as usize).min(self.bytes.len());
        let end = (start + len as usize).min(self.bytes.len());
        self.compare(&data[..read], start, end, "read");
    }

    fn compare(&self, got: &[u8], start: usize, end: usize, how: &str) {
        let want = &self.bytes[start..end];
        assert_eq!(got.len(), want.len(), "{how} of {} at {start}", self.name);
        if let Some(off) = got.iter().zip(want).position(|(got, want)| got != want) {
            let (at, got, want) = (start + off, got[off], want[off]);
            panic!("{how} of {}: byte {at} is {got:#x}, should be {want:#x}", self.name);
        }
    }

    fn load(&mut self, rng: &mut Rng) {
        let Some((map, ..)) = pick(&self.maps, rng) else { return };
        let at = rng.below(map.len() as u64) as usize;
        let len = (1 + rng.below(20_000) as usize).min(map.len() - at);
        let start = map.file_range().start as usize + at;
        let mut data = vec![0xa5; len];
        let beyond = start + len > self.bytes.len().next_multiple_of(PAGE);
        match map.read(at, &mut data) {
            Ok(()) => {
                assert!(!beyond, "a load past the end of {} must fail", self.name);
                let end = (start + len).min(self.bytes.len());
                if start < end {
                    self.compare(&data[..end - start], start, end, "load");
                }
            }
            Err(_) => assert!(beyond, "load at {start}+{len} of {} failed", self.name),
        }
    }

    fn store(&mut self, rng: &mut Rng) {
        let Some((map, _, true)) = pick(&self.maps, rng) else { return };
        let at = rng.below(map.len() as u64) as usize;
        let len = (1 + rng.below(5000) as usize).min(map.len() - at);
        let start = map.file_range().start as usize + at;
        if start + len > self.bytes.len() {
            return;
        }
        let data = fill(rng, len as u64);
        map.write(at, &data).unwrap();
        self.bytes[start..start + len].copy_from_slice(&data);
    }

    fn resize(&mut self, size: u64) {
        self.file.set_len(size).unwrap();
        self.bytes.resize(size as usize, 0);
    }

    fn punch(&mut self, at: u64, len: u64) {
        self.file.punch_hole(at, len).unwrap();
        self.clear(at, len);
    }

    fn zero(&mut self, at: u64, len: u64, keep: bool) {
        self.file.zero_range(at, len, keep).unwrap();
        if !keep {
            self.grow(at + len);
        }
        self.clear(at, len);
    }

    fn clear(&mut self, at: u64, len: u64) {
        let size = self.bytes.len();
        let (start, end) = ((at as usize).min(size), ((at + len) as usize).min(size));
        self.bytes[start..end].fill(0);
    }

    fn shift(&mut self, rng: &mut Rng, size: u64) {
        let page = PAGE as u64;
        let pages = size / page;
        if pages < 3 {
            return;
        }
        let at = rng.below(pages - 1) * page;
        let len = (1 + rng.below(8)) * page;
        if rng.below(2) == 0 && at + len < size {
            self.file.collapse_range(at, len).unwrap();
            self.bytes.drain(at as usize..(at + len) as usize);
        } else if size + len < LIMIT {
            self.file.insert_range(at, len).unwrap();
            let tail = self.bytes.split_off(at as usize);
            self.bytes.resize((at + len) as usize, 0);
            self.bytes.extend_from_slice(&tail);
        }
    }

    fn open_map(&mut self, rng: &mut Rng) {
        let size = self.bytes.len() as u64;
        if size == 0 || self.maps.len() > 5 {
            return;
        }
        let start = if rng.below(2) == 0 { 0 } else { rng.below(size) };
        let end = start + 1 + rng.below(size - start);
        let write = rng.below(3) > 0;
        let map = MapOptions::new().write(write).range(start..end).map(&self.file).unwrap();
        self.maps.push((map, Vec::new(), write));
    }
}

fn fill(rng: &mut Rng, len: u64) -> Vec<u8> {
    let mut value = rng.next() as u8 | 1;
    (0..len)
        .map(|_| {
            value = value.wrapping_mul(5).wrapping_add(7);
            value
        })
        .collect()
}

fn pick<'a, T>(items: &'a [T], rng: &mut Rng) -> Option<&'a T> {
    if items.is_empty() { None } else { items.get(rng.below(items.len() as u64) as usize) }
}

fn drop_random<T>(items: &mut Vec<T>, rng: &mut Rng) {
    if !items.is_empty() {
        let at = rng.below(items.len() as u64) as usize;
        items.swap_remove(at);
    }
}

fn run(pool: &Pool, rng: &mut Rng, steps: u64) {
    let mut twins: Vec<Twin> =
        (0..3).map(|number| Twin::new(pool, &format!("/file{number}"))).collect();
    for step in 0..steps {
        let at = rng.below(3) as usize;
        twins[at].step(rng);
        if step % 4096 == 4095 {
            let fresh = format!("/fresh{step}");
            let old = std::mem::replace(&mut twins[at], Twin::new(pool, &fresh));
            pool.remove_file(&old.name).unwrap();
        }
    }
    for twin in &mut twins {
        let len = twin.bytes.len() as u64;
        twin.read(0, len + 10);
    }
    drop(twins);
    let problems = pool.check().unwrap();
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn random_operations_agree_with_an_array_in_memory() {
    if !maps_work() {
        return;
    }
    let mut rng = Rng::announced("model, memory");
    let named = common::named_pools(&PoolOptions::new(), 64 << 20);
    if named.is_empty() {
        run(&Pool::memory(64 << 20).unwrap(), &mut rng, rounds(400_000, 4_000_000));
    }
    named.iter().for_each(|pool| run(pool, &mut rng, rounds(400_000, 4_000_000)));
}

#[test]
fn random_operations_agree_without_fault_around() {
    if !maps_work() {
        return;
    }
    let mut rng = Rng::announced("model, no fault-around");
    run(&common::plain_pool(64 << 20), &mut rng, rounds(300_000, 4_000_000));
}

#[test]
fn random_operations_agree_on_a_file_treated_as_persistent() {
    if !maps_work() {
        return;
    }
    let mut rng = Rng::announced("model, file");
    let dir = tempfile::tempdir().unwrap();
    let pool = PoolOptions::new()
        .assume_persistent(true)
        .create(dir.path().join("pool"), 64 << 20)
        .unwrap();
    run(&pool, &mut rng, rounds(300_000, 4_000_000));
}

#[test]
fn the_comparison_finds_a_wrong_byte() {
    let pool = Pool::memory(16 << 20).unwrap();
    let mut twin = Twin::new(&pool, "/canary");
    twin.write(&mut Rng::new(1), 0, 5000);
    twin.bytes[4097] ^= 1;
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| twin.read(0, 5000)));
    assert!(caught.is_err());
}
