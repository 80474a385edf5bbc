//! The sources the rules look at, and what a rule reports.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fmt, fs, io};

use super::lexer;

/// Endings of the text files the rules read; other files count only as targets of links.
const TEXT: [&str; 11] =
    ["rs", "toml", "md", "sh", "yml", "yaml", "c", "h", "py", "json", ".ci/run"];

/// One text file.
pub struct Source {
    /// Path from the root of the repository, with `/` between its parts.
    pub path: String,
    /// Everything in it.
    pub text: String,
    /// Of Rust files, the text with comments and the insides of literals blanked; else empty.
    pub code: String,
}

impl Source {
    /// A source from its path and text.
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { lexer::code_only(text) } else { String::new() };
        Source { path: path.to_owned(), text: text.to_owned(), code }
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether it holds tests only: a file below a `tests` folder.
    pub fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/")
    }

    /// An offence on a line of it, counted from 1.
    pub fn offence(&self, line: usize, what: impl Into<String>) -> Offence {
        Offence { path: self.path.clone(), line, what: what.into() }
    }
}

/// The repository.
pub struct Tree {
    /// Its text files, sorted by path.
    pub sources: Vec<Source>,
    /// Every file and folder, as paths from the root; the root is the empty path.
    pub paths: BTreeSet<String>,
}

impl Tree {
    /// Reads the repository at `root`, leaving out the `.git` and `target` folders.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Tree { sources: Vec::new(), paths: BTreeSet::from([String::new()]) };
        tree.read_folder(root, "")?;
        tree.sources.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = format!("{prefix}{name}");
            let kind = entry.file_type()?;
            if kind.is_dir() && name != ".git" && name != "target" {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() && TEXT.iter().any(|end| has_ending(&path, end)) {
                let text = String::from_utf8_lossy(&fs::read(entry.path())?).into_owned();
                self.sources.push(Source::new(&path, &text));
            }
            self.paths.insert(path);
        }
        Ok(())
    }

    /// The source at a path.
    pub fn source(&self, path: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.path == path)
    }

    /// The Rust sources.
    pub fn rust(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.is_rust())
    }

    /// The manifests.
    pub fn manifests(&self) -> impl Iterator<Item = &Source> {
        let is_manifest = |path: &str| path == "Cargo.toml" || path.ends_with("/Cargo.toml");
        self.sources.iter().filter(move |source| is_manifest(&source.path))
    }

    /// A tree of the given paths and texts.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let sources = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let mut paths = BTreeSet::from([String::new()]);
        for (path, _) in files {
            let folders = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
            paths.extend(folders);
            paths.insert((*path).to_owned());
        }
        Tree { sources, paths }
    }
}

/// Whether the path is the whole `ending`, or has it as its extension.
fn has_ending(path: &str, ending: &str) -> bool {
    path == ending || path.rsplit_once('.').is_some_and(|(_, extension)| extension == ending)
}

/// A broken rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Offence {
    path: String,
    line: usize,
    what: String,
}

impl fmt::Display for Offence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// What a rule reports, as `path:line` strings, for tests.
#[cfg(test)]
pub fn places(offences: Vec<Offence>) -> Vec<String> {
    offences.iter().map(|offence| format!("{}:{}", offence.path, offence.line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endings_name_text_files() {
        assert!(has_ending("crates/dax/src/lib.rs", "rs"));
        assert!(has_ending(".ci/run", ".ci/run"));
        assert!(!has_ending("crates/dax/src/lib.rs", "s"));
        assert!(!has_ending("LICENSE-MIT", "rs"));
    }

    #[test]
    fn the_repository_can_be_read() {
        let tree = Tree::read(&crate::repository()).unwrap();
        assert!(tree.source("xtask/src/tidy/tree.rs").is_some());
        assert!(tree.source("crates/dax/src/lib.rs").is_some());
        assert!(tree.paths.contains("crates/dax"));
        assert!(!tree.paths.iter().any(|path| path.starts_with("target/")));
    }
}
