//! Goal: whatever a program does with a file of a mount, by calls and through a map it made at the
//! beginning, it finds the bytes that a plain array would hold; zeroing of ranges, which fsx does
//! not know, included.
//!
//! Method: random operations on one file against a `Vec<u8>`; the seed is printed. In the end the
//! library reads the file, too. A canary leaves one operation out of the array.

mod common;
#[path = "../../fuse/tests/common/kernel_map.rs"]
mod kernel_map;
#[path = "../../limpid/tests/common/rng.rs"]
mod rng;
#[path = "../../limpid/tests/common/rounds.rs"]
mod rounds;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::Sandbox;
use common::mount::{MountPoint, can_mount};
use kernel_map::KernelMap;
use rng::Rng;
use rounds::rounds;
use rustix::fs::{Advice, FallocateFlags, copy_file_range, fadvise, fallocate};

/// The file has at most so many bytes.
const LIMIT: u64 = 200 << 10;
const PAGE: u64 = 4096;

/// A file of the mount, its map, and what it should hold.
struct Twin {
    file: File,
    map: KernelMap,
    bytes: Vec<u8>,
}

impl Twin {
    fn new(path: &Path) -> Twin {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create_new(true).open(path).unwrap();
        let map = KernelMap::new(&file, LIMIT as usize);
        Twin { file, map, bytes: Vec::new() }
    }

    fn step(&mut self, rng: &mut Rng) {
        let (at, len) = range(rng);
        match rng.below(100) {
            0..20 => self.write(rng, at, len),
            20..40 => self.read(at, len),
            40..55 => self.load(rng),
            55..70 => self.store(rng),
            70..74 => self.resize(at),
            74..80 => self.zero(at, len, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE),
            80..84 => self.zero(at, len, FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE),
            84..88 => self.zero(at, len, FallocateFlags::ZERO_RANGE),
            88..90 => self.allocate(at, len),
            90..95 => self.copy(rng, at, len),
            95..98 => fadvise(&self.file, 0, None, Advice::DontNeed).unwrap(),
            _ => self.file.sync_all().unwrap(),
        }
    }

    fn grow(&mut self, size: u64) {
        self.bytes.resize(self.bytes.len().max(size as usize), 0);
    }

    fn write(&mut self, rng: &mut Rng, at: u64, len: u64) {
        let data: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
        self.file.write_all_at(&data, at).unwrap();
        self.grow(at + len);
        self.bytes[at as usize..][..data.len()].copy_from_slice(&data);
    }

    fn read(&mut self, at: u64, len: u64) {
        let mut found = vec![0xaa; len as usize];
        let read = self.file.read_at(&mut found, at).unwrap();
        let expected = self.bytes.get(at as usize..).unwrap_or_default();
        assert_eq!(read, expected.len().min(len as usize), "bytes at {at}");
        assert!(found[..read] == expected[..read], "{read} bytes at {at}");
    }

    /// A word of the file, by its offset; none if the file has none.
    fn word(&self, rng: &mut Rng) -> Option<usize> {
        let words = self.bytes.len() as u64 / 8;
        (words > 0).then(|| rng.below(words) as usize * 8)
    }

    fn load(&mut self, rng: &mut Rng) {
        for _ in 0..8 {
            let Some(at) = self.word(rng) else { return };
            let expected = u64::from_ne_bytes(self.bytes[at..at + 8].try_into().unwrap());
            assert_eq!(self.map.load(at), expected, "the word at {at}");
        }
    }

    fn store(&mut self, rng: &mut Rng) {
        let Some(at) = self.word(rng) else { return };
        let value = rng.next();
        self.map.store(at, value);
        self.bytes[at..at + 8].copy_from_slice(&value.to_ne_bytes());
    }

    fn resize(&mut self, size: u64) {
        self.file.set_len(size).unwrap();
        self.bytes.resize(size as usize, 0);
    }

    fn zero(&mut self, at: u64, len: u64, how: FallocateFlags) {
        fallocate(&self.file, how, at, len).unwrap();
        if !how.contains(FallocateFlags::KEEP_SIZE) {
            self.grow(at + len);
        }
        let size = self.bytes.len();
        self.bytes[size.min(at as usize)..size.min((at + len) as usize)].fill(0);
    }

    fn allocate(&mut self, at: u64, len: u64) {
        fallocate(&self.file, FallocateFlags::empty(), at, len).unwrap();
        self.grow(at + len);
    }

    fn copy(&mut self, rng: &mut Rng, to: u64, len: u64) {
        let from = rng.below(LIMIT / 2);
        let apart = from + len <= to || to + len <= from;
        if !apart || from + len > self.bytes.len() as u64 {
            return;
        }
        let (mut source, mut target) = (from, to);
        while source < from + len {
            let rest = (from + len - source) as usize;
            let copied =
                copy_file_range(&self.file, Some(&mut source), &self.file, Some(&mut target), rest);
            assert_ne!(copied.unwrap(), 0, "bytes from {source}");
        }
        self.grow(to + len);
        self.bytes.copy_within(from as usize..(from + len) as usize, to as usize);
    }

    fn check(&mut self) {
        assert_eq!(self.file.metadata().unwrap().len(), self.bytes.len() as u64);
        self.read(0, LIMIT);
    }
}

/// Offsets crowd around page bounds.
fn range(rng: &mut Rng) -> (u64, u64) {
    let at = rng.below(LIMIT / 2);
    let at = if rng.below(3) == 0 { at / PAGE * PAGE } else { at };
    let most = if rng.below(8) == 0 { LIMIT / 2 } else { 2 * PAGE };
    (at, 1 + rng.below(most))
}

#[test]
fn a_program_finds_what_a_plain_array_would_hold() {
    if !can_mount() {
        return;
    }
    let mut rng = Rng::announced("a_program_finds_what_a_plain_array_would_hold");
    let sandbox = Sandbox::new();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir", "--size", "64MiB"]);
    let mut twin = Twin::new(&dir.path.join("file"));
    for number in 0..rounds(30_000, 1_000_000) {
        twin.step(&mut rng);
        if number % 64 == 0 {
            twin.check();
        }
    }
    twin.check();
    let bytes = std::mem::take(&mut twin.bytes);
    drop(twin);
    sandbox.ok(&["umount", "dir"]);
    sandbox.ok(&["fsck", "p"]);
    assert!(sandbox.ok(&["cat", "p:/file"]).stdout == bytes, "the library reads the same");
}

#[test]
fn a_forgotten_operation_is_noticed() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::new();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir", "--size", "64MiB"]);
    let noticed = std::panic::catch_unwind(|| {
        let mut twin = Twin::new(&dir.path.join("file"));
        twin.write(&mut Rng::new(1), 0, PAGE);
        let before = twin.bytes.clone();
        twin.zero(100, 1, FallocateFlags::ZERO_RANGE);
        twin.bytes = before;
        twin.check();
    });
    assert!(noticed.is_err());
    sandbox.ok(&["umount", "dir"]);
}
