//! The virtual machine: QEMU with an emulated NVDIMM whose image outlives it.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::Trouble;

/// The program that is the machine.
pub const QEMU: &str = "qemu-system-x86_64";
/// What `init.sh` begins the lines with that are meant for us.
const MARK: &str = "@guest ";

/// How the guest's processors are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's own.
    Kvm,
    /// By software: about ten times as slow.
    Software,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accelerator::Kvm => "KVM",
            Accelerator::Software => "software emulation (no KVM here)",
        })
    }
}

impl Accelerator {
    /// Seconds that one step in the guest may take.
    pub fn step_limit(self) -> u64 {
        match self {
            Accelerator::Kvm => 240,
            Accelerator::Software => 1200,
        }
    }
}

/// What a guest is started with.
#[derive(Clone, Debug)]
pub struct Machine {
    pub kernel: PathBuf,
    pub initramfs: PathBuf,
    /// Contents of the NVDIMM.
    pub image: PathBuf,
    /// Size of the image in bytes.
    pub image_size: u64,
    pub log: PathBuf,
    pub accelerator: Accelerator,
}

/// A kernel on real KVM tells of itself well before this.
const PROBE: Duration = Duration::from_secs(20);

/// A running guest; it is killed when dropped.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    lines: Receiver<String>,
    log: File,
    deadline: Instant,
    /// The first message, until it is asked for.
    first: Option<String>,
}

impl Machine {
    /// Chooses KVM if a guest really boots on it; some hosts have a /dev/kvm that cannot run one.
    pub fn choose_accelerator(&mut self) -> Result<(), Trouble> {
        self.accelerator = Accelerator::Kvm;
        if File::options().read(true).write(true).open("/dev/kvm").is_ok() {
            let mut guest = self.power_on("limpid.job=command", PROBE)?;
            match guest.next() {
                Ok(Some(_)) => return Ok(()),
                Ok(None) | Err(Trouble::Late) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        self.accelerator = Accelerator::Software;
        Ok(())
    }

    /// Boots with `arguments` added to the kernel's command line. On a busy host an emulated
    /// processor may lead the guest's kernel astray before anything of ours runs; then it is
    /// booted again, twice at most.
    pub fn boot(&self, arguments: &str, within: Duration) -> Result<Guest, Trouble> {
        for _ in 0..2 {
            let mut guest = self.power_on(arguments, within)?;
            guest.first = guest.next()?;
            if guest.first.is_some() {
                return Ok(guest);
            }
            eprintln!("guest: its kernel died while it booted ({arguments}); booted again");
        }
        self.power_on(arguments, within)
    }

    fn power_on(&self, arguments: &str, within: Duration) -> Result<Guest, Trouble> {
        let image = self.image.display();
        let size = self.image_size;
        let memory = format!("memory-backend-file,id=m1,share=on,mem-path={image},size={size}");
        let limit = self.accelerator.step_limit();
        let line =
            format!("console=ttyS0 quiet loglevel=3 panic=-1 limpid.limit={limit} {arguments}");
        let mut command = Command::new(QEMU);
        command.args(["-machine", "pc,nvdimm=on", "-smp", "2", "-m", "2G,slots=2,maxmem=16G"]);
        command.args(match self.accelerator {
            Accelerator::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // QEMU 7.2 emulates cmpxchg16b wrongly, and the kernel then dies early.
            Accelerator::Software => ["-accel", "tcg,thread=multi", "-cpu", "max,-cx16,-la57"],
        });
        command.args(["-object", &memory]);
        // A smaller label area makes the regions misaligned.
        command.args(["-device", "nvdimm,id=n1,memdev=m1,label-size=16M"]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initramfs);
        command.args(["-append", &line, "-nodefaults", "-display", "none", "-no-reboot"]);
        command.args(["-serial", "stdio"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().map_err(Trouble::io("start", Path::new(QEMU)))?;
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(Trouble::io("open", &self.log))?;
        let output = child.stdout.take().expect("the output is a pipe");
        let (sender, lines) = channel();
        // Ends with the pipe, that is, with the machine.
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                if sender.send(text).is_err() {
                    break;
                }
            }
        });
        Ok(Guest { child, lines, log, deadline: Instant::now() + within, first: None })
    }
}

impl Guest {
    /// The next line that is meant for us, without its mark; none if the machine has stopped.
    /// Every line goes to the log.
    pub fn next(&mut self) -> Result<Option<String>, Trouble> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                Err(RecvTimeoutError::Timeout) => return Err(Trouble::Late),
            };
            writeln!(self.log, "{line}").map_err(Trouble::io("write", Path::new("the log")))?;
            // The kernel may have begun the line.
            if let Some((_, rest)) = line.split_once(MARK) {
                return Ok(Some(rest.to_owned()));
            }
        }
    }

    /// Ends the machine at once, as a loss of power does.
    pub fn kill(&mut self) -> Result<(), Trouble> {
        let qemu = Path::new(QEMU);
        self.child.kill().map_err(Trouble::io("kill", qemu))?;
        self.child.wait().map_err(Trouble::io("wait for", qemu)).map(|_| ())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
