//! Goal: running out of space at any allocation fails an operation whole: tree, free space and
//! check are as before, live and after a crash, and with space the next try succeeds. Faults of
//! maps included.
//!
//! Method: `limpid_explore::crash::refuse_each_block` runs each operation again and again and
//! refuses another one of its requests for blocks each time.

use limpid_explore::crash::refuse_each_block;

#[test]
fn every_allocation_can_be_refused() {
    let all = refuse_each_block().expect("the start pool can be read");
    for one in all.iter().filter(|one| one.requests > 0) {
        eprintln!("{}: {} requests, {} failed", one.operation, one.requests, one.failed);
    }
    let wrong: Vec<&String> = all.iter().flat_map(|one| &one.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The ones that must need space do, a fault among them.
    for name in ["create-split", "symlink-long", "append-pages", "xattr-large", "map-flush-hole"] {
        let mut runs = all.iter().filter(|one| one.operation == name);
        assert!(runs.any(|one| one.failed > 0), "{name} never failed");
    }
}
