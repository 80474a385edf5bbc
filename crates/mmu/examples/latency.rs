//! What faults and unmaps cost on this machine: medians and 99th percentiles in microseconds.
//!
//! `cargo run --release -p limpid-mmu --example latency`

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};
use std::time::Instant;

use limpid_dax::{Mmu, PageIndex, PageRange, Target};
use limpid_mmu::{Backing, BackingOptions, Engine, FaultHandler, FaultOutcome, LinuxMap, MapSpec};

const UNIT: u64 = 2 << 20;
const UNITS: u64 = 512;

/// Even units are holes until they are stored to, odd units are storage.
struct Alternating(Weak<LinuxMap>);

impl FaultHandler for Alternating {
    fn fault(&self, page: PageIndex, store: bool) -> FaultOutcome {
        let Some(map) = self.0.upgrade() else { return FaultOutcome::Gone };
        let unit = page.unit(limpid_dax::Order::Pmd);
        let target = if (unit.start.0 / 512).is_multiple_of(2) && !store {
            Target::Zero
        } else {
            Target::Storage { device: unit.start.offset(), writable: true }
        };
        map.install(unit, target).map_or(FaultOutcome::NoMemory, |()| FaultOutcome::Installed)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::get()?;
    println!("{}", engine.capabilities());
    let pool: OwnedFd = rustix::fs::memfd_create("pool", rustix::fs::MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&pool, UNITS * UNIT)?;
    let options = BackingOptions { len: UNITS * UNIT, ..BackingOptions::default() };
    let backing = Arc::new(Backing::new(engine, pool, options)?);
    let map_of = |writable| -> Result<Arc<LinuxMap>, limpid_mmu::MapError> {
        let spec = MapSpec { pages: PageRange::new(0, UNITS * 512), writable, private: false };
        let map = LinuxMap::new(engine, backing.clone(), spec)?;
        map.serve(Arc::new(Alternating(Arc::downgrade(&map))));
        Ok(map)
    };
    let (reads, writes) = (map_of(false)?, map_of(true)?);
    let holes = || (0..UNITS).step_by(2).map(|unit| (unit * UNIT) as usize);
    let storage = || (1..UNITS).step_by(2).map(|unit| (unit * UNIT) as usize);
    measure("load of a hole, read-only map", holes(), |at| reads.load_u64(at).is_ok());
    measure("load of a hole, writable map", holes(), |at| writes.load_u64(at).is_ok());
    measure("store to a hole that was loaded", holes(), |at| writes.store_u64(at, 1).is_ok());
    measure("load of storage, read-only map", storage(), |at| reads.load_u64(at).is_ok());
    measure("load of storage, writable map", storage(), |at| writes.load_u64(at).is_ok());
    measure("load of what is there", storage(), |at| writes.load_u64(at).is_ok());
    let second = |at: usize| (at / UNIT as usize * 512) as u64;
    measure("unmap of 2 MiB of storage", storage(), |at| {
        writes.unmap(PageRange::new(second(at), second(at) + 512));
        true
    });
    measure("unmap of 2 MiB of zeroes, read-only map", holes(), |at| {
        reads.unmap(PageRange::new(second(at), second(at) + 512));
        true
    });
    writes.unmap(writes.pages());
    let install = |target| writes.install(writes.pages(), target);
    measure("install of 2 MiB of zeroes, writable map", holes(), |at| {
        writes.install(PageRange::new(second(at), second(at) + 512), Target::Zero).is_ok()
    });
    measure("unmap of 2 MiB of zeroes, writable map", holes(), |at| {
        writes.unmap(PageRange::new(second(at), second(at) + 512));
        true
    });
    let whole = Target::Storage { device: 0, writable: true };
    install(whole)?;
    let untouched = time(|| writes.unmap(writes.pages()));
    install(whole)?;
    for page in 0..UNITS * 512 {
        writes.store_u64(page as usize * 4096, page)?;
    }
    let touched = time(|| writes.unmap(writes.pages()));
    println!("{:<42} {untouched:8.1}", "unmap of 1 GiB of storage, untouched");
    println!("{:<42} {touched:8.1}", "unmap of 1 GiB of storage, each 4 KiB stored to");
    println!("{:?}", engine.stats());
    Ok(())
}

fn measure(what: &str, places: impl Iterator<Item = usize>, mut access: impl FnMut(usize) -> bool) {
    let mut times: Vec<f64> = places.map(|at| time(|| assert!(access(at), "{what}"))).collect();
    times.sort_by(f64::total_cmp);
    let (median, late) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!("{what:<42} {median:8.1} {late:8.1}");
}

fn time(call: impl FnOnce()) -> f64 {
    let start = Instant::now();
    call();
    start.elapsed().as_nanos() as f64 / 1000.0
}
