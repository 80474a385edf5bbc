//! Goal: running out of space fails operations whole, at whatever point it comes, and all space
//! comes back.
//! Method: a tiny pool is filled by random operations until they fail, checked, and emptied; then
//! the same with every possible number of free blocks left for one operation of each kind.

mod support;

use std::sync::Arc;

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{BLOCK, Fs, FsError, Inode, Kind, RenameFlags, XattrFlags};
use support::{DIR, FILE, MIB, node, pool, seed, write};

/// Fills the pool by writing single pages at scattered places of a file.
fn fill(fs: &Fs, file: &Inode) {
    let mut page = 0;
    while let Ok(()) = write(file, &**fs.media(), page * BLOCK, &[1; 10]) {
        page += 2;
    }
}

#[test]
fn a_full_pool_empties_again() {
    let mut random = fastrand::Rng::with_seed(seed());
    let fs = pool(4 * MIB);
    let root = fs.root();
    // Inode blocks stay once they were needed, so the first round does not count.
    let mut least = None;
    for round in 0..6 {
        let mut failures = 0;
        let mut number = 0;
        while failures < 30 {
            number += 1;
            let name = format!("name{number}").into_bytes();
            let target = [b't'; 3000];
            let kind = match random.u32(..10) {
                0 => Kind::Directory,
                1 => Kind::Symlink(&target),
                _ => Kind::File,
            };
            match fs.create(root, &name, node(kind)) {
                Ok(inode) => {
                    if kind == Kind::File {
                        let bytes = vec![2; random.usize(1..60_000)];
                        let at = random.u64(..10) * 9000;
                        failures += u32::from(write(&inode, &**fs.media(), at, &bytes).is_err());
                        let value = vec![3; random.usize(..9000)];
                        let set = fs.set_xattr(&inode, b"user.x", &value, XattrFlags::empty());
                        failures += u32::from(set.is_err());
                    }
                    fs.release(inode).unwrap();
                }
                Err(error) => {
                    assert_eq!(error, FsError::NoSpace);
                    failures += 1;
                }
            }
        }
        assert_eq!(fs.check(), []);
        assert!(fs.statfs().available < 16);
        for number in 1..=number {
            let name = format!("name{number}").into_bytes();
            match fs.unlink(root, &name) {
                Err(FsError::IsDirectory) => drop(fs.rmdir(root, &name).unwrap()),
                Err(FsError::NotFound) | Ok(_) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(fs.check(), []);
        assert_eq!(fs.statfs().files, 1);
        let free = fs.statfs().free;
        assert!(round == 0 || free >= least.unwrap() - 8, "{free} of {least:?} blocks");
        least = Some(free);
    }
}

#[test]
fn freeing_works_on_a_full_pool() {
    let fs = pool(4 * MIB);
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    let held = fs.create(fs.root(), b"held", FILE).unwrap();
    let big = fs.create(fs.root(), b"big", FILE).unwrap();
    write(&big, &**fs.media(), 0, &[1; 64 * 4096]).unwrap();
    fill(&fs, &file);
    assert_eq!(
        fs.create(fs.root(), b"one more", DIR)
            .and_then(|dir| { fs.create(dir.ino(), b"name", FILE).map(|_| ()) }),
        Err(FsError::NoSpace)
    );
    // Punching a hole into an extent makes two of it, which needs room in the tree.
    for page in (1..63).step_by(2) {
        big.punch(PageRange::new(page, page + 1)).unwrap();
    }
    fill(&fs, &file);
    fs.unlink(fs.root(), b"held").unwrap();
    big.set_size(5000).unwrap();
    fs.release(held).unwrap();
    fs.unlink(fs.root(), b"file").unwrap();
    fs.release(file).unwrap();
    assert_eq!(fs.check(), []);
}

/// The operations that need blocks.
type Operation = fn(&Fs, &Arc<Inode>) -> Result<(), FsError>;

const OPERATIONS: [Operation; 8] = [
    |fs, _| fs.create(fs.root(), b"new", FILE).and_then(|inode| fs.release(inode)),
    |fs, _| {
        let kind = Kind::Symlink(&[b'l'; 4000]);
        fs.create(fs.root(), b"new", node(kind)).and_then(|inode| fs.release(inode))
    },
    |fs, file| write(file, &**fs.media(), 100 * MIB, &[5; 30_000]),
    |_, file| file.allocate(PageRange::new(500, 530), Some(530 * BLOCK)),
    |_, file| file.make_unwritten(PageRange::new(390, 430), None),
    |_, file| file.insert(PageRange::new(1, 3)),
    |fs, file| fs.set_xattr(file, b"user.large", &[6; 60_000], XattrFlags::empty()),
    |fs, _| fs.rename(fs.root(), b"file", fs.root(), &[b'n'; 250], RenameFlags::empty()),
];

#[test]
fn operations_fail_whole_with_any_number_of_blocks_left() {
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let mut succeeded = false;
        for left in 0..80 {
            let fs = pool(4 * MIB);
            let root = fs.root();
            let file = fs.create(root, b"file", FILE).unwrap();
            // A tree of extents, and a directory whose leaf is nearly full.
            for page in 0..200 {
                write(&file, &**fs.media(), page * 2 * BLOCK, &[4; 100]).unwrap();
            }
            for name in 0..14 {
                let name = format!("{name}{}", "x".repeat(240)).into_bytes();
                fs.release(fs.create(root, &name, FILE).unwrap()).unwrap();
            }
            let filler = fs.create(root, b"filler", FILE).unwrap();
            let available = fs.statfs().available;
            let pages = PageRange::new(0, available.saturating_sub(left));
            filler.allocate(pages, None).unwrap();
            let before = (fs.statfs(), file.attributes().size, file.attributes().blocks);
            match operation(&fs, &file) {
                Ok(()) => succeeded = true,
                Err(error) => {
                    assert_eq!(error, FsError::NoSpace);
                    assert!(!succeeded, "operation {number} with {left} blocks");
                    let after = (fs.statfs(), file.attributes().size, file.attributes().blocks);
                    assert_eq!(before, after, "operation {number} with {left} blocks");
                }
            }
            assert_eq!(fs.check(), [], "operation {number} with {left} blocks");
        }
        assert!(succeeded, "operation {number} never succeeds");
    }
}
