//! Running cargo, with its output passed through untouched.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs `cargo ARGUMENTS` in `root`; whether it succeeded.
pub fn cargo(root: &Path, arguments: &[&str]) -> bool {
    cargo_with(root, arguments, &[])
}

/// Like [`cargo`], with environment variables set.
pub fn cargo_with(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> bool {
    eprintln!("$ cargo {}", arguments.join(" "));
    let mut command = Command::new(cargo_program());
    command.args(arguments).envs(environment.iter().copied()).current_dir(root);
    match command.status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("xtask: cargo: cannot be started: {error}");
            false
        }
    }
}

/// What `cargo ARGUMENTS` in `root` prints, if it succeeds.
pub fn cargo_output(root: &Path, arguments: &[&str]) -> Option<String> {
    eprintln!("$ cargo {}", arguments.join(" "));
    let mut command = Command::new(cargo_program());
    let output = command.args(arguments).current_dir(root).stderr(Stdio::inherit()).output();
    let output = output.inspect_err(|error| eprintln!("xtask: cargo: cannot be started: {error}"));
    output
        .ok()
        .filter(|output| output.status.success())
        .and_then(|o| String::from_utf8(o.stdout).ok())
}

/// Whether cargo has the subcommand installed.
pub fn has_subcommand(root: &Path, name: &str) -> bool {
    let mut command = Command::new(cargo_program());
    command.args([name, "--version"]).current_dir(root);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The cargo that started xtask, so that a chosen toolchain stays chosen.
fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
