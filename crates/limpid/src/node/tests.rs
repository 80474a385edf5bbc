//! Goal: stores through a map reach the medium although map and file are closed before anybody
//! syncs: the marks of what was stored to go with the mapping.
//!
//! Method: a store through page tables made of a map, on a recording medium; closing has to flush
//! and fence it.

use std::sync::Mutex;

use limpid_dax::{
    Access, FaultOutcome, Mmu, MmuError, PageIndex, Protection, Target, Vma, WriteAt,
};
use limpid_fs::{FormatOptions, Kind, NewNode};
use limpid_pmem::{Op, Persist, Recorder, VecMedia};

use super::*;

/// Page tables of one page; every store to it was noted nowhere but in its entry.
#[derive(Default)]
struct OnePage(Mutex<Option<u64>>);

impl Mmu for OnePage {
    fn can_map_huge(&self, _: PageIndex) -> bool {
        false
    }

    fn install(&self, _: PageRange, target: Target) -> std::result::Result<(), MmuError> {
        if let Target::Storage { device, .. } = target {
            *self.0.lock().unwrap() = Some(device);
        }
        Ok(())
    }

    fn unmap(&self, _: PageRange) {
        *self.0.lock().unwrap() = None;
    }

    fn write_protect(&self, _: PageRange, _: &mut dyn FnMut(PageRange)) -> Protection {
        Protection::Unnoticed
    }
}

#[test]
fn closing_writes_back_what_was_stored_through_maps() {
    let recorder = Arc::new(Recorder::new(VecMedia::new(4 << 20)));
    let media: Arc<dyn Media> = recorder.clone();
    Fs::format(&media, &FormatOptions::default()).unwrap();
    let (fs, _) = Fs::open(media.clone(), limpid_fs::Access::ReadWrite).unwrap();
    let nodes = Arc::new(Nodes::new(fs.clone(), media.clone(), FaultPolicy::default()));
    let file = NewNode { kind: Kind::File, mode: 0o644, uid: 0, gid: 0 };
    let node = nodes.adopt(fs.create(fs.root(), b"file", file).unwrap());
    node.mapping.write(WriteAt::Offset(0), &[1; 4096][..]).unwrap();
    let tables = Arc::new(OnePage::default());
    let pages = PageRange::new(0, 1);
    let vma = Arc::new(Vma {
        pages,
        shared: true,
        writable: true,
        store_unit: None,
        mmu: tables.clone(),
    });
    node.mapping.add_map(vma.clone());
    assert_eq!(node.mapping.fault(&vma, PageIndex(0), Access::Store), FaultOutcome::Installed);
    let device = tables.0.lock().unwrap().expect("the page shows storage");
    media.write(device + 800, &[2; 8], Persist::No).unwrap();
    node.mapping.remove_map(&vma);
    recorder.take();
    drop(node);
    let ops: Vec<Op> = recorder.take().into_iter().map(|event| event.op).collect();
    let flushed = ops.iter().position(|op| {
        matches!(op, Op::Flush(range) if range.start <= device + 800 && device + 808 <= range.end)
    });
    let flushed = flushed.unwrap_or_else(|| panic!("not written back: {ops:?}"));
    assert!(ops[flushed..].contains(&Op::Fence), "not fenced: {ops:?}");
}
