//! Goal: large directories, files of many extents and sparse files at the largest offsets work,
//! and opening does not depend on them.
//! Method: sizes large enough for trees of three levels, checked as a whole at the end; times are
//! printed, not judged.

mod support;

use std::time::Instant;

use limpid_dax::{Backing, Intent, Iomap, MAX_FILE_SIZE, PageRange};
use limpid_fs::{BLOCK, FsError, UNIT};
use support::{DIR, FILE, MIB, open, pool, read, write};

#[test]
fn a_directory_of_a_hundred_thousand_names() {
    let fs = pool(256 * MIB);
    let dir = fs.create(fs.root(), b"dir", DIR).unwrap();
    let names = 100_000u32;
    let start = Instant::now();
    for number in 0..names {
        fs.release(fs.create(dir.ino(), format!("name{number}").as_bytes(), FILE).unwrap())
            .unwrap();
    }
    eprintln!("create: {} ns", start.elapsed().as_nanos() / u128::from(names));
    assert_eq!(fs.check(), []);
    let media = fs.media().clone();
    let ino = dir.ino();
    drop((fs, dir));
    let start = Instant::now();
    let fs = open(media);
    eprintln!("open: {} us", start.elapsed().as_micros());
    let start = Instant::now();
    for number in 0..names {
        fs.lookup(ino, format!("name{number}").as_bytes()).unwrap();
    }
    eprintln!("lookup: {} ns", start.elapsed().as_nanos() / u128::from(names));
    let start = Instant::now();
    for number in 0..names {
        assert!(fs.unlink(ino, format!("name{number}").as_bytes()).unwrap().freed);
    }
    eprintln!("unlink: {} ns", start.elapsed().as_nanos() / u128::from(names));
    assert_eq!(fs.check(), []);
    fs.rmdir(fs.root(), b"dir").unwrap();
}

#[test]
fn a_file_of_many_extents() {
    let fs = pool(256 * MIB);
    // The directory keeps its node that way.
    fs.release(fs.create(fs.root(), b"other", FILE).unwrap()).unwrap();
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    let free = fs.statfs().free;
    let extents = 30_000;
    for number in 0..extents {
        write(&file, &**fs.media(), number * 2 * BLOCK, &[1; 10]).unwrap();
    }
    assert_eq!(file.attributes().blocks, free - fs.statfs().free);
    // All keys move, in one transaction.
    file.insert(PageRange::new(1, 1001)).unwrap();
    file.collapse(PageRange::new(1, 1000)).unwrap();
    assert_eq!(read(&file, &**fs.media(), 3 * BLOCK, 1), [1]);
    assert_eq!(fs.check(), []);
    // Freeing them takes several.
    file.set_size(BLOCK * 3).unwrap();
    assert_eq!(fs.check(), []);
    for number in 0..extents {
        write(&file, &**fs.media(), number * 2 * BLOCK, &[1; 10]).unwrap();
    }
    fs.release(file).unwrap();
    assert!(fs.unlink(fs.root(), b"file").unwrap().freed);
    assert_eq!(fs.statfs().free, free);
    assert_eq!(fs.check(), []);
}

#[test]
fn the_largest_offsets() {
    let fs = pool(16 * MIB);
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    let media = fs.media().clone();
    write(&file, &*media, MAX_FILE_SIZE - 5000, &[1; 5000]).unwrap();
    assert_eq!(file.size(), MAX_FILE_SIZE);
    assert_eq!(read(&file, &*media, MAX_FILE_SIZE - 5001, 3), [0, 1, 1]);
    assert_eq!(file.seek_data(0).unwrap(), Some((MAX_FILE_SIZE - 5000) / BLOCK * BLOCK));
    assert_eq!(file.set_size(MAX_FILE_SIZE + 1), Err(FsError::TooLarge));
    assert_eq!(file.insert(PageRange::new(0, 1)), Err(FsError::TooLarge));
    let last = MAX_FILE_SIZE / BLOCK;
    let past = PageRange::new(last + 1, last + 2);
    assert_eq!(file.begin(past, Intent::Write), Err(FsError::TooLarge));
    assert_eq!(file.allocate(past, None), Err(FsError::TooLarge));
    assert_eq!(file.allocate(PageRange::new(0, last + 1), None), Err(FsError::NoSpace));
    file.punch(PageRange::from(limpid_dax::PageIndex(1))).unwrap();
    assert_eq!(file.attributes().blocks, 0);
    file.collapse(PageRange::new(0, last)).unwrap();
    assert_eq!(file.size(), MAX_FILE_SIZE - last * BLOCK);
    assert_eq!(fs.check(), []);
}

#[test]
fn large_extents_are_aligned() {
    let fs = pool(512 * MIB);
    let root = fs.root();
    // Small files first: they must not break up units.
    for number in 0..50 {
        let file = fs.create(root, format!("small{number}").as_bytes(), FILE).unwrap();
        write(&file, &**fs.media(), 0, &[1; 10_000]).unwrap();
        fs.release(file).unwrap();
    }
    let congruent = |file: &limpid_fs::Inode, from: u64| {
        let mut extents = 0;
        file.extents(PageRange::new(from, u64::MAX >> 12), &mut |extent| {
            let block = extent.device / BLOCK;
            assert_eq!(block % UNIT, extent.pages.start.0 % UNIT, "{extent:?}");
            extents += 1;
            true
        })
        .unwrap();
        extents
    };
    let whole = fs.create(root, b"whole", FILE).unwrap();
    whole.allocate(PageRange::new(0, 200 * 256), None).unwrap();
    assert!(congruent(&whole, 0) <= 3);
    let appended = fs.create(root, b"appended", FILE).unwrap();
    let other = fs.create(root, b"other", FILE).unwrap();
    for page in 0..1500 {
        write(&appended, &**fs.media(), page * BLOCK, &[1; BLOCK as usize]).unwrap();
        write(&other, &**fs.media(), page * BLOCK, &[1; BLOCK as usize]).unwrap();
    }
    assert!(congruent(&appended, 16) <= 4);
    assert!(congruent(&other, 16) <= 4);
    let fault = fs.create(root, b"fault", FILE).unwrap();
    let extent = fault.begin(PageRange::new(512, 1024), Intent::Write).unwrap();
    assert_eq!((extent.backing, extent.pages.len()), (Backing::New, 512));
    assert_eq!(extent.device % (2 * MIB), 0);
    fault.abandon(&extent);
    let free = fs.statfs().free;
    for inode in [appended, other, whole, fault] {
        fs.release(inode).unwrap();
    }
    assert_eq!(fs.statfs().free, free);
    assert_eq!(fs.check(), []);
}
