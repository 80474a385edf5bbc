//! `limpid mount`: a pool as a directory, for every program.
//!
//! In the background the command runs itself a second time, detached from the terminal, and ends
//! when that process says that the mount is usable, or why it cannot be.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::Args;
use limpid::{Error, Pool, PoolOptions};
use limpid_fuse::{
    Detach, Mount as Mounted, MountError, MountOptions, MountState, check_mount_point, look, mount,
    mounted_options, remount, unmount,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::mount_options;
use crate::failure::{self, At, Failure, Result};
use crate::interrupt::{self, Guard};
use crate::{pools, size};

/// What the detached process says when the mount is usable.
const READY: &str = "ready\n";

/// Mount a pool at a directory
#[derive(Args)]
pub struct Mount {
    /// The pool's file or device
    pool: PathBuf,
    /// An empty directory
    dir: PathBuf,
    /// Make the pool first, of this size, if it does not exist
    #[arg(long, value_parser = size::parse, allow_hyphen_values = true)]
    size: Option<u64>,
    /// Nothing can be changed
    #[arg(long)]
    ro: bool,
    /// Stay, and end when the pool is unmounted
    #[arg(long)]
    foreground: bool,
    /// Write what happens to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Options as of mount(8): ro, noatime, nodiratime, strictatime, allow_other, uid=, gid=,
    /// umask=, suid, dev, noexec, nosymfollow, sync, dirsync, fsname=, threads=, busy_poll=;
    /// remount with those that the kernel sees to
    #[arg(short = 'o', value_delimiter = ',', value_name = "OPTIONS")]
    options: Vec<String>,
    /// Run detached, and say so on standard output.
    #[arg(long, hide = true)]
    detached: bool,
    /// Run by mount(8), as its helper.
    #[arg(long, hide = true)]
    helper: bool,
    /// Taken from mount(8), which passes them to its helpers.
    #[arg(short = 'n', hide = true)]
    no_table: bool,
    #[arg(short = 'v', hide = true)]
    verbose: bool,
    #[arg(short = 's', hide = true)]
    sloppy: bool,
    #[arg(short = 'f', hide = true)]
    fake: bool,
    #[arg(short = 't', hide = true)]
    fs_type: Option<String>,
}

impl Mount {
    pub fn run(self) -> Result<()> {
        if mount_options::is_remount(&self.options) {
            return self.remount();
        }
        let without =
            if self.helper { mount_options::of_helper() } else { MountOptions::default() };
        let mut options = mount_options::parse(&self.options, without, self.sloppy)?;
        options.read_only |= self.ro;
        if self.fake {
            return Ok(());
        }
        if self.foreground || self.detached { self.serve(options) } else { run_detached(&self.dir) }
    }

    /// Mounts anew what is mounted. Who gives the command says what is to change; mount(8) tells
    /// its helper of everything that is not as usual.
    fn remount(&self) -> Result<()> {
        let failed = |error| failure(&error, &self.dir);
        let without = match self.helper {
            true => mount_options::of_helper(),
            false => mounted_options(&self.dir).map_err(failed)?,
        };
        let mut options = mount_options::parse_remount(&self.options, without)?;
        options.read_only |= self.ro;
        remount(&self.dir, &options).map_err(failed)
    }

    /// Mounts, and serves until the pool is unmounted.
    fn serve(&self, mut options: MountOptions) -> Result<()> {
        let log = self.log.as_deref().map(open_log).transpose()?;
        if self.detached {
            // The terminal's signals and its end are not for this process.
            rustix::process::setsid().map_err(io::Error::from).at("mount")?;
        }
        // Before the pool is touched: what cannot be mounted is not made or recovered either.
        check_mount_point(&self.dir).map_err(|error| failure(&error, &self.dir))?;
        let (pool, fresh) = self.pool(options.read_only)?;
        if options.allow_other.unwrap_or(rustix::process::geteuid().is_root()) {
            pools::tell_if_shared(&self.pool);
        }
        options.exclusive = true;
        options.source.get_or_insert_with(|| source(&self.pool));
        // From here on a signal unmounts.
        let signals = Signals::new([SIGTERM, SIGINT]).at("mount")?;
        interrupt::give_up();
        let mounted = mount(pool, &self.dir, options).map_err(|error| {
            if fresh {
                let _ = fs::remove_file(&self.pool);
            }
            failure(&error, &self.dir)
        })?;
        unmount_on(signals, mounted.detacher())?;
        let dir = mounted.dir().display().to_string();
        self.say(&format!("{} is mounted at {dir}", self.pool.display()));
        if self.detached {
            detach(log)?;
        }
        serve_until_unmounted(mounted)?;
        self.say(&format!("{} is unmounted from {dir}", self.pool.display()));
        Ok(())
    }

    /// A line for the log, or for who watches in the foreground.
    fn say(&self, what: &str) {
        if !self.detached || self.log.is_some() {
            // Nobody may be reading; that ends nothing.
            let _ = writeln!(io::stderr(), "limpid: {what}");
        }
    }

    /// Opens the pool, or makes it; whether it is new.
    fn pool(&self, read_only: bool) -> Result<(Pool, bool)> {
        let exists = self.pool.try_exists().at(self.pool.display())?;
        if let Some(size) = self.size.filter(|_| !exists) {
            if read_only {
                let what = "a new pool that cannot be changed is of no use";
                let advice = "leave '--ro' or '--size' out";
                return Err(Failure::usage(what, self.pool.display(), advice));
            }
            let guard = Guard::new()?;
            let pool = PoolOptions::new().create(&self.pool, size).map_err(|error| {
                if matches!(error, Error::Open(_)) {
                    return failure::from_create(&error, &self.pool);
                }
                let _ = fs::remove_file(&self.pool);
                failure::from_pool(&error, self.pool.display())
            })?;
            pool.sync().at(self.pool.display())?;
            drop(guard);
            interrupt::check().inspect_err(|_| {
                let _ = fs::remove_file(&self.pool);
            })?;
            return Ok((pool, true));
        }
        let options = PoolOptions::new().read_only(read_only);
        let pool = options.open(&self.pool).map_err(|error| self.no_pool(&error))?;
        let info = pool.info();
        if !info.clean {
            let what = "the pool was not closed properly";
            let advice = format!("it was recovered, {} changes were finished", info.recovered);
            eprintln!("{}", Failure::new(what, self.pool.display(), &advice));
        }
        Ok((pool, false))
    }

    fn no_pool(&self, error: &Error) -> Failure {
        match error {
            Error::Open(limpid::OpenError::System { source, .. })
                if source.kind() == io::ErrorKind::NotFound =>
            {
                let advice = "check the path, or give --size to make it";
                Failure::new("no such pool", self.pool.display(), advice)
            }
            _ => failure::from_open(error, &self.pool),
        }
    }
}

/// Runs this command again, detached, until it is ready or has failed.
fn run_detached(dir: &Path) -> Result<()> {
    let program = std::env::current_exe().at("limpid")?;
    let mut arguments = crate::arguments().into_iter().skip(1);
    // The name of the command, then the hidden option, then what the user gave.
    let command = arguments.next().unwrap_or_default();
    let mut child = Command::new(program)
        .arg(command)
        .arg("--detached")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .at("limpid")?;
    let (mut said, mut complaints) = (String::new(), String::new());
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut complaints).at("limpid")?;
    }
    if let Some(mut stdout) = child.stdout.take() {
        stdout.read_to_string(&mut said).at("limpid")?;
    }
    eprint!("{complaints}");
    if said == READY {
        return Ok(());
    }
    let status = child.wait().at("limpid")?;
    if status.signal().is_some() && matches!(look(dir), Ok(MountState::Dead { .. })) {
        // What it had mounted is of no use to anybody.
        let _ = unmount(dir, true);
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    if complaints.is_empty() {
        let what = format!("the process of the mount ended: {status}");
        return Err(Failure::new(what, "mount", "try '--foreground'"));
    }
    Err(Failure::Ended(code.max(1)))
}

/// Tells the starting process that the mount is usable, and lets go of its terminal and folder.
fn detach(log: Option<fs::File>) -> Result<()> {
    std::env::set_current_dir("/").at("/")?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null").at("/dev/null")?;
    io::stdout().write_all(READY.as_bytes()).at("mount")?;
    io::stdout().flush().at("mount")?;
    let to_std = |error: rustix::io::Errno| io::Error::from(error);
    rustix::stdio::dup2_stdin(&null).map_err(to_std).at("mount")?;
    rustix::stdio::dup2_stderr(log.as_ref().unwrap_or(&null)).map_err(to_std).at("mount")?;
    rustix::stdio::dup2_stdout(&null).map_err(to_std).at("mount")
}

fn serve_until_unmounted(mounted: Mounted) -> Result<()> {
    let dir = mounted.dir().to_owned();
    mounted.wait().map_err(|error| {
        let what = format!("the mount ended before it was unmounted: {error}");
        Failure::new(what, dir.display(), "mount it anew; what returned is in the pool")
    })
}

/// The first signal unmounts: at once if nobody uses the mount, else for everybody who comes. The
/// second ends the process; the pool is as after a crash then, which loses nothing that returned.
fn unmount_on(mut signals: Signals, mounted: Detach) -> Result<()> {
    let watch = move || {
        let mut signals = signals.forever();
        if signals.next().is_some() {
            // Should it fail, the second signal is what remains.
            let _ = mounted.detach();
        }
        if signals.next().is_some() {
            std::process::exit(1);
        }
    };
    let thread = std::thread::Builder::new().name("limpid-signals".to_owned());
    thread.spawn(watch).map(drop).at("mount")
}

/// Opens the log, which names files of the pool: a new one is its owner's alone.
fn open_log(path: &Path) -> Result<fs::File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600).open(path).at(path.display())
}

/// What the table of mounts shows: the whole path, so that it can be found again.
fn source(pool: &Path) -> String {
    let whole = pool.canonicalize().unwrap_or_else(|_| pool.to_owned());
    whole.to_string_lossy().into_owned()
}

/// A mount that did not come about, or did not go away.
pub fn failure(error: &MountError, dir: &Path) -> Failure {
    let place = dir.display();
    let clear = format!("clear it with 'limpid umount {place}'");
    let advice = match error {
        MountError::MountPoint { source, .. } => return failure::from_io(source, place),
        MountError::NotEmpty { .. } => "give an empty directory",
        MountError::Mounted { .. } => "give another directory, or unmount what is there",
        MountError::Dead { .. } => &clear,
        MountError::NotMounted { .. } => "see 'findmnt -t fuse.limpid' for what is mounted",
        MountError::Busy { .. } => "end what uses it (see 'fuser -m'), or give --lazy",
        MountError::NoFuse(_) => "load the kernel's module: 'modprobe fuse'",
        MountError::NotPermitted(_) => "run as root, or get the right to read and write /dev/fuse",
        MountError::Threads { .. } => "give fewer with '-o threads='",
        MountError::NotServed(_) => "see 'ulimit -a' for what may have run out",
        MountError::Unchangeable(_) => "unmount it and mount it with that option",
        MountError::NotRoot => "run as root",
        MountError::NoHelper => "run as root, or install fusermount3 (package fuse3)",
        MountError::HelperRefused(_) => "mend that, or run as root",
        _ => "see 'limpid mount --help'",
    };
    Failure::new(error.to_string(), place, advice)
}
