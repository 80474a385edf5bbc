//! Goal: adding an object costs a bounded number of looks at others, however many are in use; and
//! what is read by name does not stay in memory for ever.
//! Method: the looks are counted, not timed, with so many objects in use that a look at all for
//! each new one would be millions.

use limpid_pmem::{Media, VecMedia};

use super::*;
use crate::attributes::{Ino, Kind, NewNode};
use crate::format::FormatOptions;
use crate::fs::{Access, Fs};

const MANY: u64 = 40_000;
const DIR: NewNode<'static> = NewNode { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0 };

fn pool() -> Arc<Fs> {
    let media: Arc<dyn Media> = Arc::new(VecMedia::new(256 << 20));
    Fs::format(&media, &FormatOptions::default()).unwrap();
    Fs::open(media, Access::ReadWrite).unwrap().0
}

fn counts(fs: &Fs) -> (u64, usize) {
    let shards = fs.table.shards.iter().map(|shard| {
        let shard = shard.lock();
        (shard.looks, shard.entries.len())
    });
    shards.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[test]
fn a_new_object_costs_a_few_looks_however_many_are_in_use() {
    let fs = pool();
    let new = NewNode { kind: Kind::File, mode: 0o644, uid: 0, gid: 0 };
    let create = |name| fs.create(fs.root(), format!("{name}").as_bytes(), new).unwrap();
    let open: Vec<_> = (0..MANY).map(create).collect();
    let (looks, entries) = counts(&fs);
    assert!(entries >= open.len(), "all are in use");
    assert!(looks <= 9 * MANY, "{looks} looks at objects for {MANY} new ones");
}

#[test]
fn directories_that_were_read_do_not_stay() {
    let fs = pool();
    let name = |number: u64| format!("{number}").into_bytes();
    for number in 0..MANY {
        let made = fs.create(fs.root(), &name(number), DIR).unwrap();
        fs.release(made).unwrap();
    }
    for number in 0..MANY {
        let dir = fs.lookup(fs.root(), &name(number)).unwrap();
        fs.read_dir(dir.ino(), 0, &mut |_| true).unwrap();
        dir.touch_accessed_always();
    }
    let (looks, entries) = counts(&fs);
    assert!(entries <= SHARDS * KEPT * 3 / 2, "{entries} objects are left");
    assert!(looks <= 24 * MANY, "{looks} looks at objects");
    assert_eq!(fs.hold(Ino(1)).unwrap().ino(), fs.root());
}
