//! Canaries: the checker finds each kind of damage, and a repair ends it. Each test plants one into
//! a pool that is sound otherwise: in a transaction of its own, or in the bytes of the medium.

use std::sync::Arc;

use limpid_pmem::{Media, Persist, VecMedia};
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
    let found = Fs::open(media.clone(), Access::ReadOnly).unwrap().0.check();
    repair(media, &[b"one", b"two"]);
    found
}

/// Repairs a pool, which is sound then and still has two files of one block, with these names or in
/// lost+found.
fn repair(media: Arc<dyn Media>, names: &[&[u8]]) {
    let report = Fs::fsck(media.clone(), true, &|_| {}).unwrap();
    assert!(report.repaired && report.left.is_empty(), "{report:?}");
    let again = Fs::fsck(media.clone(), false, &|_| {}).unwrap();
    assert_eq!(again.findings, []);
    assert!(again.files >= names.len() as u64, "{report:?}");
    let (fs, _) = Fs::open(media, Access::ReadWrite).unwrap();
    let new = NewNode { kind: Kind::File, mode: 0o644, uid: 0, gid: 0 };
    fs.create(fs.root(), b"after the repair", new).unwrap();
    assert_eq!(fs.check(), []);
}

/// A sound, closed pool with a file in a directory, damaged by `plant`; what a check says. The
/// repair keeps the file under its name.
fn damaged(plant: impl FnOnce(&dyn Media, &Core)) -> Vec<Problem> {
    let media: Arc<dyn Media> = Arc::new(VecMedia::new(8 << 20));
    Fs::format(&media, &Default::default()).unwrap();
    let (fs, _) = Fs::open(media.clone(), Access::ReadWrite).unwrap();
    let node = |kind| NewNode { kind, mode: 0o644, uid: 0, gid: 0 };
    let dir = fs.create(Ino(ROOT), b"dir", node(Kind::Directory)).unwrap();
    let file = fs.create(dir.ino(), b"file", node(Kind::File)).unwrap();
    file.fill(limpid_dax::PageRange::new(0, 1), Some(BLOCK), false).unwrap();
    fs.close().unwrap();
    plant(&*media, &fs.core);
    drop((fs, file, dir));
    let found = Fs::fsck(media.clone(), false, &|_| {}).unwrap().findings;
    repair(media.clone(), &[b"file"]);
    let (fs, _) = Fs::open(media, Access::ReadOnly).unwrap();
    let dir = fs.lookup(fs.root(), b"dir").unwrap();
    fs.lookup(dir.ino(), b"file").unwrap();
    found.into_iter().map(|finding| finding.problem).collect()
}

fn kinds(problems: &[Problem]) -> Vec<&'static str> {
    problems.iter().map(Problem::kind).collect()
}

/// Flips a bit at a device offset.
fn flip(media: &dyn Media, at: u64) {
    let mut byte = [0];
    media.read(at, &mut byte).unwrap();
    media.write(at, &[byte[0] ^ 4], Persist::No).unwrap();
}

#[test]
fn roots() {
    use crate::anchor::{FLOOR_AT, INODE_TABLE_AT, ORPHANS_AT};
    let first = damaged(|media, _| flip(media, 60));
    assert_eq!(kinds(&first), ["broken", "superblocks-differ"]);
    let backup = damaged(|media, core| flip(media, core.geometry.data_end * BLOCK + 60));
    assert_eq!(kinds(&backup), ["broken", "superblocks-differ"]);
    let table = damaged(|media, _| flip(media, INODE_TABLE_AT + 8));
    assert!(kinds(&table).contains(&"inode-table"), "{table:?}");
    let node = damaged(|media, core| flip(media, core.inodes.table().root.block * BLOCK + 4090));
    assert!(kinds(&node).contains(&"inode-table"), "{node:?}");
    let orphans = damaged(|media, _| flip(media, ORPHANS_AT + 8));
    assert_eq!(kinds(&orphans), ["orphan-list"]);
    let shard = damaged(|media, _| flip(media, shard_at(3) + 8));
    assert!(kinds(&shard).contains(&"broken"), "{shard:?}");
    let floor = damaged(|media, _| flip(media, FLOOR_AT));
    assert!(kinds(&floor).contains(&"journal"), "{floor:?}");
    let descriptor = damaged(|media, core| flip(media, core.geometry.descriptor_at(0) + 20));
    assert_eq!(kinds(&descriptor), ["broken"]);
    let bitmap = damaged(|media, core| flip(media, core.geometry.bitmap_at(0) + 1));
    assert_eq!(kinds(&bitmap), ["broken"]);
}

#[test]
fn records_and_nodes_without_checksum() {
    let record = damaged(|media, core| flip(media, core.inodes.record_at(core, 3).unwrap() + 81));
    assert_eq!(kinds(&record)[0], "inode-record");
    let names = damaged(|media, core| {
        let Body::Tree(root) = core.inodes.load(core, 2).unwrap().body else {
            panic!("a directory with a name has a tree");
        };
        flip(media, root.block * BLOCK);
    });
    assert_eq!(kinds(&names)[0], "directory");
}

#[test]
fn entries() {
    let second = check(|tx, [mut root, dir, ..]| {
        let key = dir::find(tx.core, &root, b"again").unwrap().unwrap_err();
        dir::put(tx, &mut root, key, b"again", dir.ino, FileKind::Directory).unwrap();
        tx.put_inode(&root);
    });
    assert_eq!(kinds(&second), ["second-name"]);
    let twice = check(|tx, [_, mut dir, one, _]| {
        let key = dir::get(tx.core, &dir, b"one").unwrap().key;
        dir::put(tx, &mut dir, key + 1, b"one", one.ino, FileKind::File).unwrap();
        tx.put_inode(&dir);
        tx.put_inode(&Meta { nlink: 2, ..one });
    });
    assert_eq!(kinds(&twice), ["duplicate-name"]);
    let broken = check(|tx, [_, mut dir, ..]| {
        let (Body::Tree(mut root), mut blocks) = (dir.body, 0) else { panic!("it has names") };
        tree::insert(tx, dir.ino, &mut root, &mut blocks, 700, &[1, 2, 3]).unwrap();
        dir.body = Body::Tree(root);
        tx.put_inode(&dir);
    });
    assert_eq!(kinds(&broken), ["entry"]);
    let circle = check(|tx, [mut root, mut dir, ..]| {
        let key = dir::get(tx.core, &root, b"dir").unwrap().key;
        dir::remove(tx, &mut root, key).unwrap();
        tx.put_inode(&Meta { nlink: 2, ..root });
        let key = dir::find(tx.core, &dir, b"loop").unwrap().unwrap_err();
        let ino = dir.ino;
        dir::put(tx, &mut dir, key, b"loop", ino, FileKind::Directory).unwrap();
        tx.put_inode(&Meta { nlink: 3, link: ino, ..dir });
    });
    assert_eq!(kinds(&circle), ["unreachable"]);
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
