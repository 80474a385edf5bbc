//! The operations that workloads are made of, and the pool they start from.

use limpid_dax::WriteAt;
use limpid_fs::{
    FormatOptions, Fs, FsError, Kind, NewNode, RenameFlags, SetAttributes, Timespec, XattrFlags,
    control,
};
use limpid_pmem::Media;
use std::sync::Arc;

use super::live::{Done, Live, Refused};
use super::scratch::Scratch;

const PAGE: u64 = 4096;
/// The smallest pool.
const POOL: u64 = 4 << 20;
/// When everything here happens, in seconds since 1970.
pub(crate) const NOW: u64 = 1_700_000_000;

/// One operation of a workload.
pub(crate) struct Operation {
    pub name: &'static str,
    pub run: fn(&mut Live) -> Done,
    /// What of a file it may change in place.
    pub mixes: Option<Mixes>,
    /// What it stored may be lost after it returned: nobody asked for a flush.
    pub loose: bool,
}

/// A file that an operation changes in place, or in several transactions: a crash may leave the
/// times of any step.
#[derive(Clone, Copy)]
pub(crate) struct Mixes {
    pub path: &'static str,
    /// Bytes (from, up to) of which a crash may leave a mix of old and new, where they lie in pages
    /// that had bytes before …
    pub bytes: &'static [(u64, u64)],
    /// … or in fresh ones, too: a fault publishes zeroes, then come the stores.
    pub fresh: bool,
    /// It takes several transactions even if nothing is changed in place.
    pub steps: bool,
}

const fn whole(name: &'static str, run: fn(&mut Live) -> Done) -> Operation {
    Operation { name, run, mixes: None, loose: false }
}

const fn mixing(
    name: &'static str,
    path: &'static str,
    bytes: &'static [(u64, u64)],
    run: fn(&mut Live) -> Done,
) -> Operation {
    let mixes = Some(Mixes { path, bytes, fresh: false, steps: true });
    Operation { name, run, mixes, loose: false }
}

/// A write: in one transaction if nothing is changed in place.
const fn writes(
    name: &'static str,
    path: &'static str,
    bytes: &'static [(u64, u64)],
    run: fn(&mut Live) -> Done,
) -> Operation {
    let mixes = Some(Mixes { path, bytes, fresh: false, steps: false });
    Operation { name, run, mixes, loose: false }
}

/// Stores through a map; `flush`: they are written back before it returns.
const fn stores(
    name: &'static str,
    path: &'static str,
    bytes: &'static [(u64, u64)],
    flush: bool,
    run: fn(&mut Live) -> Done,
) -> Operation {
    let mixes = Some(Mixes { path, bytes, fresh: true, steps: true });
    Operation { name, run, mixes, loose: !flush }
}

pub(crate) fn node(kind: Kind<'_>) -> NewNode<'_> {
    NewNode { kind, mode: 0o644, uid: 1, gid: 2 }
}

fn create(live: &Live, path: &str, kind: Kind<'_>) -> Done {
    let (dir, name) = live.place(path)?;
    let inode = live.fs.create(dir, name, node(kind))?;
    Ok(live.fs.release(inode)?)
}

fn unlink(live: &Live, path: &str) -> Done {
    let (dir, name) = live.place(path)?;
    live.fs.unlink(dir, name)?;
    Ok(())
}

fn rename(live: &Live, from: &str, to: &str, flags: RenameFlags) -> Done {
    let (from_dir, from) = live.place(from)?;
    let (to_dir, to) = live.place(to)?;
    Ok(live.fs.rename(from_dir, from, to_dir, to, flags)?)
}

fn xattr(live: &Live, path: &str, name: &str, len: usize, flags: XattrFlags) -> Done {
    let inode = live.inode(path)?;
    let done = live.fs.set_xattr(&inode, name.as_bytes(), &vec![b'v'; len], flags);
    live.fs.release(inode)?;
    Ok(done?)
}

/// Longer than what lies in an inode's record.
const LONG_TARGET: [u8; 600] = [b't'; 600];
const NONE: RenameFlags = RenameFlags::empty();

/// All operations, by name in the order in which workloads combine them.
pub(crate) const ALL: &[Operation] = &[
    whole("create", |live| create(live, "d/new", Kind::File)),
    whole("create-split", |live| create(live, &format!("full/{}", "z".repeat(250)), Kind::File)),
    whole("mkdir", |live| create(live, "d/dir", Kind::Directory)),
    whole("symlink", |live| create(live, "link", Kind::Symlink(b"d/f"))),
    whole("symlink-long", |live| create(live, "d/long", Kind::Symlink(&LONG_TARGET))),
    whole("mknod", |live| create(live, "fifo", Kind::Fifo)),
    whole("unnamed", |live| {
        let inode = live.fs.create_unnamed(node(Kind::File))?;
        let linked = live.fs.link(inode.ino(), live.fs.root(), b"named");
        live.held.push(inode);
        Ok(linked?)
    }),
    whole("link", |live| {
        let inode = live.inode("b")?;
        let (dir, name) = live.place("d/b2")?;
        let linked = live.fs.link(inode.ino(), dir, name);
        live.fs.release(inode)?;
        Ok(linked?)
    }),
    whole("unlink", |live| unlink(live, "b")),
    whole("unlink-linked", |live| unlink(live, "d/f")),
    whole("unlink-tree", |live| unlink(live, "t")),
    whole("unlink-xattrs", |live| unlink(live, "x")),
    whole("unlink-open", |live| {
        let inode = live.inode("a")?;
        let done = unlink(live, "a");
        live.held.push(inode);
        done
    }),
    whole("unlink-close", |live| {
        let inode = live.inode("a")?;
        let done = unlink(live, "a");
        live.fs.release(inode)?;
        done
    }),
    whole("rmdir", |live| {
        let (dir, name) = live.place("e")?;
        live.fs.rmdir(dir, name)?;
        Ok(())
    }),
    whole("rename", |live| rename(live, "a", "a2", NONE)),
    whole("rename-across", |live| rename(live, "b", "d/moved", NONE)),
    whole("rename-replace", |live| rename(live, "a", "b", NONE)),
    whole("rename-replace-tree", |live| rename(live, "d/f", "t", NONE)),
    whole("rename-exchange", |live| rename(live, "a", "d/f", RenameFlags::EXCHANGE)),
    whole("rename-noreplace", |live| rename(live, "x", "d/x2", RenameFlags::NOREPLACE)),
    whole("rename-dir", |live| rename(live, "d", "full/d", NONE)),
    whole("rename-dir-replace", |live| rename(live, "d/sub", "e", NONE)),
    whole("rename-dirs-exchange", |live| rename(live, "d/sub", "full", RenameFlags::EXCHANGE)),
    whole("append", |live| live.file("a", |file| file.write(WriteAt::End, 100, 2))),
    whole("append-pages", |live| live.file("b", |file| file.write(WriteAt::End, 9000, 3))),
    whole("append-tree", |live| live.file("t", |file| file.write(WriteAt::End, 5000, 3))),
    writes("write-hole", "t", &[(PAGE, PAGE + 4000)], |live| {
        live.file("t", |file| file.write(at(PAGE), 4000, 4))
    }),
    writes("write-past-end", "a", &[(20_000, 23_000)], |live| {
        live.file("a", |file| file.write(at(20_000), 3000, 5))
    }),
    writes("write-unwritten", "u", &[(PAGE + 10, PAGE + 5010)], |live| {
        live.file("u", |file| file.write(at(PAGE + 10), 5000, 6))
    }),
    writes("overwrite", "a", &[(104, 204)], |live| {
        live.file("a", |file| file.write(at(104), 100, 7))
    }),
    writes("write-mixed", "t", &[(8, 6008)], |live| {
        live.file("t", |file| file.write(at(8), 6000, 8))
    }),
    whole("truncate", |live| resize(live, "a", 5000)),
    whole("truncate-page", |live| resize(live, "a", PAGE)),
    whole("truncate-tree", |live| resize(live, "t", PAGE)),
    whole("truncate-empty", |live| resize(live, "t", 0)),
    whole("truncate-grow", |live| resize(live, "a", 30_000)),
    mixing("allocate", "b", &[], |live| {
        live.file("b", |file| Ok(file.mapping.allocate(0..9000, false)?))
    }),
    mixing("allocate-keep", "a", &[], |live| {
        live.file("a", |file| Ok(file.mapping.allocate(0..40_000, true)?))
    }),
    mixing("punch", "a", &[], |live| live.file("a", |file| Ok(file.mapping.punch(0..PAGE)?))),
    mixing("punch-edges", "a", &[(100, PAGE), (2 * PAGE, 9000)], |live| {
        live.file("a", |file| Ok(file.mapping.punch(100..9000)?))
    }),
    mixing("punch-tree", "t", &[], |live| {
        live.file("t", |file| Ok(file.mapping.punch(2 * PAGE..9 * PAGE)?))
    }),
    mixing("zero", "a", &[(48, PAGE), (2 * PAGE, 9000)], |live| {
        live.file("a", |file| Ok(file.mapping.zero_range(50..9000, true)?))
    }),
    whole("collapse", |live| live.file("a", |file| Ok(file.mapping.collapse(0..PAGE)?))),
    whole("collapse-tree", |live| {
        live.file("t", |file| Ok(file.mapping.collapse(PAGE..4 * PAGE)?))
    }),
    whole("insert", |live| live.file("t", |file| Ok(file.mapping.insert(PAGE..3 * PAGE)?))),
    whole("xattr", |live| xattr(live, "a", "user.new", 40, XattrFlags::CREATE)),
    whole("xattr-again", |live| xattr(live, "x", "user.small", 20, XattrFlags::REPLACE)),
    whole("xattr-large", |live| xattr(live, "b", "user.new", 5000, XattrFlags::empty())),
    whole("xattr-replace", |live| xattr(live, "x", "user.large", 4500, XattrFlags::REPLACE)),
    whole("xattr-remove", |live| {
        let inode = live.inode("x")?;
        let done = live.fs.remove_xattr(&inode, b"user.large");
        live.fs.release(inode)?;
        Ok(done?)
    }),
    whole("chmod", |live| {
        let inode = live.inode("a")?;
        let when = Timespec { seconds: 7, nanoseconds: 8 };
        let set = SetAttributes { mode: Some(0o600), mtime: Some(when), ..Default::default() };
        let done = live.fs.set_attributes(&inode, &set);
        live.fs.release(inode)?;
        Ok(done?)
    }),
    stores("map-flush", "a", &[(800, 864)], true, |live| {
        live.file("a", |file| file.store(800, 64, 9, true))
    }),
    stores("map-flush-hole", "t", &[(PAGE + 800, PAGE + 840)], true, |live| {
        live.file("t", |file| file.store(PAGE + 800, 40, 10, true))
    }),
    stores("map-store", "a", &[(2000, 2048)], false, |live| {
        live.file("a", |file| file.store(2000, 48, 11, false))
    }),
    whole("sync", |live| Ok(live.fs.sync()?)),
    whole("close", |live| Ok(live.fs.close()?)),
];

fn at(offset: u64) -> WriteAt {
    WriteAt::Offset(offset)
}

fn resize(live: &Live, path: &str, size: u64) -> Done {
    live.file(path, |file| Ok(file.mapping.truncate(size)?))
}

/// The operation of a name.
pub(crate) fn named(name: &str) -> Option<&'static Operation> {
    ALL.iter().find(|operation| operation.name == name)
}

/// The bytes of an unformatted medium: no zeroes, so that what nobody zeroed is noticed.
pub(crate) fn garbage() -> Vec<u8> {
    (0..POOL).map(|at| 0xa0 | (at as u8 & 0x0f)).collect()
}

/// Makes an empty pool on `media`.
pub(crate) fn format(media: &Arc<dyn Media>) -> Result<(), FsError> {
    Fs::format(media, &FormatOptions { uuid: Some([7; 16]), ..FormatOptions::default() })
}

/// The pool every workload starts from: it was in use by several threads, and not closed.
pub(crate) fn start() -> Vec<u8> {
    control::repeat(2, NOW - 1000);
    let scratch = Scratch::new(garbage());
    let made = build(&scratch);
    control::repeat(0, 0);
    made.expect("the operations of the start fit a pool of the smallest size");
    scratch.to_bytes()
}

fn build(scratch: &Scratch) -> Result<(), Refused> {
    let media: Arc<dyn Media> = Arc::new(scratch.clone());
    format(&media)?;
    let live = Live::open(media)?;
    for (lane, dir) in [(2, "d"), (1, "d/sub"), (1, "e"), (0, "full")] {
        control::set_thread(lane);
        create(&live, dir, Kind::Directory)?;
    }
    for name in ["a", "b", "t", "u", "x", "d/f"] {
        create(&live, name, Kind::File)?;
    }
    for name in 0..15 {
        create(&live, &format!("full/{name:02}{}", "y".repeat(240)), Kind::Fifo)?;
    }
    live.file("a", |file| file.write(at(0), 12_000, 1))?;
    live.file("b", |file| file.write(at(0), 100, 1))?;
    live.file("d/f", |file| file.write(at(0), 3000, 1))?;
    for page in 0..7 {
        live.file("t", |file| file.write(at(page * 2 * PAGE), 4000, 1))?;
    }
    live.file("u", |file| Ok(file.mapping.allocate(0..4 * PAGE, false)?))?;
    let inode = live.inode("d/f")?;
    live.fs.link(inode.ino(), live.fs.root(), b"f2")?;
    live.fs.release(inode)?;
    xattr(&live, "a", "user.small", 10, XattrFlags::empty())?;
    xattr(&live, "x", "user.large", 5000, XattrFlags::empty())?;
    xattr(&live, "x", "user.small", 20, XattrFlags::empty())
}
