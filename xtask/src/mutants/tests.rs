//! The parts of `mutants` that need no compiler: arguments, the list, the sample, the bodies, the
//! document.

use std::collections::BTreeMap;

use super::list::{self, Mutant, Sources};
use super::results::{self, Outcome};
use super::switch::Switched;
use super::{Options, suites};

const SOURCE: &str = "\
/// Adds { and fn }.
#[inline]
pub fn add(a: u32) -> u32 {
    a + 1 // é
}

const fn two() -> u32 {
    1 + 1
}

const SIZE: u32 = 2 + 2;
";

fn list() -> Vec<Mutant> {
    let mutant = |name: &str, line: usize, span: (usize, usize), with: &str, function: &str| {
        format!(
            r#"{{"name": "crates/x/src/lib.rs:{line}:{}: {name}", "file": "crates/x/src/lib.rs",
            "replacement": "{with}", "function": {function},
            "span": {{"start": {{"line": {line}, "column": {}}},
                     "end": {{"line": {line}, "column": {}}}}}}}"#,
            span.0, span.0, span.1
        )
    };
    let function = |start: usize, end: usize| {
        format!(
            r#"{{"return_type": "-> u32", "span": {{"start": {{"line": {start}, "column": 1}},
            "end": {{"line": {end}, "column": 2}}}}}}"#
        )
    };
    let json = [
        mutant("replace + with - in add", 4, (7, 8), "-", &function(1, 5)),
        mutant("replace add -> u32 with 0", 4, (5, 10), "0", &function(1, 5)),
        mutant("replace + with * in two", 8, (7, 8), "*", &function(7, 9)),
        mutant("replace + with -", 11, (21, 22), "-", "null"),
    ];
    list::parse(&format!("[{}]", json.join(","))).unwrap()
}

fn sources() -> Sources {
    BTreeMap::from([("crates/x/src/lib.rs".to_owned(), SOURCE.to_owned())])
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

#[test]
fn arguments_that_make_no_sense_are_told() {
    for (line, says) in [
        ("nosuch", "nosuch: no such crate; there are pmem, mmu, dax"),
        ("pmem --sample 0", "--sample 0: nothing would be looked at"),
        ("--sample", "--sample needs a number"),
        ("--seed x", "--seed x: not a number"),
        ("--sample -1", "--sample -1: not a number"),
        ("--all", "--all: no such option"),
    ] {
        let error = Options::parse(&words(line)).unwrap_err();
        assert!(error.starts_with(says), "{line}: {error}");
    }
}

#[test]
fn arguments_are_taken_in_any_order() {
    let options = Options::parse(&words("--seed 7 mmu --sample 40")).unwrap();
    assert_eq!(options, Options { crates: vec!["mmu"], sample: Some(40), seed: 7 });
    assert_eq!(Options::parse(&[]).unwrap().crates.len(), suites::CRATES.len());
}

#[test]
fn each_mutant_gets_a_body_and_the_last_is_what_it_was() {
    let (sources, list) = (sources(), list());
    let switched = Switched::new(&sources, &list);
    let (texts, places) = switched.texts();
    let expected = "\
pub fn add(a: u32) -> u32 {
if crate::mutants_switch::on(0) {
    0 // é

} else
if crate::mutants_switch::on(1) {
    a - 1 // é

} else {
    a + 1 // é

}}
";
    let text = &texts["crates/x/src/lib.rs"];
    assert!(text.contains(expected), "{text}");
    assert_eq!(places[0], (0, "crates/x/src/lib.rs".into(), 4..8));
    assert_eq!(places[1].2, 8..12);
    assert_eq!(switched.alone(), [2, 3], "a constant and a const fn cannot ask");
}

#[test]
fn keys_have_no_lines_and_tell_twins_apart() {
    let list = list();
    assert_eq!(list[1].key, "crates/x/src/lib.rs: replace + with - in add");
    let twice = format!(
        "[{0},{0}]",
        r#"{"name": "f:1:1: c", "file": "f", "replacement": "",
        "span": {"start": {"line": 1, "column": 1}, "end": {"line": 1, "column": 1}}}"#
    );
    let keys: Vec<String> =
        list::parse(&twice).unwrap().into_iter().map(|mutant| mutant.key).collect();
    assert_eq!(keys, ["f: c", "f: c (2)"]);
    assert!(list::parse("[{}]").is_err());
}

#[test]
fn a_sample_is_its_seeds() {
    let many: Vec<Mutant> =
        (0..100).map(|index| Mutant { name: format!("{index:03}"), ..list()[0].clone() }).collect();
    let sample = |seed| list::sample(many.clone(), Some(10), seed);
    assert_eq!(sample(1), sample(1));
    assert_ne!(sample(1), sample(2));
    assert_eq!(sample(3).len(), 10);
    assert!(sample(3).windows(2).all(|pair| pair[0].name < pair[1].name), "twice the same");
    assert_eq!(list::sample(many.clone(), Some(100), 1), many);
}

#[test]
fn survivors_need_a_reason() {
    let text = "# M\n\n## Equivalent\n\n| mutant | why |\n|---|---|\n\
                | `crates/x/src/lib.rs: replace + with - in add` | no sum |\n\
                | `crates/x/src/lib.rs: no reason` |  |\n\n## Results\n\nHow.\n\n### a\n\nold a\n\n\
                ### x\n\nold x\n";
    let equivalent = results::equivalent(text);
    assert_eq!(equivalent.len(), 1);
    let options = Options { crates: vec![], sample: None, seed: 5 };
    let outcomes =
        [Outcome::Caught("t".into()), Outcome::Survived, Outcome::Unviable, Outcome::Survived];
    let outcomes = outcomes.into_iter().enumerate().collect();
    let (section, left) = results::section("x", &options, 9, &list(), &outcomes, 3, &equivalent);
    assert_eq!(left, 1);
    assert!(section.contains("4 of 9 mutants, seed 5; 3 compile"), "{section}");
    assert!(section.contains("equivalent 1, not noticed 1: 50 %"), "{section}");
    let replaced = results::replaced(text, "x", &section);
    assert!(replaced.contains("old a") && !replaced.contains("old x"), "{replaced}");
    assert_eq!(results::replaced(&replaced, "x", &section), replaced);
}
