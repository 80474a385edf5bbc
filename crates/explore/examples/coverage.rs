//! Searches the whole catalogue and writes `docs/coverage.md`.
//!
//! `cargo run --release -p limpid-explore --features canary --example coverage`

use std::io::Error;
use std::time::Duration;

use limpid_explore::coverage::{coverage_table, search_catalogue};

fn main() -> std::io::Result<()> {
    search_catalogue(Duration::from_secs(240)).map_err(Error::other)?;
    let table = coverage_table().map_err(Error::other)?;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/coverage.md");
    std::fs::write(path, table)
}
