//! Large operations: a write over a mapped hole, invalidation, opening a large pool.

use std::time::Instant;

use limpid::{File, Pool};

use super::cases::pool;
use super::{Case, Row, Setting, Side, measure};

pub const ALL: &[Case] = &[
    ("write_over_mapped_hole", write_over_mapped_hole),
    ("invalidate_mapped", invalidate_mapped),
    ("open_large_pool", open_large_pool),
];

const HUGE: u64 = 2 << 20;

fn touch(map: &limpid::Map) -> limpid::Result<()> {
    (0..map.len()).step_by(HUGE as usize).try_for_each(|at| map.load_u64(at).map(|_| ()))
}

/// One write call over a hole that two maps show as zero pages, beside the same without maps.
fn write_over_mapped_hole(setting: &Setting) -> limpid::Result<Row> {
    let size: u64 = if setting.quick { 128 << 20 } else { 1 << 30 };
    let pool = pool(setting, size + (128 << 20))?;
    let file = File::create(&pool, "/file")?;
    let bytes = vec![7; size as usize];
    let round = |mapped: bool| -> limpid::Result<f64> {
        file.set_len(0)?;
        file.set_len(size)?;
        let maps = if mapped { vec![file.map()?, file.map_mut()?] } else { Vec::new() };
        maps.iter().try_for_each(touch)?;
        let unmaps = file.dax_stats().unmaps;
        let start = Instant::now();
        file.write_all_at(&bytes, 0)?;
        let time = start.elapsed().as_nanos() as f64;
        let unmaps = file.dax_stats().unmaps - unmaps;
        assert_eq!(unmaps, u64::from(mapped), "one unmap per write call, none without a map");
        Ok(time)
    };
    let mut sides: Vec<Side<'_>> = vec![Box::new(|| round(true)), Box::new(|| round(false))];
    let times = measure(setting.rounds.min(7), &mut sides)?;
    let note = "per call of 1 GiB (128 MiB with --quick); raw: the same without maps";
    Ok(Row {
        case: "write_over_mapped_hole",
        limpid_ns: times[0],
        tmpfs_ns: None,
        raw_ns: Some(times[1]),
        note,
    })
}

/// Punching a populated, mapped range: blocks are freed and all maps unmapped in one call.
fn invalidate_mapped(setting: &Setting) -> limpid::Result<Row> {
    let size: u64 = if setting.quick { 128 << 20 } else { 1 << 30 };
    let pool = pool(setting, size + (128 << 20))?;
    let file = File::create(&pool, "/file")?;
    let round = |mapped: bool| -> limpid::Result<f64> {
        file.set_len(0)?;
        file.allocate(0, size)?;
        file.write_all_at(&vec![7; size as usize], 0)?;
        let map = if mapped { Some(file.map()?) } else { None };
        map.iter().try_for_each(touch)?;
        let start = Instant::now();
        file.punch_hole(0, size)?;
        Ok(start.elapsed().as_nanos() as f64)
    };
    let mut sides: Vec<Side<'_>> = vec![Box::new(|| round(true)), Box::new(|| round(false))];
    let times = measure(5, &mut sides)?;
    let note = "per punch of 1 GiB (128 MiB with --quick); raw: the same without a map";
    Ok(Row {
        case: "invalidate_mapped",
        limpid_ns: times[0],
        tmpfs_ns: None,
        raw_ns: Some(times[1]),
        note,
    })
}

/// Opening a sparse 64 GiB pool file that holds 100 000 files (10 000 with --quick).
fn open_large_pool(setting: &Setting) -> limpid::Result<Row> {
    let files = if setting.quick { 10_000 } else { 100_000 };
    let path = std::env::temp_dir().join(format!("limpid-bench-open-{}.pool", std::process::id()));
    let result = fill_and_open(&path, files, setting.rounds);
    let _ = std::fs::remove_file(&path);
    let note = "64 GiB sparse file with 100 000 files (10 000 with --quick)";
    Ok(Row { case: "open_large_pool", limpid_ns: result?, tmpfs_ns: None, raw_ns: None, note })
}

fn fill_and_open(path: &std::path::Path, files: u64, rounds: usize) -> limpid::Result<f64> {
    let pool = Pool::create(path, 64 << 30)?;
    for dir in 0..files / 1000 {
        pool.create_dir(format!("/{dir}"), 0o755)?;
        for file in 0..1000 {
            File::create(&pool, format!("/{dir}/{file}"))?.write_all_at(b"x", 0)?;
        }
    }
    drop(pool);
    let mut side: Vec<Side<'_>> = vec![Box::new(|| {
        let start = Instant::now();
        let pool = Pool::open(path)?;
        let time = start.elapsed().as_nanos() as f64;
        drop(pool);
        Ok(time)
    })];
    Ok(measure(rounds, &mut side)?[0])
}
