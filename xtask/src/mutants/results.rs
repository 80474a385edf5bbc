//! docs/mutants.md: what came out, and why some mutants cannot be noticed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::Options;
use super::list::Mutant;
use super::suites::Verdict;

const FILE: &str = "docs/mutants.md";
/// The heading of the table that people keep.
const EQUIVALENT: &str = "## Equivalent";
/// The heading of what is generated.
const RESULTS: &str = "## Results";

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It does not compile, and does not count.
    Unviable,
    Caught(String),
    Late(String),
    Survived,
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Outcome {
        match verdict {
            Verdict::Caught(by) => Outcome::Caught(by),
            Verdict::Late(by) => Outcome::Late(by),
            Verdict::Survived => Outcome::Survived,
        }
    }
}

/// Puts the results of a crate into the document, in place of the last ones. Whether each survivor
/// is known to be equivalent.
pub fn write(
    root: &Path,
    folder: &str,
    options: &Options,
    known: usize,
    sample: &[Mutant],
    outcomes: &BTreeMap<usize, Outcome>,
    seconds: u64,
) -> Result<bool, String> {
    let path = root.join(FILE);
    let text = fs::read_to_string(&path).map_err(|error| format!("{FILE}: {error}"))?;
    let equivalent = equivalent(&text);
    let (section, left) = section(folder, options, known, sample, outcomes, seconds, &equivalent);
    eprint!("\n{section}");
    fs::write(&path, replaced(&text, folder, &section))
        .map_err(|error| format!("{FILE}: {error}"))?;
    Ok(left == 0)
}

/// The mutants of the table that people keep, with the reasons.
pub fn equivalent(text: &str) -> BTreeMap<String, String> {
    let table = text.split_once(EQUIVALENT).map_or("", |(_, rest)| rest);
    let table = table.split("\n## ").next().unwrap_or_default();
    let rows = table.lines().filter_map(|line| {
        let mut cells = line.strip_prefix('|')?.split(" | ").map(str::trim);
        let key = cells.next()?.strip_prefix('`')?.strip_suffix('`')?.replace("\\|", "|");
        let reason = cells.next()?.trim_end_matches('|').trim();
        (!reason.is_empty()).then(|| (key, reason.to_owned()))
    });
    rows.collect()
}

/// The text of a crate's results, and how many mutants nobody noticed and nobody explains.
pub fn section(
    folder: &str,
    options: &Options,
    known: usize,
    sample: &[Mutant],
    outcomes: &BTreeMap<usize, Outcome>,
    seconds: u64,
    equivalent: &BTreeMap<String, String>,
) -> (String, usize) {
    let count = |wanted: fn(&Outcome) -> bool| outcomes.values().filter(|o| wanted(o)).count();
    let unviable = count(|outcome| *outcome == Outcome::Unviable);
    let late = count(|outcome| matches!(outcome, Outcome::Late(_)));
    let caught = late + count(|outcome| matches!(outcome, Outcome::Caught(_)));
    let survivors: Vec<&Mutant> = outcomes
        .iter()
        .filter(|(_, outcome)| **outcome == Outcome::Survived)
        .map(|(number, _)| &sample[*number])
        .collect();
    let (explained, left): (Vec<&Mutant>, Vec<&Mutant>) =
        survivors.into_iter().partition(|mutant| equivalent.contains_key(&mutant.key));
    let percent = 100.0 * caught as f64 / (caught + left.len()).max(1) as f64;
    let mut text = format!(
        "### {folder}\n\n{} of {known} mutants, seed {}; {} compile. Caught {caught} ({late} of \
         them by a test that is not done in time),\nequivalent {}, not noticed {}: {percent:.0} % \
         of those that are not equivalent, in {seconds} s.\n\n",
        sample.len(),
        options.seed,
        sample.len() - unviable,
        explained.len(),
        left.len(),
    );
    if !left.is_empty() {
        text.push_str("| not noticed |\n|---|\n");
        for mutant in &left {
            text.push_str(&format!("| `{}` |\n", mutant.key.replace('|', "\\|")));
        }
        text.push('\n');
    }
    (text, left.len())
}

/// The document with the crate's section in place of the one it had, in alphabetical order.
pub fn replaced(text: &str, folder: &str, section: &str) -> String {
    let (head, results) = text.split_once(RESULTS).unwrap_or((text, ""));
    let mut parts = results.split("\n### ");
    let introduction = parts.next().unwrap_or_default().trim().to_owned();
    let mut sections: BTreeMap<String, String> = parts
        .map(|part| {
            let name = part.lines().next().unwrap_or_default().to_owned();
            (name, format!("### {}\n", part.trim_end()))
        })
        .collect();
    sections.insert(folder.to_owned(), format!("{}\n", section.trim_end()));
    let all: Vec<&str> = sections.values().map(String::as_str).collect();
    format!("{}\n\n{RESULTS}\n\n{introduction}\n\n{}", head.trim_end(), all.join("\n"))
}
