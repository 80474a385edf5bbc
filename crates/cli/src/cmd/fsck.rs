//! `limpid fsck`: check a pool, and repair it.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use limpid::{Finding, FsckProgress, FsckReport};
use serde_json::{Value, json};

use crate::failure::{self, Failure, Result, one_line};
use crate::output::{self, Output};

/// Problems were found and repaired.
const REPAIRED: u8 = 1;
/// Problems are left.
const LEFT: u8 = 4;
/// The pool could not be checked.
const OPERATIONAL: u8 = 8;

/// Check a pool that nobody has open, and repair it
///
/// Without --repair nothing is changed. Exit codes: 0 the pool is sound, 1 problems were found and
/// repaired, 4 problems are left, 8 the pool could not be checked, 2 the command line is wrong.
#[derive(Args)]
pub struct Fsck {
    /// The pool's file or device
    pool: PathBuf,
    /// Repair what is wrong; what has lost its name goes to /lost+found
    #[arg(long)]
    repair: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Fsck {
    pub fn run(self) -> Result<()> {
        let bar = Bar::new();
        let report = limpid::fsck(&self.pool, self.repair, &|progress| bar.show(progress));
        bar.clear();
        let report = report
            .map_err(|error| failure::from_open(&error, &self.pool).with_code(OPERATIONAL))?;
        self.tell(&report).map_err(|failure| failure.with_code(OPERATIONAL))?;
        if !report.left.is_empty() {
            let advice = match self.repair {
                true => "copy out what can be read",
                false => "repair it with 'limpid fsck --repair'",
            };
            let what = count(report.left.len(), "problem is left", "problems are left");
            return Err(Failure::new(what, self.pool.display(), advice).with_code(LEFT));
        }
        if report.findings.is_empty() { Ok(()) } else { Err(Failure::Ended(REPAIRED)) }
    }

    fn tell(&self, report: &FsckReport) -> Result<()> {
        let mut output = Output::stdout();
        if self.json {
            output.json(&to_json(&self.pool, report))?;
            return output.finish();
        }
        let place = self.pool.display();
        for finding in &report.findings {
            output.line(format!("{place}: {}", one_line(&finding.to_string())))?;
        }
        let verdict = match (report.findings.len(), report.left.len()) {
            (0, _) => "sound".to_owned(),
            (found, 0) => count(found, "problem, repaired", "problems, all repaired"),
            (found, left) => {
                format!("{}, {left} left", count(found, "problem", "problems"))
            }
        };
        let (used, blocks) = report.blocks;
        let files = count(report.files as usize, "file", "files");
        let directories = count(report.directories as usize, "directory", "directories");
        output.line(format!(
            "{place}: {verdict}; {files}, {directories}, {used} of {blocks} blocks in use"
        ))?;
        output.finish()
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

fn to_json(pool: &Path, report: &FsckReport) -> Value {
    let list = |findings: &[Finding]| findings.iter().map(finding_json).collect::<Vec<_>>();
    let mut value = json!({
        "sound": report.findings.is_empty(),
        "repaired": report.repaired,
        "recovered": report.recovered,
        "files": report.files,
        "directories": report.directories,
        "blocks_used": report.blocks.0,
        "blocks": report.blocks.1,
        "problems": list(&report.findings),
        "left": list(&report.left),
    });
    output::put_name(&mut value, "pool", pool);
    value
}

fn finding_json(finding: &Finding) -> Value {
    let problem = &finding.problem;
    let mut value = json!({ "kind": problem.kind(), "text": problem.to_string() });
    if let Some(ino) = problem.ino() {
        value["ino"] = ino.0.into();
    }
    if let Some(path) = &finding.path {
        output::put_name(&mut value, "path", OsStr::from_bytes(path));
    }
    if let Some((block, len)) = problem.blocks() {
        value["block"] = block.into();
        value["blocks"] = len.into();
    }
    if let Some(at) = problem.byte() {
        value["byte"] = at.into();
    }
    value
}

/// The progress bar, for those who watch a terminal.
struct Bar(Option<RefCell<(u32, ProgressBar)>>);

impl Bar {
    fn new() -> Bar {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let template = "round {msg}: {human_pos} of {human_len} inode blocks {wide_bar} {eta}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_message("1");
            RefCell::new((0, bar))
        });
        Bar(bar)
    }

    fn show(&self, progress: FsckProgress) {
        let Some(bar) = &self.0 else { return };
        let (round, bar) = &mut *bar.borrow_mut();
        if *round != progress.round {
            *round = progress.round;
            bar.set_message((progress.round + 1).to_string());
        }
        // Drawing costs more than reading a block.
        if progress.done.is_multiple_of(64) || progress.done == progress.total {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.borrow().1.finish_and_clear();
        }
    }
}
