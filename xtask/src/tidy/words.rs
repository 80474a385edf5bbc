//! Rules about words that have no place in the repository.
//!
//! The words are written in pieces here, so that this file keeps its own rules.

use super::lexer;
use super::tree::{Offence, Tree};

/// Marks of unfinished work; whole words, comments included.
const UNFINISHED: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
/// Marks of unfinished work in code.
const UNFINISHED_CODE: [&str; 4] = [
    concat!("to", "do!"),
    concat!("unimple", "mented!"),
    concat!("db", "g!"),
    concat!("#[ign", "ore"),
];
/// A test that sleeps guesses an order instead of making it.
const SLEEP: &str = concat!("thread::", "sleep");
/// Folders of one machine.
const MACHINE_PATHS: [&str; 1] = [concat!("/wo", "rk/")];

/// Nothing is left unfinished, switched off, or printed for debugging.
pub fn unfinished(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in tree.rust() {
        for (index, (line, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
            let words = UNFINISHED.iter().filter(|word| lexer::find_word(line, word).is_some());
            let marks = UNFINISHED_CODE.iter().filter(|mark| has_mark(code, mark));
            for found in words.chain(marks) {
                offences.push(source.offence(index + 1, format!("`{found}` is not allowed")));
            }
        }
    }
    offences
}

/// Tests never sleep to get an order of events.
pub fn sleep_in_tests(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in tree.rust() {
        let mut in_tests = source.is_test();
        for (index, line) in source.code.lines().enumerate() {
            in_tests |= line.trim_start().starts_with("#[cfg(test)]");
            if in_tests && line.contains(SLEEP) {
                offences.push(source.offence(index + 1, "a test sleeps; wait for the event"));
            }
        }
    }
    offences
}

/// No file names the folders of the machine it was written on.
pub fn machine_paths(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in &tree.sources {
        for (index, line) in source.text.lines().enumerate() {
            if MACHINE_PATHS.iter().any(|path| starts_absolute(line, path)) {
                offences.push(source.offence(index + 1, "names a folder of one machine"));
            }
        }
    }
    offences
}

/// Whether the code has the mark, not as the tail of a longer word.
fn has_mark(code: &str, mark: &str) -> bool {
    code.match_indices(mark).any(|(at, _)| !code[..at].ends_with(lexer::is_word))
}

/// Whether the line has the path at its root, not in the middle of another path.
fn starts_absolute(line: &str, path: &str) -> bool {
    let in_path = |c: char| lexer::is_word(c) || c == '.' || c == '-' || c == '}';
    line.match_indices(path).any(|(at, _)| !line[..at].ends_with(in_path))
}

#[cfg(test)]
mod tests {
    use super::super::tree::places;
    use super::*;

    #[test]
    fn unfinished_work_is_reported() {
        for word in UNFINISHED.iter().chain(&UNFINISHED_CODE) {
            let comment = format!("fn f() {{}}\n// {word} later\n");
            let code = format!("fn f() {{}}\n{word}(x)\n");
            let expected_in_comment = usize::from(UNFINISHED.contains(word));
            let found = |text: &str| unfinished(&Tree::of(&[("a.rs", text)]));
            assert_eq!(found(&comment).len(), expected_in_comment, "{comment}");
            assert_eq!(places(found(&code)), ["a.rs:2"], "{code}");
            assert_eq!(found(&format!("a{word}")).len(), 0, "{word}");
        }
    }

    #[test]
    fn sleeping_tests_are_reported() {
        let code = format!("{SLEEP}(d);\n");
        let inner = format!("{code}#[cfg(test)]\nmod tests {{\n{code}}}\n");
        let tree = Tree::of(&[("src/a.rs", &inner), ("tests/b.rs", &code), ("src/c.rs", &code)]);
        assert_eq!(places(sleep_in_tests(&tree)), ["src/a.rs:4", "tests/b.rs:1"]);
    }

    #[test]
    fn machine_paths_are_reported() {
        let path = MACHINE_PATHS[0];
        let text = format!("see {path}main\nsee net{path}queue\n");
        assert_eq!(places(machine_paths(&Tree::of(&[("a.md", &text)]))), ["a.md:1"]);
    }
}
