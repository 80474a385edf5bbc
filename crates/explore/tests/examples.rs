//! Goal: the examples for those who bring a block map or page tables of their own find their bugs.
//!
//! Method: each example is run as it is, and what it finds is looked at.

#[path = "../examples/page_tables.rs"]
mod page_tables;
#[path = "../examples/toy_block_map.rs"]
mod toy_block_map;

#[test]
fn the_block_map_that_publishes_blindly_loses_a_store() {
    let found = toy_block_map::find().expect("the bug is found");
    let violation = found.violation.as_ref().expect("something is wrong");
    // What the medium keeps is looked at before what a read would see (C2).
    assert_eq!(violation.clause, "C7", "{}", found.columns());
    toy_block_map::main();
}

#[test]
fn the_page_tables_that_skip_an_unmap_stay_stale() {
    let found = page_tables::find().expect("the bug is found");
    let violation = found.violation.as_ref().expect("something is wrong");
    assert_eq!(violation.clause, "I3", "{}", found.columns());
    page_tables::main();
}
