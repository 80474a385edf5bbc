//! Goal: real page tables keep the contracts of [`Mmu`] that the explorer's tables keep: what it
//! proves of the DAX layer holds for those that ship.
//! Method: random calls go to both, and random accesses meet both. The same pages must fault, once
//! and for the same reason; loads see the same; the same stores are refused; what was stored to is
//! reported. Six planted bugs are told. Skipped where there is no userfaultfd.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, Weak};

use limpid_dax::{Mmu, PageIndex, PageRange, Protection, Target};
use limpid_explore::{Access, ReferenceTables, Shows, Tracking};
use limpid_mmu::{
    AccessError, Backing, BackingOptions, Engine, FaultHandler, FaultOutcome, LinuxMap, MapSpec,
};

#[path = "../../limpid/tests/common/rounds.rs"]
mod rounds;

const FIRST: u64 = 100;
const END: u64 = 400;
const DEVICE_PAGES: u64 = 4096;
const CELL: u64 = 2048;

/// The kinds of maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Shared,
    ReadOnly,
    Private,
}

/// Bugs between the suite and the real page tables, which it must tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// The last page of a range stays.
    UnmapShort,
    /// The last page of a range is not installed.
    InstallShort,
    /// Storage is shown a page further on.
    OtherStorage,
    /// What was stored to is not reported.
    ReportNothing,
    /// Private copies outlive the end of the file.
    CopiesStay,
    /// Private copies go with what is below.
    CopiesGo,
}

/// What a fault is answered with.
#[derive(Clone, Copy, Debug)]
struct Answer {
    page: u64,
    store: bool,
    pages: PageRange,
    target: Target,
}

/// Answers the faults of the real map.
#[derive(Default)]
struct Handler {
    map: Mutex<Weak<LinuxMap>>,
    answer: Mutex<Option<Answer>>,
    /// Faults, and what was wrong with one.
    seen: Mutex<(usize, Option<String>)>,
}

impl FaultHandler for Handler {
    fn fault(&self, page: PageIndex, store: bool) -> FaultOutcome {
        let Some(map) = self.map.lock().unwrap().upgrade() else { return FaultOutcome::Gone };
        let mut seen = self.seen.lock().unwrap();
        seen.0 += 1;
        match *self.answer.lock().unwrap() {
            Some(answer) if (answer.page, answer.store) == (page.0, store) => {
                map.install(answer.pages, answer.target).unwrap();
                FaultOutcome::Installed
            }
            other => {
                seen.1 = Some(format!("page {page:?}, store {store}; expected {other:?}"));
                FaultOutcome::SigBus
            }
        }
    }
}

/// Both tables of one map, and what is known besides.
struct Pair {
    kind: Kind,
    real: Arc<LinuxMap>,
    reference: ReferenceTables,
    handler: Arc<Handler>,
    pool: OwnedFd,
    tracks: bool,
    bug: Option<Bug>,
    /// Pages whose storage was installed or taken away since the last look: they may be reported.
    may: BTreeSet<u64>,
    random: fastrand::Rng,
    log: Vec<String>,
}

fn filled(value: u8) -> u64 {
    u64::from_ne_bytes([value; 8])
}

impl Pair {
    fn new(engine: &'static Engine, kind: Kind, bug: Option<Bug>, seed: u64) -> Pair {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let pool = rustix::fs::memfd_create("pool", flags).unwrap();
        rustix::fs::ftruncate(&pool, DEVICE_PAGES * 4096).unwrap();
        let options = BackingOptions {
            len: DEVICE_PAGES * 4096,
            track_writes: kind == Kind::Shared,
            ..BackingOptions::default()
        };
        let duplicate = rustix::io::fcntl_dupfd_cloexec(&pool, 0).unwrap();
        let backing = Arc::new(Backing::new(engine, duplicate, options).unwrap());
        let tracks = backing.tracks_writes();
        let spec = MapSpec {
            pages: PageRange::new(FIRST, END),
            writable: kind != Kind::ReadOnly,
            private: kind == Kind::Private,
        };
        let real = LinuxMap::new(engine, backing, spec).unwrap();
        let handler = Arc::new(Handler::default());
        *handler.map.lock().unwrap() = Arc::downgrade(&real);
        real.serve(handler.clone());
        let reference = ReferenceTables::new(&limpid_explore::MapSpec {
            file: 0,
            start: FIRST as u32,
            end: END as u32,
            shared: kind != Kind::Private,
            writable: kind != Kind::ReadOnly,
            stores_fault: false,
            tracking: Tracking::Noted,
        });
        let random = fastrand::Rng::with_seed(seed);
        let (may, log) = (BTreeSet::new(), Vec::new());
        let mut pair = Pair { kind, real, reference, handler, pool, tracks, bug, may, random, log };
        for _ in 0..600 {
            pair.write_medium();
        }
        pair
    }

    fn fail(&self, what: &str) -> ! {
        let last: Vec<&String> = self.log.iter().rev().take(12).collect();
        panic!("{:?}: {what}\nlast, newest first: {last:#?}", self.kind)
    }

    /// Somebody else stores to the medium.
    fn write_medium(&mut self) {
        let (cell, value) = (self.random.u64(0..600), self.random.u8(1..60));
        rustix::io::pwrite(&self.pool, &[value; 8], cell * CELL).unwrap();
        self.reference.write_medium(cell as u32, value);
    }

    fn some_pages(&mut self) -> PageRange {
        let longest = [1, 2, 8, 60][self.random.usize(0..4)];
        let start = self.random.u64(FIRST..END);
        PageRange::new(start, (start + self.random.u64(1..=longest)).min(END))
    }

    fn some_storage(&mut self) -> Target {
        let device = self.random.u64(0..240) * 4096;
        Target::Storage { device, writable: self.kind == Kind::Shared }
    }

    /// Something that can be shown; private copies are of one page.
    fn some_target(&mut self) -> Target {
        match (self.random.u8(0..8), self.kind) {
            (0, _) => Target::Poison,
            (1, Kind::Shared) => Target::LoadsOnly,
            (1 | 2, Kind::Private) => Target::Private {
                device: self.random.bool().then(|| self.random.u64(0..240) * 4096),
            },
            (2..=4, _) => Target::Zero,
            _ => self.some_storage(),
        }
    }

    /// Storage in these pages comes or goes.
    fn note(&mut self, pages: PageRange, target: Option<Target>) {
        for page in pages.start.0..pages.end.0 {
            let storage = matches!(self.reference.shows(page as u32), Shows::Storage(_));
            if storage || matches!(target, Some(Target::Storage { .. })) {
                self.may.insert(page);
            }
        }
    }

    fn install(&mut self, pages: PageRange, target: Target) {
        let (real, one) = (self.real.clone(), PageRange::new(pages.start.0, pages.start.0 + 1));
        let private = matches!(target, Target::Private { .. });
        let pages = if private { one } else { pages };
        // A copy of a page that shows storage is made by whoever stores there.
        if private && matches!(self.reference.shows(pages.start.0 as u32), Shows::Storage(_)) {
            return;
        }
        self.log.push(format!("install {target:?} at {pages:?}"));
        self.note(pages, Some(target));
        let (mut real_pages, mut real_target) = (pages, target);
        if self.bug == Some(Bug::InstallShort) && pages.len() > 1 {
            real_pages = PageRange::new(pages.start.0, pages.end.0 - 1);
        }
        if self.bug == Some(Bug::OtherStorage)
            && let Target::Storage { device, writable } = target
        {
            real_target = Target::Storage { device: device + 4096, writable };
        }
        let installed = self.reference.install(pages, target);
        assert_eq!(real.install(real_pages, real_target), installed);
    }

    fn call(&mut self) {
        let pages = self.some_pages();
        match self.random.u8(0..10) {
            0..=4 => {
                let target = self.some_target();
                self.install(pages, target);
            }
            5 | 6 => {
                self.log.push(format!("unmap {pages:?}"));
                self.note(pages, None);
                match self.bug {
                    Some(Bug::UnmapShort) if pages.len() > 1 => {
                        self.real.unmap(PageRange::new(pages.start.0, pages.end.0 - 1));
                    }
                    Some(Bug::CopiesGo) => Mmu::discard(&*self.real, pages),
                    _ => self.real.unmap(pages),
                }
                self.reference.unmap(pages);
            }
            7 => {
                self.log.push(format!("discard {pages:?}"));
                self.note(pages, None);
                match self.bug {
                    Some(Bug::CopiesStay) => self.real.unmap(pages),
                    _ => Mmu::discard(&*self.real, pages),
                }
                self.reference.discard(pages);
            }
            _ => self.look(pages),
        }
    }

    /// Write-protects, and compares what is reported.
    fn look(&mut self, pages: PageRange) {
        self.log.push(format!("write_protect {pages:?}"));
        let (mut told, mut must) = (BTreeSet::new(), BTreeSet::new());
        let protection = Mmu::write_protect(&*self.real, pages, &mut |run| {
            if self.bug != Some(Bug::ReportNothing) {
                told.extend(run.start.0..run.end.0);
            }
        });
        self.reference.write_protect(pages, &mut |run| must.extend(run.start.0..run.end.0));
        if self.kind != Kind::Shared {
            assert_eq!((protection, told.len()), (Protection::Faults, 0));
            return;
        }
        let here = || pages.start.0..pages.end.0;
        let storage =
            here().any(|page| matches!(self.reference.shows(page as u32), Shows::Storage(_)));
        let expected = match (storage, self.tracks) {
            (false, _) => Protection::Faults,
            (true, true) => Protection::Noted,
            (true, false) => Protection::Unnoticed,
        };
        if protection != expected {
            self.fail(&format!("{protection:?} instead of {expected:?}"));
        }
        if protection == Protection::Unnoticed {
            return;
        }
        if let Some(missed) = must.difference(&told).next() {
            self.fail(&format!("the store to page {missed} is not reported"));
        }
        let allowed = |page: &&u64| pages.contains(PageIndex(**page)) && self.may.contains(*page);
        if let Some(extra) = told.difference(&must).find(|page| !allowed(page)) {
            self.fail(&format!("page {extra} is reported, and nobody stored there"));
        }
        self.may.retain(|page| !pages.contains(PageIndex(*page)));
    }

    /// What the next fault of a page is answered with, so that the access can end.
    fn answer(&mut self, page: u64, store: bool) -> Answer {
        let shows = self.reference.shows(page as u32);
        let target = match (self.kind, store, shows) {
            (_, _, Shows::Nothing) if self.random.u8(0..6) == 0 => Target::Poison,
            (Kind::Private, true, Shows::Storage(device)) => {
                Target::Private { device: Some(device) }
            }
            (Kind::Private, true, _) => Target::Private { device: None },
            (_, true, _) => self.some_storage(),
            (_, false, _) if self.random.bool() => Target::Zero,
            _ => self.some_storage(),
        };
        let before = self.random.u64(0..5).min(page - FIRST);
        let after = self.random.u64(0..5).min(END - page - 1);
        let pages = match target {
            // What others show is not taken from them: of poison, one page.
            Target::Storage { device, .. } if device >= before * 4096 => {
                PageRange::new(page - before, page + after + 1)
            }
            Target::Zero => PageRange::new(page - before, page + after + 1),
            _ => PageRange::new(page, page + 1),
        };
        Answer { page, store, pages, target }
    }

    fn access(&mut self) {
        let cell = self.random.u64(FIRST * 2..END * 2);
        let store = self.kind != Kind::ReadOnly && self.random.bool();
        self.access_cell(cell, store);
    }

    fn access_cell(&mut self, cell: u64, store: bool) {
        let (page, value) = (cell / 2, self.random.u8(1..60));
        let before = self.reference.shows(page as u32);
        let meets = |reference: &ReferenceTables| match store {
            true => reference.store(cell as u32, value),
            false => reference.load(cell as u32),
        };
        // Real tables show this for a while only: what it was is not known when the time is over.
        if before == Shows::LoadsOnly {
            self.log.push(format!("page {page} shows loads only: unmapped"));
            self.real.unmap(PageRange::new(page, page + 1));
            self.reference.unmap(PageRange::new(page, page + 1));
        }
        let mut expected = meets(&self.reference);
        let faults = expected == Access::Fault;
        // A private map copies what it shows by itself when it is stored to, or asks.
        let certain = faults && !(self.kind == Kind::Private && before != Shows::Nothing);
        if faults {
            let answer = self.answer(page, store);
            *self.handler.answer.lock().unwrap() = Some(answer);
            self.note(answer.pages, Some(answer.target));
            self.reference.install(answer.pages, answer.target).unwrap();
            self.log.push(format!("answer with {answer:?}"));
            expected = meets(&self.reference);
            assert_ne!(expected, Access::Fault, "an answer ends the access");
        }
        self.log.push(format!("cell {cell} (page {page}), store {store} of {value}"));
        *self.handler.seen.lock().unwrap() = (0, None);
        let at = ((cell - FIRST * 2) * CELL) as usize;
        let found = match store {
            true => self.real.store_u64(at, filled(value)).map(|()| filled(value)),
            false => self.real.load_u64(at),
        };
        let (seen, wrong) = std::mem::take(&mut *self.handler.seen.lock().unwrap());
        *self.handler.answer.lock().unwrap() = None;
        if let Some(wrong) = wrong {
            self.fail(&format!("a fault of {wrong}"));
        }
        let expected = match expected {
            Access::Value(value) => Ok(filled(value)),
            _ => Err(AccessError::Bus),
        };
        if found != expected {
            self.fail(&format!("cell {cell}: {found:x?} instead of {expected:x?}"));
        }
        if seen > 1 || (certain && seen != 1) || (!faults && seen != 0) {
            self.fail(&format!("cell {cell}: {seen} faults"));
        }
    }

    /// Every page that shows something shows the same.
    fn compare(&mut self) {
        for page in FIRST..END {
            let shows = self.reference.shows(page as u32);
            if shows != Shows::Nothing && shows != Shows::LoadsOnly {
                let cell = page * 2 + self.random.u64(0..2);
                self.access_cell(cell, false);
            }
        }
    }
}

fn engine() -> Option<&'static Engine> {
    Engine::get().map_err(|reason| eprintln!("skipped: {reason}")).ok()
}

fn seed() -> u64 {
    let given = std::env::var("LIMPID_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("LIMPID_SEED={seed}");
    seed
}

fn calls(kind: Kind) {
    let Some(engine) = engine() else { return };
    let pair = Pair::new(engine, kind, None, seed());
    if kind == Kind::Shared && !pair.tracks {
        eprintln!("skipped: the kernel does not note stores: what is reported");
    }
    run(pair, rounds::rounds(3000, 60_000));
}

fn run(mut pair: Pair, rounds: u64) {
    for round in 0..rounds {
        match pair.random.u8(0..8) {
            0 | 1 => pair.call(),
            2 => pair.write_medium(),
            _ => pair.access(),
        }
        if round % 300 == 0 {
            pair.compare();
        }
    }
    let all = PageRange::new(FIRST, END);
    pair.compare();
    pair.look(all);
}

#[test]
fn a_shared_map_does_what_the_reference_does() {
    calls(Kind::Shared);
}

#[test]
fn a_read_only_map_does_what_the_reference_does() {
    calls(Kind::ReadOnly);
}

#[test]
fn a_private_map_does_what_the_reference_does() {
    calls(Kind::Private);
}

#[test]
fn every_planted_bug_is_told() {
    let Some(engine) = engine() else { return };
    for (bug, kind) in [
        (Bug::UnmapShort, Kind::ReadOnly),
        (Bug::InstallShort, Kind::Shared),
        (Bug::OtherStorage, Kind::Shared),
        (Bug::ReportNothing, Kind::Shared),
        (Bug::CopiesStay, Kind::Private),
        (Bug::CopiesGo, Kind::Private),
    ] {
        let pair = Pair::new(engine, kind, Some(bug), 1);
        if bug == Bug::ReportNothing && !pair.tracks {
            eprintln!("skipped: the kernel does not note stores: {bug:?}");
            continue;
        }
        let told = std::thread::spawn(move || run(pair, 10_000)).join().is_err();
        assert!(told, "nobody noticed {bug:?}");
    }
}
