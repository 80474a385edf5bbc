//! Our own programs for the guest: the tests as ordinary builds make them, so that nothing is
//! compiled twice.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Trouble;
use super::initramfs::Staging;

/// The tests that have something to say about media and page tables, by their source files.
const FOLDERS: [(&str, &str); 3] = [
    ("/crates/pmem/tests/", "pmem"),
    ("/crates/mmu/tests/", "mmu"),
    ("/crates/limpid/tests/", "limpid"),
];
/// Programs that the jobs use.
const PROGRAMS: [(&str, &str); 2] = [
    ("/crates/cli/src/main.rs", "limpid"),
    ("/crates/limpid/examples/acknowledged.rs", "acknowledged"),
];
/// Where programs lie in the guest.
const INSIDE: &str = "guest";

/// Builds the programs and puts them into the guest.
pub fn add(root: &Path, staging: &Staging) -> Result<(), Trouble> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    for what in [&["test", "--no-run"][..], &["build", "--bins"]] {
        let mut command = Command::new(&cargo);
        command.args(what).args(["--workspace", "--message-format=json-render-diagnostics"]);
        command.current_dir(root).stdin(Stdio::null()).stderr(Stdio::inherit());
        let line = format!("{command:?}");
        let output = command.output().map_err(Trouble::io("start", Path::new("cargo")))?;
        if !output.status.success() {
            return Err(Trouble::Build { line, status: output.status });
        }
        for message in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some((program, to)) = wanted(message) {
                staging.program(&program, &to, true)?;
            }
        }
    }
    Ok(())
}

/// The program that one of cargo's messages tells of, and its place in the guest.
fn wanted(message: &str) -> Option<(PathBuf, String)> {
    let source = text(message, "src_path")?;
    let program = text(message, "executable")?;
    let tests = FOLDERS.iter().find_map(|(folder, prefix)| {
        let name = source.split_once(folder)?.1.strip_suffix(".rs")?;
        Some(format!("{INSIDE}/tests/{prefix}-{name}"))
    });
    let own = || {
        // A program is also built as the test of itself.
        let found = PROGRAMS.iter().find(|(path, _)| source.ends_with(path) && is_plain(message));
        found.map(|(_, name)| format!("{INSIDE}/{name}"))
    };
    Some((program.into(), tests.or_else(own)?))
}

/// Whether the profile of a message is not that of tests.
fn is_plain(message: &str) -> bool {
    message.split_once("\"profile\":").is_some_and(|(_, rest)| {
        rest.split_once('}').is_some_and(|(profile, _)| profile.contains("\"test\":false"))
    })
}

/// The value of a field of text in a line of JSON; none if it has escapes, as no path of a build
/// that works has.
fn text<'a>(message: &'a str, field: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(&format!("\"{field}\":\""))?;
    let value = rest.split_once('"')?.0;
    (!value.contains('\\')).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: &str, test: bool) -> String {
        format!(
            "{{\"target\":{{\"src_path\":\"{source}\",\"test\":true}},\
             \"profile\":{{\"opt_level\":\"1\",\"test\":{test}}},\"executable\":\"/t/x\"}}"
        )
    }

    #[test]
    fn tests_and_programs_are_told_apart() {
        let to = |source, test| wanted(&message(source, test)).map(|(_, to)| to);
        let model = "/r/crates/limpid/tests/model.rs";
        assert_eq!(to(model, true).as_deref(), Some("guest/tests/limpid-model"));
        let cli = "/r/crates/cli/src/main.rs";
        assert_eq!(to(cli, false).as_deref(), Some("guest/limpid"));
        assert_eq!(to(cli, true), None);
        assert_eq!(to("/r/crates/fs/tests/names.rs", true), None);
        assert_eq!(wanted("{\"reason\":\"build-finished\",\"success\":true}"), None);
    }
}
