//! Goal: at the kernel's real limit of mappings (vm.max_map_count) nothing aborts, hangs or shows
//! wrong bytes: file calls succeed, also where they have to take away what maps show; accesses to
//! maps succeed or say that there is no room, and all succeed when there is.
//! Method: children, this test binary again, that use up every mapping, once and stand still, or
//! with threads that take each mapping as soon as it is free. There random writes into mapped
//! holes, punches and accesses through a shared or a private map are compared with a model.
#![cfg(target_os = "linux")]

mod common;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::rng::Rng;
use limpid::{Error, File, Map, MapOptions, PoolOptions};

const PAGE: u64 = 4096;
const PAGES: u64 = 512;
const ROUNDS: u64 = 1500;
const DEADLINE: Duration = Duration::from_secs(60);

/// Mappings of the program's own.
struct Taken(Vec<usize>);

impl Taken {
    /// Memory for the list is there from the start: near the limit there is none to be had.
    fn new() -> Taken {
        Taken(Vec::with_capacity(150_000))
    }

    /// Takes one more, which does not merge with the one before; false at the limit.
    fn take(&mut self) -> bool {
        let protection =
            if self.0.len().is_multiple_of(2) { libc::PROT_NONE } else { libc::PROT_READ };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a fresh mapping at an address of the kernel's choice disturbs nothing.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, flags, -1, 0) };
        if at == libc::MAP_FAILED || self.0.len() == self.0.capacity() {
            return false;
        }
        self.0.push(at as usize);
        true
    }

    fn give_back(&mut self) {
        for at in self.0.drain(..).rev() {
            // SAFETY: mapped by `take`, used by nobody.
            unsafe { libc::munmap(at as *mut libc::c_void, 4096) };
        }
    }
}

/// The heap of this thread shall neither map memory nor ask for more of it: at the limit it gets
/// none. Other threads have heaps of their own, which grow in place.
fn make_heap_roomy() {
    // SAFETY: plain calls that set limits of the allocator.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
    drop(std::hint::black_box([vec![1u8; 12 << 20], vec![1u8; 12 << 20], vec![1u8; 12 << 20]]));
}

/// Ends the threads in any case, else a failure would hang.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the first 8 bytes of each page are, in the file and through the private map.
struct Model {
    file: Vec<u64>,
    copies: Option<Vec<Option<u64>>>,
}

impl Model {
    fn shown(&self, page: u64) -> u64 {
        let copy = self.copies.as_ref().and_then(|copies| copies[page as usize]);
        copy.unwrap_or(self.file[page as usize])
    }

    fn store(&mut self, page: u64, value: u64) {
        match &mut self.copies {
            Some(copies) => copies[page as usize] = Some(value),
            None => self.file[page as usize] = value,
        }
    }
}

fn granted<T>(result: limpid::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(Error::NoMappings { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// One operation; how many accesses through the map were refused.
fn step(file: &File, map: &Map, model: &mut Model, rng: &mut Rng, round: u64) -> u64 {
    let page = rng.below(PAGES);
    let offset = page * PAGE;
    let value = round + 1;
    match rng.below(5) {
        0 | 1 => {
            file.write_all_at(&value.to_ne_bytes(), offset).unwrap();
            model.file[page as usize] = value;
        }
        2 => {
            file.punch_hole(offset, PAGE).unwrap();
            model.file[page as usize] = 0;
        }
        3 => match granted(map.store_u64(offset as usize, value)) {
            Some(()) => model.store(page, value),
            None => return 1,
        },
        _ => {}
    }
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, offset).unwrap();
    assert_eq!(u64::from_ne_bytes(bytes), model.file[page as usize], "page {page} of the file");
    match granted(map.load_u64(offset as usize)) {
        Some(shown) => {
            assert_eq!(shown, model.shown(page), "page {page} of the map");
            0
        }
        None => 1,
    }
}

/// The child. `LIMPID_LIMIT` names what it does.
#[test]
fn child() {
    let Ok(what) = std::env::var("LIMPID_LIMIT") else { return };
    make_heap_roomy();
    let (private, racing) = (what.contains("private"), what.contains("racing"));
    let pool = PoolOptions::new().fault_around(0).memory(64 << 20).unwrap();
    let file = File::create(&pool, "/data").unwrap();
    file.set_len(PAGES * PAGE).unwrap();
    let map = MapOptions::new().write(true).private(private).map(&file).unwrap();
    let mut model = Model {
        file: vec![0; PAGES as usize],
        copies: private.then(|| vec![None; PAGES as usize]),
    };
    let mut rng = Rng::announced(&what);
    // Some of it is shown in small pieces before.
    for round in 0..200 {
        assert_eq!(step(&file, &map, &mut model, &mut rng, round), 0, "there is room");
    }
    let stop = AtomicBool::new(false);
    let mut taken: Vec<Taken> = (0..4).map(|_| Taken::new()).collect();
    let mut refused = 0;
    let (mine, others) = taken.split_first_mut().unwrap();
    std::thread::scope(|scope| {
        let _stops = Stops(&stop);
        for taken in others {
            let stop = &stop;
            scope.spawn(move || {
                while racing && !stop.load(Ordering::Relaxed) {
                    if !taken.take() {
                        std::thread::yield_now();
                    }
                }
            });
        }
        while mine.take() {}
        for round in 0..ROUNDS {
            refused += step(&file, &map, &mut model, &mut rng, 1000 + round);
        }
    });
    eprintln!("{what}: {refused} accesses refused in {ROUNDS} rounds");
    if what == "still" {
        assert_eq!(refused, 0, "what maps show is given up for what they are asked for");
    }
    taken.iter_mut().for_each(Taken::give_back);
    for page in 0..PAGES {
        let shown = map.load_u64((page * PAGE) as usize).unwrap();
        assert_eq!(shown, model.shown(page), "page {page} when there is room again");
    }
}

fn run(what: &str) {
    if !common::maps_work() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env("LIMPID_LIMIT", what)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "the child {what} ended with {status}");
            return;
        }
        if started.elapsed() > DEADLINE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the child {what} did not end within {DEADLINE:?}");
        }
        // Only how soon the end is seen depends on this.
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

#[test]
fn a_program_that_took_every_mapping() {
    run("still");
}

#[test]
fn a_program_that_takes_every_mapping_that_becomes_free() {
    run("racing");
}

#[test]
fn private_maps_of_a_program_that_took_every_mapping() {
    run("private still");
}

#[test]
fn private_maps_of_a_program_that_takes_every_mapping_that_becomes_free() {
    run("private racing");
}
