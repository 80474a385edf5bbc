//! Goal: the checker of the order of locks catches wrong orders in this crate, by one thread alone.
//! Method: two wrong orders are planted, one after the other; the operation that takes the locks
//! must panic, with the words that name them, and go through when nothing is planted.
#![cfg(debug_assertions)]

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use limpid_fs::{Fs, RenameFlags, Step, leave_out};
use support::{DIR, FILE, MIB, pool};

/// The words of the panic that `work` ends in, if it does, with `step` left out.
fn without(step: Step, work: impl FnOnce()) -> Option<String> {
    leave_out(step, true);
    let result = catch_unwind(AssertUnwindSafe(work));
    leave_out(step, false);
    let words = result.err()?.downcast::<String>().expect("it panics with words");
    Some(*words)
}

fn exchange(fs: &Fs) {
    fs.rename(fs.root(), b"a", fs.root(), b"b", RenameFlags::EXCHANGE).unwrap();
}

fn free_an_orphan(fs: &Fs) {
    let file = fs.create_unnamed(FILE).unwrap();
    fs.release(file).unwrap();
}

/// One test, since what is left out is left out for the whole process.
#[test]
fn planted_wrong_orders() {
    let fs = pool(16 * MIB);
    for name in [b"a", b"b"] {
        fs.release(fs.create(fs.root(), name, DIR).unwrap()).unwrap();
    }
    exchange(&fs);
    free_an_orphan(&fs);

    let words = without(Step::LockTree, || exchange(&fs)).expect("two subdirectories by number");
    assert!(words.contains("a directory's inode") && words.contains("as a child"), "{words}");
    println!("canary: LockTree: {words}");
    exchange(&fs);

    let words = without(Step::OrphansLast, || free_an_orphan(&fs)).expect("orphans first");
    assert!(words.contains("`fs: free inodes` is taken"), "{words}");
    assert!(words.contains("`fs: orphans` at"), "{words}");
    println!("canary: OrphansLast: {words}");
    free_an_orphan(&fs);
    assert_eq!(fs.check(), []);
}
