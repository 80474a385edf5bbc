//! Two threads on two files beside one thread on one.

use std::sync::Barrier;
use std::time::Instant;

use limpid::{File, Pool};

use super::cases::pool;
use super::{Case, Row, Setting, Side, measure};

pub const ALL: &[Case] = &[
    ("two_threads_overwrite", |setting| {
        let ops = if setting.quick { 100_000 } else { 500_000 };
        two_threads(setting, "two_threads_overwrite", overwrite, ops)
    }),
    ("two_threads_append", |setting| {
        let ops = if setting.quick { 10_000 } else { 60_000 };
        two_threads(setting, "two_threads_append", append, ops)
    }),
];

type Work = fn(&File, u64) -> limpid::Result<()>;

fn overwrite(file: &File, ops: u64) -> limpid::Result<()> {
    let bytes = [7; 4096];
    (0..ops).try_for_each(|number| file.write_all_at(&bytes, number % 1024 * 4096))
}

fn append(file: &File, ops: u64) -> limpid::Result<()> {
    let bytes = [7; 4096];
    (0..ops).try_for_each(|_| file.append(&bytes).map(|_| ()))
}

/// The same work on one file by one thread, and on two files by two: the ratio to "raw" is the
/// speed-up of the throughput.
fn two_threads(setting: &Setting, case: &'static str, work: Work, ops: u64) -> limpid::Result<Row> {
    let pool: Pool = pool(setting, 1 << 30)?;
    let files = [File::create(&pool, "/one")?, File::create(&pool, "/two")?];
    let round = |threads: usize| -> limpid::Result<f64> {
        let (ready, go) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
        let worker = |file: &File| -> limpid::Result<()> {
            let prepared = file.set_len(0).and_then(|()| file.write_all_at(&vec![1; 4 << 20], 0));
            ready.wait();
            go.wait();
            prepared.and_then(|()| work(file, ops))
        };
        let time = std::thread::scope(|scope| {
            let running: Vec<_> =
                files[..threads].iter().map(|file| scope.spawn(|| worker(file))).collect();
            ready.wait();
            let start = Instant::now();
            go.wait();
            running.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))?;
            Ok::<_, limpid::Error>(start.elapsed())
        })?;
        Ok(time.as_nanos() as f64 / (ops * threads as u64) as f64)
    };
    let mut sides: Vec<Side<'_>> = vec![Box::new(|| round(2)), Box::new(|| round(1))];
    let times = measure(setting.rounds, &mut sides)?;
    let note = "two threads, two files; raw: one thread, one file";
    Ok(Row { case, limpid_ns: times[0], tmpfs_ns: None, raw_ns: Some(times[1]), note })
}
