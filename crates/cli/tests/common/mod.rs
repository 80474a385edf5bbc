//! What the tests share: a sandbox to run the command in, and pictures of trees to compare.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

pub mod mount;
pub mod picture;

/// How a run of the command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Ended {
    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap()
    }
}

/// Held while a process starts.
static SPAWN: Mutex<()> = Mutex::new(());

/// A folder of its own, in which commands run.
pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    /// An empty folder.
    pub fn new() -> Sandbox {
        Sandbox { folder: tempfile::tempdir().unwrap() }
    }

    /// A folder with a pool `p` of 64 MiB.
    pub fn with_pool() -> Sandbox {
        let sandbox = Sandbox::new();
        sandbox.ok(&["mkfs", "p", "--size", "64MiB"]);
        sandbox
    }

    /// A path in the folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in the folder.
    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The bytes of a file in the folder.
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The command with arguments, ready to run in the folder.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_limpid"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("TZ", "UTC");
        command
    }

    /// Runs the command.
    pub fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ended {
        let mut command = self.command(arguments);
        let child = {
            // Until it has become the command, a new process has a copy of every open file of this
            // one, and with it the lock of a pool that another test is closing.
            let _one = SPAWN.lock().unwrap_or_else(PoisonError::into_inner);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let output = child.wait_with_output().unwrap();
        let shown: Vec<_> = arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        let code = output.status.code().unwrap_or_else(|| panic!("{shown:?} was killed"));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!stderr.contains("panicked"), "{shown:?}: {stderr}");
        Ended { code, stdout: output.stdout, stderr }
    }

    /// Runs a command that has to succeed without a word on standard error.
    pub fn ok<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ended {
        let ended = self.run(arguments);
        let shown: Vec<_> = arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{shown:?}");
        ended
    }

    /// Runs a command that has to fail with one line that says `what`.
    pub fn fails<S: AsRef<OsStr>>(&self, arguments: &[S], what: &str) -> Ended {
        let ended = self.run(arguments);
        let shown: Vec<_> = arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        assert_one_line(&ended, what, &format!("{shown:?}"));
        ended
    }
}

impl Drop for Sandbox {
    /// The folder of a failed test stays for those who look for the reason.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("the folder is kept: {}", self.folder.path().display());
        }
    }
}

/// The run failed, and said why in one line with what, where and what to do.
pub fn assert_one_line(ended: &Ended, what: &str, context: &str) {
    let stderr = &ended.stderr;
    assert!(matches!(ended.code, 1 | 2 | 4 | 8), "{context}: ended with {}: {stderr}", ended.code);
    assert_eq!(stderr.lines().count(), 1, "{context}: {stderr}");
    assert!(stderr.starts_with("limpid: ") && stderr.ends_with('\n'), "{context}: {stderr}");
    assert!(stderr.matches(": ").count() >= 3, "{context}: {stderr}");
    assert!(stderr.contains(what), "{context}: {what:?} is not in: {stderr}");
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A name that is no UTF-8.
pub fn odd_name() -> &'static OsStr {
    OsStr::from_bytes(b"odd \xff name\n")
}
