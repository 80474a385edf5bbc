//! Goal: handlers that block, all of them, do not keep mappings from being moved; else whoever
//! holds what they wait for could wait for them.
//! Method: more faults than the engine has threads, whose handlers wait for a gate; the gate's
//! owner unmaps storage and installs zero pages, which both need the engine to read events, and
//! only then opens it.

mod common;

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use common::*;
use limpid_dax::{Mmu, PageIndex, PageRange, Target};
use limpid_mmu::{FaultHandler, FaultOutcome, LinuxMap, MapSpec};

#[derive(Default)]
struct Gate {
    state: Mutex<(bool, u32)>,
    changed: Condvar,
}

struct Waits {
    gate: Arc<Gate>,
    map: std::sync::Weak<LinuxMap>,
}

/// Opens the gate in any case, else a failure would hang.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).0 = true;
        self.0.changed.notify_all();
    }
}

impl FaultHandler for Waits {
    fn fault(&self, page: PageIndex, _store: bool) -> FaultOutcome {
        let mut state = self.gate.state.lock().unwrap();
        state.1 += 1;
        self.gate.changed.notify_all();
        while !state.0 {
            state = self.gate.changed.wait(state).unwrap();
        }
        let Some(map) = self.map.upgrade() else { return FaultOutcome::Gone };
        let storage = Target::Storage { device: page.offset(), writable: true };
        map.install(PageRange::new(page.0, page.0 + 1), storage).unwrap();
        FaultOutcome::Installed
    }
}

#[test]
fn blocked_handlers_do_not_block_movers() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    let spec = MapSpec { pages: PageRange::new(0, 64), writable: true, private: false };
    let map = LinuxMap::new(engine, file.backing.clone(), spec).unwrap();
    let gate = Arc::new(Gate::default());
    map.serve(Arc::new(Waits { gate: gate.clone(), map: Arc::downgrade(&map) }));
    std::thread::scope(|scope| {
        let opens = Opens(gate.clone());
        for page in 0..16 {
            let map = &map;
            scope.spawn(move || map.store_u64(page * 4096, page as u64).unwrap());
        }
        // As many as one map may keep busy; another goes on reading.
        let state = gate.state.lock().unwrap();
        let late = Duration::from_secs(20);
        let (state, timeout) =
            gate.changed.wait_timeout_while(state, late, |state| state.1 < 4).unwrap();
        assert!(!timeout.timed_out() && state.1 == 4);
        drop(state);
        for _ in 0..20 {
            let storage = Target::Storage { device: UNIT, writable: true };
            map.install(PageRange::new(32, 64), storage).unwrap();
            map.unmap(PageRange::new(32, 64));
            map.install(PageRange::new(32, 64), Target::Zero).unwrap();
        }
        drop(opens);
    });
    for page in 0..16 {
        assert_eq!(map.load_u64(page * 4096), Ok(page as u64));
    }
}

#[test]
fn no_fault_waits_for_another_map() {
    let Some(engine) = engine() else { return };
    let file = TestFile::new(engine, 8);
    let gate = Arc::new(Gate::default());
    let slow: Vec<_> = (0..5)
        .map(|_| {
            let spec = MapSpec { pages: PageRange::new(0, 64), writable: true, private: false };
            let map = LinuxMap::new(engine, file.backing.clone(), spec).unwrap();
            map.serve(Arc::new(Waits { gate: gate.clone(), map: Arc::downgrade(&map) }));
            map
        })
        .collect();
    let quick = file.map(PageRange::new(0, 64), true, false);
    std::thread::scope(|scope| {
        let opens = Opens(gate.clone());
        for map in &slow {
            for page in 0..6 {
                scope.spawn(move || map.load_u64(page * 4096).unwrap());
            }
        }
        // All that may be resolved at a time are under way.
        let state = gate.state.lock().unwrap();
        let late = Duration::from_secs(20);
        let (state, timeout) =
            gate.changed.wait_timeout_while(state, late, |state| state.1 < 20).unwrap();
        assert!(!timeout.timed_out() && state.1 == 20);
        drop(state);
        let (done, is_done) = std::sync::mpsc::channel();
        let quick = &quick;
        scope.spawn(move || done.send(quick.store_u64(8192, 7)).unwrap());
        let stored = is_done.recv_timeout(Duration::from_secs(20));
        drop(opens);
        assert_eq!(stored, Ok(Ok(())), "a fault waits for those of other maps");
    });
}

/// A handler without bytes to give.
struct Fails(FaultOutcome);

impl FaultHandler for Fails {
    fn fault(&self, _page: PageIndex, _store: bool) -> FaultOutcome {
        self.0
    }
}

#[test]
fn a_fault_that_fails_is_sigbus_not_a_hang() {
    let Some(engine) = engine() else { return };
    if !engine.capabilities().kernel_faults {
        eprintln!("skipped: faults of system calls are not handled here");
        return;
    }
    let file = TestFile::new(engine, 8);
    for outcome in [FaultOutcome::SigBus, FaultOutcome::NoMemory] {
        let spec = MapSpec { pages: PageRange::new(0, 64), writable: true, private: false };
        let map = LinuxMap::new(engine, file.backing.clone(), spec).unwrap();
        map.serve(Arc::new(Fails(outcome)));
        let (_from, to) = rustix::pipe::pipe().unwrap();
        // SAFETY: the byte lies in the live map; the kernel fails to read it.
        let sent = unsafe { rustix::io::write(&to, std::slice::from_raw_parts(map.as_ptr(), 1)) };
        assert_eq!(sent, Err(rustix::io::Errno::FAULT));
    }
}
