//! `cargo xtask tidy`: the house rules, checked over the repository.
//!
//! A rule is a function from the tree of sources to the offences it finds. Each rule's tests plant
//! an offence that the rule must report, and something close to it that it must not.

mod crates;
mod layout;
mod lexer;
mod links;
mod locks;
mod manifests;
mod tree;
mod words;

use std::path::Path;

use tree::{Offence, Tree};

type Rule = fn(&Tree) -> Vec<Offence>;

const RULES: [Rule; 13] = [
    layout::file_length,
    layout::line_width,
    layout::function_length,
    layout::header,
    words::unfinished,
    words::sleep_in_tests,
    words::machine_paths,
    crates::unsafe_code,
    crates::no_std,
    manifests::lints,
    manifests::dependencies,
    links::relative,
    locks::bare_locks,
];

/// Checks all rules and prints each offence on a line; whether there was none.
pub fn run(root: &Path) -> bool {
    let tree = match Tree::read(root) {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("tidy: {}: {error}", root.display());
            return false;
        }
    };
    let offences: Vec<Offence> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for offence in &offences {
        eprintln!("{offence}");
    }
    eprintln!("tidy: {} files, {} offences", tree.sources.len(), offences.len());
    offences.is_empty()
}
