//! `cargo xtask guest`: real fsdax and devdax, in a virtual machine with an emulated NVDIMM.
//!
//! A small guest is made of the host's busybox, ndctl and mkfs, a Debian kernel and our own tests;
//! docs/guest.md tells what runs in it.

mod binaries;
mod crash;
mod host;
mod initramfs;
mod machine;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use host::Kernel;
use initramfs::Staging;
use machine::{Accelerator, Guest, Machine};

pub const USAGE: &str =
    "cargo xtask guest [--kernel DIR] [--short] [--keep] [--crashes N] [-- COMMAND]";

/// Contents of the NVDIMM: four namespaces and the labels.
const IMAGE_SIZE: u64 = 2300 << 20;

/// Why there is no guest, or no answer from it.
#[derive(Debug)]
pub enum Trouble {
    /// These Debian packages are missing and cannot be installed.
    Packages(String),
    /// The folder holds no kernel with its modules.
    NoKernel(PathBuf),
    /// A command failed.
    Command { line: String, status: ExitStatus },
    /// The system refused.
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    /// Our own programs do not build.
    Build { line: String, status: ExitStatus },
    /// The guest was not done in time.
    Late,
}

impl Trouble {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Trouble {
        let path = path.to_owned();
        move |source| Trouble::Io { doing, path, source }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Packages(packages) => {
                write!(f, "missing: install with `apt-get install {packages}`")
            }
            Trouble::NoKernel(folder) => {
                write!(f, "{}: no boot/vmlinuz with its lib/modules", folder.display())
            }
            Trouble::Command { line, status } | Trouble::Build { line, status } => {
                write!(f, "{line}: {status}")
            }
            Trouble::Io { doing, path, source } => {
                write!(f, "cannot {doing} {}: {source}", path.display())
            }
            Trouble::Late => write!(f, "the guest was not done in time"),
        }
    }
}

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    kernel: Option<PathBuf>,
    keep: bool,
    crashes: Option<usize>,
    short: bool,
    command: Option<String>,
}

impl Options {
    fn parse(arguments: &[String]) -> Option<Options> {
        let mut options = Options::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--kernel" => options.kernel = Some(arguments.next()?.into()),
                "--short" => options.short = true,
                "--keep" => options.keep = true,
                "--crashes" => options.crashes = Some(arguments.next()?.parse().ok()?),
                "--" => {
                    let words: Vec<&str> = arguments.by_ref().map(String::as_str).collect();
                    options.command = Some(words.join(" ")).filter(|line| !line.is_empty());
                }
                _ => return None,
            }
        }
        Some(options)
    }
}

/// Runs the guest; whether every step held.
pub fn run(root: &Path, arguments: &[String]) -> bool {
    let Some(options) = Options::parse(arguments) else {
        eprintln!("usage: {USAGE}");
        return false;
    };
    let prepared = prepare(root, &options);
    let result = prepared.and_then(|machine| everything(&machine, &options));
    report(result)
}

/// As [`run`] with a shorter suite, where this machine can; else says why not.
pub fn in_ci(root: &Path) -> bool {
    let options = Options { crashes: Some(1), short: true, ..Options::default() };
    let machine = match prepare(root, &options) {
        Ok(machine) => machine,
        Err(trouble @ Trouble::Build { .. }) => return report(Err(trouble)),
        Err(trouble) => {
            eprintln!("skipped: the guest with real DAX: {trouble}");
            return true;
        }
    };
    match everything(&machine, &options) {
        Err(Trouble::Late) => {
            eprintln!("skipped: the rest of the guest: this machine emulates it too slowly");
            true
        }
        result => report(result),
    }
}

fn report(result: Result<Tally, Trouble>) -> bool {
    match result {
        Ok(tally) => {
            eprintln!("guest: {} steps ok, {} failed", tally.passed, tally.failed);
            tally.failed == 0 && tally.passed > 0
        }
        Err(trouble) => {
            eprintln!("guest: {trouble}");
            false
        }
    }
}

/// Steps by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: usize,
    failed: usize,
}

impl Tally {
    /// Takes one message of the guest, and prints what is for people.
    fn take(&mut self, message: &str) {
        match message.split_once(' ') {
            Some(("ok", rest)) => {
                self.passed += 1;
                eprintln!("guest: ok {rest}");
            }
            Some(("failed", rest)) => {
                self.failed += 1;
                eprintln!("guest: FAILED {rest}");
            }
            Some((_, rest)) => eprintln!("guest: {rest}"),
            None => {}
        }
    }
}

/// Makes all a guest needs.
fn prepare(root: &Path, options: &Options) -> Result<Machine, Trouble> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let work = target.join("guest");
    fs::create_dir_all(&work).map_err(Trouble::io("create", &work))?;
    host::programs()?;
    let kernel = match &options.kernel {
        Some(folder) => Kernel::in_folder(folder)?,
        None => Kernel::fetch(&work)?,
    };
    let staging = Staging::new(&work.join("root"), &kernel)?;
    binaries::add(root, &staging)?;
    let command = options.command.as_deref().unwrap_or("true");
    staging.script("guest/command.sh", &format!("step command sh -c {}\n", quoted(command)))?;
    let initramfs = work.join("initramfs");
    staging.pack(&initramfs)?;
    let log = work.join("console.log");
    fs::write(&log, "").map_err(Trouble::io("write", &log))?;
    eprintln!("guest: all it prints is in {}", log.display());
    let image = work.join("image");
    let accelerator = Accelerator::Kvm;
    let image_size = IMAGE_SIZE;
    let mut machine =
        Machine { kernel: kernel.image, initramfs, image, image_size, log, accelerator };
    machine.blank()?;
    machine.choose_accelerator()?;
    eprintln!("guest: Linux {}, {}", kernel.version, machine.accelerator);
    machine.blank()?;
    Ok(machine)
}

fn everything(machine: &Machine, options: &Options) -> Result<Tally, Trouble> {
    let mut tally = Tally::default();
    let begun = Instant::now();
    let job = match (&options.command, options.short) {
        (Some(_), _) => "command",
        (None, true) => "short",
        (None, false) => "suite",
    };
    let within = if options.short { WITHIN_SHORT } else { WITHIN };
    let guest = machine.boot(&format!("limpid.fresh=1 limpid.job={job}"), within)?;
    follow(guest, &mut tally)?;
    if options.command.is_none() {
        crash::rounds(machine, options.crashes.unwrap_or(10), &mut tally)?;
    }
    if !options.keep {
        let _ = fs::remove_file(&machine.image);
    }
    eprintln!("guest: {:.0} s", begun.elapsed().as_secs_f64());
    Ok(tally)
}

/// A guest that hangs is ended after this.
const WITHIN: Duration = Duration::from_secs(3600);
/// As above, for the short suite, which takes three minutes on two processors.
const WITHIN_SHORT: Duration = Duration::from_secs(480);

/// Takes the messages of a guest until it is done. One that stops before it said so has failed.
fn follow(mut guest: Guest, tally: &mut Tally) -> Result<(), Trouble> {
    while let Some(message) = guest.next()? {
        if message == "end" {
            return Ok(());
        }
        tally.take(&message);
    }
    tally.take("failed the guest stopped by itself");
    Ok(())
}

impl Machine {
    /// Empties the NVDIMM.
    fn blank(&self) -> Result<(), Trouble> {
        let file = File::create(&self.image).map_err(Trouble::io("create", &self.image))?;
        file.set_len(self.image_size).map_err(Trouble::io("size", &self.image))
    }
}

/// A text as one word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
