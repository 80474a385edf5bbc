//! Goal: attributes, times and extended attributes are what was set, now and after reopening.
//! Method: by hand, one kind after the other.

mod support;

use limpid_dax::Iomap;
use limpid_fs::{Access, Fs, FsError, SetAttributes, Timespec, XattrFlags};
use support::{DIR, FILE, MIB, pool, write};

#[test]
fn attributes_are_what_was_set() {
    let fs = pool(16 * MIB);
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    let born = file.attributes();
    assert_eq!((born.nlink, born.size, born.blocks, born.mode), (1, 0, 0, 0o644));
    assert_eq!(born.btime, born.mtime);
    let long_ago = Timespec { seconds: -86_400 * 365 * 400, nanoseconds: 999_999_999 };
    let far_ahead = Timespec { seconds: 1 << 40, nanoseconds: 1 };
    let set = SetAttributes {
        mode: Some(0o7777),
        uid: Some(u32::MAX - 1),
        gid: Some(5),
        atime: Some(long_ago),
        mtime: Some(far_ahead),
    };
    fs.set_attributes(&file, &set).unwrap();
    let ino = file.ino();
    let expected = file.attributes();
    assert_eq!((expected.mode, expected.uid, expected.gid), (0o7777, u32::MAX - 1, 5));
    assert_eq!((expected.atime, expected.mtime), (long_ago, far_ahead));
    fs.release(file).unwrap();
    let media = fs.media().clone();
    drop(fs);
    let (fs, report) = Fs::open(media, Access::ReadWrite).unwrap();
    assert!(!report.clean);
    assert_eq!(fs.inode(ino).unwrap().attributes(), expected);
}

#[test]
fn touched_times_reach_the_medium_with_the_last_close() {
    let fs = pool(16 * MIB);
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    write(&file, &**fs.media(), 0, &[1; 10]).unwrap();
    let old = Timespec { seconds: 1000, nanoseconds: 0 };
    let set = SetAttributes { atime: Some(old), mtime: Some(old), ..Default::default() };
    fs.set_attributes(&file, &set).unwrap();
    file.touch();
    file.touch_accessed();
    let touched = file.attributes();
    assert!(touched.mtime > old && touched.atime > old && touched.ctime >= touched.mtime);
    // An explicit time is not overruled by a touch before it.
    fs.set_attributes(&file, &set).unwrap();
    assert_eq!(file.attributes().mtime, old);
    file.touch();
    let touched = file.attributes();
    let ino = file.ino();
    fs.release(file).unwrap();
    let media = fs.media().clone();
    drop(fs);
    let fs = Fs::open(media, Access::ReadOnly).unwrap().0;
    assert_eq!(fs.inode(ino).unwrap().attributes(), touched);
}

#[test]
fn extended_attributes() {
    let fs = pool(16 * MIB);
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    let dir = fs.create(fs.root(), b"dir", DIR).unwrap();
    let free = fs.statfs().free;
    for inode in [&file, &dir] {
        let none = XattrFlags::empty();
        assert_eq!(fs.get_xattr(inode, b"user.x"), Err(FsError::NoAttribute));
        assert_eq!(fs.remove_xattr(inode, b"user.x"), Err(FsError::NoAttribute));
        let replaced = fs.set_xattr(inode, b"user.x", b"", XattrFlags::REPLACE);
        assert_eq!(replaced, Err(FsError::NoAttribute));
        fs.set_xattr(inode, b"user.x", b"", XattrFlags::CREATE).unwrap();
        let created = fs.set_xattr(inode, b"user.x", b"", XattrFlags::CREATE);
        assert_eq!(created, Err(FsError::Exists));
        // All lengths around the limits, and back.
        for len in [0, 1, 999, 1000, 1001, 4096, 4097, 65_536, 5000, 3] {
            let value = vec![len as u8; len];
            fs.set_xattr(inode, b"user.x", &value, none).unwrap();
            fs.set_xattr(inode, &[b'n'; 255], &value, none).unwrap();
            assert_eq!(fs.get_xattr(inode, b"user.x").unwrap(), value);
            assert_eq!(fs.check(), []);
        }
        let long = fs.set_xattr(inode, b"user.x", &[0; 65_537], none);
        assert_eq!(long, Err(FsError::AttributeTooLarge));
        let long = fs.set_xattr(inode, &[b'n'; 256], b"", none);
        assert_eq!(long, Err(FsError::AttributeTooLarge));
        for number in 0..300 {
            let name = format!("user.{number}").into_bytes();
            fs.set_xattr(inode, &name, &[number as u8; 200], none).unwrap();
        }
        assert_eq!(fs.list_xattrs(inode).unwrap().len(), 302);
        assert_eq!(fs.check(), []);
        fs.remove_xattr(inode, b"user.7").unwrap();
        assert_eq!(fs.get_xattr(inode, b"user.7"), Err(FsError::NoAttribute));
        assert_eq!(fs.get_xattr(inode, b"user.8").unwrap(), [8; 200]);
    }
    fs.release(file).unwrap();
    fs.release(dir).unwrap();
    fs.unlink(fs.root(), b"file").unwrap();
    fs.rmdir(fs.root(), b"dir").unwrap();
    assert_eq!(fs.check(), []);
    // And the directory's own node.
    assert_eq!(fs.statfs().free, free + 1);
}

#[test]
fn a_read_only_pool_changes_nothing() {
    let fs = pool(16 * MIB);
    let file = fs.create(fs.root(), b"file", FILE).unwrap();
    write(&file, &**fs.media(), 0, &[1; 10]).unwrap();
    fs.unlink(fs.root(), b"file").unwrap();
    let kept = fs.create(fs.root(), b"kept", FILE).unwrap();
    let media = fs.media().clone();
    let image = |media: &dyn limpid_pmem::Media| {
        let mut image = vec![0; 16 * MIB as usize];
        media.read(0, &mut image).unwrap();
        image
    };
    let before = image(&*media);
    drop((fs, file, kept));
    let (fs, _) = Fs::open(media.clone(), Access::ReadOnly).unwrap();
    let root = fs.root();
    let kept = fs.open_child(root, b"kept").unwrap();
    kept.touch_accessed();
    let refused = Some(FsError::ReadOnly);
    assert_eq!(fs.create(root, b"new", FILE).err(), refused);
    assert_eq!(fs.create_unnamed(FILE).err(), refused);
    assert_eq!(fs.unlink(root, b"kept").err(), refused);
    assert_eq!(kept.set_size(5).err(), refused);
    assert_eq!(fs.set_xattr(&kept, b"user.x", b"", XattrFlags::empty()).err(), refused);
    assert_eq!(fs.set_attributes(&kept, &SetAttributes::default()).err(), refused);
    fs.release(kept).unwrap();
    fs.sync().unwrap();
    fs.close().unwrap();
    assert!(image(&*media) == before);
}
