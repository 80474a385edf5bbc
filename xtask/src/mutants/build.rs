//! A copy of the repository under target/mutants, where mutants are built. Its own target folder
//! stays between runs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::list::{self, Sources};
use super::switch;
use crate::run;

/// Where the compiler found something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub line: usize,
    message: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)
    }
}

/// The copy.
pub struct Tree {
    root: PathBuf,
    target: PathBuf,
    package: String,
    /// The crate's lib.rs, which gets the switch.
    lib: (String, String),
}

impl Tree {
    /// Copies what has changed since the last time.
    pub fn prepare(root: &Path, folder: &str) -> Result<Tree, String> {
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
        let work = target.join("mutants");
        let lib = format!("crates/{folder}/src/lib.rs");
        let text = read(&root.join(&lib))?;
        let tree = Tree {
            root: work.join("tree"),
            target: work.join("target"),
            package: list::package(folder),
            lib: (lib, text),
        };
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = git.current_dir(root).output().map_err(|error| format!("git: {error}"))?;
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names: Vec<&str> = listed.split('\0').filter(|name| !name.is_empty()).collect();
        let (names_file, before) = (work.join("files"), work.join("files"));
        for name in fs::read_to_string(before).unwrap_or_default().lines() {
            if !names.contains(&name) {
                let _ = fs::remove_file(tree.root.join(name));
            }
        }
        for name in &names {
            let from = root.join(name);
            if let Ok(bytes) = fs::read(&from) {
                put(&tree.root.join(name), &bytes)?;
            }
        }
        put(&names_file, names.join("\n").as_bytes())?;
        Ok(tree)
    }

    /// Writes the crate with these texts in place of its own.
    pub fn write(&self, sources: &Sources, texts: &Sources) -> Result<(), String> {
        let mut all: BTreeMap<&str, &str> = BTreeMap::from([(&*self.lib.0, &*self.lib.1)]);
        for (file, text) in sources.iter().chain(texts) {
            all.insert(file, text);
        }
        for (file, text) in all {
            let path = self.root.join(file);
            if file == self.lib.0 {
                put(&path, switch::with_switch(text).as_bytes())?;
            } else {
                put(&path, text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// Where the crate does not compile.
    pub fn check(&self) -> Result<Vec<Place>, String> {
        let package = format!("--package={}", self.package);
        let (good, messages) = self.cargo(&["check", "--lib", &package])?;
        let mut places: Vec<Place> = messages.iter().filter_map(error_place).collect();
        if !good && places.is_empty() {
            let message = "cargo check fails".to_owned();
            places.push(Place { file: self.lib.0.clone(), line: 1, message });
        }
        Ok(if good { Vec::new() } else { places })
    }

    /// The executables of tests that these arguments of `cargo test` build, and their folders.
    pub fn tests(&self, arguments: &[&str]) -> Result<Vec<(PathBuf, PathBuf)>, String> {
        let mut line = vec!["test", "--no-run"];
        line.extend(arguments);
        let (good, messages) = self.cargo(&line)?;
        if !good {
            let error = messages.iter().find_map(error_place).map(|place| place.to_string());
            return Err(format!("{}: {}", line.join(" "), error.unwrap_or_default()));
        }
        let executables = messages.iter().filter_map(|message| {
            message.get("profile")?.get("test")?.as_bool().filter(|test| *test)?;
            let manifest = Path::new(message.get("manifest_path")?.as_str()?);
            let executable = message.get("executable")?.as_str()?;
            Some((executable.into(), manifest.parent()?.into()))
        });
        Ok(executables.collect())
    }

    /// Runs cargo in the copy: whether it succeeded, and what it says.
    fn cargo(&self, arguments: &[&str]) -> Result<(bool, Vec<Value>), String> {
        let mut command = Command::new(run::cargo_program());
        command.args(arguments).arg("--message-format=json").current_dir(&self.root);
        command.env("CARGO_TARGET_DIR", &self.target).env("CARGO_PROFILE_DEV_DEBUG", "0");
        command.stderr(Stdio::null());
        let output = command.output().map_err(|error| format!("cargo: {error}"))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let messages = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        Ok((output.status.success(), messages))
    }
}

fn error_place(message: &Value) -> Option<Place> {
    let message = message.get("message")?;
    message.get("level")?.as_str().filter(|level| *level == "error")?;
    let spans = message.get("spans")?.as_array()?;
    let primary = spans.iter().find(|span| span.get("is_primary") == Some(&Value::Bool(true)))?;
    Some(Place {
        file: primary.get("file_name")?.as_str()?.into(),
        line: primary.get("line_start")?.as_u64()? as usize,
        message: message.get("message")?.as_str()?.into(),
    })
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a file that is not the same already: cargo builds what is newer.
fn put(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = path.parent().ok_or("a file has a folder")?;
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(path, bytes));
    written.map_err(|error| format!("{}: {error}", path.display()))
}
