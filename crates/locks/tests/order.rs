//! Goal: the checker finds each kind of wrong order the first time it is used, by one thread alone,
//! says both ways, and lets right orders pass.
//! Method: each test has classes of its own, since what was seen stays seen; a wrong order must
//! panic with the words that name it.
#![cfg(debug_assertions)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use limpid_locks::{
    Class, Condvar, Held, assert_none_held, by_number, child, class_here, mutex, rw_lock, under,
};

/// The words of a panic.
fn words(work: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(work)).expect_err("the checker finds it");
    *panic.downcast::<String>().expect("it panics with words")
}

#[test]
fn two_classes_in_both_orders() {
    static A: Class = Class::new("a");
    static B: Class = Class::new("b");
    let (a, b) = (mutex(&A, ()), rw_lock(&B, ()));
    drop((a.lock(), b.read()));
    drop((a.lock(), b.write()));
    let said = words(|| drop((b.write(), a.lock())));
    assert!(said.contains("`a` is taken at") && said.contains("while `b` is held"), "{said}");
    assert!(said.contains("`b` at") && said.contains("while `a` was held"), "{said}");
    // The wrong order was not taken over, and nothing is held any more.
    drop((a.lock(), b.read()));
    assert_none_held("this test ends");
}

#[test]
fn a_circle_of_three_over_threads() {
    static A: Class = Class::new("first");
    static B: Class = Class::new("second");
    static C: Class = Class::new("third");
    let (a, b, c) = (mutex(&A, ()), mutex(&B, ()), mutex(&C, ()));
    std::thread::scope(|scope| {
        scope.spawn(|| drop((a.lock(), b.lock())));
    });
    std::thread::scope(|scope| {
        scope.spawn(|| drop((b.lock(), c.lock())));
    });
    let said = words(|| drop((c.lock(), a.lock())));
    assert!(said.contains("`second` at") && said.contains("`third` at"), "{said}");
}

#[test]
fn one_class_twice() {
    static A: Class = Class::new("alone");
    let (one, two) = (mutex(&A, ()), mutex(&A, ()));
    let said = words(|| drop((one.lock(), two.lock())));
    assert!(said.contains("nothing says in which order"), "{said}");
    let said = words(|| drop((one.lock(), one.lock())));
    assert!(said.contains("twice"), "{said}");
}

#[test]
fn one_class_by_number() {
    static A: Class = Class::new("numbered");
    let all: Vec<_> = (0..3).map(|_| mutex(&A, ())).collect();
    let take = |number: u64| by_number(number, || all[number as usize].lock());
    drop((take(0), take(1), take(2)));
    drop((take(0), take(2)));
    let said = words(|| drop((take(1), take(0))));
    assert!(said.contains("number 0"), "{said}");
    let said = words(|| drop((all[0].lock(), take(1))));
    assert!(said.contains("number 1"), "{said}");
}

#[test]
fn one_class_as_a_tree() {
    static TREE: Class = Class::new("the tree");
    static NODE: Class = Class::new("node");
    let tree = mutex(&TREE, ());
    let all: Vec<_> = (0..3).map(|_| rw_lock(&NODE, ())).collect();
    drop((all[0].write(), child(|| all[1].write())));
    let said = words(|| drop((all[0].write(), child(|| all[1].write()), child(|| all[2].write()))));
    assert!(said.contains("as a child"), "{said}");
    let three =
        || (all[2].write(), under(&TREE, || all[0].write()), under(&TREE, || all[1].read()));
    let held = tree.lock();
    drop(three());
    drop(held);
    let said = words(|| drop(three()));
    assert!(said.contains("without `the tree`"), "{said}");
}

#[test]
fn what_is_tried_does_not_wait() {
    static A: Class = Class::new("tried");
    static B: Class = Class::new("waited for");
    let (a, b) = (mutex(&A, ()), mutex(&B, ()));
    drop((a.lock(), b.lock()));
    drop((b.lock(), a.try_lock().unwrap()));
    let again = mutex(&A, ());
    drop((a.try_lock().unwrap(), again.try_lock().unwrap()));
    static C: Class = Class::new("after what was tried");
    let c = mutex(&C, ());
    drop((a.try_lock().unwrap(), c.lock()));
    assert!(words(|| drop((c.lock(), a.lock()))).contains("`tried` is taken"));
}

#[test]
fn other_locks_and_no_lock() {
    static OUTER: Class = Class::new("outer");
    let outer = mutex(&OUTER, ());
    let (one, two) = (class_here(), class_here());
    assert!(!std::ptr::eq(one, two), "two places, two classes");
    let inner = std::sync::Mutex::new(());
    drop((outer.lock(), Held::take(one, &inner)));
    assert!(words(|| drop((Held::take(one, &inner), outer.lock()))).contains("`outer` is taken"));
    let held = outer.lock();
    assert!(words(|| assert_none_held("it is told")).contains("it is told while `outer` is held"));
    drop(held);
    assert_none_held("it is told");
}

#[test]
fn waiting_keeps_what_is_held() {
    static A: Class = Class::new("waited with");
    static B: Class = Class::new("after waiting");
    let (state, changed) = (mutex(&A, false), Condvar::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut set = state.lock();
            while !*set {
                changed.wait(&mut set);
            }
            drop(mutex(&B, ()).lock());
        });
        *state.lock() = true;
        changed.notify_all();
    });
    assert!(words(|| drop((mutex(&B, ()).lock(), state.lock()))).contains("`waited with`"));
}
