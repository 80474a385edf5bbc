//! Goal: the thin path works end to end: format, open, names, block map, attributes, reopening.
//! Method: a few operations of each kind on a small pool, checked by hand.

mod support;

use limpid_fs::{Access, FileKind, Fs, FsError, Kind, RenameFlags, XattrFlags};
use support::{DIR, FILE, MIB, node, open, pool, read, write};

#[test]
fn names_and_data_survive_reopening() {
    let fs = pool(16 * MIB);
    let root = fs.root();
    let file = fs.create(root, b"file", FILE).unwrap();
    let dir = fs.create(root, b"dir", DIR).unwrap();
    fs.create(dir.ino(), b"link", node(Kind::Symlink(b"target"))).unwrap();
    let media = fs.media().clone();
    write(&file, &*media, 100, b"hello").unwrap();
    write(&file, &*media, 3 * MIB, &[7; 9000]).unwrap();
    fs.link(file.ino(), dir.ino(), b"second").unwrap();
    fs.set_xattr(&file, b"user.small", b"value", XattrFlags::empty()).unwrap();
    fs.set_xattr(&file, b"user.large", &[9; 20_000], XattrFlags::CREATE).unwrap();
    fs.rename(root, b"file", dir.ino(), b"first", RenameFlags::NOREPLACE).unwrap();
    let ino = file.ino();
    fs.close().unwrap();
    drop((fs, file, dir));

    let (fs, report) = Fs::open(media.clone(), Access::ReadWrite).unwrap();
    assert!(report.clean);
    assert_eq!(report.recovered, 0);
    let found = fs.lookup(root, b"dir").unwrap();
    let (dir, kind) = (found.ino(), found.kind());
    assert_eq!(kind, FileKind::Directory);
    assert_eq!(fs.lookup(root, b"file").map(drop), Err(FsError::NotFound));
    let first = fs.lookup(dir, b"first").unwrap();
    assert_eq!((first.ino(), first.kind()), (ino, FileKind::File));
    let link = fs.lookup(dir, b"link").unwrap().ino();
    assert_eq!(fs.read_link(link).unwrap(), b"target");
    let file = fs.inode(ino).unwrap();
    assert_eq!(file.attributes().nlink, 2);
    assert_eq!(file.size(), 3 * MIB + 9000);
    assert_eq!(read(&file, &*media, 98, 9), b"\0\0hello\0\0");
    assert_eq!(read(&file, &*media, 3 * MIB - 1, 9001)[1..], [7; 9000]);
    assert_eq!(fs.get_xattr(&file, b"user.large").unwrap(), [9; 20_000]);
    let mut names = Vec::new();
    fs.read_dir(dir, 0, &mut |entry| {
        names.push(entry.name.to_vec());
        true
    })
    .unwrap();
    names.sort();
    assert_eq!(names, [&b"first"[..], b"link", b"second"]);
}

#[test]
fn space_comes_back() {
    let fs = pool(16 * MIB);
    let root = fs.root();
    fs.release(fs.create(root, b"warm", FILE).unwrap()).unwrap();
    fs.unlink(root, b"warm").unwrap();
    let before = fs.statfs();
    let file = fs.create(root, b"file", FILE).unwrap();
    write(&file, &**fs.media(), 0, &vec![1; 5 * MIB as usize]).unwrap();
    assert!(fs.statfs().free <= before.free - 5 * 256);
    assert!(!fs.unlink(root, b"file").unwrap().freed);
    assert_eq!(read(&file, &**fs.media(), 4 * MIB, 1), [1]);
    fs.release(file).unwrap();
    assert_eq!(fs.statfs(), before);
    let media = fs.media().clone();
    drop(fs);
    assert_eq!(open(media).statfs().free, before.free);
}
