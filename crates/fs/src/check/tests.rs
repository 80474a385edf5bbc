//! Canaries: the checker finds each kind of damage. Each test plants one, in a transaction of its
//! own, into a pool that is sound otherwise.

use std::sync::Arc;

use limpid_pmem::{Media, VecMedia};
use zerocopy::FromZeros;

use super::*;
use crate::alloc::Want;
use crate::anchor::{RawShard, shard_at};
use crate::attributes::{FileKind, Kind, NewNode};
use crate::dir;
use crate::extent::Run;
use crate::fs::{Access, ROOT};
use crate::record::{Body, INLINE_EXTENTS, Meta, Raw};
use crate::tx::Tx;
use zerocopy::IntoBytes;

/// A pool with a directory and two files of one block each; damages it, reopens and checks it.
fn check(plant: impl FnOnce(&mut Tx<'_>, [Meta; 4])) -> Vec<Problem> {
    let media: Arc<dyn Media> = Arc::new(VecMedia::new(8 << 20));
    Fs::format(&media, &Default::default()).unwrap();
    let (fs, _) = Fs::open(media.clone(), Access::ReadWrite).unwrap();
    let node = |kind| NewNode { kind, mode: 0o644, uid: 0, gid: 0 };
    let dir = fs.create(Ino(ROOT), b"dir", node(Kind::Directory)).unwrap();
    let [one, two] = [&b"one"[..], b"two"].map(|name| {
        let inode = fs.create(dir.ino(), name, node(Kind::File)).unwrap();
        inode.fill(limpid_dax::PageRange::new(0, 1), Some(BLOCK), false).unwrap();
        inode
    });
    assert_eq!(fs.check(), []);
    let meta = |ino: u64| fs.core.inodes.load(&fs.core, ino).unwrap();
    let metas = [ROOT, dir.ino().0, one.ino().0, two.ino().0].map(meta);
    let mut tx = Tx::new(&fs.core);
    plant(&mut tx, metas);
    tx.commit().unwrap();
    drop(fs);
    Fs::open(media, Access::ReadOnly).unwrap().0.check()
}

fn run(meta: &Meta) -> Run {
    match meta.body {
        Body::Extents { count: 1, list } => list[0],
        _ => panic!("the file has one extent"),
    }
}

fn with_run(meta: &Meta, run: Run) -> Meta {
    let mut list = [Run::EMPTY; INLINE_EXTENTS];
    list[0] = run;
    Meta { body: Body::Extents { count: 1, list }, ..*meta }
}

#[test]
fn blocks() {
    let leaked = check(|tx, _| {
        tx.allocate(Want::Blocks(3), None).unwrap();
    });
    assert!(matches!(leaked[..], [Problem::Leaked { len: 3, .. }]), "{leaked:?}");
    let unmarked = check(|tx, [.., one, _]| tx.free(run(&one).block, 1));
    assert!(matches!(unmarked[..], [Problem::Unmarked { len: 1, .. }]), "{unmarked:?}");
    let shared = check(|tx, [.., one, two]| {
        tx.free(run(&two).block, 1);
        tx.put_inode(&with_run(&two, run(&one)));
    });
    assert!(matches!(shared[..], [Problem::Shared { len: 1, .. }]), "{shared:?}");
    let counted = check(|tx, [.., one, _]| tx.put_inode(&Meta { blocks: 9, ..one }));
    assert!(matches!(counted[..], [Problem::Blocks { recorded: 9, found: 1, .. }]), "{counted:?}");
    let past = check(|tx, [.., one, _]| {
        let written = Run { unwritten: false, page: 5, ..run(&one) };
        tx.put_inode(&with_run(&one, written));
    });
    assert!(matches!(past[..], [Problem::PastEnd { size: 24576, .. }]), "{past:?}");
}

#[test]
fn names() {
    let links = check(|tx, [.., one, _]| tx.put_inode(&Meta { nlink: 2, ..one }));
    assert!(matches!(links[..], [Problem::Links { recorded: 2, found: 1, .. }]), "{links:?}");
    let links = check(|tx, [_, dir, ..]| tx.put_inode(&Meta { nlink: 3, ..dir }));
    assert!(matches!(links[..], [Problem::Links { recorded: 3, found: 2, .. }]), "{links:?}");
    let parent = check(|tx, [_, dir, ..]| tx.put_inode(&Meta { link: dir.ino, ..dir }));
    assert!(matches!(parent[..], [Problem::Parent { .. }]), "{parent:?}");
    let dangling = check(|tx, [mut root, ..]| {
        let key = dir::find(tx.core, &root, b"new").unwrap().unwrap_err();
        dir::put(tx, &mut root, key, b"new", 77, FileKind::File).unwrap();
        tx.put_inode(&root);
    });
    assert!(matches!(dangling[..], [Problem::Dangling { ino: Ino(77), .. }]), "{dangling:?}");
    let key = check(|tx, [_, mut dir, one, _]| {
        let found = dir::get(tx.core, &dir, b"one").unwrap();
        dir::put(tx, &mut dir, found.key, b"eno", one.ino, FileKind::File).unwrap();
    });
    assert!(matches!(key[..], [Problem::Key { .. }]), "{key:?}");
}

#[test]
fn inodes() {
    let lost = check(|tx, [_, mut dir, one, _]| {
        let found = dir::get(tx.core, &dir, b"one").unwrap();
        dir::remove(tx, &mut dir, found.key).unwrap();
        tx.put_inode(&dir);
        tx.put_inode(&Meta { nlink: 0, ..one });
    });
    assert!(matches!(lost[..], [Problem::Lost(_)]), "{lost:?}");
    let orphan = check(|tx, _| {
        let mut root = tree::TreeRoot::EMPTY;
        orphans::add(tx, &mut root, 99).unwrap();
    });
    assert!(matches!(orphan[..], [Problem::FalseOrphan(Ino(99))]), "{orphan:?}");
    let free = check(|tx, [.., one]| {
        let at = one.at + crate::layout::INODE;
        tx.put(at, Raw::free(one.ino + 1, 1, 0).as_bytes());
    });
    assert!(free.iter().any(|problem| matches!(problem, Problem::FreeInodes(_))), "{free:?}");
    let count = check(|tx, _| {
        let at = shard_at(15);
        let mut raw = RawShard::read(&*tx.core.media, at).unwrap();
        raw.live = (raw.live.get().wrapping_add(1)).into();
        tx.put(at, &RawShard { crc: FromZeros::new_zeroed(), ..raw }.sealed());
    });
    assert!(matches!(count[..], [Problem::InodeCount { .. }]), "{count:?}");
}
