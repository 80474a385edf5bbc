//! The mutants there are, and a sample of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::run;

/// Sources by their path from the root of the repository.
pub type Sources = BTreeMap<String, String>;

/// One change of one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// As cargo-mutants prints it, with line and column.
    pub name: String,
    /// The same without the place: file, function and change, and which of them it is if there are
    /// several. It stays when other lines change.
    pub key: String,
    pub file: String,
    /// What is replaced, and by what.
    pub span: Span,
    pub replacement: String,
    /// The function that it lies in, with what stands before its name; none outside functions.
    pub function: Option<Span>,
    /// What the function returns begins with an arrow, or is empty.
    pub returns: String,
}

/// Lines and columns from 1 on; the end is the first character behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: (usize, usize),
    pub end: (usize, usize),
}

impl Span {
    /// As bytes of the text.
    pub fn bytes(self, text: &str) -> std::ops::Range<usize> {
        offset(text, self.start)..offset(text, self.end)
    }
}

fn offset(text: &str, (line, column): (usize, usize)) -> usize {
    let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let characters = text[start..].char_indices().map(|(at, _)| at);
    start + characters.chain([text.len() - start]).nth(column - 1).unwrap_or(0)
}

/// All mutants of a crate, by `cargo mutants --list`.
pub fn of_crate(root: &Path, folder: &str) -> Result<Vec<Mutant>, String> {
    let mut command = Command::new(run::cargo_program());
    command.args(["mutants", "--list", "--json", "--no-config"]);
    command.arg(format!("--package={}", package(folder))).current_dir(root);
    let output = command.output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().next().unwrap_or_default();
        return Err(format!(
            "{line}: the list is made by cargo-mutants: `cargo install cargo-mutants --locked`"
        ));
    }
    parse(&String::from_utf8_lossy(&output.stdout))
}

/// The package in a folder of crates/.
pub fn package(folder: &str) -> String {
    if folder == "limpid" { folder.into() } else { format!("limpid-{folder}") }
}

pub fn parse(json: &str) -> Result<Vec<Mutant>, String> {
    let list: Vec<Value> =
        serde_json::from_str(json).map_err(|error| format!("the list of mutants: {error}"))?;
    let mutants: Option<Vec<Mutant>> = list.iter().map(mutant).collect();
    let mut mutants = mutants.ok_or("the list of mutants: fields are missing")?;
    mutants.sort_by(|a, b| (&a.file, a.span.start, &a.name).cmp(&(&b.file, b.span.start, &b.name)));
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for mutant in &mut mutants {
        let times = seen.entry(mutant.key.clone()).or_default();
        *times += 1;
        if *times > 1 {
            mutant.key = format!("{} ({times})", mutant.key);
        }
    }
    Ok(mutants)
}

fn mutant(value: &Value) -> Option<Mutant> {
    let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    let (name, file) = (text("name")?, text("file")?);
    // FILE:LINE:COLUMN: what is changed.
    let change = name.strip_prefix(file.as_str())?.splitn(4, ':').nth(3)?.trim().to_owned();
    let function = value.get("function").filter(|function| !function.is_null());
    let returns = function.and_then(|function| function.get("return_type")?.as_str());
    Some(Mutant {
        key: format!("{file}: {}", change.split_whitespace().collect::<Vec<_>>().join(" ")),
        returns: returns.unwrap_or_default().to_owned(),
        span: span(value.get("span")?)?,
        function: function.and_then(|function| span(function.get("span")?)),
        replacement: text("replacement")?,
        name,
        file,
    })
}

fn span(value: &Value) -> Option<Span> {
    let place = |end: &str| {
        let part = |name: &str| Some(value.get(end)?.get(name)?.as_u64()? as usize);
        Some((part("line")?, part("column")?))
    };
    Some(Span { start: place("start")?, end: place("end")? })
}

/// A sample that depends on the seed alone, in the order of the list.
pub fn sample(mut mutants: Vec<Mutant>, count: Option<usize>, seed: u64) -> Vec<Mutant> {
    let Some(count) = count.filter(|count| *count < mutants.len()) else { return mutants };
    let mut state = seed;
    // splitmix64, to choose who comes next (Fisher and Yates).
    for index in 0..count {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let other = index + ((z ^ (z >> 31)) % (mutants.len() - index) as u64) as usize;
        mutants.swap(index, other);
    }
    mutants.truncate(count);
    mutants.sort_by(|a, b| (&a.file, a.span.start, &a.name).cmp(&(&b.file, b.span.start, &b.name)));
    mutants
}

/// The files that the mutants are in.
pub fn sources(root: &Path, mutants: &[Mutant]) -> Result<Sources, String> {
    let mut sources = Sources::new();
    for mutant in mutants {
        if !sources.contains_key(&mutant.file) {
            let path = root.join(&mutant.file);
            let text = fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            sources.insert(mutant.file.clone(), text);
        }
    }
    Ok(sources)
}
