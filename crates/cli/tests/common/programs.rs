//! Everyday programs, and a tree for them to work on.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Whether a program is installed; where it is not, that is said.
pub fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Runs a program in a folder; what it said, if it succeeded, else what it complained of.
pub fn try_run(folder: &Path, program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env_remove("CARGO_TARGET_DIR");
    for (name, value) in [("GIT_AUTHOR_NAME", "a"), ("GIT_COMMITTER_NAME", "a")] {
        command.env(name, value).env(name.replace("NAME", "EMAIL"), "a@example.org");
    }
    let output = command.output().map_err(|error| error.to_string())?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Runs a program in a folder; it has to succeed.
pub fn run(folder: &Path, program: &str, arguments: &[&str]) -> String {
    try_run(folder, program, arguments)
        .unwrap_or_else(|complaint| panic!("{program} {arguments:?}: {complaint}"))
}

/// A tree of `folders` times `files` files of many lengths.
pub fn plant(root: &Path, folders: usize, files: usize) {
    for folder in 0..folders {
        let path = root.join(format!("folder{folder}/inner"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..files {
            let len = (folder * 7919 + file * 104_729) % 20_000;
            let bytes: Vec<u8> = (0..len).map(|at| (at * file + folder) as u8).collect();
            fs::write(path.join(format!("file{file}")), bytes).unwrap();
        }
        std::os::unix::fs::symlink("inner/file0", root.join(format!("folder{folder}/link")))
            .unwrap();
    }
}
