//! The tree against a `BTreeMap`, with keys and values of all sizes.

use std::collections::BTreeMap;
use std::sync::Arc;

use limpid_pmem::{Media, VecMedia};

use super::*;
use crate::fs::{Access, Fs};
use crate::node::MAX_VALUE;

const OWNER: u64 = 4711;

struct Fixture {
    fs: Arc<Fs>,
    root: TreeRoot,
    blocks: i64,
    model: BTreeMap<u64, Vec<u8>>,
}

impl Fixture {
    fn new() -> Fixture {
        let media: Arc<dyn Media> = Arc::new(VecMedia::new(32 << 20));
        Fs::format(&media, &Default::default()).unwrap();
        let (fs, _) = Fs::open(media, Access::ReadWrite).unwrap();
        Fixture { fs, root: TreeRoot::EMPTY, blocks: 0, model: BTreeMap::new() }
    }

    fn insert(&mut self, key: u64, value: Vec<u8>) {
        let mut tx = Tx::new(&self.fs.core);
        insert(&mut tx, OWNER, &mut self.root, &mut self.blocks, key, &value).unwrap();
        tx.commit().unwrap();
        self.model.insert(key, value);
    }

    fn remove(&mut self, key: u64) {
        let mut tx = Tx::new(&self.fs.core);
        let found = remove(&mut tx, OWNER, &mut self.root, &mut self.blocks, key).unwrap();
        tx.commit().unwrap();
        assert_eq!(found, self.model.remove(&key).is_some());
    }

    fn compare(&self, from: u64) {
        let core = &*self.fs.core;
        let mut expected = self.model.range(from..);
        scan(core, OWNER, self.root, from, |key, value| {
            assert_eq!(expected.next(), Some((&key, &value.to_vec())));
            Ok(true)
        })
        .unwrap();
        assert_eq!(expected.next(), None);
        core.verified.forget();
        let mut count = 0;
        nodes(core, OWNER, self.root, &mut |_, _| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, self.blocks);
        // Nothing but this tree was added to the pool, so its nodes are what the checker misses.
        let leaked: u64 = self.fs.check().iter().fold(0, |sum, problem| match problem {
            crate::check::Problem::Leaked { len, .. } => sum + len,
            other => panic!("{other:?}"),
        });
        assert_eq!(leaked, count as u64);
    }
}

fn run(steps: u32, keys: u64, value_len: impl Fn(&mut fastrand::Rng) -> usize) {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tree = Fixture::new();
    for round in 0..3 {
        for step in 0..steps {
            // The first half of a round grows, the second shrinks.
            let grow = if step < steps / 2 { 8 } else { 3 };
            let key = random.u64(..keys).wrapping_mul(u64::MAX / keys);
            if random.u32(..10) < grow {
                let len = value_len(&mut random);
                tree.insert(key, vec![random.u8(..); len]);
            } else {
                let near = tree.model.range(key..).next().map(|(key, _)| *key);
                tree.remove(near.unwrap_or(key));
            }
        }
        tree.compare(0);
        tree.compare(random.u64(..));
        eprintln!("round {round}: {} keys, height {}", tree.model.len(), tree.root.height);
    }
    while let Some((key, _)) = tree.model.first_key_value() {
        let key = *key;
        tree.remove(key);
    }
    tree.compare(0);
    assert_eq!((tree.root, tree.blocks), (TreeRoot::EMPTY, 0));
}

#[test]
fn small_values() {
    run(6000, 20_000, |_| 16);
}

#[test]
fn values_of_all_sizes() {
    run(3000, 3000, |random| {
        let most = if random.bool() { MAX_VALUE } else { 100 };
        random.usize(..=most)
    });
}

#[test]
fn largest_values() {
    run(1000, 1000, |_| MAX_VALUE);
}

#[test]
fn ascending_keys_fill_their_nodes() {
    let mut tree = Fixture::new();
    for key in 0..6000 {
        tree.insert(key, vec![1; 16]);
    }
    tree.compare(0);
    assert!(tree.blocks <= 6000 / 140 + 3, "{} nodes", tree.blocks);
    assert_eq!(floor(&*tree.fs.core, OWNER, tree.root, u64::MAX, |key, _| Ok(key)), Ok(Some(5999)));
}
