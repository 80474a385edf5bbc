//! The guest's file system: busybox, the tools, the kernel's modules, our programs and jobs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Trouble;
use super::host::{self, Kernel, output_of};

/// Tools that are linked to libraries; these are taken along.
const TOOLS: [&str; 4] = ["ndctl", "mkfs.ext4", "mkfs.xfs", "kmod"];
/// Where the modules are that the guest needs, and what they depend on.
const MODULES: [&str; 9] = [
    "kernel/drivers/nvdimm",
    "kernel/drivers/dax",
    "kernel/drivers/acpi/nfit",
    "kernel/fs/ext4",
    "kernel/fs/jbd2",
    "kernel/fs/xfs",
    "kernel/lib",
    "kernel/crypto",
    "kernel/arch/x86/crypto",
];
const SCRIPTS: [(&str, &str); 5] = [
    ("init", include_str!("init.sh")),
    ("guest/parts.sh", include_str!("parts.sh")),
    ("guest/short.sh", include_str!("short.sh")),
    ("guest/suite.sh", include_str!("suite.sh")),
    ("guest/crash.sh", include_str!("crash.sh")),
];

/// A folder that becomes the guest's root.
#[derive(Debug)]
pub struct Staging {
    root: PathBuf,
}

impl Staging {
    /// Begins anew in `root`, with everything but our programs.
    pub fn new(root: &Path, kernel: &Kernel) -> Result<Staging, Trouble> {
        if root.exists() {
            fs::remove_dir_all(root).map_err(Trouble::io("remove", root))?;
        }
        let staging = Staging { root: root.to_owned() };
        for folder in ["bin", "guest/tests", "proc", "sys", "dev", "tmp", "mnt"] {
            staging.folder(Path::new(folder))?;
        }
        for tool in TOOLS.iter().chain(&["busybox"]) {
            let found = host::find(tool).ok_or_else(|| Trouble::Packages((*tool).to_owned()))?;
            staging.program(&found, &format!("bin/{tool}"), false)?;
        }
        let modprobe = staging.root.join("bin/modprobe");
        symlink("kmod", &modprobe).map_err(Trouble::io("link", &modprobe))?;
        staging.modules(kernel)?;
        for (path, text) in SCRIPTS {
            staging.script(path, text)?;
        }
        Ok(staging)
    }

    /// Adds an executable text.
    pub fn script(&self, to: &str, text: &str) -> Result<(), Trouble> {
        let path = self.root.join(to);
        fs::write(&path, text).map_err(Trouble::io("write", &path))?;
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&path, mode).map_err(Trouble::io("set the mode of", &path))
    }

    /// Adds a program and the libraries that it is linked to, without its symbols if wanted.
    pub fn program(&self, from: &Path, to: &str, strip: bool) -> Result<(), Trouble> {
        let path = self.root.join(to);
        if strip {
            output_of(Command::new("strip").arg("-o").arg(&path).arg(from))?;
        } else {
            fs::copy(from, &path).map_err(Trouble::io("copy", from))?;
        }
        // A static program makes ldd fail; it has no libraries.
        let listed = Command::new("ldd").arg(from).stderr(Stdio::null()).output();
        let listed = listed.map_err(Trouble::io("start", Path::new("ldd")))?;
        for library in libraries(&String::from_utf8_lossy(&listed.stdout)) {
            let inside = Path::new(library).strip_prefix("/").expect("ldd prints whole paths");
            let to = self.root.join(inside);
            if !to.exists() {
                self.folder(inside.parent().unwrap_or(Path::new("")))?;
                fs::copy(library, &to).map_err(Trouble::io("copy", Path::new(library)))?;
            }
        }
        Ok(())
    }

    fn folder(&self, folder: &Path) -> Result<(), Trouble> {
        let path = self.root.join(folder);
        fs::create_dir_all(&path).map_err(Trouble::io("create", &path))
    }

    fn modules(&self, kernel: &Kernel) -> Result<(), Trouble> {
        let base = Path::new("lib/modules").join(&kernel.version);
        for part in MODULES.map(Path::new) {
            let from = kernel.modules.join(part);
            if from.is_dir() {
                let to = base.join(part.parent().expect("more than one part"));
                self.folder(&to)?;
                let mut copy = Command::new("cp");
                copy.arg("-r").arg(&from).arg(self.root.join(to));
                output_of(&mut copy)?;
            }
        }
        for entry in ["modules.builtin", "modules.order", "modules.builtin.modinfo"] {
            let from = kernel.modules.join(entry);
            if from.is_file() {
                let to = self.root.join(&base).join(entry);
                fs::copy(&from, &to).map_err(Trouble::io("copy", &from))?;
            }
        }
        let depmod = host::find("depmod").ok_or_else(|| Trouble::Packages("kmod".into()))?;
        let mut command = Command::new(depmod);
        command.arg("-b").arg(&self.root).arg(&kernel.version);
        output_of(&mut command).map(|_| ())
    }

    /// Packs the folder.
    pub fn pack(&self, into: &Path) -> Result<(), Trouble> {
        let mut names = BTreeSet::new();
        collect(&self.root, Path::new(""), &mut names)?;
        let file = File::create(into).map_err(Trouble::io("create", into))?;
        let mut command = Command::new("busybox");
        command.args(["cpio", "-o", "-H", "newc"]).current_dir(&self.root);
        command.stdin(Stdio::piped()).stdout(file).stderr(Stdio::null());
        let packer = Path::new("busybox cpio");
        let mut child = command.spawn().map_err(Trouble::io("start", packer))?;
        let mut input = child.stdin.take().expect("the input is a pipe");
        for name in names {
            writeln!(input, "{}", name.display()).map_err(Trouble::io("feed", packer))?;
        }
        drop(input);
        let status = child.wait().map_err(Trouble::io("wait for", packer))?;
        if !status.success() {
            return Err(Trouble::Command { line: packer.display().to_string(), status });
        }
        Ok(())
    }
}

/// The paths below `root`, each folder before what is in it.
fn collect(root: &Path, below: &Path, names: &mut BTreeSet<PathBuf>) -> Result<(), Trouble> {
    let folder = root.join(below);
    let entries = folder.read_dir().map_err(Trouble::io("read", &folder))?;
    for entry in entries {
        let entry = entry.map_err(Trouble::io("read", &folder))?;
        let name = below.join(entry.file_name());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(root, &name, names)?;
        }
        names.insert(name);
    }
    Ok(())
}

/// The libraries in the output of ldd.
fn libraries(listed: &str) -> Vec<&str> {
    let words = listed.lines().filter_map(|line| {
        let line = line.split_once("=>").map_or(line, |(_, path)| path);
        line.split_whitespace().next()
    });
    words.filter(|word| word.starts_with('/')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_whole_paths() {
        let listed = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/libc.so.6 (0x2)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x3)\n";
        assert_eq!(libraries(listed), ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert_eq!(libraries("\tnot a dynamic executable\n"), [""; 0]);
    }
}
