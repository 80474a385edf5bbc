//! `limpid tour`: the problem Limpid exists for, walked through on real page tables.
//!
//! Each step is checked; the tour succeeds only if all held. PAGEMAP_SCAN is the witness of what
//! the page tables really show.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use limpid::{File, Map, MapOptions, Pool};
use serde_json::json;

use crate::failure::{self, Failure, Result};
use crate::output::Output;
use crate::race;

const HUGE: usize = 2 << 20;
const PAGE: usize = 4096;
/// Size of a pool that the tour makes itself; sparse, so it costs what is written.
const POOL_SIZE: u64 = 256 << 20;

/// Walk through the coherence problem on real page tables
#[derive(clap::Args, Debug)]
pub struct Tour {
    /// Pool to use; made if it does not exist. Without it, one in a temporary file
    pool: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Length of the race at the end, in seconds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
}

#[derive(Debug)]
struct Step {
    name: &'static str,
    ok: bool,
    detail: String,
}

#[derive(Debug)]
struct Report {
    coherent: bool,
    zero_page_bytes: u64,
    steps: Vec<Step>,
    race: race::Outcome,
}

impl Report {
    fn json(&self) -> serde_json::Value {
        let step = |step: &Step| json!({"name": step.name, "ok": step.ok, "detail": step.detail});
        json!({
            "coherent": self.coherent,
            "zero_page_bytes": self.zero_page_bytes,
            "steps": self.steps.iter().map(step).collect::<Vec<_>>(),
            "race": {"ops": self.race.ops, "stale": self.race.stale},
        })
    }
}

impl Tour {
    /// Walks through; fails if a step did not hold.
    pub fn run(self) -> Result<()> {
        let temporary =
            std::env::temp_dir().join(format!("limpid-tour-{}.pool", std::process::id()));
        let path = self.pool.clone().unwrap_or(temporary);
        let pool = if path.exists() { Pool::open(&path) } else { Pool::create(&path, POOL_SIZE) };
        let pool = pool.map_err(|error| failure::from_open(&error, &path))?;
        if self.pool.is_none() {
            // The pool lives on without its name, and goes when the tour ends, however it ends.
            let _ = std::fs::remove_file(&path);
        }
        let name = format!("/.limpid-tour-{}", std::process::id());
        let mut guide = Guide { steps: Vec::new(), output: Output::stdout(), quiet: self.json };
        let result = walk(&pool, &name, &self, &mut guide);
        let _ = pool.remove_file(&name);
        let (zero_page_bytes, race) = match result {
            Ok(seen) => seen,
            Err(Stop::Output(failure)) => return Err(failure),
            Err(Stop::Pool(limpid::Error::NoMaps(reason))) => {
                let advice = "run the tour where userfaultfd and PAGEMAP_SCAN are allowed";
                return Err(Failure::new(reason.to_string(), "maps", advice));
            }
            Err(Stop::Pool(error)) => return Err(failure::from_pool(&error, path.display())),
        };
        let coherent = guide.steps.iter().all(|step| step.ok);
        let report = Report { coherent, zero_page_bytes, steps: guide.steps, race };
        if self.json {
            guide.output.json(&report.json())?;
        } else {
            let verdict = if coherent { "Read, write and mmap agree." } else { "NOT coherent." };
            guide.output.line("")?;
            guide.output.line(verdict)?;
        }
        guide.output.finish()?;
        if coherent {
            return Ok(());
        }
        let failed = report.steps.iter().filter(|step| !step.ok).count();
        let what = format!("{failed} steps of the tour did not hold");
        Err(Failure::new(what, path.display(), "please report this, with the output above"))
    }
}

/// Why the walk ended early.
enum Stop {
    Pool(limpid::Error),
    Output(Failure),
}

impl From<limpid::Error> for Stop {
    fn from(error: limpid::Error) -> Stop {
        Stop::Pool(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Output(failure)
    }
}

type Walk<T> = std::result::Result<T, Stop>;

/// Collects the steps and prints each as it is done.
struct Guide {
    steps: Vec<Step>,
    output: Output,
    quiet: bool,
}

impl Guide {
    fn say(&mut self, line: &str) -> Walk<()> {
        if !self.quiet {
            self.output.line(line)?;
        }
        Ok(())
    }

    fn step(&mut self, name: &'static str, ok: bool, detail: String) -> Walk<()> {
        let mark = if ok { "ok  " } else { "FAIL" };
        self.say(&format!("{:>2}. {mark} {name}", self.steps.len() + 1))?;
        self.say(&format!("         {detail}"))?;
        self.steps.push(Step { name, ok, detail });
        Ok(())
    }
}

fn walk(pool: &Pool, name: &str, args: &Tour, guide: &mut Guide) -> Walk<(u64, race::Outcome)> {
    let info = pool.info();
    guide.say(&format!("Pool: {}", info.medium_line))?;
    guide.say(&format!("Maps: {}", info.maps_line))?;
    guide.say("")?;
    let file = File::create(pool, name)?;
    file.set_len(2 * HUGE as u64)?;
    let load = file.map()?;
    let store = MapOptions::new().write(true).map(&file)?;
    let zero_page_bytes = hole(guide, &load, &store)?;
    write(guide, &file, &load, &store)?;
    stores(guide, &file, &load, &store)?;
    shrink(guide, &file, &load, &store)?;
    drop((load, store));

    file.set_len(0)?;
    let race = race::run(&file, Duration::from_secs(args.seconds))?;
    guide.step(
        "threads race writes, stores, reads, loads and punches; every byte is checked",
        race.stale == 0,
        format!("{} operations in {} s, {} stale bytes", race.ops, args.seconds, race.stale),
    )?;
    Ok((zero_page_bytes, race))
}

fn hole(guide: &mut Guide, load: &Map, store: &Map) -> Walk<u64> {
    let start = Instant::now();
    let zero = load.load_u64(8)? == 0 && store.load_u64(8)? == 0;
    let took = start.elapsed();
    guide.step(
        "load from a mapped 2 MiB hole, read-only and writable",
        zero,
        format!("both loads saw zero; two faults took {} µs", took.as_micros()),
    )?;
    let (ro, rw) = (load.page_sizes_of(0..HUGE)?, store.page_sizes_of(0..HUGE)?);
    let bytes = ro.zero_huge.min(rw.zero_huge);
    guide.step(
        "the page tables hold one 2 MiB zero page in each map",
        bytes == HUGE as u64,
        format!(
            "PAGEMAP_SCAN: read-only {} bytes, writable {} bytes of 2 MiB zero page",
            ro.zero_huge, rw.zero_huge
        ),
    )?;
    Ok(bytes)
}

fn write(guide: &mut Guide, file: &File, load: &Map, store: &Map) -> Walk<()> {
    let before = file.dax_stats().unmaps;
    file.write_all_at(b"limpid  ", 8)?;
    let unmaps = file.dax_stats().unmaps - before;
    let gone = [load, store].iter().try_fold(true, |gone, map| {
        map.page_sizes_of(0..PAGE).map(|sizes| gone && sizes.zero_huge + sizes.zero_small == 0)
    })?;
    guide.step(
        "write 8 bytes into the hole: the zero page is gone from both maps",
        gone && unmaps == 1,
        format!("no zero page in PAGEMAP_SCAN; {unmaps} unmap for the whole write"),
    )?;
    let want = u64::from_ne_bytes(*b"limpid  ");
    let (first, second) = (load.load_u64(8)?, store.load_u64(8)?);
    guide.step(
        "both maps see the written bytes (Linux DAX of 2017 saw zeroes here)",
        first == want && second == want,
        format!("read-only {first:#x}, writable {second:#x}, written {want:#x}"),
    )?;
    Ok(())
}

fn stores(guide: &mut Guide, file: &File, load: &Map, store: &Map) -> Walk<()> {
    let start = Instant::now();
    store.store_u64(HUGE + 64, 2017)?;
    let took = start.elapsed();
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, HUGE as u64 + 64)?;
    let (read, loaded) = (u64::from_ne_bytes(bytes), load.load_u64(HUGE + 64)?);
    guide.step(
        "a store through one map is seen by read and by the other map",
        read == 2017 && loaded == 2017,
        format!("stored into a hole in {} µs; read {read}, loaded {loaded}", took.as_micros()),
    )?;
    let sizes = store.page_sizes_of(HUGE..2 * HUGE)?;
    let report = store.page_sizes()?;
    let fallback = report.fallbacks.iter().find(|(range, _)| range.start == HUGE as u64);
    let why = match fallback {
        Some((_, reason)) => format!(": {}", reason.reason()),
        None if sizes.storage_huge == 0 && !report.medium_huge => {
            ": the medium itself has 4 KiB pages".to_owned()
        }
        None => String::new(),
    };
    let (huge, small) = (sizes.storage_huge, sizes.storage_small);
    guide.step(
        "the page tables tell what page size the storage has, and why",
        huge + small > 0,
        format!("{huge} bytes in 2 MiB pages, {small} bytes in 4 KiB pages{why}"),
    )?;
    Ok(())
}

fn shrink(guide: &mut Guide, file: &File, load: &Map, store: &Map) -> Walk<()> {
    file.punch_hole(0, HUGE as u64)?;
    let (first, second) = (load.load_u64(8)?, store.load_u64(8)?);
    guide.step(
        "punch the data out under both maps: they show zero",
        first == 0 && second == 0,
        format!("loaded {first} and {second}; the blocks are free again"),
    )?;
    file.set_len(HUGE as u64)?;
    let past = load.load_u64(HUGE + 64).is_err() && store.load_u64(HUGE + 64).is_err();
    file.set_len(2 * HUGE as u64)?;
    let after = (load.load_u64(HUGE + 64)?, store.load_u64(HUGE + 64)?);
    guide.step(
        "truncate under both maps, then grow: past the end is an error, then zero",
        past && after == (0, 0),
        format!("loaded {} and {} after growing again", after.0, after.1),
    )?;
    Ok(())
}
