//! The history of one byte, by hand.

use super::*;

fn history(cells: &[(usize, u8)]) -> History {
    let mut history = History::default();
    cells.iter().for_each(|(cell, value)| history.start(*cell, *value));
    history
}

fn write(value: u8) -> Vec<(usize, Action)> {
    vec![(0, Action::Write(value))]
}

#[test]
fn a_read_after_a_write_sees_it_and_a_racing_read_sees_either() {
    let mut history = history(&[(0, ZERO)]);
    history.begin(0, write(5), 0, 0);
    assert_eq!(history.allowed(0), 1 << ZERO | 1 << 5);
    history.begin(1, Vec::new(), 1, 0);
    assert!(history.observe(0, 5) && history.observe(0, ZERO), "each racing read by itself");
    history.end(0, Ended::Done);
    assert_eq!(history.allowed(0), 1 << 5);
    assert_eq!(history.seen(1, 0), 1 << ZERO | 1 << 5);
    assert!(!history.observe(0, ZERO));
}

#[test]
fn two_racing_writes_leave_either_but_all_see_the_same() {
    let mut history = history(&[(0, ZERO)]);
    history.begin(0, write(5), 0, 0);
    history.begin(1, write(6), 0, 0);
    history.end(0, Ended::Done);
    history.end(1, Ended::Done);
    assert_eq!(history.allowed(0), 1 << 5 | 1 << 6);
    assert!(!history.explains_all(0, &[5, 6]));
    assert!(history.observe(0, 6));
    assert!(!history.observe(0, 5), "no order of the two writes explains both");
}

#[test]
fn a_store_takes_effect_when_it_lands() {
    let mut history = history(&[(0, ZERO)]);
    history.begin(0, Vec::new(), 0, 0);
    assert!(!history.observe(0, 7), "not before");
    assert!(history.lands(0, 7));
    assert!(!history.observe(0, ZERO), "and for everybody");
    history.end(0, Ended::Done);
    history.start(0, PAST);
    assert!(!history.lands(0, 7), "nothing lands past the last page");
}

#[test]
fn a_move_takes_racing_writes_along() {
    let mut history = history(&[(0, ZERO), (4, INITIAL)]);
    history.begin(0, vec![(0, Action::Move(4))], 0, 0);
    history.begin(1, vec![(4, Action::Write(6))], 0, 0);
    history.end(1, Ended::Done);
    history.end(0, Ended::Done);
    assert_eq!(history.allowed(0), 1 << INITIAL | 1 << 6);
}

#[test]
fn what_was_there_before_a_write_is_not_durable_after_it() {
    let mut history = history(&[(0, INITIAL)]);
    history.begin(0, write(5), 0, 1);
    assert_eq!(history.since(0, 0), 1 << 5);
    assert!(history.lands(0, 9));
    assert_eq!(history.since(0, 0), 1 << 5 | 1 << 9, "a store may come after it");
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut history = history(&[(0, ZERO)]);
    history.begin(0, write(5), 0, 0);
    history.end(0, Ended::Refused);
    assert_eq!(history.allowed(0), 1 << ZERO);
}
