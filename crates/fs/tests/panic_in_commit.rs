//! Goal: a panic in an operation leaves a pool that can be read and recovered, whatever the moment.
//! Before its commit it is undone and others go on; inside it all changes stop, with an error of
//! their own.
//! Method: a medium that panics at its nth store or fence, for every n of each operation.

mod support;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{BLOCK, Fs, FsError, Inode, Kind, XattrFlags};
use limpid_pmem::{Durability, Media, MediaError, Persist, VecMedia};
use support::{FILE, MIB, node, open, pool, read, write};

/// Panics when `left` comes down to zero.
struct Fragile {
    inner: VecMedia,
    left: AtomicI64,
}

impl Fragile {
    fn step(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            panic!("as it was asked to");
        }
    }
}

impl Media for Fragile {
    fn len(&self) -> u64 {
        self.inner.len()
    }
    fn granularity(&self) -> u64 {
        self.inner.granularity()
    }
    fn durability(&self) -> Durability {
        self.inner.durability()
    }
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.inner.read(at, into)
    }
    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        self.step();
        self.inner.write(at, from, persist)
    }
    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        self.step();
        self.inner.zero(range, persist)
    }
    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError> {
        self.step();
        self.inner.copy(from, to, len, persist)
    }
    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        self.inner.load_u64(at)
    }
    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.step();
        self.inner.store_u64(at, value)
    }
    fn flush(&self, range: Range<u64>) {
        self.inner.flush(range);
    }
    fn fence(&self) {
        self.step();
        self.inner.fence();
    }
    fn sync(&self, range: Range<u64>) -> Result<(), MediaError> {
        self.inner.sync(range)
    }
}

type Operation = fn(&Fs, &Arc<Inode>) -> Result<(), FsError>;

const OPERATIONS: [Operation; 7] = [
    |fs, _| fs.create(fs.root(), b"new", FILE).and_then(|inode| fs.release(inode)),
    |fs, _| {
        let kind = Kind::Symlink(&[b'l'; 4000]);
        fs.create(fs.root(), b"new", node(kind)).and_then(|inode| fs.release(inode))
    },
    |fs, file| fs.set_xattr(file, b"user.large", &[6; 20_000], XattrFlags::empty()),
    |_, file| file.allocate(PageRange::new(500, 530), Some(530 * BLOCK)),
    |_, file| file.insert(PageRange::new(1, 3)),
    |_, file| file.collapse(PageRange::new(0, 200)),
    |fs, _| fs.unlink(fs.root(), b"other").map(|_| ()),
];

/// A pool with a file of many extents, and another.
fn image() -> Vec<u8> {
    let fs = pool(4 * MIB);
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    for page in 0..150 {
        write(&file, &**fs.media(), page * 2 * BLOCK, &[4; 100]).unwrap();
    }
    let other = fs.create(fs.root(), b"other", FILE).unwrap();
    write(&other, &**fs.media(), 0, &[5; 9000]).unwrap();
    let apart = fs.create(fs.root(), b"apart", FILE).unwrap();
    write(&apart, &**fs.media(), 0, &[4; 9000]).unwrap();
    fs.release(file).unwrap();
    fs.release(other).unwrap();
    fs.release(apart).unwrap();
    bytes(&**fs.media())
}

fn bytes(media: &dyn Media) -> Vec<u8> {
    let mut bytes = vec![0; media.len() as usize];
    media.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn a_panic_leaves_a_pool_that_can_be_recovered() {
    // Those that are asked for are not told.
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        if !text.contains("as it was asked to") {
            eprintln!("{text}");
        }
    }));
    let image = image();
    let (mut stopped, mut went_on) = (0, 0);
    for (number, operation) in OPERATIONS.iter().enumerate() {
        for nth in 1.. {
            let inner = VecMedia::from_bytes(&image);
            let media = Arc::new(Fragile { inner, left: AtomicI64::new(0) });
            let fs = open(media.clone());
            let file = fs.open_child(fs.root(), b"file").unwrap();
            let apart = fs.open_child(fs.root(), b"apart").unwrap();
            let free = fs.statfs().free;
            media.left.store(nth, Ordering::Relaxed);
            let done = catch_unwind(AssertUnwindSafe(|| operation(&fs, &file)));
            media.left.store(0, Ordering::Relaxed);
            if let Ok(done) = done {
                assert_eq!(done, Ok(()), "operation {number}");
                break;
            }
            let what = format!("operation {number}, store {nth}");
            assert_eq!(read(&apart, &**fs.media(), 0, 4)[..], [4; 4], "{what}");
            match fs.set_attributes(&apart, &Default::default()) {
                Ok(()) => {
                    went_on += 1;
                    assert_eq!(fs.statfs().free, free, "{what}");
                    assert_eq!(fs.check(), [], "{what}");
                    fs.release(fs.create(fs.root(), b"after", FILE).unwrap()).unwrap();
                }
                Err(error) => {
                    stopped += 1;
                    assert_eq!(error, FsError::Panicked, "{what}");
                    assert!(!error.to_string().contains("medium"), "{error}");
                    assert_eq!(fs.info().stopped_at, None);
                }
            }
            drop((file, apart));
            let again = open(Arc::new(VecMedia::from_bytes(&bytes(&*media))));
            assert_eq!(again.check(), [], "{what}");
            again.release(again.create(again.root(), b"later", FILE).unwrap()).unwrap();
        }
    }
    assert!(stopped > 20 && went_on > 10, "{stopped} stopped the pool, {went_on} did not");
}

/// Closes a file when it is dropped, as handles of programs do.
struct Closes<'a>(&'a Fs, Option<Arc<Inode>>);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.release(self.1.take().unwrap()).unwrap();
    }
}

#[test]
fn a_commit_on_the_way_out_of_another_panic_is_a_commit() {
    let fs = pool(4 * MIB);
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    fs.unlink(fs.root(), b"file").unwrap();
    let closes = Closes(&fs, Some(file));
    let done = catch_unwind(AssertUnwindSafe(move || -> u32 {
        let _closes = closes;
        panic!("as it was asked to");
    }));
    assert!(done.is_err());
    fs.release(fs.create(fs.root(), b"after", FILE).unwrap()).unwrap();
    assert_eq!((fs.statfs().files, fs.check()), (2, vec![]));
}
