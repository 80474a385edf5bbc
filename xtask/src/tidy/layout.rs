//! Rules about the size and shape of files.

use super::lexer;
use super::tree::{Offence, Source, Tree};

const MAX_FILE_LINES: usize = 500;
const MAX_LINE_CHARS: usize = 100;
/// A function is shorter than this.
const FUNCTION_LINES: usize = 70;

/// Files have at most 500 lines; prose may be longer.
pub fn file_length(tree: &Tree) -> Vec<Offence> {
    let code = tree.sources.iter().filter(|source| !source.path.ends_with(".md"));
    code.filter_map(|source| {
        let lines = source.text.lines().count();
        let what = format!("{lines} lines; a file has at most {MAX_FILE_LINES}");
        (lines > MAX_FILE_LINES).then(|| source.offence(lines, what))
    })
    .collect()
}

/// Lines of Rust have at most 100 characters.
pub fn line_width(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    for source in tree.rust() {
        for (index, line) in source.text.lines().enumerate() {
            let width = line.chars().count();
            if width > MAX_LINE_CHARS {
                let what = format!("{width} characters; a line has at most {MAX_LINE_CHARS}");
                offences.push(source.offence(index + 1, what));
            }
        }
    }
    offences
}

/// Functions have less than 70 lines.
pub fn function_length(tree: &Tree) -> Vec<Offence> {
    tree.rust().flat_map(long_functions).collect()
}

/// Every Rust file opens by saying what it holds.
pub fn header(tree: &Tree) -> Vec<Offence> {
    let is_attribute = |line: &&str| line.trim().is_empty() || line.starts_with("#![");
    let opens_well = |source: &&Source| {
        source
            .text
            .lines()
            .find(|line| !is_attribute(line))
            .is_some_and(|line| line.starts_with("//!"))
    };
    let headless = tree.rust().filter(|source| !opens_well(source));
    headless.map(|source| source.offence(1, "no `//!` header says what the file holds")).collect()
}

fn long_functions(source: &Source) -> Vec<Offence> {
    let mut offences = Vec::new();
    for (index, line) in source.code.lines().enumerate() {
        let Some(at) = lexer::find_word(line, "fn") else { continue };
        // A function pointer type has no name behind `fn`.
        if !line[at + 2..].trim_start().starts_with(lexer::is_word) {
            continue;
        }
        let before: usize = source.code.lines().take(index).map(|line| line.len() + 1).sum();
        let lines = lines_of_body(&source.code[before + at..]);
        if lines >= FUNCTION_LINES {
            let what = format!("{lines} lines; a function has less than {FUNCTION_LINES}");
            offences.push(source.offence(index + 1, what));
        }
    }
    offences
}

/// Lines from the start of `code`, a function, to the brace that closes it; 0 without a body.
fn lines_of_body(code: &str) -> usize {
    let (mut brackets, mut braces, mut lines) = (0_i32, 0_i32, 1);
    for c in code.chars() {
        match c {
            '\n' => lines += 1,
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && braces == 0 => return 0,
            '{' => braces += 1,
            '}' => {
                braces -= 1;
                if braces <= 0 {
                    return lines;
                }
            }
            _ => {}
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::tree::places;
    use super::*;

    #[test]
    fn long_files_are_reported() {
        let text = "\n".repeat(501);
        let tree = Tree::of(&[("a.rs", &text), ("b.rs", &text[1..]), ("c.md", &text)]);
        assert_eq!(places(file_length(&tree)), ["a.rs:501"]);
    }

    #[test]
    fn wide_lines_are_reported() {
        let text = format!("{}\n{}\n", "é".repeat(100), "x".repeat(101));
        assert_eq!(places(line_width(&Tree::of(&[("a.rs", &text)]))), ["a.rs:2"]);
    }

    #[test]
    fn long_functions_are_reported() {
        let function =
            |lines: usize| format!("fn f(a: [u8; 2]) {{\n{}}}\n", "\n".repeat(lines - 2));
        let text = format!("trait T {{\n    fn g();\n}}\n{}{}", function(69), function(70));
        assert_eq!(places(function_length(&Tree::of(&[("a.rs", &text)]))), ["a.rs:73"]);
    }

    #[test]
    fn headless_files_are_reported() {
        let with_attribute = "#![cfg(unix)]\n\n//! C.\n";
        let files = [("a.rs", "//! A.\n"), ("b.rs", "fn f() {}\n"), ("c.rs", with_attribute)];
        assert_eq!(places(header(&Tree::of(&files))), ["b.rs:1"]);
    }
}
