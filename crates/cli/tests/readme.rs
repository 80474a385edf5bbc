//! Goal: every command the README shows works as it stands there.
//!
//! Method: the lines of its `sh` blocks run in order, in a folder that holds a copy of the README,
//! with the built binary for `limpid` and `cargo run --release --`, and the system's `mkdir` and
//! `cp`. Where the machine cannot mount, that is said and the folder stays an ordinary one.
//! `cargo xtask test` is what runs this. The README's Rust example is a doc test of the crate
//! `limpid`; the commands of `limpid-explore` are run by that crate's tests.

use std::process::Command;

const README: &str = include_str!("../../../README.md");

/// The program and arguments of each command in the README's `sh` blocks.
fn commands() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut commands = Vec::new();
    let mut inside = false;
    for line in README.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside => commands.push(line),
            _ => {}
        }
    }
    let mut known = Vec::new();
    for line in commands {
        let arguments =
            line.strip_prefix("limpid ").or_else(|| line.strip_prefix("cargo run --release -- "));
        let mut words = line.split_whitespace();
        match (arguments, words.next()) {
            (Some(arguments), _) => {
                known.push((env!("CARGO_BIN_EXE_limpid"), arguments.split_whitespace().collect()));
            }
            (None, Some(program @ ("mkdir" | "cp"))) => known.push((program, words.collect())),
            (None, Some("limpid-explore")) => {}
            _ => assert_eq!(line, "cargo xtask test", "a command this test does not know"),
        }
    }
    known
}

/// A mount that a failing test must not leave behind.
struct Unmounted(std::path::PathBuf);

impl Drop for Unmounted {
    fn drop(&mut self) {
        let _ = limpid_fuse::unmount(&self.0, true);
    }
}

#[test]
fn the_readmes_commands_work() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("README.md"), README).unwrap();
    let _mount = Unmounted(dir.path().join("here"));
    let mut mounted = false;
    let commands = commands();
    assert!(commands.len() > 10, "the README's commands were found");
    for (program, arguments) in commands {
        let verb = arguments[0];
        if verb == "umount" && !mounted {
            continue;
        }
        let output =
            Command::new(program).args(&arguments).current_dir(dir.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let cannot = ["no FUSE", "not permitted to mount"].iter().any(|text| stderr.contains(text));
        if verb == "mount" && cannot {
            eprintln!("skipped: {stderr}");
            continue;
        }
        mounted |= verb == "mount";
        if arguments == ["tour"] && stderr.contains("userfaultfd") {
            eprintln!("skipped: {stderr}");
            continue;
        }
        assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    }
    let copied = std::fs::read_to_string(dir.path().join("docs-out/readme")).unwrap();
    assert_eq!(copied, README);
}
