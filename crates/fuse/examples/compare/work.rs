//! What is measured.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, AtFlags, CWD, StatxFlags, fadvise, statx};

use crate::kernel_map::KernelMap;

const LARGE: u64 = 64 << 20;
const MIB: usize = 1 << 20;
const SMALL: usize = 4096;
const RANDOM: u64 = 4096;
const FILES: usize = 2000;

/// One measurement: how long it takes in a folder.
pub struct Work {
    pub name: &'static str,
    pub unit: &'static str,
    /// What is done in all, in the unit times seconds.
    pub amount: f64,
    pub run: fn(&Path) -> Duration,
}

const MANY: f64 = FILES as f64 / 1000.0;
const OPERATIONS: f64 = RANDOM as f64 / 1000.0;
/// What the large file has.
pub const MEBIBYTES: f64 = (LARGE / MIB as u64) as f64;

pub const ALL: [Work; 13] = [
    Work { name: "1 MiB writes, new file", unit: "MiB/s", amount: MEBIBYTES, run: write_new },
    Work { name: "1 MiB writes, in place", unit: "MiB/s", amount: MEBIBYTES, run: write_again },
    Work { name: "1 MiB reads, cold", unit: "MiB/s", amount: MEBIBYTES, run: read_cold },
    Work { name: "1 MiB reads, warm", unit: "MiB/s", amount: MEBIBYTES, run: read_warm },
    Work { name: "mapped reads, warm", unit: "MiB/s", amount: MEBIBYTES, run: mapped_reads },
    Work { name: "4 KiB random reads, cold", unit: "k/s", amount: OPERATIONS, run: random_reads },
    Work { name: "4 KiB random writes", unit: "k/s", amount: OPERATIONS, run: random_writes },
    Work {
        name: "4 KiB random reads, four threads",
        unit: "k/s",
        amount: 4.0 * OPERATIONS,
        run: reads_at_once,
    },
    Work { name: "create", unit: "k/s", amount: MANY, run: create },
    Work { name: "stat, asking the server", unit: "k/s", amount: MANY, run: stat },
    Work { name: "stat, four threads", unit: "k/s", amount: 4.0 * MANY, run: stats_at_once },
    Work { name: "open, read 4 KiB, close", unit: "k/s", amount: MANY, run: open_read },
    Work { name: "unlink", unit: "k/s", amount: MANY, run: unlink },
];

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn large(dir: &Path) -> File {
    let path = dir.join("large");
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
    if file.metadata().unwrap().len() < LARGE {
        write_all(&file);
    }
    file
}

fn write_all(file: &File) {
    let bytes = vec![7; MIB];
    for at in (0..LARGE).step_by(MIB) {
        file.write_all_at(&bytes, at).unwrap();
    }
}

fn read_all(file: &File) {
    let mut bytes = vec![0; MIB];
    for at in (0..LARGE).step_by(MIB) {
        file.read_exact_at(&mut bytes, at).unwrap();
    }
}

/// Takes the file's pages out of the kernel's cache.
fn cool(file: &File) {
    file.sync_all().unwrap();
    fadvise(file, 0, None, Advice::DontNeed).unwrap();
}

fn write_new(dir: &Path) -> Duration {
    let path = dir.join("new");
    let file = File::create(&path).unwrap();
    let time = timed(|| write_all(&file));
    drop(file);
    fs::remove_file(path).unwrap();
    time
}

fn write_again(dir: &Path) -> Duration {
    let file = large(dir);
    timed(|| write_all(&file))
}

fn read_cold(dir: &Path) -> Duration {
    let file = large(dir);
    cool(&file);
    timed(|| read_all(&file))
}

fn read_warm(dir: &Path) -> Duration {
    let file = large(dir);
    read_all(&file);
    timed(|| read_all(&file))
}

/// Maps the file and loads all of it, one fault for every few pages included.
pub fn mapped_reads(dir: &Path) -> Duration {
    let file = large(dir);
    read_all(&file);
    let mut sum = 0u64;
    let time = timed(|| {
        let map = KernelMap::new(&file, LARGE as usize);
        for at in (0..LARGE as usize).step_by(8) {
            sum = sum.wrapping_add(map.load(at));
        }
    });
    assert_ne!(sum, 0, "the file is full of bytes that are not zero");
    time
}

/// Offsets that look random and are the same each time.
fn offsets() -> impl Iterator<Item = u64> {
    let pages = LARGE / SMALL as u64;
    (0..RANDOM).map(move |index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % pages)
}

fn random_reads(dir: &Path) -> Duration {
    let file = large(dir);
    cool(&file);
    fadvise(&file, 0, None, Advice::Random).unwrap();
    let mut bytes = [0; SMALL];
    timed(|| {
        for page in offsets() {
            file.read_exact_at(&mut bytes, page * SMALL as u64).unwrap();
        }
    })
}

/// Runs the same work in four threads.
fn at_once(work: impl Fn(usize) + Sync) -> Duration {
    timed(|| {
        std::thread::scope(|scope| {
            for number in 0..4 {
                let work = &work;
                scope.spawn(move || work(number));
            }
        });
    })
}

fn reads_at_once(dir: &Path) -> Duration {
    let file = large(dir);
    cool(&file);
    fadvise(&file, 0, None, Advice::Random).unwrap();
    at_once(|number| {
        let mut bytes = [0; SMALL];
        // Each thread has a part of the file, so that nobody reads what another has brought in.
        for page in offsets() {
            let page = page / 4 + number as u64 * (LARGE / SMALL as u64 / 4);
            file.read_exact_at(&mut bytes, page * SMALL as u64).unwrap();
        }
    })
}

fn stats_at_once(dir: &Path) -> Duration {
    make_missing(dir);
    at_once(|_| {
        for path in names(dir) {
            statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS).unwrap();
        }
    })
}

fn random_writes(dir: &Path) -> Duration {
    let file = large(dir);
    let bytes = [9; SMALL];
    timed(|| {
        for page in offsets() {
            file.write_all_at(&bytes, page * SMALL as u64).unwrap();
        }
    })
}

fn names(dir: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    (0..FILES).map(move |index| dir.join(format!("many/file{index}")))
}

fn create(dir: &Path) -> Duration {
    let folder = dir.join("many");
    // By name, since the loop-back's listings do not stay true while names go.
    names(dir).for_each(|path| drop(fs::remove_file(path)));
    let _ = fs::create_dir(&folder);
    timed(|| names(dir).for_each(|path| drop(File::create(path).unwrap())))
}

/// Makes the files that are not there.
fn make_missing(dir: &Path) {
    fs::create_dir_all(dir.join("many")).unwrap();
    for path in names(dir).filter(|path| !path.exists()) {
        File::create(path).unwrap();
    }
}

fn stat(dir: &Path) -> Duration {
    make_missing(dir);
    timed(|| {
        for path in names(dir) {
            statx(CWD, path, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS).unwrap();
        }
    })
}

fn open_read(dir: &Path) -> Duration {
    make_missing(dir);
    for path in names(dir) {
        fs::write(path, [1; SMALL]).unwrap();
    }
    let mut bytes = [0; SMALL];
    timed(|| {
        for path in names(dir) {
            File::open(path).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        }
    })
}

fn unlink(dir: &Path) -> Duration {
    create(dir);
    timed(|| names(dir).for_each(|path| fs::remove_file(path).unwrap()))
}

/// Makes `count` files and looks at each.
pub fn visit(dir: &Path, count: usize) {
    let folder = dir.join("visited");
    fs::create_dir(&folder).unwrap();
    for index in 0..count {
        let path = folder.join(format!("file{index}"));
        File::create(&path).unwrap();
        fs::metadata(path).unwrap();
    }
}
