//! `cargo xtask mutants [CRATE] [--sample N --seed S]`: do tests notice small changes of the code?
//!
//! The changes are those of `cargo mutants --list`. All of the sample are built at once: each
//! changed function has one body per mutant, and a variable of the environment says which of them
//! runs ([`switch`]). Each mutant meets the crate's own tests first and then those of crates above
//! it ([`suites`]), the quickest first, until one fails. What came out goes to docs/mutants.md
//! ([`results`]).

mod build;
mod list;
mod results;
mod suites;
mod switch;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use build::Tree;
use list::Mutant;
use results::Outcome;
use suites::{Suite, Verdict};

const USAGE: &str = "cargo xtask mutants [CRATE] [--sample N] [--seed S]";

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Options {
    /// Folders under crates/.
    crates: Vec<&'static str>,
    /// How many mutants of each crate; none: all.
    sample: Option<usize>,
    seed: u64,
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, String> {
        let mut options = Options { crates: Vec::new(), sample: None, seed: 1 };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut number = || {
                let value = arguments.next().ok_or(format!("{argument} needs a number"))?;
                value.parse::<u64>().map_err(|_| format!("{argument} {value}: not a number"))
            };
            match argument.as_str() {
                "--sample" => match number()? {
                    0 => return Err("--sample 0: nothing would be looked at".into()),
                    sample => options.sample = Some(sample as usize),
                },
                "--seed" => options.seed = number()?,
                flag if flag.starts_with('-') => return Err(format!("{flag}: no such option")),
                name => {
                    let known = suites::CRATES.iter().find(|(folder, _)| *folder == name);
                    let (folder, _) = known.ok_or_else(|| {
                        let names: Vec<&str> =
                            suites::CRATES.iter().map(|(name, _)| *name).collect();
                        format!("{name}: no such crate; there are {}", names.join(", "))
                    })?;
                    options.crates.push(folder);
                }
            }
        }
        if options.crates.is_empty() {
            options.crates = suites::CRATES.iter().map(|(folder, _)| *folder).collect();
        }
        Ok(options)
    }
}

/// Runs the mutants; whether all that were run were noticed or are known to be equivalent.
/// `None` if the arguments make no sense; that was told.
pub fn run(root: &Path, arguments: &[String]) -> Option<bool> {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("mutants: {error}\nusage: {USAGE}");
            return None;
        }
    };
    let mut good = true;
    for folder in &options.crates {
        match one_crate(root, folder, &options) {
            Ok(none_left) => good &= none_left,
            Err(error) => {
                eprintln!("mutants: {folder}: {error}");
                good = false;
            }
        }
    }
    Some(good)
}

/// Runs the mutants of one crate and writes down what came out; whether nobody was left over.
fn one_crate(root: &Path, folder: &str, options: &Options) -> Result<bool, String> {
    let begun = Instant::now();
    let all = list::of_crate(root, folder)?;
    let known = all.len();
    let sample = list::sample(all, options.sample, options.seed);
    eprintln!("mutants: {folder}: {} of {known}, seed {}", sample.len(), options.seed);
    let tree = Tree::prepare(root, folder)?;
    let sources = list::sources(root, &sample)?;
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();

    let mut switched = switch::Switched::new(&sources, &sample);
    for number in switched.settle(&tree)? {
        eprintln!("does not compile: {}", sample[number].name);
        outcomes.insert(number, Outcome::Unviable);
    }
    let together: Vec<usize> = switched.numbers().collect();
    eprintln!(
        "mutants: {folder}: {} in one build, {} do not compile, {:.0} s",
        together.len(),
        outcomes.len(),
        begun.elapsed().as_secs_f64()
    );
    let suite = Suite::build(&tree, folder)?;
    for number in together {
        let verdict = suite.judge(number);
        tell(&sample[number], &verdict);
        outcomes.insert(number, Outcome::from(verdict));
    }
    for number in switched.alone() {
        tree.write(&sources, &BTreeMap::from([switch::plain(&sources, &sample[number])]))?;
        let outcome = match tree.check()?.is_empty() {
            false => Outcome::Unviable,
            true => {
                let verdict = Suite::build(&tree, folder)?.judge(switch::NONE);
                tell(&sample[number], &verdict);
                Outcome::from(verdict)
            }
        };
        outcomes.insert(number, outcome);
    }
    let seconds = begun.elapsed().as_secs();
    results::write(root, folder, options, known, &sample, &outcomes, seconds)
}

fn tell(mutant: &Mutant, verdict: &Verdict) {
    match verdict {
        Verdict::Caught(by) => eprintln!("caught by {by}: {}", mutant.name),
        Verdict::Late(by) => eprintln!("{by} is not done in time: {}", mutant.name),
        Verdict::Survived => eprintln!("SURVIVED: {}", mutant.name),
    }
}
