//! Goal: whatever a pool's file holds, the library neither panics nor hangs, nor takes memory out
//! of proportion; and what a repair calls sound is sound.
//! Method: pools with something of everything, one closed and one as a crash left it; fields of
//! their structures are changed and the checksums made right again, or bytes anywhere are. Each is
//! shown, checked, opened, walked, read, mapped and repaired through the API. First the mutations
//! of hostile_corpus.txt, then LIMPID_CASES random ones (2500 if not set). Memory is counted by the
//! allocator; a case that takes minutes ends the test.

mod common;
#[path = "../../fs/tests/support/damage.rs"]
#[allow(dead_code, reason = "another test uses the rest")]
mod damage;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::rng::Rng;
use limpid::{DumpOf, File, FileKind, Pool, PoolOptions};

const LEN: u64 = 5 << 20;
/// Most memory that a case may take at once.
const MEMORY: usize = 32 << 20;
/// Longest time a case may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Counts the bytes in use and the most there were.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`; `at` came from `alloc` above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Two pools with something of everything: closed, and as it is while it is open.
fn populate(path: &Path) -> [Vec<u8>; 2] {
    let pool = Pool::create(path, LEN).unwrap();
    pool.create_dir("/dir", 0o755).unwrap();
    for number in 0..80 {
        let name = format!("/dir/name{number}{}", "x".repeat(number));
        pool.write(&name, format!("contents {number}").repeat(number * 9).as_bytes()).unwrap();
    }
    for number in (0..80).step_by(3) {
        pool.remove_file(format!("/dir/name{number}{}", "x".repeat(number))).unwrap();
    }
    let sparse = File::create(&pool, "/sparse").unwrap();
    for page in 0..60 {
        sparse.write_at(b"here", page * 5 * 4096).unwrap();
    }
    pool.symlink("dir", "/link").unwrap();
    pool.symlink("t".repeat(2000), "/long").unwrap();
    pool.hard_link("/sparse", "/dir/again").unwrap();
    let orphan = File::create(&pool, "/orphan").unwrap();
    orphan.write_at(&[5; 9000], 0).unwrap();
    pool.remove_file("/orphan").unwrap();
    let open = std::fs::read(path).unwrap();
    drop((sparse, orphan, pool));
    [std::fs::read(path).unwrap(), open]
}

/// Damages an image: its structures, or bytes anywhere, or its length.
fn hurt(image: &mut Vec<u8>, random: &mut fastrand::Rng) {
    match random.u32(..10) {
        0 => {
            for _ in 0..random.usize(1..2000) {
                let at = random.usize(..image.len());
                image[at] = random.u8(..);
            }
        }
        1 => {
            let at = random.usize(..image.len() / 4096) * 4096;
            let end = (at + random.usize(1..64) * 4096).min(image.len());
            let value = [0, 0xff, random.u8(..)][random.usize(..3)];
            image[at..end].fill(value);
        }
        2 => image.truncate(random.usize(..image.len())),
        _ => damage::damage(image, random),
    }
}

/// Walks the directories and uses what is found, as far as that goes. Errors are fine.
fn walk(pool: &Pool, path: &str, depth: u32, left: &mut u32) {
    let Ok(entries) = pool.read_dir(path) else { return };
    for entry in entries {
        let Some(rest) = left.checked_sub(1) else { return };
        *left = rest;
        let Ok(entry) = entry else { return };
        let path = format!("{path}/{}", entry.name.to_string_lossy());
        let Ok(metadata) = pool.symlink_metadata(&path) else { continue };
        let _ = pool.read_link(&path);
        if metadata.kind == FileKind::Directory && depth > 0 {
            walk(pool, &path, depth - 1, left);
        }
        if metadata.kind == FileKind::File
            && let Ok(file) = File::open(pool, &path)
        {
            let mut bytes = vec![0; 65536];
            let _ = file.read_at(&mut bytes, 0);
            let _ = file.read_at(&mut bytes, metadata.size.saturating_sub(5000));
            if let Ok(map) = file.map() {
                for at in [0, metadata.size / 2, metadata.size.saturating_sub(8)] {
                    let _ = map.read(at as usize, &mut bytes[..8]);
                }
            }
        }
    }
}

/// All that the library can do with a pool; true if it could be opened.
fn case(path: &Path, image: &[u8], random: &mut fastrand::Rng) -> bool {
    std::fs::write(path, image).unwrap();
    for of in
        [DumpOf::Roots, DumpOf::Journal, DumpOf::Inode(random.u64(..100)), DumpOf::Path(b"/dir")]
    {
        let _ = limpid::dump(path, of);
    }
    let _ = limpid::fsck(path, false, &|_| {});
    assert!(std::fs::read(path).unwrap() == image, "something that only looks changed the pool");
    let read_only = random.bool();
    let opened = PoolOptions::new().read_only(read_only).open(path);
    if let Ok(pool) = &opened {
        walk(pool, "", 4, &mut 1000);
        if !read_only {
            let _ = pool.write("/new", &[7; 20_000]);
            let _ = pool.rename("/new", "/dir/new");
            let _ = pool.remove_file("/sparse");
        }
    }
    let opened = opened.is_ok();
    if let Ok(report) = limpid::fsck(path, true, &|_| {})
        && report.left.is_empty()
    {
        let again = limpid::fsck(path, false, &|_| {}).expect("a repaired pool can be checked");
        assert!(again.findings.is_empty(), "after a repair: {}", again.findings[0]);
        let pool = Pool::open(path).expect("a repaired pool opens");
        assert_eq!(pool.check().unwrap(), Vec::<String>::new());
    }
    opened
}

/// A structure by the name that the corpus gives it: its magic, and which of those it is.
fn structure(image: &[u8], name: &str, index: usize) -> damage::Sealed {
    let all = damage::structures(image).into_iter();
    let mut same = all.filter(|place| {
        let head = &image[place.at..place.at + 8];
        head.starts_with(name.as_bytes()) || head[4..].starts_with(name.as_bytes())
    });
    same.nth(index).unwrap_or_else(|| panic!("no {name} {index} in the corpus's pool"))
}

/// Applies a line of the corpus: mutations `STRUCTURE INDEX OFFSET HEX`, divided by semicolons.
fn mutate(image: &mut [u8], line: &str) {
    for mutation in line.split(';') {
        let words: Vec<&str> = mutation.split_whitespace().collect();
        let [name, index, offset, hex] = words[..] else { panic!("not a mutation: {mutation}") };
        let place = structure(image, name, index.parse().unwrap());
        let at = place.at + offset.parse::<usize>().unwrap();
        for (byte, digits) in image[at..].iter_mut().zip(hex.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).unwrap();
            *byte = u8::from_str_radix(digits, 16).unwrap();
        }
        place.seal(image);
    }
}

/// The lines of the corpus.
fn corpus() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("hostile_corpus.txt").lines();
    lines.filter(|line| !line.starts_with('#') && !line.trim().is_empty())
}

#[test]
fn no_image_is_too_much() {
    static CASE: AtomicU64 = AtomicU64::new(0);
    std::thread::spawn(|| {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            std::thread::park_timeout(Duration::from_secs(1));
            let case = CASE.load(Ordering::Relaxed);
            if case != last {
                (last, since) = (case, Instant::now());
            } else if case != 0 && since.elapsed() > PATIENCE {
                eprintln!("seed {case} hangs");
                std::process::abort();
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    let images = populate(&path);
    let mut most = 0;
    // Runs one image and counts its memory; true if it could be opened.
    let mut run = |name: &str, image: &[u8], random: &mut fastrand::Rng| {
        let before = NOW.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let result = std::panic::catch_unwind(|| case(&path, image, &mut random.clone()));
        let Ok(opened) = result else { panic!("{name}") };
        most = most.max(MOST.load(Ordering::Relaxed).saturating_sub(before));
        assert!(most < MEMORY, "{name} takes {most} bytes of memory");
        opened
    };
    for (number, line) in corpus().enumerate() {
        CASE.store(number as u64 + 1, Ordering::Relaxed);
        for image in &images {
            let mut image = image.clone();
            mutate(&mut image, line);
            run(line, &image, &mut fastrand::Rng::with_seed(1));
        }
    }
    let cases: u64 =
        std::env::var("LIMPID_CASES").map_or(2500, |text| text.parse().expect("it is a number"));
    let first = Rng::announced("hostile").next();
    let mut opened = 0;
    for number in 0..cases {
        let seed = first.wrapping_add(number);
        CASE.store(seed, Ordering::Relaxed);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut image = images[random.usize(..2)].clone();
        hurt(&mut image, &mut random);
        opened += u64::from(run(&format!("case {number}"), &image, &mut random));
    }
    eprintln!("{opened} of {cases} pools could be opened; at most {most} bytes were in use");
    assert!(cases < 100 || (opened > cases / 4 && opened < cases));
}
