//! Goal: making and opening a large pool costs little, whatever is in it.
//! Method: a pool in a sparse file of 64 GiB; how much of the file exists after it was made, and
//! how many bytes opening it reads, empty and with many files. Times are printed, not judged.

mod support;

use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use limpid_fs::{Access, FormatOptions, Fs};
use limpid_pmem::{Durability, Media, MediaError, Medium, OpenOptions, Persist};
use support::{FILE, MIB};

/// Counts the bytes that are read.
struct Counter {
    media: Medium,
    read: AtomicU64,
}

impl Media for Counter {
    fn len(&self) -> u64 {
        self.media.len()
    }
    fn granularity(&self) -> u64 {
        self.media.granularity()
    }
    fn durability(&self) -> Durability {
        self.media.durability()
    }
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.read.fetch_add(into.len() as u64, Ordering::Relaxed);
        self.media.read(at, into)
    }
    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        self.media.write(at, from, persist)
    }
    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        self.media.zero(range, persist)
    }
    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError> {
        self.media.copy(from, to, len, persist)
    }
    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        self.media.load_u64(at)
    }
    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.media.store_u64(at, value)
    }
    fn flush(&self, range: Range<u64>) {
        self.media.flush(range);
    }
    fn fence(&self) {
        self.media.fence();
    }
    fn sync(&self, range: Range<u64>) -> Result<(), MediaError> {
        self.media.sync(range)
    }
}

#[test]
fn a_large_pool_is_made_and_opened_fast() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let size = 64 * 1024 * MIB;
    let media = match Medium::create(&path, size, &OpenOptions::default()) {
        Ok(media) => Arc::new(Counter { media, read: AtomicU64::new(0) }),
        Err(error) => {
            eprintln!("skipped: no sparse file of 64 GiB here: {error}");
            return;
        }
    };
    let start = Instant::now();
    let shared: Arc<dyn Media> = media.clone();
    Fs::format(&shared, &FormatOptions::default()).unwrap();
    let allocated = std::fs::metadata(&path).unwrap().blocks() * 512;
    eprintln!("made in {} us, {} KiB of the file", start.elapsed().as_micros(), allocated >> 10);
    assert!(allocated < 2 * MIB);
    let open = || {
        media.read.store(0, Ordering::Relaxed);
        let start = Instant::now();
        let (fs, _) = Fs::open(media.clone(), Access::ReadWrite).unwrap();
        let (time, read) = (start.elapsed(), media.read.load(Ordering::Relaxed));
        eprintln!("opened in {} us, {} KiB read", time.as_micros(), read >> 10);
        (fs, read)
    };
    let (fs, empty) = open();
    for number in 0..20_000 {
        let name = format!("name{number}").into_bytes();
        fs.release(fs.create(fs.root(), &name, FILE).unwrap()).unwrap();
    }
    fs.close().unwrap();
    drop(fs);
    // Records that were retired are still looked at: the journal bounds that.
    let (fs, full) = open();
    assert!(full <= empty + 2 * MIB, "{full} bytes instead of {empty}");
    assert!(empty < MIB && full < 3 * MIB);
    assert!(fs.lookup(fs.root(), b"name19999").is_ok());
}
