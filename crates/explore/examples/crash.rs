//! Searches all crash workloads, or those whose name holds the argument, and prints what was
//! looked at.
//!
//! `cargo run --release -p limpid-explore --example crash [PART]`

use limpid_explore::crash::{Bound, search_all, workloads};

fn main() {
    let part = std::env::args().nth(1).unwrap_or_default();
    let mut all = workloads();
    all.retain(|workload| workload.name().contains(&part));
    let bound = Bound::CI;
    let summary = search_all(&all, bound, &|| false, &mut |row| {
        if let Some(broken) = row.broken {
            println!("{}\n  {}\n  lost: {:?}", broken.replay, broken.why, broken.lost);
        }
    });
    println!(
        "{} broken of {} workloads; {:?} in {:?}",
        summary.broken.len(),
        summary.workloads,
        summary.counts,
        summary.time
    );
}
