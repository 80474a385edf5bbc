//! `cargo xtask conformance`: the suites that test file systems, against a mounted pool.
//!
//! `pjdfstest` checks what POSIX says of names, permissions and times; `fsx` makes random changes
//! to one file by every path, maps included, and compares all bytes. Then both run at once while
//! the server is killed, and the pool has to be in order. They are installed into target/tools in
//! the versions below. Where the machine cannot mount, that is said.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::run;

const PJDFSTEST: &str = "pjdfstest@0.2.2";
const FSX: &str = "fsx@0.3.2";
/// How pjdfstest is set up.
const SETTINGS: &str = "xtask/conformance/pjdfstest.toml";

/// How much is done.
struct Amount {
    /// Operations of the first seed of fsx, which runs beside pjdfstest, and of each other one.
    long: &'static str,
    short: &'static str,
    seeds: std::ops::RangeInclusive<u64>,
    /// Requests that the server has served when it is killed, one round after the other.
    kills: &'static [u64],
}

const LONG_SEED: u64 = 1;
const ALL: Amount =
    Amount { long: "1000000", short: "100000", seeds: 2..=11, kills: &[1000, 20_000, 50_000] };
const CI: Amount = Amount { long: "200000", short: "50000", seeds: 2..=4, kills: &[1000, 20_000] };

/// A server that has not served so many by then has hung.
const KILLED_WITHIN: Duration = Duration::from_secs(180);

/// Runs both suites; whether both passed.
pub fn run(root: &Path) -> bool {
    start(root, &ALL)
}

/// As [`run()`], with fewer operations.
pub fn in_ci(root: &Path) -> bool {
    start(root, &CI)
}

fn start(root: &Path, amount: &Amount) -> bool {
    let Some(reason) = cannot_mount() else { return run_suites(root, amount) };
    eprintln!("skipped: {reason}");
    true
}

/// Where cargo puts what it builds.
pub fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn limpid(root: &Path) -> PathBuf {
    target(root).join("debug/limpid")
}

fn cannot_mount() -> Option<&'static str> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
    match (device.is_ok(), is_privileged()) {
        (false, _) => Some("conformance: there is no /dev/fuse that could be opened"),
        (_, false) => Some("conformance: only root can mount and change users here"),
        _ => None,
    }
}

/// Whether this process is root and may mount; in a container root may lack the right.
fn is_privileged() -> bool {
    const CAP_SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
    let user = field("Uid:").and_then(|users| users.split_whitespace().nth(1));
    let rights = field("CapEff:").and_then(|rights| u64::from_str_radix(rights.trim(), 16).ok());
    user == Some("0") && rights.is_some_and(|rights| rights & CAP_SYS_ADMIN != 0)
}

fn run_suites(root: &Path, amount: &Amount) -> bool {
    let tools = target(root).join("tools");
    let built = install(root, &tools) && run::cargo(root, &["build", "--package", "limpid-cli"]);
    if !built {
        return false;
    }
    if !remounted(root, &tools) {
        return false;
    }
    let Some(mount) = Mount::new(root) else { return false };
    let long = mount.fsx(&tools, LONG_SEED, amount.long);
    let mut good = pjdfstest(root, &tools, &mount);
    for seed in amount.seeds.clone() {
        good &= finished(mount.fsx(&tools, seed, amount.short), seed);
    }
    good &= finished(long, LONG_SEED);
    drop(mount);
    good && amount.kills.iter().all(|served| survives_a_kill(root, &tools, *served))
}

/// Kills the server under both suites when it has served so many requests; whether the pool is in
/// order then, and can be mounted again.
fn survives_a_kill(root: &Path, tools: &Path, served: u64) -> bool {
    let Some(mut mount) = Mount::new(root) else { return false };
    let silent =
        |mut command: Command| command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok();
    let suites = [
        pjdfstest_command(&root.join(SETTINGS), tools, &mount).and_then(silent),
        mount.fsx(tools, served, ALL.long),
    ];
    let begun = Instant::now();
    while mount.served().is_some_and(|count| count < served) {
        if begun.elapsed() > KILLED_WITHIN {
            eprintln!("the server has not served {served} requests in {KILLED_WITHIN:?}");
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let reached = mount.served().is_some_and(|count| count >= served);
    let killed = mount.server.kill().and_then(|()| mount.server.wait()).is_ok();
    for mut suite in suites.into_iter().flatten() {
        // Their files are gone. Where fsx was sending a file, it would wait for the rest of it.
        let _ = suite.kill().and_then(|()| suite.wait());
    }
    let limpid = |arguments: &[&str]| {
        let status = Command::new(limpid(root)).args(arguments).current_dir(&mount.base).status();
        status.is_ok_and(|status| status.success())
    };
    let sound = limpid(&["umount", "mount"]) && limpid(&["fsck", "pool"]);
    let again = sound && limpid(&["mount", "pool", "mount"]) && limpid(&["umount", "mount"]);
    eprintln!("killed after {served} requests: {}", if again { "sound" } else { "NOT SOUND" });
    reached && killed && again && limpid(&["fsck", "pool"])
}

/// Installs the suites, if the wanted versions are not there yet.
fn install(root: &Path, tools: &Path) -> bool {
    let tools = tools.to_string_lossy();
    run::cargo(root, &["install", "--locked", "--quiet", "--root", &tools, PJDFSTEST, FSX])
}

/// pjdfstest, ready to run in a folder of the mount.
fn pjdfstest_command(config: &Path, tools: &Path, mount: &Mount) -> Option<Command> {
    let folder = mount.dir.join("pjdfstest");
    let second = mount.base.join("second");
    fs::create_dir_all(&folder).and_then(|()| fs::create_dir_all(&second)).ok()?;
    let mut command = Command::new(tools.join("bin/pjdfstest"));
    command.arg("-c").arg(config);
    // The suite's users have to reach its folder, and a second file system.
    command.arg("-p").arg(&folder).arg("-s").arg(&second).current_dir(&folder);
    Some(command)
}

fn pjdfstest(root: &Path, tools: &Path, mount: &Mount) -> bool {
    let command = pjdfstest_command(&root.join(SETTINGS), tools, mount);
    command.is_some_and(told)
}

/// Runs pjdfstest and tells what failed; whether nothing did.
fn told(mut command: Command) -> bool {
    match command.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            let told = |line: &&str| {
                let failed = line.contains("FAILED") || line.starts_with('\t');
                failed || line.starts_with("Summary")
            };
            text.lines().filter(told).for_each(|line| eprintln!("pjdfstest: {line}"));
            output.status.success()
        }
        Err(error) => {
            eprintln!("xtask: pjdfstest: cannot be started: {error}");
            false
        }
    }
}

/// The tests of pjdfstest that make the file system read-only, in a run and on a mount of their
/// own: after others of its tests, files that it has left open are in the way, on ext4 as well.
fn remounted(root: &Path, tools: &Path) -> bool {
    let Some(mount) = Mount::new(root) else { return false };
    // mount(8) would ask a helper first, of which the machine may have another than ours.
    let programs = mount.base.join("programs");
    let script = programs.join("mount");
    let text = "#!/bin/sh\nPATH=${PATH#*:} exec mount -i \"$@\"\n";
    let config = mount.base.join("remount.toml");
    let settings = fs::read_to_string(root.join(SETTINGS)).unwrap_or_default();
    let settings = settings.replace("allow_remount = false", "allow_remount = true");
    let made = fs::create_dir(&programs)
        .and_then(|()| fs::write(&script, text))
        .and_then(|()| fs::set_permissions(&script, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::write(&config, settings));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(programs).chain(std::env::split_paths(&path));
    let (Ok(()), Ok(paths)) = (made, std::env::join_paths(paths)) else { return false };
    let Some(mut command) = pjdfstest_command(&config, tools, &mount) else { return false };
    command.arg("erofs").env("PATH", paths);
    told(command)
}

fn finished(child: Option<Child>, seed: u64) -> bool {
    let Some(output) = child.and_then(|child| child.wait_with_output().ok()) else { return false };
    let good = output.status.success();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    // Of a failure the last operations; of a success that it was one.
    let shown = if good { 1 } else { 40 };
    for line in &lines[lines.len().saturating_sub(shown)..] {
        eprintln!("fsx, seed {seed}: {line}");
    }
    good
}

/// A new pool, mounted by the command in the foreground. It goes away with this.
struct Mount {
    root: PathBuf,
    base: PathBuf,
    dir: PathBuf,
    server: Child,
}

impl Mount {
    fn new(root: &Path) -> Option<Mount> {
        let base = std::env::temp_dir().join(format!("limpid-conformance-{}", std::process::id()));
        let dir = base.join("mount");
        fs::create_dir_all(&dir).ok()?;
        let mut command = Command::new(limpid(root));
        command.arg("mount").arg(base.join("pool")).arg(&dir);
        command.args(["--size", "512MiB", "--foreground"]);
        let mut server = command.stderr(Stdio::piped()).spawn().ok()?;
        // The first line says that the mount is usable, or why it is not.
        let mut line = String::new();
        let stderr = server.stderr.take()?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stderr), &mut line).ok()?;
        eprint!("{line}");
        let mount = Mount { root: root.to_owned(), base, dir, server };
        line.contains("is mounted at").then_some(mount)
    }

    /// Requests that the server has served; `None` if it does not tell.
    fn served(&self) -> Option<u64> {
        let output = Command::new(limpid(&self.root)).arg("stat").arg(&self.dir).output().ok()?;
        if !output.status.success() {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            return None;
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let counts = text.lines().filter(|line| line.starts_with("limpid_requests_total{"));
        Some(counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum())
    }

    fn fsx(&self, tools: &Path, seed: u64, operations: &str) -> Option<Child> {
        let mut command = Command::new(tools.join("bin/fsx"));
        command.arg("-f").arg(self.root.join("xtask/conformance/fsx.toml"));
        command.args(["-q", "-N", operations, "-S", &seed.to_string(), "-P"]).arg(&self.base);
        command.arg(self.dir.join(format!("fsx-{seed}")));
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().ok()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mut unmount = Command::new(limpid(&self.root));
        unmount.args(["umount", "--lazy"]).arg(&self.dir);
        let gone = unmount.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !gone {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.base);
    }
}
