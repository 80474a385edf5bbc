//! Looks for every planted crash bug and writes the table into `docs/crash.md`.
//!
//! `cargo run --release -p limpid-explore --features canary --example crash_canaries`

use limpid_explore::crash::{Bound, crash_canary_table, with_crash_table};

fn main() -> std::io::Result<()> {
    let table = crash_canary_table(Bound::CANARY, &mut |canary, caught| {
        println!(
            "{}: {} states, {} workloads",
            canary.name, caught.counts.distinct, caught.workloads
        );
        if let Some(broken) = &caught.broken {
            println!("  {}\n  {}\n  lost: {}", broken.replay, broken.why, broken.lost.join("; "));
        }
    });
    let table = table.map_err(std::io::Error::other)?;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/crash.md");
    let text = with_crash_table(&std::fs::read_to_string(path)?, &table);
    std::fs::write(path, text.ok_or_else(|| std::io::Error::other("docs/crash.md has no marks"))?)
}
