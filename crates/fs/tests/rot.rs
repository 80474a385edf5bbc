//! Goal: a tree node that rots after it was verified is an error or a wrong answer of those who
//! need it, and never a panic; nothing is built on it.
//! Method: all nodes of a pool are visited; then bytes of them are changed in place, in every
//! header and slot and at random places of cells, and the pool is read. For some of them, it is
//! changed, too.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{Access, BLOCK, Fs, FsError, Ino, RenameFlags, XattrFlags};
use limpid_pmem::{Media, Persist, VecMedia};
use support::damage::{Sealed, structures};
use support::{DIR, FILE, MIB, open, pool, seed, write};

fn name(number: usize) -> Vec<u8> {
    format!("name{number}{}", "x".repeat(number % 60)).into_bytes()
}

/// A closed pool with trees of names, extents, attributes and inodes.
fn image() -> Vec<u8> {
    let fs = pool(5 * MIB);
    let media = fs.media().clone();
    let dir = fs.create(fs.root(), b"dir", DIR).unwrap();
    for number in 0..250 {
        fs.release(fs.create(dir.ino(), &name(number), FILE).unwrap()).unwrap();
    }
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    for page in 0..180 {
        write(&file, &*media, page * 2 * BLOCK, &[1; 10]).unwrap();
    }
    for number in 0..30 {
        let name = format!("user.{number}").into_bytes();
        fs.set_xattr(&file, &name, &[2; 200], XattrFlags::empty()).unwrap();
    }
    fs.release(file).unwrap();
    fs.close().unwrap();
    let mut image = vec![0; (5 * MIB) as usize];
    media.read(0, &mut image).unwrap();
    image
}

/// Looks at all trees; how many looks were refused.
fn look(fs: &Fs, dir: Ino) -> Result<(), FsError> {
    let mut result = Ok(());
    let mut seen = 0;
    result = result.and(fs.read_dir(dir, 0, &mut |_| {
        seen += 1;
        seen < 1000
    }));
    for number in [0, 77, 249] {
        result = result.and(fs.lookup(dir, &name(number)).map(|_| ()));
    }
    let file = fs.open_child(fs.root(), b"file")?;
    result = result.and(fs.list_xattrs(&file).map(|_| ()));
    let _ = file.punch(PageRange::new(1 << 30, (1 << 30) + 1));
    result = result.and(file.extents(PageRange::new(0, 1 << 30), &mut |_| true));
    let _ = fs.release(file);
    result
}

fn nodes(image: &[u8]) -> Vec<Sealed> {
    let all = structures(image).into_iter();
    all.filter(|place| place.crc == 0 && place.len == 4096).collect()
}

#[test]
fn looking_at_a_rotten_node_never_panics() {
    let mut random = fastrand::Rng::with_seed(seed());
    let image = image();
    let media = Arc::new(VecMedia::from_bytes(&image));
    let (fs, _) = Fs::open(media.clone(), Access::ReadOnly).unwrap();
    let dir = fs.lookup(fs.root(), b"dir").unwrap().ino();
    look(&fs, dir).unwrap();
    let mut errors = 0;
    for node in nodes(&image) {
        let places = (0..400).chain((0..200).map(|_| random.usize(400..4096)));
        for at in places.collect::<Vec<_>>() {
            let place = (node.at + at) as u64;
            let old = image[place as usize];
            for new in [!old, random.u8(..)] {
                media.write(place, &[new], Persist::No).unwrap();
                let looked = catch_unwind(AssertUnwindSafe(|| look(&fs, dir)));
                errors += u32::from(looked.expect("no panic").is_err());
            }
            media.write(place, &[old], Persist::No).unwrap();
        }
    }
    look(&fs, dir).unwrap();
    assert!(errors > 100, "{errors} errors");
}

/// Changes all trees.
fn change(fs: &Fs, dir: Ino) {
    let _ = fs.create(dir, b"new", FILE).map(|inode| fs.release(inode));
    for number in (0..250).step_by(3) {
        let _ = fs.unlink(dir, &name(number));
    }
    let flags = RenameFlags::empty();
    let _ = fs.rename(dir, &name(1), dir, &name(2), flags);
    if let Ok(file) = fs.open_child(fs.root(), b"file") {
        for page in (0..360).step_by(7) {
            let _ = file.punch(PageRange::new(page, page + 3));
            let _ = write(&file, &**fs.media(), (page + 1) * BLOCK, &[3; 10]);
        }
        for number in 0..30 {
            let name = format!("user.{number}").into_bytes();
            let _ = fs.set_xattr(&file, &name, &[4; 300], XattrFlags::empty());
        }
        let _ = fs.release(file);
    }
}

#[test]
fn nothing_is_built_on_a_rotten_node() {
    let mut random = fastrand::Rng::with_seed(seed());
    let image = image();
    let nodes = nodes(&image);
    for _ in 0..if std::env::var_os("LIMPID_NIGHT").is_some() { 5000 } else { 120 } {
        let media = Arc::new(VecMedia::from_bytes(&image));
        let fs = open(media.clone());
        let dir = fs.lookup(fs.root(), b"dir").unwrap().ino();
        look(&fs, dir).unwrap();
        let node = nodes[random.usize(..nodes.len())];
        let at = if random.bool() { random.usize(..400) } else { random.usize(..4096) };
        let place = (node.at + at) as u64;
        let old = image[place as usize];
        let new = old ^ random.u8(1..);
        media.write(place, &[new], Persist::No).unwrap();
        let changed = catch_unwind(AssertUnwindSafe(|| change(&fs, dir)));
        assert!(changed.is_ok(), "byte {at} of the node at {}: {old} became {new}", node.at);
        // Nobody wrote to the rotten node, so without the rot it is a node again.
        let mut now = [0];
        media.read(place, &mut now).unwrap();
        if now == [new] {
            media.write(place, &[old], Persist::No).unwrap();
            let again = open(media);
            assert_eq!(again.check(), [], "byte {at} of the node at {}", node.at);
        }
    }
}
