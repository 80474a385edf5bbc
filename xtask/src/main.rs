//! Developers' commands: `cargo xtask COMMAND`.
//!
//! | command | does |
//! |---|---|
//! | `test` | all tests: canary builds, doc tests, then the workspace |
//! | `tidy` | checks the house rules over the repository |
//! | `ci` | all that CI runs, or one of its steps |
//! | `night` | the same tests, with many more rounds |
//! | `guest` | the tests on real fsdax and devdax, in a virtual machine |
//! | `conformance` | pjdfstest and fsx against a mounted pool |
//! | `bench` | `limpid bench` in release, with the arguments that follow |

#![forbid(unsafe_code)]

mod ci;
mod conformance;
mod guest;
mod night;
mod run;
mod shipped;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str =
    "usage: cargo xtask test | tidy | ci [STEP] | night | guest | conformance | bench [...]";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let root = repository();
    let good = match (command.as_deref(), rest.is_empty()) {
        (Some("test"), true) => test::run(&root),
        (Some("tidy"), true) => tidy::run(&root),
        (Some("conformance"), true) => conformance::run(&root),
        (Some("ci"), true) => ci::run(&root),
        (Some("night"), true) => night::run(&root),
        (Some("ci"), false) if rest.len() == 1 => match ci::one(&root, &rest[0]) {
            Some(good) => good,
            None => return usage(),
        },
        (Some("guest"), _) => guest::run(&root, &rest),
        (Some("bench"), _) => bench(&root, &rest),
        _ => return usage(),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

/// Runs `limpid bench` as users do: a release build, arguments passed through. `bench mount`
/// compares the mount with the least a FUSE file system can do.
fn bench(root: &Path, arguments: &[String]) -> bool {
    if arguments == ["mount"] {
        let compare = ["run", "--release", "--package", "limpid-fuse", "--example", "compare"];
        return run::cargo(root, &compare);
    }
    let mut line = vec!["run", "--release", "--package", "limpid-cli", "--", "bench"];
    line.extend(arguments.iter().map(String::as_str));
    run::cargo(root, &line)
}

/// The root of the repository: the folder above this crate.
fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("the crate lies inside the repository").to_path_buf()
}
