//! Goal: stores through a map reach the medium although map and file are closed before anybody
//! syncs: the marks of what was stored to go with the mapping. And a request that panics while it
//! holds entry locks leaves the page to others, and every store to the medium.
//!
//! Method: a store through page tables made of a map, on a recording medium; closing, or the next
//! writeback, has to flush and fence it. The page tables panic when they are told to; others have
//! ten seconds then.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use limpid_dax::{
    Access, FaultOutcome, Mmu, MmuError, PageIndex, Protection, Target, Vma, WriteAt,
};
use limpid_fs::{FormatOptions, Kind, NewNode};
use limpid_pmem::{Op, Persist, Recorder, VecMedia};

use super::*;

/// Page tables of one page; every store to it was noted nowhere but in its entry.
#[derive(Default)]
struct OnePage {
    shows: Mutex<Option<u64>>,
    /// The next call panics.
    fragile: AtomicBool,
}

impl OnePage {
    fn show(&self, device: Option<u64>) {
        assert!(!self.fragile.swap(false, Ordering::Relaxed), "as it was asked to");
        *self.shows.lock().unwrap_or_else(PoisonError::into_inner) = device;
    }

    fn device(&self) -> u64 {
        let shows = self.shows.lock().unwrap_or_else(PoisonError::into_inner);
        shows.expect("the page shows storage")
    }
}

impl Mmu for OnePage {
    fn can_map_huge(&self, _: PageIndex) -> bool {
        false
    }

    fn install(&self, _: PageRange, target: Target) -> std::result::Result<(), MmuError> {
        self.show(match target {
            Target::Storage { device, .. } => Some(device),
            _ => None,
        });
        Ok(())
    }

    fn unmap(&self, _: PageRange) {
        self.show(None);
    }

    fn write_protect(&self, _: PageRange, _: &mut dyn FnMut(PageRange)) -> Protection {
        assert!(!self.fragile.swap(false, Ordering::Relaxed), "as it was asked to");
        Protection::Unnoticed
    }
}

/// An open file of one page, and a map of it.
struct Open {
    recorder: Arc<Recorder<VecMedia>>,
    media: Arc<dyn Media>,
    node: Arc<Node>,
    tables: Arc<OnePage>,
    vma: Arc<Vma>,
}

fn open() -> Open {
    let recorder = Arc::new(Recorder::new(VecMedia::new(4 << 20)));
    let media: Arc<dyn Media> = recorder.clone();
    Fs::format(&media, &FormatOptions::default()).unwrap();
    let (fs, _) = Fs::open(media.clone(), limpid_fs::Access::ReadWrite).unwrap();
    let nodes = Arc::new(Nodes::new(fs.clone(), media.clone(), FaultPolicy::default()));
    let file = NewNode { kind: Kind::File, mode: 0o644, uid: 0, gid: 0 };
    let node = nodes.adopt(fs.create(fs.root(), b"file", file).unwrap());
    node.mapping.truncate(4096).unwrap();
    let tables = Arc::new(OnePage::default());
    let vma = Arc::new(Vma {
        pages: PageRange::new(0, 1),
        shared: true,
        writable: true,
        store_unit: None,
        mmu: tables.clone(),
    });
    node.mapping.add_map(vma.clone());
    Open { recorder, media, node, tables, vma }
}

impl Open {
    fn fault(&self, access: Access) {
        let outcome = self.node.mapping.fault(&self.vma, PageIndex(0), access);
        assert_eq!(outcome, FaultOutcome::Installed);
    }

    fn write(&self) {
        self.node.mapping.write(WriteAt::Offset(0), &[1; 4096][..]).unwrap();
    }

    /// A store through the map; where it landed on the medium.
    fn store(&self) -> u64 {
        let at = self.tables.device() + 800;
        self.media.write(at, &[2; 8], Persist::No).unwrap();
        at
    }
}

/// Since the last look, what was stored at `at` went to the medium.
fn assert_written_back(recorder: &Recorder<VecMedia>, at: u64) {
    let ops: Vec<Op> = recorder.take().into_iter().map(|event| event.op).collect();
    let flushed = ops
        .iter()
        .position(|op| matches!(op, Op::Flush(range) if range.start <= at && at + 8 <= range.end));
    let flushed = flushed.unwrap_or_else(|| panic!("not written back: {ops:?}"));
    assert!(ops[flushed..].contains(&Op::Fence), "not fenced: {ops:?}");
}

#[test]
fn closing_writes_back_what_was_stored_through_maps() {
    let open = open();
    open.write();
    open.fault(Access::Store);
    let stored = open.store();
    open.node.mapping.remove_map(&open.vma);
    open.recorder.take();
    let Open { recorder, node, .. } = open;
    drop(node);
    assert_written_back(&recorder, stored);
}

/// What was there before, and the request that panics in its next call of the page tables.
type Case = (&'static str, fn(&Open), fn(&Open));

const CASES: [Case; 5] = [
    ("a load installs zeroes", |_| (), |open| open.fault(Access::Load)),
    ("a store installs fresh storage", |_| (), |open| open.fault(Access::Store)),
    (
        "a store unmaps zeroes before it publishes",
        |open| open.fault(Access::Load),
        |open| open.fault(Access::Store),
    ),
    ("a write invalidates zeroes", |open| open.fault(Access::Load), Open::write),
    (
        "a truncate unmaps what it cuts off",
        |open| open.fault(Access::Store),
        |open| open.node.mapping.truncate(0).unwrap(),
    ),
];

fn panics(open: &Open, request: fn(&Open)) -> bool {
    open.tables.fragile.store(true, Ordering::Relaxed);
    catch_unwind(AssertUnwindSafe(|| request(open))).is_err()
}

/// Runs `work` on another thread; it must not hang.
fn elsewhere<R: Send + 'static>(name: &str, work: impl FnOnce() -> R + Send + 'static) -> R {
    let (done, result) = mpsc::channel();
    std::thread::spawn(move || done.send(work()));
    let result = result.recv_timeout(Duration::from_secs(10));
    result.unwrap_or_else(|error| panic!("{name}: others go no further: {error}"))
}

#[test]
fn a_panic_under_entry_locks_leaves_the_page_to_others() {
    for (name, before, request) in CASES {
        let open = open();
        before(&open);
        assert!(panics(&open, request), "{name}: it panics");
        open.node.mapping.assert_quiet();
        let read = elsewhere(name, move || {
            open.fault(Access::Load);
            open.fault(Access::Store);
            open.store();
            let mut read = [0; 4096];
            open.node.mapping.read(0, &mut read[..]).unwrap();
            assert_eq!(read[800..808], [2; 8]);
            open.write();
            open.node.mapping.read(0, &mut read[..]).unwrap();
            open.node.mapping.assert_quiet();
            open.node.mapping.truncate(0).unwrap();
            read
        });
        assert_eq!(read, [1; 4096], "{name}");
    }
}

#[test]
fn a_writeback_that_panics_leaves_its_stores_to_the_next() {
    let open = open();
    open.fault(Access::Store);
    let stored = open.store();
    assert!(panics(&open, |open| open.node.mapping.writeback(open.vma.pages)));
    open.recorder.take();
    let open = elsewhere("writeback", move || {
        open.node.mapping.writeback(open.vma.pages);
        open
    });
    assert_written_back(&open.recorder, stored);
}
