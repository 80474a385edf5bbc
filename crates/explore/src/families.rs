//! Scenarios by tables: what each of one list does beside each of another, in every start state.

use crate::op::Op;
use crate::scenario::{
    ACROSS, Call, Fails, Flavour, INNER, OTHER, PRIVATE, PRIVATE_INNER, READER, SECOND, SMALL,
    Scenario, Start, WHOLE,
};

/// One table: every actor of `one` beside every actor of `other`.
struct Family {
    name: &'static str,
    starts: &'static [Start],
    one: Vec<Vec<Op>>,
    other: Vec<Vec<Op>>,
    /// What is different in it: size, what is looked at, failures.
    shape: fn(Scenario) -> Scenario,
}

/// Actors of one operation each.
fn single(ops: Vec<Op>) -> Vec<Vec<Op>> {
    ops.into_iter().map(|op| vec![op]).collect()
}

fn load(map: usize, cell: u32) -> Op {
    Op::Load { map, cell }
}

fn store(map: usize, cell: u32) -> Op {
    Op::Store { map, cell }
}

impl Family {
    fn scenarios(&self) -> Vec<Scenario> {
        let mut scenarios = Vec::new();
        for start in self.starts {
            for one in &self.one {
                for other in &self.other {
                    let actors = vec![one.clone(), other.clone()];
                    let scenario = (self.shape)(Scenario::new(*start, Flavour::Kernel, actors));
                    let name = format!("{}/{}", self.name, scenario.name);
                    scenarios.push(scenario.named(&name));
                }
            }
        }
        scenarios
    }
}

/// All families.
pub fn families() -> Vec<Scenario> {
    let all = [maps(), growth(), blocks(), order()];
    let mut scenarios: Vec<_> = all.iter().flatten().flat_map(Family::scenarios).collect();
    scenarios.extend(waiters());
    scenarios
}

/// Maps that begin anywhere, and the last pages of a unit.
fn maps() -> Vec<Family> {
    let last = 1020;
    vec![
        Family {
            name: "inner",
            starts: &[Start::Hole, Start::ZeroPmd, Start::CleanPmd, Start::DirtyPmd],
            one: single(vec![
                load(INNER, 2),
                store(INNER, 4),
                load(PRIVATE_INNER, 3),
                store(PRIVATE_INNER, 5),
            ]),
            other: single(vec![
                store(WHOLE, 5),
                store(PRIVATE_INNER, 4),
                Op::Write { cells: 3..5 },
                Op::Sync { cells: 0..2048 },
                Op::Punch { cells: 2..4 },
                Op::Truncate { cells: 3 },
            ]),
            shape: |scenario| scenario.looks_at(2),
        },
        Family {
            name: "last",
            starts: &[Start::Hole, Start::CleanPmd, Start::DirtyPmd],
            one: single(vec![
                load(READER, last + 1),
                store(WHOLE, last + 2),
                store(ACROSS, last + 3),
                store(PRIVATE, last + 3),
                Op::Read { cells: last..last + 4 },
                Op::Pin { cells: last + 2..last + 4 },
            ]),
            other: single(vec![
                load(ACROSS, last + 2),
                Op::Write { cells: last + 1..last + 3 },
                Op::Punch { cells: last + 2..last + 4 },
                Op::Truncate { cells: last + 1 },
                Op::Sync { cells: last..last + 4 },
            ]),
            shape: |scenario| scenario.looks_at(1020),
        },
        Family {
            name: "open",
            starts: &[
                Start::Hole,
                Start::ZeroPte,
                Start::CleanPte,
                Start::DirtyPte,
                Start::DirtyPmd,
                Start::Unwritten,
            ],
            one: single(vec![Op::Open { map: READER, cell: 0 }, Op::Open { map: INNER, cell: 2 }]),
            other: beside_open(),
            shape: |scenario| scenario,
        },
        // Start states that use READER: it cannot be opened any more.
        Family {
            name: "open",
            starts: &[Start::ZeroPmd, Start::CleanPmd, Start::Mixed],
            one: single(vec![Op::Open { map: INNER, cell: 2 }]),
            other: beside_open(),
            shape: |scenario| scenario,
        },
    ]
}

/// What goes on while a map is opened.
fn beside_open() -> Vec<Vec<Op>> {
    single(vec![
        store(WHOLE, 0),
        Op::Write { cells: 0..3 },
        Op::Punch { cells: 0..4 },
        Op::Truncate { cells: 3 },
        Op::Collapse { cells: 0..1024 },
        Op::Sync { cells: 0..2048 },
    ])
}

/// Files that grow: by every way, from and to sizes within a page, with junk behind the end.
fn growth() -> Vec<Family> {
    let ways = |end: u32| {
        vec![
            Op::Truncate { cells: end },
            Op::Write { cells: end - 1..end },
            Op::AllocateGrow { cells: end - 1..end },
            Op::ZeroGrow { cells: end - 1..end },
            Op::Append { cells: 2 },
        ]
    };
    let clone = Op::Clone { cells: SECOND..SECOND + 4, to: 8 };
    vec![
        Family {
            name: "grow",
            starts: &[Start::CleanPte],
            one: single([ways(4), ways(7)].concat()),
            other: vec![
                vec![load(READER, 3), load(READER, 4)],
                vec![load(READER, 4), load(READER, 4)],
                vec![store(SMALL, 3)],
                vec![Op::Read { cells: 2..6 }],
            ],
            shape: |scenario| scenario.size(3).after(vec![store(SMALL, 3)]),
        },
        Family {
            name: "grow-within",
            starts: &[Start::CleanPte],
            one: single(ways(2)),
            other: vec![vec![load(READER, 1)], vec![store(SMALL, 1), load(READER, 0)]],
            shape: |scenario| scenario.size(1).after(vec![store(SMALL, 1)]),
        },
        Family {
            name: "grow-clone",
            starts: &[Start::SharedPte],
            one: single(vec![clone]),
            other: vec![vec![load(READER, 3), load(READER, 8)], vec![store(SMALL, 3)]],
            shape: |scenario| scenario.size(3).after(vec![store(SMALL, 3)]),
        },
        Family {
            name: "append",
            starts: &[Start::CleanPte],
            one: single(vec![Op::Append { cells: 1 }, Op::Append { cells: 3 }]),
            other: vec![
                vec![Op::Append { cells: 2 }],
                vec![Op::Truncate { cells: 1 }],
                vec![Op::Truncate { cells: 4 }],
                vec![Op::Write { cells: 2..5 }],
                vec![Op::Read { cells: 0..6 }],
                vec![store(SMALL, 3)],
            ],
            shape: |scenario| scenario.size(3),
        },
    ]
}

/// Several extents, and blocks that move or go.
fn blocks() -> Vec<Family> {
    vec![
        Family {
            name: "extents",
            starts: &[Start::Hole],
            one: single(vec![Op::Write { cells: 0..17 }]),
            other: single(vec![
                load(READER, 4),
                store(SMALL, 2),
                Op::Read { cells: 0..4 },
                Op::Truncate { cells: 3 },
            ]),
            shape: |scenario| scenario.after(stripes(9)),
        },
        Family {
            name: "batches",
            starts: &[Start::Hole],
            one: single(vec![Op::Write { cells: 0..70 }]),
            other: single(vec![load(READER, 66), store(WHOLE, 65)]),
            shape: |scenario| scenario.looks_at(64).after(stripes(35)),
        },
        Family {
            name: "cut",
            starts: &[Start::CleanPte, Start::CleanPmd, Start::Mixed],
            one: single(vec![
                Op::Read { cells: 0..4 },
                load(READER, 2),
                store(WHOLE, 3),
                Op::Pin { cells: 0..4 },
            ]),
            other: single(vec![
                Op::Truncate { cells: 0 },
                Op::Truncate { cells: 1 },
                Op::Truncate { cells: 2 },
            ]),
            shape: |scenario| scenario,
        },
        Family {
            name: "move",
            starts: &[Start::CleanPte, Start::DirtyPte, Start::CleanPmd, Start::Mixed],
            one: single(vec![
                Op::Collapse { cells: 0..2 },
                Op::Insert { cells: 0..2 },
                Op::Insert { cells: 2..4 },
            ]),
            other: single(vec![
                load(READER, 2),
                store(SMALL, 2),
                store(PRIVATE, 3),
                Op::Read { cells: 0..4 },
                Op::Write { cells: 1..3 },
                Op::Sync { cells: 0..2048 },
            ]),
            shape: |scenario| scenario,
        },
    ]
}

/// A hole with a page of data after each page that is none.
fn stripes(pages: u32) -> Vec<Op> {
    (0..pages).step_by(2).map(|page| Op::Write { cells: 2 * page..2 * page + 2 }).collect()
}

/// Failures one after the other, and pins.
fn order() -> Vec<Family> {
    vec![
        Family {
            name: "twice",
            starts: &[Start::Hole, Start::Mixed, Start::SharedPte],
            one: single(vec![
                store(SMALL, 3),
                Op::Write { cells: 1..6 },
                Op::Zero { cells: 0..3 },
                Op::Pin { cells: 0..4 },
            ]),
            other: single(vec![load(READER, 2), store(SMALL, 2)]),
            shape: |scenario| {
                let fails = |call, nth| Fails { actor: 0, call, nth };
                scenario.fails(fails(Call::Begin, 1)).fails(fails(Call::Begin, 2))
            },
        },
        Family {
            name: "pins",
            starts: &[Start::CleanPmd, Start::DirtyPte],
            one: single(vec![
                Op::Pin { cells: 0..4 },
                Op::PinLoad { cells: 0..2, map: READER, cell: 2 },
            ]),
            other: single(vec![
                Op::Pin { cells: 2..4 },
                Op::Punch { cells: 2..4 },
                Op::Truncate { cells: 1 },
                Op::Collapse { cells: 0..2 },
                Op::Sync { cells: 0..4 },
                store(SMALL, 3),
                Op::Read { cells: 0..4 },
            ]),
            shape: |scenario| scenario,
        },
        Family {
            name: "pins-fresh",
            starts: &[Start::Hole, Start::SharedPte],
            one: single(vec![Op::Pin { cells: 0..4 }]),
            other: single(vec![
                Op::Punch { cells: 2..4 },
                Op::Truncate { cells: 1 },
                Op::Sync { cells: 0..4 },
                store(SMALL, 3),
            ]),
            shape: |scenario| scenario,
        },
    ]
}

/// Three at a time, with waiters on one entry or pin, and with one queue for all entries and files.
fn waiters() -> Vec<Scenario> {
    let punch = Op::Punch { cells: 0..4 };
    let three = |name: &str, start, ops: [Op; 3]| {
        let actors = single(ops.into());
        Scenario::new(start, Flavour::Kernel, actors).named(&format!("waiters/{name}"))
    };
    let faults = [store(SMALL, 0), load(SMALL, 2), store(SMALL, 3)];
    let other = [load(OTHER, SECOND), store(OTHER, SECOND + 2), store(SMALL, 0)];
    let pages = [store(SMALL, 0), store(SMALL, 2), Op::Write { cells: 1..3 }];
    vec![
        three("three small faults on one large entry", Start::CleanPmd, faults),
        three(
            "two pins and a punch",
            Start::CleanPte,
            [Op::Pin { cells: 0..2 }, Op::Pin { cells: 2..4 }, punch.clone()],
        ),
        three(
            "a pin, a punch and a fault in one queue",
            Start::CleanPte,
            [Op::Pin { cells: 0..2 }, punch, store(SMALL, 0)],
        )
        .one_queue(),
        three("two files in one queue", Start::SharedPte, other).one_queue(),
        three("two entries in one queue", Start::ZeroPte, pages).one_queue(),
    ]
}
