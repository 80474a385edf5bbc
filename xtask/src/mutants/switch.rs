//! Many mutants in one build.
//!
//! A function with mutants gets a body for each, and the one that the environment names is run:
//!
//! ```text
//! fn f(a: u32) -> u32 {
//!     if crate::mutants_switch::on(7) { a - 1 }
//!     else { a + 1 }
//! }
//! ```
//!
//! Whole bodies, so that types, borrows and the lives of temporaries are those of the plain mutant.
//! What is no function's body, or cannot ask at run time, is built alone: constants, `const fn`,
//! functions that return `impl Trait`, and functions within functions.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::build::{Place, Tree};
use super::list::{Mutant, Sources};

/// The variable that names the mutant.
pub const VARIABLE: &str = "LIMPID_MUTANT";
/// No mutant has this number.
pub const NONE: usize = 999_999;

/// The module that each crate gets. It is asked often and by handlers of signals: reading the
/// environment once is what it may cost.
const SWITCH: &str = r#"
#[doc(hidden)]
pub(crate) mod mutants_switch {
    extern crate std;
    static CHOSEN: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    #[inline]
    pub(crate) fn on(number: usize) -> bool {
        *CHOSEN.get_or_init(|| {
            let text = std::env::var("LIMPID_MUTANT").ok();
            text.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX)
        }) == number
    }
}
"#;

/// A crate with its mutants switched in.
pub struct Switched<'a> {
    sources: &'a Sources,
    sample: &'a [Mutant],
    /// The mutants in the build, by number.
    inside: BTreeSet<usize>,
    alone: Vec<usize>,
}

impl<'a> Switched<'a> {
    pub fn new(sources: &'a Sources, sample: &'a [Mutant]) -> Switched<'a> {
        let (mut inside, mut alone) = (BTreeSet::new(), Vec::new());
        let bodies: Vec<Option<Range<usize>>> =
            sample.iter().map(|mutant| body(&sources[&mutant.file], mutant)).collect();
        for (number, found) in bodies.iter().enumerate() {
            let nested = |other: &Option<Range<usize>>, file: &str| {
                let same_file = file == sample[number].file;
                let (Some(a), Some(b)) = (found, other) else { return false };
                same_file && a != b && a.start < b.end && b.start < a.end
            };
            let in_other =
                bodies.iter().zip(sample).any(|(body, mutant)| nested(body, &mutant.file));
            if found.is_some() && !in_other {
                inside.insert(number);
            } else {
                alone.push(number);
            }
        }
        Switched { sources, sample, inside, alone }
    }

    pub fn numbers(&self) -> impl Iterator<Item = usize> + use<> {
        self.inside.clone().into_iter()
    }

    /// Those that must be built alone.
    pub fn alone(&self) -> Vec<usize> {
        self.alone.clone()
    }

    /// Writes the crate to the tree, without the mutants that do not compile: those are returned.
    pub fn settle(&mut self, tree: &Tree) -> Result<Vec<usize>, String> {
        let mut unviable = Vec::new();
        loop {
            let (texts, places) = self.texts();
            tree.write(self.sources, &texts)?;
            let errors = tree.check()?;
            if errors.is_empty() {
                return Ok(unviable);
            }
            let wrong: BTreeSet<usize> =
                errors.iter().filter_map(|error| mutant_at(&places, error)).collect();
            if wrong.is_empty() {
                return Err(format!("does not compile: {}", errors[0]));
            }
            self.inside.retain(|number| !wrong.contains(number));
            unviable.extend(wrong);
        }
    }

    /// The changed files, and the lines of each mutant in them.
    pub fn texts(&self) -> (Sources, Vec<(usize, String, Range<usize>)>) {
        let (mut texts, mut places) = (Sources::new(), Vec::new());
        for (file, source) in self.sources {
            let mut bodies: BTreeMap<usize, (usize, Vec<usize>)> = BTreeMap::new();
            for &number in &self.inside {
                let mutant = &self.sample[number];
                if mutant.file == *file
                    && let Some(body) = body(source, mutant)
                {
                    bodies.entry(body.start).or_insert((body.end, Vec::new())).1.push(number);
                }
            }
            let (mut text, mut at) = (String::new(), 0);
            for (start, (end, numbers)) in bodies {
                text.push_str(&source[at..start]);
                for number in numbers {
                    let mutant = &self.sample[number];
                    let span = mutant.span.bytes(source);
                    let first = text.lines().count() + 1;
                    text.push_str(&format!("\nif crate::mutants_switch::on({number}) {{"));
                    text.push_str(&source[start..span.start]);
                    text.push_str(&mutant.replacement);
                    text.push_str(&source[span.end..end]);
                    text.push_str("\n} else");
                    places.push((number, file.clone(), first..text.lines().count() + 1));
                }
                text.push_str(" {");
                text.push_str(&source[start..end]);
                text.push_str("\n}");
                at = end;
            }
            text.push_str(&source[at..]);
            texts.insert(file.clone(), text);
        }
        (texts, places)
    }
}

/// Adds the switch to the text of a crate's lib.rs.
pub fn with_switch(text: &str) -> String {
    format!("{text}{SWITCH}")
}

fn mutant_at(places: &[(usize, String, Range<usize>)], error: &Place) -> Option<usize> {
    let found =
        places.iter().find(|(_, file, lines)| *file == error.file && lines.contains(&error.line));
    found.map(|(number, ..)| *number)
}

/// The file with one mutant in place.
pub fn plain(sources: &Sources, mutant: &Mutant) -> (String, String) {
    let mut text = sources[&mutant.file].clone();
    text.replace_range(mutant.span.bytes(&sources[&mutant.file]), &mutant.replacement);
    (mutant.file.clone(), text)
}

/// What lies between the braces of the function's body, if the mutant is in there and the function
/// can ask which of its bodies is to run.
fn body(source: &str, mutant: &Mutant) -> Option<Range<usize>> {
    let function = mutant.function?.bytes(source);
    if mutant.returns.contains("impl ") {
        return None;
    }
    let mut start = function.start;
    for line in source[function.clone()].split_inclusive('\n') {
        let words = line.trim_start();
        if !(words.starts_with("//") || words.starts_with("#[") || words.is_empty()) {
            break;
        }
        start += line.len();
    }
    let open = start + source[start..function.end].find('{')?;
    if source[start..open].split_whitespace().any(|word| word == "const") {
        return None;
    }
    let body = open + 1..function.end - 1;
    let span = mutant.span.bytes(source);
    (body.start <= span.start && span.end <= body.end).then_some(body)
}
