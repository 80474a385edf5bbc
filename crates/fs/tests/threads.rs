//! Goal: many threads at once neither deadlock nor corrupt a pool, and what each of them did alone
//! is there in the end.
//! Method: threads work on files and names of their own, and on a few shared directories and files
//! in every way at once; then the pool is checked, emptied and checked for lost space.

mod support;

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{BLOCK, Fs, FsError, RenameFlags, XattrFlags};
use support::{DIR, FILE, MIB, pool, read, seed, write};

const THREADS: u64 = 4;
const STEPS: u64 = 1500;

/// Errors that a race may rightly end in.
fn allowed(result: Result<(), FsError>) {
    use FsError::*;
    match result {
        Ok(()) | Err(Exists | NotFound | NotEmpty | IsDirectory | NotDirectory | Invalid) => {}
        Err(error) => panic!("{error:?}"),
    }
}

fn work(fs: &Fs, thread: u64, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed.wrapping_add(thread));
    let root = fs.root();
    let own = fs.create(root, format!("own{thread}").as_bytes(), FILE).unwrap();
    for step in 0..STEPS {
        write(&own, &**fs.media(), step * BLOCK, &[(step % 251) as u8 + 1; BLOCK as usize])
            .unwrap();
        let mut dir = || {
            let name = format!("dir{}", random.u32(..3)).into_bytes();
            fs.lookup(root, &name).map_or(root, |found| found.ino())
        };
        let (one, two) = (dir(), dir());
        let mut name = || format!("shared{}", random.u32(..12)).into_bytes();
        let (first, second) = (name(), name());
        match random.u32(..12) {
            0 | 1 => allowed(fs.create(one, &first, FILE).and_then(|inode| fs.release(inode))),
            2 => allowed(fs.create(one, &first, DIR).and_then(|inode| fs.release(inode))),
            3 => allowed(fs.unlink(one, &first).map(|_| ())),
            4 => allowed(fs.rmdir(one, &first).map(|_| ())),
            5 => allowed(fs.rename(one, &first, two, &second, RenameFlags::empty())),
            6 => allowed(fs.rename(one, &first, two, &second, RenameFlags::EXCHANGE)),
            7 => {
                if let Ok(found) = fs.lookup(one, &first) {
                    allowed(fs.link(found.ino(), two, &second));
                }
            }
            8 => allowed(fs.read_dir(one, 0, &mut |_| true)),
            _ => {
                let Ok(inode) = fs.open_child(one, &first) else {
                    continue;
                };
                if inode.kind() == limpid_fs::FileKind::File {
                    let page = random.u64(..50);
                    allowed(inode.allocate(PageRange::new(page, page + 3), None));
                    allowed(inode.set_size(random.u64(..300_000)));
                    allowed(inode.punch(PageRange::new(page, page + 2)));
                }
                inode.touch_accessed();
                allowed(fs.set_xattr(&inode, b"user.x", &[1; 2000], XattrFlags::empty()));
                fs.release(inode).unwrap();
            }
        }
    }
    for step in 0..STEPS {
        let bytes = read(&own, &**fs.media(), step * BLOCK, BLOCK);
        assert!(bytes.iter().all(|byte| *byte == (step % 251) as u8 + 1));
    }
    fs.release(own).unwrap();
}

fn remove_all(fs: &Fs, dir: limpid_fs::Ino) {
    let mut names = Vec::new();
    fs.read_dir(dir, 0, &mut |entry| {
        names.push((entry.name.to_vec(), entry.ino, entry.kind));
        true
    })
    .unwrap();
    for (name, ino, kind) in names {
        if kind == limpid_fs::FileKind::Directory {
            remove_all(fs, ino);
            fs.rmdir(dir, &name).unwrap();
        } else {
            fs.unlink(dir, &name).unwrap();
        }
    }
}

#[test]
fn threads_do_not_get_in_each_others_way() {
    let seed = seed();
    // Two groups, so that transactions lock one or both.
    let fs = pool(200 * MIB);
    for number in 0..3 {
        let name = format!("dir{number}").into_bytes();
        fs.release(fs.create(fs.root(), &name, DIR).unwrap()).unwrap();
    }
    let before = fs.statfs();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let fs = &fs;
            scope.spawn(move || work(fs, thread, seed));
        }
    });
    assert_eq!(fs.check(), []);
    fs.sync().unwrap();
    remove_all(&fs, fs.root());
    assert_eq!(fs.check(), []);
    assert_eq!(fs.statfs().files, 1);
    // What is left in use is the inode table.
    assert!(before.free - fs.statfs().free < 1000);
}
