//! The first use of a group: its bitmap is durable before a record says that it was written.

use std::sync::Arc;

use limpid_pmem::{Op, Recorder, VecMedia};

use super::*;
use crate::alloc::Want;
use crate::fs::{Access, Fs};
use crate::journal::slot_at;
use crate::layout::{GROUP, LANES};
use crate::tx::Tx;

struct Fixture {
    recorder: Arc<Recorder<VecMedia>>,
    fs: Arc<Fs>,
}

impl Fixture {
    /// A pool with a second group that nobody used.
    fn new() -> Fixture {
        let len = (GROUP + 2048) * BLOCK;
        let recorder = Arc::new(Recorder::new(VecMedia::new(len)));
        let media: Arc<dyn Media> = recorder.clone();
        Fs::format(&media, &Default::default()).unwrap();
        let (fs, _) = Fs::open(media, Access::ReadWrite).unwrap();
        assert_eq!(fs.core.geometry.groups, 2);
        recorder.take();
        Fixture { recorder, fs }
    }

    /// Reserves a block of the second group.
    fn block(&self) -> u64 {
        let core = &self.fs.core;
        let goal = core.geometry.group_start(1) + 1;
        let run = core.space.reserve(&*core.media, Want::Blocks(1), Some(goal), Purpose::Grow);
        let (block, _) = run.expect("the group is empty");
        assert_eq!(core.geometry.group_of(block), 1);
        block
    }

    /// What was done to the medium since: when the bitmap of the second group was written as a
    /// whole, when a record was begun, and when there were fences.
    fn log(&self) -> (Option<usize>, Option<usize>, Vec<usize>) {
        let bitmap = self.fs.core.geometry.bitmap_at(1);
        let journal = slot_at(0, 0)..slot_at(LANES as usize, 0);
        let (mut written, mut record, mut fences) = (None, None, Vec::new());
        for (index, event) in self.recorder.take().into_iter().enumerate() {
            match event.op {
                Op::Store { at, bytes } if at == bitmap && bytes.len() == BLOCK_LEN => {
                    written = Some(index);
                }
                Op::Store { at, .. } if journal.contains(&at) => record = Some(index),
                Op::Fence => fences.push(index),
                _ => {}
            }
        }
        (written, record, fences)
    }

    /// Uses a block in a transaction that works, and checks the order of what it did.
    fn commit_one(&self, first: bool) {
        let mut tx = Tx::new(&self.fs.core);
        tx.adopt(self.block(), 1);
        tx.commit().unwrap();
        let (written, record, fences) = self.log();
        let record = record.expect("a record was written");
        assert_eq!(written.is_some(), first);
        if let Some(written) = written {
            assert!(fences.iter().any(|fence| (written..record).contains(fence)), "not fenced");
        }
    }
}

#[test]
fn a_bitmap_is_fenced_before_the_first_record_of_its_group() {
    let fixture = Fixture::new();
    fixture.commit_one(true);
    fixture.commit_one(false);
}
