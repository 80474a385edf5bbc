//! What the host gives: programs, and a kernel.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Trouble;
use super::machine::QEMU;

/// Programs and the Debian packages they are in.
const PROGRAMS: [(&str, &str); 8] = [
    (QEMU, "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("ndctl", "ndctl"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("kmod", "kmod"),
    ("strip", "binutils"),
    ("dpkg-deb", "dpkg"),
];

/// Where Debian has kernels of 6.12 and later: for bookworm its backports, else the release's own.
const SUITE: &str = "bookworm-backports";
const MIRROR: &str = "http://deb.debian.org/debian";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The kernel for virtual machines: a third of the size of the general one.
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel with its modules, as `dpkg-deb -x` unpacks them.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub image: PathBuf,
    /// `lib/modules/VERSION`.
    pub modules: PathBuf,
    pub version: String,
}

/// Finds a program in the search path, or where administrators' programs are.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Installs the programs that are missing, where that is allowed.
pub fn programs() -> Result<(), Trouble> {
    let missing = || PROGRAMS.iter().filter(|(program, _)| find(program).is_none());
    let packages: Vec<&str> = missing().map(|(_, package)| *package).collect();
    if packages.is_empty() {
        return Ok(());
    }
    eprintln!("guest: installing {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(&packages);
    // The list may be newer than the mirror's, or missing altogether.
    if !apt(&install) {
        apt(&["update", "-q"]);
        apt(&install);
    }
    match missing().next() {
        Some(_) => Err(Trouble::Packages(packages.join(" "))),
        None => Ok(()),
    }
}

impl Kernel {
    /// The kernel in a folder that holds `boot/vmlinuz-VERSION` and `lib/modules/VERSION`.
    pub fn in_folder(folder: &Path) -> Result<Kernel, Trouble> {
        let none = || Trouble::NoKernel(folder.to_owned());
        let entries = folder.join("boot").read_dir().map_err(|_| none())?;
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(version) = name.strip_prefix("vmlinuz-") else { continue };
            // Debian 13 has its modules below usr, where lib is a link to it.
            for lib in ["lib", "usr/lib"] {
                let modules = folder.join(lib).join("modules").join(version);
                if modules.is_dir() {
                    return Ok(Kernel { image: entry.path(), modules, version: version.into() });
                }
            }
        }
        Err(none())
    }

    /// Downloads a kernel package into `work` and unpacks it there, unless that was done before.
    pub fn fetch(work: &Path) -> Result<Kernel, Trouble> {
        let unpacked = work.join("kernel");
        if let Ok(kernel) = Kernel::in_folder(&unpacked) {
            return Ok(kernel);
        }
        let apt = Apt::new(&work.join("apt"))?;
        apt.run("apt-get", &["update", "-q"])?;
        let depends = apt.run("apt-cache", &["depends", KERNEL_PACKAGE])?;
        let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
        let package = package.ok_or_else(|| Trouble::NoKernel(work.to_owned()))?;
        eprintln!("guest: downloading {package}");
        apt.run("apt-get", &["download", "-q", package])?;
        let found = apt.folder.read_dir().map_err(Trouble::io("read", &apt.folder))?;
        let is_package = |path: &PathBuf| path.extension().is_some_and(|end| end == "deb");
        let Some(file) = found.flatten().map(|entry| entry.path()).find(is_package) else {
            return Err(Trouble::NoKernel(apt.folder));
        };
        let mut unpack = Command::new("dpkg-deb");
        unpack.arg("-x").arg(&file).arg(&unpacked);
        output_of(&mut unpack)?;
        Kernel::in_folder(&unpacked)
    }
}

/// apt with lists of its own, so that the system's are not touched.
struct Apt {
    folder: PathBuf,
    options: Vec<String>,
}

impl Apt {
    fn new(folder: &Path) -> Result<Apt, Trouble> {
        for part in ["lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            std::fs::create_dir_all(&part).map_err(Trouble::io("create", &part))?;
        }
        let list = folder.join("sources.list");
        let source = format!("deb [arch=amd64 signed-by={KEYS}] {MIRROR} {SUITE} main\n");
        std::fs::write(&list, source).map_err(Trouble::io("write", &list))?;
        let at = folder.display();
        let options = vec![
            format!("Dir::Etc::sourcelist={}", list.display()),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={at}/lists"),
            format!("Dir::Cache={at}/cache"),
            "APT::Sandbox::User=root".to_owned(),
        ];
        Ok(Apt { folder: folder.to_owned(), options })
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String, Trouble> {
        let mut command = Command::new(program);
        command.args(self.options.iter().flat_map(|option| ["-o", option]));
        command.args(arguments).current_dir(&self.folder);
        output_of(&mut command)
    }
}

/// Runs a command to its end and returns what it printed.
pub fn output_of(command: &mut Command) -> Result<String, Trouble> {
    let line = format!("{command:?}");
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(Trouble::io("start", Path::new(&line)))?;
    if !output.status.success() {
        return Err(Trouble::Command { line, status: output.status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
