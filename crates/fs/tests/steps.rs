//! Goal: an operation of several transactions that fails in the middle leaves what is documented
//! (docs/format.md), and nothing else.
//! Method: a file of hundreds of extents; each operation with each of its requests for blocks
//! refused in turn, of many only some. A write at the end of a file, into free blocks that lie
//! apart, likewise: the file ends where its first parts end. Needs the feature `control`.
#![cfg(feature = "control")]

mod support;

use std::sync::Arc;

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{BLOCK, Fs, FsError, Inode, control};
use limpid_pmem::VecMedia;
use support::{FILE, MIB, open, pool, read, write};

const LEN: u64 = 6 * MIB;
/// Extents of the file, every second page.
const EXTENTS: u64 = 300;

/// What the file may hold after an operation that failed, page by page: the old byte or zero
/// (true), or the old byte alone.
struct Step {
    name: &'static str,
    run: fn(&Fs, &Arc<Inode>) -> Result<(), FsError>,
    may_zero: std::ops::Range<u64>,
    may_change: bool,
}

const STEPS: [Step; 8] = [
    Step {
        name: "collapse of many extents",
        run: |_, file| file.collapse(PageRange::new(100, 500)),
        may_zero: 0..0,
        may_change: false,
    },
    Step {
        name: "collapse of few extents",
        run: |_, file| file.collapse(PageRange::new(100, 110)),
        may_zero: 0..0,
        may_change: false,
    },
    Step {
        name: "insert",
        run: |_, file| file.insert(PageRange::new(101, 120)),
        may_zero: 0..0,
        may_change: false,
    },
    Step {
        name: "punch",
        run: |_, file| file.punch(PageRange::new(10, 550)),
        may_zero: 10..550,
        may_change: false,
    },
    Step {
        name: "zero",
        run: |_, file| file.make_unwritten(PageRange::new(10, 500), None),
        may_zero: 10..500,
        may_change: false,
    },
    Step {
        name: "allocate",
        run: |_, file| file.allocate(PageRange::new(0, 700), Some(700 * BLOCK)),
        may_zero: 0..0,
        may_change: false,
    },
    Step {
        name: "cut",
        run: |_, file| file.set_size(40 * BLOCK),
        may_zero: 0..0,
        may_change: false,
    },
    Step {
        name: "write",
        run: |fs, file| write(file, &**fs.media(), 0, &[9; 400 * BLOCK as usize]),
        may_zero: 0..0,
        may_change: true,
    },
];

fn image() -> Vec<u8> {
    let fs = pool(LEN);
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    for extent in 0..EXTENTS {
        let bytes = [extent as u8 | 1; BLOCK as usize];
        write(&file, &**fs.media(), extent * 2 * BLOCK, &bytes).unwrap();
    }
    fs.release(file).unwrap();
    fs.close().unwrap();
    let mut image = vec![0; LEN as usize];
    fs.media().read(0, &mut image).unwrap();
    image
}

#[test]
fn a_failure_in_the_middle_leaves_what_is_documented() {
    let image = image();
    for step in &STEPS {
        let mut failed = 0;
        // The first ones all, then some.
        for request in (1..12).chain((12..2000).step_by(17)) {
            let fs = open(Arc::new(VecMedia::from_bytes(&image)));
            let file = fs.open_child(fs.root(), b"file").unwrap();
            let media = fs.media().clone();
            let before = read(&file, &*media, 0, u64::MAX >> 1);
            control::refuse_space(request);
            let done = (step.run)(&fs, &file);
            let ahead = control::refusal_is_ahead();
            control::refuse_space(0);
            assert_eq!(fs.check(), [], "{} {request}", step.name);
            if ahead {
                assert_eq!(done, Ok(()), "{}", step.name);
                break;
            }
            if let Err(error) = done {
                failed += 1;
                assert_eq!(error, FsError::NoSpace, "{} {request}", step.name);
                let after = read(&file, &*media, 0, u64::MAX >> 1);
                assert_eq!(after.len(), before.len(), "{} {request}", step.name);
                let pages = before.chunks(BLOCK as usize).zip(after.chunks(BLOCK as usize));
                for (page, (before, after)) in (0..).zip(pages) {
                    let zero = after.iter().all(|byte| *byte == 0);
                    let new = after.iter().all(|byte| *byte == 9);
                    let right = before == after
                        || zero && step.may_zero.contains(&page)
                        || new && step.may_change;
                    assert!(right, "page {page} after a {} without request {request}", step.name);
                }
            }
        }
        eprintln!("{}: failed {failed} times", step.name);
    }
}

/// A pool whose free blocks lie apart, and an empty file "file".
fn apart() -> Vec<u8> {
    let fs = pool(LEN);
    let media = fs.media().clone();
    let [one, other, file] =
        [&b"one"[..], b"other", b"file"].map(|name| fs.create(fs.root(), name, FILE).unwrap());
    // Two files take all blocks in turn; one of them goes again.
    for page in 0.. {
        let of = if page % 2 == 0 { &one } else { &other };
        if write(of, &*media, page / 2 * BLOCK, &[1; BLOCK as usize]).is_err() {
            break;
        }
    }
    for inode in [one, other, file] {
        fs.release(inode).unwrap();
    }
    fs.unlink(fs.root(), b"other").unwrap();
    fs.close().unwrap();
    let mut image = vec![0; LEN as usize];
    media.read(0, &mut image).unwrap();
    image
}

#[test]
fn a_growing_write_that_fails_in_the_middle_ends_where_its_parts_end() {
    const OLD: u64 = 100;
    const NEW: u64 = 360 * BLOCK + 50;
    let image = apart();
    let (mut in_the_middle, mut whole) = (0, false);
    // The first ones are for data, one a page; those for the tree come after them.
    for request in (1..20).chain(350..2000) {
        let fs = open(Arc::new(VecMedia::from_bytes(&image)));
        let file = fs.open_child(fs.root(), b"file").unwrap();
        let media = fs.media().clone();
        write(&file, &*media, 0, &[7; OLD as usize]).unwrap();
        control::refuse_space(request);
        let done = write(&file, &*media, OLD, &[9; (NEW - OLD) as usize]);
        let ahead = control::refusal_is_ahead();
        control::refuse_space(0);
        assert_eq!(fs.check(), [], "{request}");
        let bytes = read(&file, &*media, 0, u64::MAX >> 1);
        let len = bytes.len() as u64;
        assert!(bytes[..OLD as usize].iter().all(|byte| *byte == 7), "{request}");
        assert!(bytes[OLD as usize..].iter().all(|byte| *byte == 9), "a hole without {request}");
        match done {
            Ok(()) => assert_eq!(len, NEW, "{request}"),
            Err(error) => {
                assert_eq!(error, FsError::NoSpace, "{request}");
                assert!(
                    len == OLD || len < NEW && len.is_multiple_of(BLOCK),
                    "{len} bytes, {request}"
                );
                in_the_middle += u32::from(len > OLD);
            }
        }
        if ahead {
            whole = true;
            break;
        }
    }
    eprintln!("{in_the_middle} failures left a first part");
    assert!(whole && in_the_middle > 0);
}
