//! Goal: `docs/coverage.md` tells which branches of the protocol the explorer takes, and why it
//! takes no others.
//!
//! Method: every branch has one mark in the sources of the DAX layer. The whole catalogue is
//! searched, and the table of the marks is compared with the file. A branch that is neither taken
//! nor excused fails, and so does an excuse for a branch that is taken.

use std::path::Path;
use std::time::Duration;

use limpid_dax::Branch;
use limpid_explore::coverage::{coverage_table, search_catalogue};

#[test]
fn every_branch_is_taken_or_excused_and_the_table_is_true() {
    let _alone = super::alone();
    search_catalogue(Duration::from_secs(240)).unwrap_or_else(|wrong| panic!("{wrong}"));
    let table = coverage_table().unwrap_or_else(|wrong| panic!("{wrong}"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/coverage.md");
    let file = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        file == table,
        "docs/coverage.md is out of date: cargo run --release -p limpid-explore \
         --features canary --example coverage"
    );
}

#[test]
fn every_branch_is_marked_once() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dax/src");
    for &(branch, file, _) in Branch::ALL {
        let text = std::fs::read_to_string(sources.join(file)).expect("the file is there");
        let mark = format!("cover(Branch::{branch:?})");
        assert_eq!(text.matches(&mark).count(), 1, "{mark} in {file}");
    }
}
