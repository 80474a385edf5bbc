//! The tests that a mutant meets, and what they say.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::build::Tree;
use super::switch::{NONE, VARIABLE};

/// Arguments of `cargo test`, a list for each step: the crate's own tests, then those above it that
/// were made to look at it. Within a step the quickest run first.
type Steps = &'static [&'static [&'static str]];

/// Every crate whose mutants are looked at, by its folder.
pub const CRATES: [(&str, Steps); 6] = [
    ("pmem", &[&["--package=limpid-pmem"]]),
    (
        "mmu",
        &[
            &["--package=limpid-mmu"],
            &["--package=limpid", "--test=private", "--test=max_map_count", "--test=past_end"],
        ],
    ),
    (
        "dax",
        &[
            &["--package=limpid-dax"],
            &["--package=limpid-explore", "--lib", "--test=search", "--test=pairs"],
        ],
    ),
    (
        "fs",
        &[
            &["--package=limpid-fs"],
            &["--package=limpid-explore", "--test=crash", "--test=crash_space"],
        ],
    ),
    ("fuse", &[&["--package=limpid-fuse"]]),
    ("limpid", &[&["--package=limpid"]]),
];

/// What the tests say of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Caught(String),
    /// A test was not done after many times its time: it counts as caught.
    Late(String),
    Survived,
}

/// A program of tests that passes without a mutant.
#[derive(Clone, Debug)]
struct Program {
    name: String,
    path: PathBuf,
    folder: PathBuf,
    takes: Duration,
}

/// All programs, in the order in which they are run.
pub struct Suite(Vec<Program>);

impl Suite {
    /// Builds the tests of a crate and runs them without a mutant. What fails then is left out.
    pub fn build(tree: &Tree, folder: &str) -> Result<Suite, String> {
        let steps = CRATES.iter().find(|(name, _)| *name == folder).map(|(_, steps)| steps);
        let mut all = Vec::new();
        for arguments in *steps.ok_or("no such crate")? {
            let mut programs = Vec::new();
            for (path, folder) in tree.tests(arguments)? {
                let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                let name = stem.rsplit_once('-').map_or(stem.clone(), |(name, _)| name.to_owned());
                let mut program = Program { name, path, folder, takes: Duration::from_secs(600) };
                let begun = Instant::now();
                match program.run(NONE) {
                    Verdict::Survived => {
                        program.takes = begun.elapsed();
                        programs.push(program);
                    }
                    verdict => eprintln!("left out, since it fails by itself: {verdict:?}"),
                }
            }
            programs.sort_by_key(|program| program.takes);
            all.append(&mut programs);
        }
        for program in &all {
            eprintln!("{:>6.1} s {}", program.takes.as_secs_f64(), program.name);
        }
        if all.is_empty() { Err("no test passes".into()) } else { Ok(Suite(all)) }
    }

    /// Runs the programs until one fails.
    pub fn judge(&self, mutant: usize) -> Verdict {
        let verdicts = self.0.iter().map(|program| program.run(mutant));
        verdicts
            .into_iter()
            .find(|verdict| *verdict != Verdict::Survived)
            .unwrap_or(Verdict::Survived)
    }
}

impl Program {
    fn run(&self, mutant: usize) -> Verdict {
        let mut command = Command::new(&self.path);
        command.env(VARIABLE, mutant.to_string()).current_dir(&self.folder).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = command.spawn() else { return Verdict::Caught(self.name.clone()) };
        let end = Instant::now() + self.takes * 5 + Duration::from_secs(20);
        loop {
            match child.try_wait() {
                Ok(Some(status)) if status.success() => return Verdict::Survived,
                Ok(None) if Instant::now() < end => thread::sleep(Duration::from_millis(20)),
                Ok(None) => {
                    // The whole group: tests start programs of their own.
                    let group = format!("-{}", child.id());
                    let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
                    let _ = child.wait();
                    return Verdict::Late(self.name.clone());
                }
                _ => return Verdict::Caught(self.name.clone()),
            }
        }
    }
}
