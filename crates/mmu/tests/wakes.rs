//! Goal: an install wakes everyone who waits for one of its pages, and nobody has to fault again.
//! Method: the handler holds every fault, so that nothing but the install can wake the waiters; its
//! calls are counted.

mod common;

use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

use common::*;
use limpid_dax::{Mmu, PageIndex, PageRange, Target};
use limpid_mmu::{Backing, BackingOptions, FaultHandler, FaultOutcome, LinuxMap, MapSpec};

const FIRST: u64 = 100;

/// Holds its faults until it is let go, and counts them.
#[derive(Default)]
struct Holding {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl FaultHandler for Holding {
    fn fault(&self, _: PageIndex, _: bool) -> FaultOutcome {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        while !state.1 {
            state = self.changed.wait(state).unwrap();
        }
        FaultOutcome::Installed
    }
}

/// No waiter may depend on the handler of another fault: those are held until all are through.
#[test]
fn an_install_wakes_everyone_who_waits_for_its_pages() {
    let Some(engine) = engine() else { return };
    let targets = [Target::Zero, Target::Storage { device: 8 << 12, writable: true }];
    for (target, spread) in targets.into_iter().flat_map(|target| [(target, 0), (target, 1)]) {
        let holding = Arc::new(Holding::default());
        let options = BackingOptions { len: 4 * UNIT, ..BackingOptions::default() };
        let backing = Arc::new(Backing::new(engine, memory(4), options).unwrap());
        let pages = PageRange::new(FIRST, FIRST + 100);
        let spec = MapSpec { pages, writable: true, private: false };
        let map = LinuxMap::new(engine, backing, spec).unwrap();
        map.serve(holding.clone());
        let (done, through) = mpsc::channel();
        let waiters = 3;
        let threads: Vec<_> = (0..waiters)
            .map(|waiter| {
                let (map, done) = (map.clone(), done.clone());
                std::thread::spawn(move || {
                    let value = map.load_u64(waiter * spread * 4096 + 8 * waiter);
                    done.send(value).unwrap();
                })
            })
            .collect();
        let mut state = holding.state.lock().unwrap();
        while state.0 < waiters {
            let waited = holding.changed.wait_timeout(state, Duration::from_secs(60)).unwrap();
            assert!(!waited.1.timed_out(), "a fault did not reach its handler");
            state = waited.0;
        }
        drop(state);
        map.install(PageRange::new(FIRST, FIRST + waiters as u64), target).unwrap();
        for _ in 0..waiters {
            let value = through.recv_timeout(Duration::from_secs(60));
            assert!(matches!(value, Ok(Ok(_))), "a waiter was not woken: {value:?}");
        }
        let faults = holding.state.lock().unwrap().0;
        assert_eq!(faults, waiters, "somebody faulted again");
        holding.state.lock().unwrap().1 = true;
        holding.changed.notify_all();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}
