//! Mounts that go away with the test, and programs that use them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use limpid_fuse::{MountState, look, unmount};
use rustix::process::{Pid, Signal};

use super::Sandbox;

/// A folder of the sandbox in which something may be mounted.
pub struct MountPoint {
    pub path: PathBuf,
}

impl MountPoint {
    /// Makes the folder.
    pub fn new(sandbox: &Sandbox, name: &str) -> MountPoint {
        let path = sandbox.path(name);
        fs::create_dir(&path).unwrap();
        MountPoint { path }
    }

    /// Whether something is mounted there.
    pub fn mounted(&self) -> bool {
        look(&self.path).unwrap() != MountState::Nothing
    }

    /// The process that serves the mount.
    pub fn process(&self) -> Pid {
        let metrics = limpid_fuse::metrics(&self.path).unwrap();
        let line = metrics.lines().find_map(|line| line.strip_prefix("limpid_process_id "));
        Pid::from_raw(line.unwrap().parse().unwrap()).unwrap()
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        while look(&self.path).is_ok_and(|state| state != MountState::Nothing) {
            if unmount(&self.path, true).is_err() {
                break;
            }
        }
    }
}

/// Whether this machine lets the test mount; where it does not, that is said.
pub fn can_mount() -> bool {
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
    let possible = device.is_ok() && may_mount();
    if !possible {
        eprintln!("skipped: mounting wants /dev/fuse and the right to mount (CAP_SYS_ADMIN)");
    }
    possible
}

/// Root in a container may lack the right.
fn may_mount() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let rights = rights.and_then(|rights| u64::from_str_radix(rights.trim(), 16).ok());
    super::is_root() && rights.is_some_and(|rights| rights & CAP_SYS_ADMIN != 0)
}

/// Waits until a process has ended.
pub fn wait_for_end(pid: Pid) {
    use rustix::event::{PollFd, PollFlags, poll};
    let flags = rustix::process::PidfdFlags::empty();
    let Ok(process) = rustix::process::pidfd_open(pid, flags) else { return };
    let minute = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&minute)).unwrap();
    assert_eq!(ended, 1, "the process has ended within a minute");
}

/// Set for a worker: what it is to do.
const WORK: &str = "LIMPID_TEST_WORK";
/// How a worker's lines begin; what else is on standard output is of the test harness.
const MARK: &str = "= ";

/// Another process: the test's own binary, which does one piece of work. It ends with this.
pub struct Worker {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts a worker; the test binary must have a test `worker` that asks for [`work`].
    pub fn new(work: &str) -> Worker {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "worker", "--nocapture", "--test-threads=1"]).env(WORK, work);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Worker { child, output }
    }

    /// The next line the worker says; none when it has ended.
    pub fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.output.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some((_, said)) = line.trim_end().split_once(MARK) {
                return Some(said.to_owned());
            }
        }
    }

    /// Waits for the worker, which has to succeed.
    pub fn finish(mut self) {
        while self.line().is_some() {}
        assert!(self.child.wait().unwrap().success(), "the worker has failed");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The words of a worker's work; none in the test itself.
pub fn work() -> Option<Vec<String>> {
    let work = std::env::var(WORK).ok()?;
    // The test may die; nothing of it stays.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    Some(work.split(' ').map(str::to_owned).collect())
}

/// Says a line to the test.
pub fn say(line: impl std::fmt::Display) {
    println!("{MARK}{line}");
}
