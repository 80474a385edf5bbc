//! How fast the mount is beside the least a FUSE file system can do: handing every request on to
//! a folder of tmpfs, with the same options of the kernel.
//!
//! `cargo xtask bench mount` runs it. Both are mounted at once, each served by a process of its
//! own, and every measurement is made in turns; the median of the rounds is shown.

#[path = "../../tests/common/kernel_map.rs"]
mod kernel_map;
mod loopback;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use limpid_fuse::{MountOptions, mount, unmount};

/// Rounds of each measurement; the median counts.
const ROUNDS: usize = 15;
/// Size of the pool in bytes.
const POOL: u64 = 1 << 30;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve-pool", pool, dir] => serve_pool(pool.as_ref(), dir.as_ref()),
        ["serve-loopback", folder, dir] => loopback::serve(folder.as_ref(), dir.as_ref()),
        [] => compare(""),
        [part, ..] => compare(part),
    }
}

/// Serves a new pool until it is unmounted.
fn serve_pool(pool: &Path, dir: &Path) {
    // With all its storage, as memory has it: the mount is measured, not how tmpfs finds pages.
    let options = limpid::PoolOptions::new().populate(true);
    let pool = options.create(pool, POOL).expect("the pool can be made");
    let options = MountOptions { exclusive: true, ..MountOptions::default() };
    let mounted = mount(pool, dir, options).expect("the pool can be mounted");
    println!("ready");
    mounted.wait().expect("the mount is served");
}

/// A mount served by another process. It goes away with this.
struct Served {
    dir: PathBuf,
    server: Child,
}

impl Served {
    fn new(what: &str, from: &Path, dir: PathBuf) -> Served {
        std::fs::create_dir_all(&dir).expect("the mount point can be made");
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        command.arg(what).arg(from).arg(&dir).stdout(Stdio::piped());
        let mut server = command.spawn().expect("the server can be started");
        let mut line = String::new();
        let stdout = server.stdout.take().expect("it is piped");
        let mut stdout = std::io::BufReader::new(stdout);
        std::io::BufRead::read_line(&mut stdout, &mut line).expect("the server says a line");
        assert_eq!(line, "ready\n", "the server is ready");
        Served { dir, server }
    }

    /// Processor time of the server's threads so far. Unlike the time on the clock it hardly
    /// depends on what else the machine does.
    fn processor(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.server.id()));
        let spent = threads.into_iter().flatten().flatten().filter_map(|thread| {
            let stat = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
            stat.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }

    /// Resident memory of the server in MiB.
    fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.server.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        // The pool itself is shared memory, so what the process has of its own is anonymous.
        field("RssAnon:").unwrap_or(0) / 1024
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if unmount(&self.dir, false).is_err() {
            let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
        }
        let _ = self.server.wait();
    }
}

/// The median in seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}

/// Measures what has `part` in its name.
fn compare(part: &str) {
    let base = PathBuf::from(format!("/dev/shm/limpid-compare-{}", std::process::id()));
    let folder = base.join("folder");
    std::fs::create_dir_all(&folder).expect("/dev/shm can be written");
    let pool = Served::new("serve-pool", &base.join("pool"), base.join("pool-mount"));
    let loopback = Served::new("serve-loopback", &folder, base.join("loopback-mount"));
    println!("| work | Limpid | loop-back | ratio | ratio by processor time of the server |");
    println!("|---|---:|---:|---:|---:|");
    for work in work::ALL.iter().filter(|work| work.name.contains(part)) {
        let mut times = [Vec::new(), Vec::new()];
        let mut processor = [Duration::ZERO; 2];
        for round in 0..ROUNDS {
            // Whoever goes first may find the machine in another state, so they take turns.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for index in order {
                let served = [&pool, &loopback][index];
                let before = served.processor();
                times[index].push((work.run)(&served.dir));
                processor[index] += served.processor() - before;
            }
        }
        let [ours, theirs] = times.map(median);
        let [spent, spent_by_them] = processor.map(|time| time.as_secs_f64());
        let rate = |seconds: f64| format!("{:.0} {}", work.amount / seconds, work.unit);
        let (name, ratio) = (work.name, theirs / ours);
        let by_processor = spent_by_them / spent;
        let (ours, theirs) = (rate(ours), rate(theirs));
        println!("| {name} | {ours} | {theirs} | {ratio:.2} | {by_processor:.2} |");
    }
    let plain = median((0..ROUNDS).map(|_| work::mapped_reads(&folder)).collect());
    println!("\nmapped reads of a file of tmpfs itself: {:.0} MiB/s", work::MEBIBYTES / plain);
    work::visit(&pool.dir, 100_000);
    println!("memory of the server with 100 000 files visited: {} MiB", pool.memory());
    drop((pool, loopback));
    let _ = std::fs::remove_dir_all(&base);
}
