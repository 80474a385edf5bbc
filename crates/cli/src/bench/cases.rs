//! Small operations: overwrite, read, append, create, loads and stores through a map.

use std::fs::OpenOptions as HostOptions;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use limpid::{File, MapOptions, OpenOptions, Pool, PoolOptions};
use limpid_pmem::{Media, Medium, Persist};

use super::raw::Words;
use super::{Case, Row, Setting, Side, measure, per_op};

const PAGE: usize = 4096;
/// Size of the files that are read and overwritten: larger than the inner caches.
const FILE: u64 = 16 << 20;

pub const ALL: &[Case] = &[
    ("overwrite_4k", overwrite),
    ("read_4k", |setting| read(setting, "read_4k", PAGE)),
    ("read_64", |setting| read(setting, "read_64", 64)),
    ("append_4k", append),
    ("create_write_close_4k", create),
    ("map_load", |setting| map_words(setting, "map_load", false)),
    ("map_store", |setting| map_words(setting, "map_store", true)),
];

/// A populated pool in memory.
pub fn pool(setting: &Setting, size: u64) -> limpid::Result<Pool> {
    PoolOptions::new().populate(true).assume_persistent(setting.persistent).memory(size)
}

/// Raw memory of the same kind as the pool's, populated.
pub fn raw_memory(setting: &Setting, size: u64) -> limpid::Result<Medium> {
    let options = limpid_pmem::OpenOptions {
        populate: true,
        assume_persistent: setting.persistent,
        ..Default::default()
    };
    Ok(Medium::memory(size, &options)?)
}

/// An error of the host's tmpfs.
pub fn host(source: std::io::Error) -> limpid::Error {
    let path = PathBuf::from("/dev/shm");
    limpid::OpenError::System { path, doing: "use", source }.into()
}

/// A directory in tmpfs that vanishes with the value.
pub struct Tmpfs(PathBuf);

impl Tmpfs {
    pub fn new() -> limpid::Result<Tmpfs> {
        let dir = PathBuf::from(format!("/dev/shm/limpid-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(host)?;
        Ok(Tmpfs(dir))
    }

    pub fn file(&self, name: &str) -> limpid::Result<std::fs::File> {
        let path = self.0.join(name);
        HostOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(host)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Offsets that jump through the file, page by page.
fn spread(number: u64, unit: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9) % (FILE / unit) * unit
}

fn overwrite(setting: &Setting) -> limpid::Result<Row> {
    let pool = pool(setting, 64 << 20)?;
    let file = File::create(&pool, "/file")?;
    file.write_all_at(&vec![1; FILE as usize], 0)?;
    let tmpfs = Tmpfs::new()?;
    let host_file = tmpfs.file("overwrite")?;
    host_file.write_all_at(&vec![1; FILE as usize], 0).map_err(host)?;
    let raw = raw_memory(setting, FILE)?;
    let bytes = [7; PAGE];
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| per_op(setting.ops, |n| file.write_all_at(&bytes, spread(n, 4096)))),
        Box::new(|| {
            per_op(setting.ops, |n| host_file.write_all_at(&bytes, spread(n, 4096)).map_err(host))
        }),
        Box::new(|| {
            per_op(setting.ops, |n| {
                raw.write(spread(n, 4096), &bytes, Persist::Yes)?;
                raw.fence();
                Ok(())
            })
        }),
    ];
    let times = measure(setting.rounds, &mut sides)?;
    let note = "raw: copy and fence into the same kind of memory";
    Ok(row("overwrite_4k", &times, note))
}

fn row(case: &'static str, times: &[f64], note: &'static str) -> Row {
    Row {
        case,
        limpid_ns: times[0],
        tmpfs_ns: times.get(1).copied(),
        raw_ns: times.get(2).copied(),
        note,
    }
}

fn read(setting: &Setting, case: &'static str, len: usize) -> limpid::Result<Row> {
    let pool = pool(setting, 64 << 20)?;
    let file = File::create(&pool, "/file")?;
    file.write_all_at(&vec![1; FILE as usize], 0)?;
    let tmpfs = Tmpfs::new()?;
    let host_file = tmpfs.file("read")?;
    host_file.write_all_at(&vec![1; FILE as usize], 0).map_err(host)?;
    let raw = raw_memory(setting, FILE)?;
    let (mut one, mut two, mut three) = (vec![0; len], vec![0; len], vec![0; len]);
    let unit = len as u64;
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| per_op(setting.ops, |n| file.read_exact_at(&mut one, spread(n, unit)))),
        Box::new(|| {
            per_op(setting.ops, |n| {
                host_file.read_exact_at(&mut two, spread(n, unit)).map_err(host)
            })
        }),
        Box::new(|| per_op(setting.ops, |n| Ok(raw.read(spread(n, unit), &mut three)?))),
    ];
    let times = measure(setting.rounds, &mut sides)?;
    Ok(row(case, &times, "raw: copy out of the same kind of memory"))
}

fn append(setting: &Setting) -> limpid::Result<Row> {
    let ops = setting.ops.min(20_000);
    let pool = pool(setting, ops * PAGE as u64 + (64 << 20))?;
    let file = File::create(&pool, "/file")?;
    let tmpfs = Tmpfs::new()?;
    let host_file = tmpfs.file("append")?;
    let bytes = [7; PAGE];
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| {
            file.set_len(0)?;
            per_op(ops, |_| file.append(&bytes).map(|_| ()))
        }),
        Box::new(|| {
            host_file.set_len(0).map_err(host)?;
            per_op(ops, |n| host_file.write_all_at(&bytes, n * PAGE as u64).map_err(host))
        }),
    ];
    let times = measure(setting.rounds, &mut sides)?;
    Ok(row("append_4k", &times, ""))
}

fn create(setting: &Setting) -> limpid::Result<Row> {
    let ops = setting.ops.min(10_000);
    let pool = pool(setting, 2 * ops * PAGE as u64 + (64 << 20))?;
    let tmpfs = Tmpfs::new()?;
    let bytes = [7; PAGE];
    let name = |number: u64| format!("/file-{number}");
    let host_path = |number: u64| tmpfs.path(&format!("file-{number}"));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| {
            let names: Vec<String> = (0..ops).map(name).collect();
            let time = per_op(ops, |n| {
                let file = options.open(&pool, &names[n as usize])?;
                file.write_all_at(&bytes, 0)
            })?;
            names.iter().try_for_each(|name| pool.remove_file(name))?;
            Ok(time)
        }),
        Box::new(|| {
            let paths: Vec<PathBuf> = (0..ops).map(host_path).collect();
            let time = per_op(ops, |n| {
                let mut options = HostOptions::new();
                let path = &paths[n as usize];
                let file = options.write(true).create_new(true).open(path).map_err(host)?;
                file.write_all_at(&bytes, 0).map_err(host)
            })?;
            paths.iter().try_for_each(|path| std::fs::remove_file(path).map_err(host))?;
            Ok(time)
        }),
    ];
    let times = measure(setting.rounds, &mut sides)?;
    Ok(row("create_write_close_4k", &times, ""))
}

/// Loads or stores of every word of a populated map, beside the same through a raw mapping.
fn map_words(setting: &Setting, case: &'static str, store: bool) -> limpid::Result<Row> {
    let size = if setting.quick { 32 << 20 } else { 256 << 20 };
    let pool = pool(setting, size + (64 << 20))?;
    let file = File::create(&pool, "/file")?;
    file.write_all_at(&vec![1; size as usize], 0)?;
    let map = MapOptions::new().write(true).map(&file)?;
    let raw = raw_memory(setting, size)?;
    let (ours, plain) = (Words::of_map(&map), Words::of_medium(&raw));
    let run = |words: &Words<'_>| {
        per_op(1, |n| {
            if store {
                words.fill(n)
            } else {
                _ = std::hint::black_box(words.sum())
            }
            Ok(())
        })
        .map(|time| time / (size as f64 / 8.0))
    };
    let mut sides: Vec<Side<'_>> = vec![Box::new(|| run(&ours)), Box::new(|| run(&plain))];
    let times = measure(setting.rounds, &mut sides)?;
    let note = "per 8-byte word; raw: a shared mapping of the same kind of memory";
    Ok(Row { case, limpid_ns: times[0], tmpfs_ns: None, raw_ns: Some(times[1]), note })
}
