//! Goal: what is looked up is what the name stood for, and stays it: as long as an inode is held
//! it is not freed and its number is not another's; who lets go of it last frees it.
//! Method: holds and opens of inodes that lose their names, in each order; then names that are
//! removed and made again by one thread, so that their numbers are used in turn, while others
//! look them up: what is found carries the mark of its name.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use limpid_fs::{FileKind, Fs, FsError, Ino, RenameFlags};
use support::{DIR, FILE, MIB, node, pool};

fn files(fs: &Fs) -> u64 {
    fs.statfs().files
}

fn make(fs: &Fs, name: &[u8]) -> Ino {
    let file = fs.create(fs.root(), name, FILE).unwrap();
    let ino = file.ino();
    fs.release(file).unwrap();
    ino
}

#[test]
fn a_held_inode_lives_without_a_name() {
    let fs = pool(16 * MIB);
    let before = files(&fs);
    let ino = make(&fs, b"old");
    let held = fs.lookup(fs.root(), b"old").unwrap();
    let again = fs.hold(ino).unwrap();
    assert_eq!(fs.unlink(fs.root(), b"old").map(|report| report.freed), Ok(false));
    assert_eq!((held.ino(), held.attributes().nlink), (ino, 0));
    assert_ne!(make(&fs, b"new"), ino, "the number is not used again");
    drop(held);
    assert_eq!(files(&fs), before + 2);
    // An inode that is held can be opened, and lives until both are gone.
    let open = again.open().unwrap();
    drop(again);
    assert_eq!(files(&fs), before + 2);
    let last = fs.hold(ino).unwrap();
    fs.release(open).unwrap();
    assert_eq!(files(&fs), before + 2);
    drop(last);
    assert_eq!(files(&fs), before + 1);
    assert_eq!(fs.hold(ino).map(drop), Err(FsError::NotFound));
    assert_eq!(make(&fs, b"newer"), ino, "now it is used again");
    assert_eq!(fs.check(), []);
}

#[test]
fn what_is_removed_is_what_is_handed_out() {
    let fs = pool(16 * MIB);
    let root = fs.root();
    let before = files(&fs);
    let (a, b) = (make(&fs, b"a"), make(&fs, b"b"));
    let dir = fs.create(root, b"dir", DIR).unwrap();
    let dir_ino = dir.ino();
    fs.release(dir).unwrap();
    let replaced = fs.rename_held((root, b"a"), (root, b"b"), RenameFlags::empty()).unwrap();
    let replaced = replaced.expect("b was there");
    assert_eq!((replaced.ino(), replaced.attributes().nlink), (b, 0));
    let gone = fs.unlink_held(root, b"b").unwrap();
    assert_eq!((gone.ino(), gone.attributes().nlink), (a, 0));
    let removed = fs.rmdir_held(root, b"dir").unwrap();
    assert_eq!((removed.ino(), removed.kind()), (dir_ino, FileKind::Directory));
    assert_eq!(fs.parent(dir_ino).map(drop), Err(FsError::NotFound), "it is in none any more");
    assert_eq!(fs.unlink_held(root, b"b").map(drop), Err(FsError::NotFound));
    assert_eq!(files(&fs), before + 3);
    drop((replaced, gone, removed));
    assert_eq!(files(&fs), before);
    // An unnamed file that gets a name is freed by nobody.
    let unnamed = fs.create_unnamed(FILE).unwrap();
    let held = fs.hold(unnamed.ino()).unwrap();
    fs.link(unnamed.ino(), root, b"named").unwrap();
    fs.release(unnamed).unwrap();
    drop(held);
    assert_eq!(files(&fs), before + 1);
    assert_eq!(fs.check(), []);
}

#[test]
fn a_listing_hands_out_what_it_lists() {
    let fs = pool(16 * MIB);
    for number in 0..300 {
        make(&fs, format!("{number}").as_bytes());
    }
    let (mut seen, mut cookie) = (0, 0);
    while seen < 300 {
        // Ended in between, as when a reply is full.
        let mut left = 70;
        fs.read_dir_held(fs.root(), cookie, &mut |entry, held| {
            assert_eq!((entry.ino, entry.kind), (held.ino(), held.kind()));
            cookie = entry.cookie;
            seen += 1;
            left -= 1;
            left > 0
        })
        .unwrap();
    }
    assert_eq!(seen, 300);
}

#[test]
fn numbers_used_in_turn_are_never_mixed_up() {
    let fs = pool(64 * MIB);
    let done = AtomicBool::new(false);
    let modes = [(b"a", 0o601), (b"b", 0o602), (b"c", 0o603)];
    std::thread::scope(|scope| {
        let (fs, done) = (&fs, &done);
        scope.spawn(move || {
            for round in 0..6000 {
                let (name, mode) = modes[round % 3];
                let new = limpid_fs::NewNode { mode, ..node(limpid_fs::Kind::File) };
                fs.release(fs.create(fs.root(), name, new).unwrap()).unwrap();
                fs.unlink(fs.root(), name).unwrap();
            }
            done.store(true, Ordering::Release);
        });
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(Ordering::Acquire) {
                    for (name, mode) in modes {
                        match fs.lookup(fs.root(), name) {
                            Ok(held) => assert_eq!(held.attributes().mode, mode),
                            Err(error) => assert_eq!(error, FsError::NotFound),
                        }
                    }
                    fs.read_dir_held(fs.root(), 0, &mut |entry, held| {
                        let mode =
                            modes.iter().find(|(name, _)| entry.name == &name[..]).unwrap().1;
                        assert_eq!(held.attributes().mode, mode);
                        true
                    })
                    .unwrap();
                }
            });
        }
    });
    assert_eq!(fs.check(), []);
}
