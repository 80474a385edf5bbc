//! Goal: the block map shows what was written, whatever is punched, allocated, shifted or cut.
//! Method: random operations on files and on plain byte arrays side by side, with comparison and
//! a check of the pool in between.

mod support;

use std::sync::Arc;

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{Access, BLOCK, Fs, Inode};
use limpid_pmem::{Media, Persist};
use support::{FILE, MIB, pool, read, seed, write};

struct Twin {
    name: Vec<u8>,
    inode: Arc<Inode>,
    bytes: Vec<u8>,
}

/// Zeroes the rest of the last page, as the DAX layer does before it cuts a file.
fn zero_tail(inode: &Inode, media: &dyn Media, size: u64) {
    if size.is_multiple_of(BLOCK) {
        return;
    }
    let page = size / BLOCK;
    let extent = inode.begin(PageRange::new(page, page + 1), limpid_dax::Intent::Read).unwrap();
    if extent.backing == limpid_dax::Backing::Mapped {
        let at = extent.device_at(size);
        media.zero(at..extent.device + BLOCK, Persist::Yes).unwrap();
    }
}

impl Twin {
    fn step(&mut self, random: &mut fastrand::Rng, media: &dyn Media, max: u64) {
        let max_pages = max / BLOCK;
        let start = random.u64(..max_pages - 1);
        let len = 1 + random.u64(..(max_pages - start).min(40));
        let pages = PageRange::new(start, start + len);
        let bytes = pages.bytes();
        let size = self.bytes.len() as u64;
        let zero = |data: &mut Vec<u8>| {
            let (from, to) = (bytes.start.min(size) as usize, bytes.end.min(size) as usize);
            data[from..to].fill(0);
        };
        match random.u32(..20) {
            0..10 => {
                let offset = random.u64(..max - 1);
                let len = 1 + random.u64(..(max - offset).min(60_000));
                let data: Vec<u8> = (0..len).map(|_| random.u8(1..)).collect();
                write(&self.inode, media, offset, &data).unwrap();
                let end = (offset + len) as usize;
                self.bytes.resize(self.bytes.len().max(end), 0);
                self.bytes[offset as usize..end].copy_from_slice(&data);
            }
            10 => {
                let size = random.u64(..max);
                if size < self.bytes.len() as u64 {
                    zero_tail(&self.inode, media, size);
                }
                self.inode.set_size(size).unwrap();
                self.bytes.resize(size as usize, 0);
            }
            11..13 => {
                self.inode.punch(pages).unwrap();
                zero(&mut self.bytes);
            }
            13 => {
                let grow = random.bool().then_some(bytes.end);
                self.inode.make_unwritten(pages, grow).unwrap();
                zero(&mut self.bytes);
                self.bytes.resize(size.max(grow.unwrap_or(0)) as usize, 0);
            }
            14..16 => {
                let grow = random.bool().then_some(bytes.end);
                self.inode.allocate(pages, grow).unwrap();
                self.bytes.resize(size.max(grow.unwrap_or(0)) as usize, 0);
            }
            16..18 if bytes.end <= size => {
                self.inode.collapse(pages).unwrap();
                self.bytes.drain(bytes.start as usize..bytes.end as usize);
            }
            18..20 if bytes.start < size && size + len * BLOCK < max => {
                self.inode.insert(pages).unwrap();
                let hole = std::iter::repeat_n(0, (len * BLOCK) as usize);
                let at = bytes.start as usize;
                self.bytes.splice(at..at, hole);
            }
            _ => {}
        }
    }

    fn compare(&self, media: &dyn Media) {
        assert_eq!(self.inode.size(), self.bytes.len() as u64);
        let found = read(&self.inode, media, 0, self.bytes.len() as u64);
        if let Some(at) = found.iter().zip(&self.bytes).position(|(a, b)| a != b) {
            panic!("byte {at} is {} instead of {}", found[at], self.bytes[at]);
        }
        self.seek();
    }

    /// Data and holes alternate, cover the file, and what is called a hole is zero.
    fn seek(&self) {
        let mut at = 0;
        while let Some(data) = self.inode.seek_data(at).unwrap() {
            assert!(data >= at);
            assert!(self.bytes[at as usize..data as usize].iter().all(|byte| *byte == 0));
            at = self.inode.seek_hole(data).unwrap().unwrap();
            assert!(at > data);
        }
        assert!(self.bytes[at as usize..].iter().all(|byte| *byte == 0));
    }
}

fn run(mib: u64, files: usize, steps: usize, max: u64) {
    let mut random = fastrand::Rng::with_seed(seed());
    let mut fs = pool(mib * MIB);
    let media = fs.media().clone();
    let mut twins: Vec<Twin> = (0..files)
        .map(|number| {
            let name = format!("file{number}").into_bytes();
            let inode = fs.create(fs.root(), &name, FILE).unwrap();
            Twin { name, inode, bytes: Vec::new() }
        })
        .collect();
    for step in 1..=steps {
        let number = random.usize(..files);
        twins[number].step(&mut random, &*media, max);
        if step % (steps / 5) == 0 {
            twins.iter().for_each(|twin| twin.compare(&*media));
            assert_eq!(fs.check(), [], "step {step}");
            let old = std::mem::take(&mut twins);
            let old: Vec<_> = old.into_iter().map(|twin| (twin.name, twin.bytes)).collect();
            drop(fs);
            fs = Fs::open(media.clone(), Access::ReadWrite).unwrap().0;
            let reopen = |(name, bytes): (Vec<u8>, Vec<u8>)| {
                let inode = fs.open_child(fs.root(), &name).unwrap();
                Twin { name, inode, bytes }
            };
            twins = old.into_iter().map(reopen).collect();
            twins.iter().for_each(|twin| twin.compare(&*media));
        }
    }
    for twin in twins {
        fs.release(twin.inode).unwrap();
        assert!(fs.unlink(fs.root(), &twin.name).unwrap().freed);
    }
    assert_eq!(fs.check(), []);
}

#[test]
fn files_behave_like_arrays() {
    run(64, 4, 4000, 6 * MIB);
}

#[test]
fn small_files_behave_like_arrays() {
    run(16, 12, 4000, 200_000);
}
