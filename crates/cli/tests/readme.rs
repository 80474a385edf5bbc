//! Goal: every command the README shows works as it stands there.
//!
//! Method: the lines of its `sh` blocks run in order, in a folder that holds a copy of the README,
//! with the built binary for `limpid` and `cargo run --release --`. `cargo xtask test` is what
//! runs this. The README's Rust example is a doc test of the crate `limpid`.

use std::process::Command;

const README: &str = include_str!("../../../README.md");

/// The arguments of each command in the README's `sh` blocks.
fn commands() -> Vec<Vec<&'static str>> {
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
        match arguments {
            Some(arguments) => known.push(arguments.split_whitespace().collect()),
            None => assert_eq!(line, "cargo xtask test", "a command this test does not know"),
        }
    }
    known
}

#[test]
fn the_readmes_commands_work() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("README.md"), README).unwrap();
    let commands = commands();
    assert!(commands.len() > 10, "the README's commands were found");
    for arguments in commands {
        let output = Command::new(env!("CARGO_BIN_EXE_limpid"))
            .args(&arguments)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        if arguments == ["tour"] && stderr.contains("userfaultfd") {
            eprintln!("skipped: {stderr}");
            continue;
        }
        assert!(output.status.success(), "limpid {arguments:?}: {stderr}");
    }
    let copied = std::fs::read_to_string(dir.path().join("docs-out/readme")).unwrap();
    assert_eq!(copied, README);
}
