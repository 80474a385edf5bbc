//! Goal: crashes while several threads work leave a sound pool, and no thread loses an operation
//! that had returned, though records of several transactions under way are in the journal at once.
//! Method: threads append pages to files of their own, and create and remove names in a shared
//! directory and in their own, on a recording medium that lets other threads go first at random;
//! images of random instants are opened and checked.

mod support;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};

use limpid_fs::{Access, BLOCK, Fs, RenameFlags};
use limpid_pmem::{Durability, Media, MediaError, Persist, Recorder, VecMedia};
use support::crash::Crash;
use support::{DIR, FILE, MIB, open, pool, read, seed, write};

const THREADS: usize = 4;

/// A medium on which a fence sometimes takes long enough for other threads to do much.
struct Unsteady(Arc<Recorder<VecMedia>>);

impl Unsteady {
    fn stumble(&self) {
        if fastrand::u32(..40) == 0 {
            (0..200).for_each(|_| std::thread::yield_now());
        }
    }
}

impl Media for Unsteady {
    fn len(&self) -> u64 {
        self.0.len()
    }
    fn granularity(&self) -> u64 {
        self.0.granularity()
    }
    fn durability(&self) -> Durability {
        self.0.durability()
    }
    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.0.read(at, into)
    }
    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        self.0.write(at, from, persist)
    }
    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        self.0.zero(range, persist)
    }
    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError> {
        self.0.copy(from, to, len, persist)
    }
    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        self.0.load_u64(at)
    }
    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.0.store_u64(at, value)
    }
    fn flush(&self, range: Range<u64>) {
        self.0.flush(range);
    }
    fn fence(&self) {
        self.stumble();
        self.0.fence();
    }
    fn sync(&self, range: Range<u64>) -> Result<(), MediaError> {
        self.0.sync(range)
    }
}

/// Appends pages, each full of its own number; between them makes and removes names. Notes how
/// many events were recorded when each append had returned.
fn work(fs: &Fs, recorder: &Recorder<VecMedia>, thread: usize, done: &AtomicU64) -> Vec<usize> {
    let shared = fs.lookup(fs.root(), b"shared").unwrap().ino();
    let own = fs.lookup(fs.root(), format!("own{thread}").as_bytes()).unwrap().ino();
    let file = fs.open_child(fs.root(), format!("file{thread}").as_bytes()).unwrap();
    let mut returned = Vec::new();
    for page in 0..40u64 {
        let bytes = [page as u8 + 1; BLOCK as usize];
        write(&file, &**fs.media(), page * BLOCK, &bytes).unwrap();
        returned.push(recorder.recorded());
        let name = format!("{thread}-{page}").into_bytes();
        fs.release(fs.create(shared, &name, FILE).unwrap()).unwrap();
        for round in 0..4 {
            let (one, two) = (format!("{page}-{round}").into_bytes(), b"moved");
            fs.release(fs.create(own, &one, FILE).unwrap()).unwrap();
            fs.rename(own, &one, own, two, RenameFlags::empty()).unwrap();
        }
        if page % 2 == 1 {
            fs.unlink(shared, &name).unwrap();
        }
        // Nodes and blocks that change their use: freed by one thread, taken by another.
        if page % 8 == 7 {
            let scratch = fs.create(shared, format!("s{thread}").as_bytes(), FILE).unwrap();
            for hole in 0..8 {
                write(&scratch, &**fs.media(), hole * 3 * BLOCK, &[0xee; 100]).unwrap();
            }
            fs.unlink(shared, format!("s{thread}").as_bytes()).unwrap();
            fs.release(scratch).unwrap();
        }
    }
    fs.release(file).unwrap();
    done.fetch_add(1, Ordering::Relaxed);
    returned
}

fn check(image: &[u8], returned: &[Vec<usize>], instant: usize) -> u32 {
    let media: Arc<dyn Media> = Arc::new(VecMedia::from_bytes(image));
    let (fs, report) = Fs::open(media, Access::ReadWrite).unwrap();
    assert_eq!(fs.check(), []);
    for (thread, returned) in returned.iter().enumerate() {
        let least = returned.iter().filter(|events| **events <= instant).count() as u64;
        let file = fs.open_child(fs.root(), format!("file{thread}").as_bytes()).unwrap();
        let pages = file.size() / BLOCK;
        assert!(pages >= least && pages <= least + 1, "{pages} pages, {least} had returned");
        for page in 0..pages {
            let bytes = read(&file, &**fs.media(), page * BLOCK, BLOCK);
            assert!(bytes.iter().all(|byte| *byte == page as u8 + 1));
        }
        fs.release(file).unwrap();
    }
    report.recovered
}

#[test]
fn crashes_under_several_threads() {
    let mut random = fastrand::Rng::with_seed(seed());
    let fresh = pool(8 * MIB);
    fresh.release(fresh.create(fresh.root(), b"shared", DIR).unwrap()).unwrap();
    for thread in 0..THREADS {
        let name = format!("file{thread}").into_bytes();
        fresh.release(fresh.create(fresh.root(), &name, FILE).unwrap()).unwrap();
        let name = format!("own{thread}").into_bytes();
        fresh.release(fresh.create(fresh.root(), &name, DIR).unwrap()).unwrap();
    }
    let mut image = vec![0; 8 * MIB as usize];
    fresh.media().read(0, &mut image).unwrap();
    let mut most = 0;
    for _ in 0..3 {
        let recorder = Arc::new(Recorder::new(VecMedia::from_bytes(&image)));
        let fs = open(Arc::new(Unsteady(recorder.clone())));
        let (done, begun) = (AtomicU64::new(0), Barrier::new(THREADS));
        let returned: Vec<_> = std::thread::scope(|scope| {
            let start = |thread| {
                let (fs, recorder, done, begun) = (&fs, &recorder, &done, &begun);
                scope.spawn(move || {
                    // None is done before another begins.
                    begun.wait();
                    work(fs, recorder, thread, done)
                })
            };
            let threads: Vec<_> = (0..THREADS).map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(fs.check(), []);
        let mut crash = Crash::new(image.clone());
        let events = recorder.take();
        for (instant, event) in events.iter().enumerate() {
            crash.event(event);
            if random.usize(..events.len()) < 150 {
                most = most.max(check(&crash.stored, &returned, instant + 1));
                let percent = random.u32(..=100);
                let image = crash.power_loss(&mut random, percent);
                most = most.max(check(&image, &returned, instant + 1));
            }
        }
    }
    assert!(most > 1, "the threads never overlapped");
    eprintln!("at most {most} transactions were replayed at once");
}
