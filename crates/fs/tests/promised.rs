//! Goal: what was promised room keeps it: on a full pool no write into allocated space fails, in
//! whatever order, nor does what frees space or needs none.
//! Method: a model of what each file holds, with random operations on a pool that others fill up
//! again and again, opened again now and then; and the orders of writes that need most nodes.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{Access, BLOCK, Fs, FsError, Inode, RenameFlags};
use support::{FILE, MIB, pool, read, seed, write};

/// What each page of a file that has a block holds: the byte it is full of.
type Pages = BTreeMap<u64, u8>;

struct Model {
    fs: Arc<Fs>,
    files: BTreeMap<u32, Pages>,
    random: fastrand::Rng,
}

fn name(number: u32) -> Vec<u8> {
    format!("file{number}").into_bytes()
}

/// Takes all space that something new can have: runs first, single pages then.
fn fill_up(filler: &Inode) {
    let end = filler.attributes().size / BLOCK + 1;
    for len in [64, 1] {
        let mut page = end.next_multiple_of(1 << 20);
        loop {
            match filler.allocate(PageRange::new(page, page + len), Some((page + len) * BLOCK)) {
                Ok(()) => page += len + 1,
                Err(error) => {
                    assert_eq!(error, FsError::NoSpace);
                    break;
                }
            }
        }
    }
}

impl Model {
    fn open(&self, number: u32) -> Arc<Inode> {
        self.fs.open_child(self.fs.root(), &name(number)).unwrap()
    }

    /// Creates a file with allocated space, if there is room.
    fn allocate(&mut self, number: u32) {
        let root = self.fs.root();
        let pages = self.files.entry(number).or_default();
        let inode = match self.fs.open_child(root, &name(number)) {
            Ok(inode) => inode,
            Err(FsError::NotFound) => match self.fs.create(root, &name(number), FILE) {
                Ok(inode) => inode,
                Err(error) => {
                    assert_eq!(error, FsError::NoSpace);
                    self.files.remove(&number);
                    return;
                }
            },
            Err(error) => panic!("{error:?}"),
        };
        let start = self.random.u64(..300);
        let len = if self.random.bool() { self.random.u64(1..9) } else { self.random.u64(9..200) };
        let size = self.random.bool().then_some((start + len) * BLOCK);
        match inode.allocate(PageRange::new(start, start + len), size) {
            Ok(()) => (start..start + len).for_each(|page| {
                pages.entry(page).or_insert(0);
            }),
            Err(error) => assert_eq!(error, FsError::NoSpace),
        }
        self.fs.release(inode).unwrap();
    }

    /// Any file, and a page of it that has a block.
    fn any(&mut self) -> Option<(u32, u64)> {
        let files: Vec<u32> = self.files.keys().copied().collect();
        let number = *files.get(self.random.usize(..files.len().max(1)))?;
        let pages: Vec<u64> = self.files[&number].keys().copied().collect();
        Some((number, *pages.get(self.random.usize(..pages.len().max(1)))?))
    }

    fn step(&mut self) {
        let Some((number, page)) = self.any() else { return };
        let inode = self.open(number);
        let pages = self.files.get_mut(&number).unwrap();
        let run = PageRange::new(page, page + self.random.u64(1..12));
        let part: Vec<u64> = pages.range(run.start.0..run.end.0).map(|(page, _)| *page).collect();
        match self.random.u32(..20) {
            0 => {
                inode.punch(run).expect("a hole makes room");
                pages.retain(|page, _| !part.contains(page));
            }
            1 => {
                let whole = part.len() as u64 == run.len();
                if whole {
                    inode.make_unwritten(run, None).expect("all of it has blocks");
                    pages.range_mut(run.start.0..run.end.0).for_each(|(_, byte)| *byte = 0);
                }
            }
            2 => {
                inode.set_size(page * BLOCK).expect("a cut makes room");
                pages.retain(|other, _| *other < page);
            }
            3 => {
                self.fs
                    .unlink(self.fs.root(), &name(number))
                    .expect("an open file can lose its name");
                self.files.remove(&number);
            }
            4 => {
                let other = *self.files.keys().next().unwrap();
                let root = self.fs.root();
                let flags = RenameFlags::empty();
                // It is open, so the replaced file becomes an orphan.
                self.fs.rename(root, &name(other), root, &name(number), flags).unwrap();
                if other != number {
                    let moved = self.files.remove(&other).unwrap();
                    self.files.insert(number, moved);
                }
            }
            _ => {
                // All pages that follow on each other, or just the one.
                let len =
                    part.iter().zip(page..).take_while(|(have, want)| **have == *want).count();
                let len = if self.random.bool() { len } else { 1 };
                let byte = self.random.u8(1..);
                let bytes = vec![byte; len * BLOCK as usize];
                let done = write(&inode, &**self.fs.media(), page * BLOCK, &bytes);
                let free = self.fs.statfs();
                assert_eq!(done, Ok(()), "page {page} of {number} has a block; {free:?}");
                pages.extend((page..page + len as u64).map(|page| (page, byte)));
            }
        }
        self.fs.release(inode).unwrap();
    }

    fn compare(&self) {
        assert_eq!(self.fs.check(), []);
        for (number, pages) in &self.files {
            let inode = self.open(*number);
            let bytes = read(&inode, &**self.fs.media(), 0, inode.size());
            for (page, bytes) in bytes.chunks(BLOCK as usize).enumerate() {
                let byte = pages.get(&(page as u64)).copied().unwrap_or(0);
                assert!(bytes.iter().all(|other| *other == byte), "page {page} of {number}");
            }
            self.fs.release(inode).unwrap();
        }
    }
}

#[test]
fn writes_to_allocated_space_never_fail() {
    let mut random = fastrand::Rng::with_seed(seed());
    for round in 0..if std::env::var_os("LIMPID_NIGHT").is_some() { 300 } else { 6 } {
        let fs = pool(4 * MIB + round % 3 * 8 * MIB);
        let mut model = Model { fs, files: BTreeMap::new(), random: random.fork() };
        for number in 0..40 {
            model.allocate(number);
        }
        let filler = model.fs.create(model.fs.root(), b"filler", FILE).map(|inode| inode.ino());
        for step in 0..400 {
            if step % 40 == 0
                && let Ok(ino) = filler
            {
                let inode = model.fs.inode(ino).unwrap();
                fill_up(&inode);
                model.fs.release(inode).unwrap();
            }
            if step == 200 {
                model.compare();
                let media = model.fs.media().clone();
                model.fs.close().unwrap();
                model.fs = Fs::open(media, Access::ReadWrite).unwrap().0;
            }
            if model.random.u32(..30) == 0 {
                let number = model.random.u32(..60);
                model.allocate(number);
            }
            model.step();
        }
        model.compare();
    }
}

/// Fills a pool but for what `files` of `len` allocated pages each take, and writes their pages in
/// the order `order`.
fn written_in_order(files: u32, len: u64, order: impl Fn(u64) -> Vec<u64>, keep_size: bool) {
    let fs = pool(20 * MIB);
    let root = fs.root();
    let all: Vec<_> = (0..files)
        .map(|number| {
            let file = fs.create(root, &name(number), FILE).unwrap();
            let size = (!keep_size).then_some(len * BLOCK);
            file.allocate(PageRange::new(0, len), size).unwrap();
            file
        })
        .collect();
    let filler = fs.create(root, b"filler", FILE).unwrap();
    fill_up(&filler);
    for page in order(len) {
        for (number, file) in all.iter().enumerate() {
            let done = write(file, &**fs.media(), page * BLOCK, &[7; BLOCK as usize]);
            assert_eq!(done, Ok(()), "page {page} of file {number}");
        }
    }
    assert_eq!(fs.check(), []);
}

/// Every second page, so that each is an extent, then the others.
fn scattered(len: u64) -> Vec<u64> {
    (0..len).step_by(2).chain((1..len).step_by(2)).collect()
}

#[test]
fn every_second_page_of_one_file() {
    written_in_order(1, 4300, scattered, false);
    written_in_order(1, 4300, scattered, true);
}

#[test]
fn from_the_end_to_the_beginning() {
    let backwards = |len| scattered(len).into_iter().rev().collect();
    written_in_order(1, 4300, backwards, false);
    written_in_order(4, 1000, backwards, true);
}

#[test]
fn every_second_page_of_many_small_files() {
    written_in_order(500, 7, scattered, true);
}
