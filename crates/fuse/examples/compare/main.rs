//! How fast the mount is beside the least a FUSE file system can do: handing every request on to
//! a folder of tmpfs, with the same options of the kernel.
//!
//! `cargo xtask bench mount` runs it. Both are mounted at once, each served by a process of its
//! own, and every measurement is made in turns; the fastest of the rounds is shown.

mod loopback;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use limpid_fuse::{MountOptions, mount, unmount};

/// Rounds of each measurement; the fastest counts.
const ROUNDS: usize = 15;
/// Size of the pool in bytes.
const POOL: u64 = 1 << 30;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve-pool", pool, dir] => serve_pool(pool.as_ref(), dir.as_ref()),
        ["serve-loopback", folder, dir] => loopback::serve(folder.as_ref(), dir.as_ref()),
        _ => compare(),
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

fn compare() {
    let base = PathBuf::from(format!("/dev/shm/limpid-compare-{}", std::process::id()));
    let folder = base.join("folder");
    std::fs::create_dir_all(&folder).expect("/dev/shm can be written");
    let pool = Served::new("serve-pool", &base.join("pool"), base.join("pool-mount"));
    let loopback = Served::new("serve-loopback", &folder, base.join("loopback-mount"));
    println!("| work | Limpid | loop-back | ratio | ratio by processor time of the server |");
    println!("|---|---:|---:|---:|---:|");
    for work in work::ALL {
        let mut fastest = [Duration::MAX; 2];
        let mut processor = [Duration::ZERO; 2];
        for round in 0..ROUNDS {
            // Whoever goes first may find the machine in another state, so they take turns.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for index in order {
                let served = [&pool, &loopback][index];
                let before = served.processor();
                // The fastest is what is least disturbed by what else the machine does.
                fastest[index] = fastest[index].min((work.run)(&served.dir));
                processor[index] += served.processor() - before;
            }
        }
        let [ours, theirs] = fastest.map(|time| time.as_secs_f64());
        let [spent, spent_by_them] = processor.map(|time| time.as_secs_f64());
        let rate = |seconds: f64| format!("{:.0} {}", work.amount / seconds, work.unit);
        let (name, ratio) = (work.name, theirs / ours);
        let by_processor = spent_by_them / spent;
        let (ours, theirs) = (rate(ours), rate(theirs));
        println!("| {name} | {ours} | {theirs} | {ratio:.2} | {by_processor:.2} |");
    }
    work::visit(&pool.dir, 100_000);
    println!("\nmemory of the server with 100 000 files visited: {} MiB", pool.memory());
    drop((pool, loopback));
    let _ = std::fs::remove_dir_all(&base);
}
