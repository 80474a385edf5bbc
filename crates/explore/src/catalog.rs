//! The scenarios that come with the explorer: the seed, all pairs, and the named triples.

pub use crate::families::families;
use crate::op::Op;
use crate::scenario::{
    Call, Fails, Flavour, OTHER, PRIVATE, READER, SECOND, SMALL, Scenario, Start, WHOLE, seed,
};

/// A page, in bytes.
const PAGE: u64 = 4096;
/// A 2 MiB unit, in bytes.
const UNIT: u64 = 2 << 20;

/// The operations of which all pairs are made.
pub fn operations() -> Vec<Op> {
    vec![
        Op::Load { map: READER, cell: 0 },
        Op::Load { map: SMALL, cell: 2 },
        Op::Store { map: WHOLE, cell: 0 },
        Op::Store { map: SMALL, cell: 3 },
        Op::Read { cells: 0..4 },
        Op::Write { cells: 1..3 },
        Op::Write { cells: 2049..2051 },
        Op::WriteFrom { map: READER, from: 2, to: 0 },
        Op::ReadInto { map: WHOLE, from: 2, to: 0 },
        Op::Punch { cells: 0..1024 },
        Op::Punch { cells: 1..4 },
        Op::Zero { cells: 0..3 },
        Op::Allocate { cells: 0..1024 },
        Op::Collapse { cells: 0..1024 },
        Op::Insert { cells: 0..1024 },
        Op::Truncate { cells: 1024 },
        Op::Truncate { cells: 3 },
        Op::Truncate { cells: 3072 },
        Op::Sync { cells: 0..2048 },
        Op::Sync { cells: 2..4 },
        Op::Load { map: PRIVATE, cell: 0 },
        Op::Store { map: PRIVATE, cell: 0 },
        Op::Pin { cells: 0..2 },
        Op::Close { map: SMALL, cell: 1 },
        Op::Clone { cells: 0..1024, to: 1024 },
    ]
}

/// Every unordered pair of operations, from every start state.
pub fn pairs(flavour: Flavour) -> Vec<Scenario> {
    let ops = operations();
    let mut scenarios = Vec::new();
    for start in Start::ALL {
        for (at, first) in ops.iter().enumerate() {
            for second in &ops[at..] {
                if closes_one_map_twice(first, second) {
                    continue;
                }
                let actors = vec![vec![first.clone()], vec![second.clone()]];
                scenarios.push(Scenario::new(start, flavour, actors));
            }
        }
    }
    scenarios
}

/// Closing a map that another actor still uses is the caller's mistake.
fn closes_one_map_twice(first: &Op, second: &Op) -> bool {
    let map = |op: &Op| match op {
        Op::Load { map, .. } | Op::Store { map, .. } | Op::Close { map, .. } => Some(*map),
        _ => None,
    };
    let closes = matches!(first, Op::Close { .. }) || matches!(second, Op::Close { .. });
    closes && map(first) == map(second)
}

/// Pairs of faults and of what changes the file under them, with fault-around of two pages, and,
/// where entries are large, of two units.
pub fn fault_around() -> Vec<Scenario> {
    let small = [
        Op::Load { map: READER, cell: 0 },
        Op::Load { map: SMALL, cell: 0 },
        Op::Store { map: SMALL, cell: 0 },
    ];
    let large = [Op::Load { map: READER, cell: 0 }, Op::Store { map: WHOLE, cell: 1 }];
    let beside_small = [
        Op::Load { map: SMALL, cell: 2 },
        Op::Store { map: WHOLE, cell: 2 },
        Op::Write { cells: 1..3 },
        Op::Write { cells: 2..4 },
        Op::Punch { cells: 2..4 },
        Op::Truncate { cells: 1024 },
        Op::Sync { cells: 0..2048 },
        Op::Pin { cells: 0..2 },
    ];
    let beside_large = [
        Op::Load { map: WHOLE, cell: 1024 },
        Op::Store { map: WHOLE, cell: 1025 },
        Op::Write { cells: 1025..1027 },
        Op::Punch { cells: 1024..2048 },
        Op::Truncate { cells: 1024 },
        Op::Sync { cells: 1024..2048 },
        Op::Insert { cells: 0..1024 },
    ];
    let large_starts = [Start::CleanPmd, Start::DirtyPmd];
    let mut scenarios = beside(&Start::ALL, 2 * PAGE, "page", &small, &beside_small);
    scenarios.extend(beside(&large_starts, 2 * UNIT, "unit", &large, &beside_large));
    scenarios
}

fn beside(
    starts: &[Start],
    around: u64,
    name: &str,
    faults: &[Op],
    others: &[Op],
) -> Vec<Scenario> {
    let mut scenarios = Vec::new();
    for start in starts {
        for fault in faults {
            for other in others {
                let actors = vec![vec![fault.clone()], vec![other.clone()]];
                let scenario = Scenario::new(*start, Flavour::Kernel, actors).around(around);
                let name = format!("around-{name}/{}", scenario.name);
                scenarios.push(scenario.named(&name));
            }
        }
    }
    scenarios
}

/// The pairs that matter for how page tables track stores, without write faults.
pub fn tracking(flavour: Flavour) -> Vec<Scenario> {
    let stores = |op: &Op| {
        matches!(op, Op::Store { .. } | Op::Sync { .. } | Op::Close { .. } | Op::Pin { .. })
    };
    let wanted = |scenario: &Scenario| scenario.actors.iter().flatten().any(stores);
    pairs(flavour).into_iter().filter(wanted).collect()
}

/// Pairs of an operation on the file and one on a second file, with blocks that both share.
pub fn sharing() -> Vec<Scenario> {
    let second = SECOND..SECOND + 4;
    let here = [
        Op::Load { map: READER, cell: 0 },
        Op::Store { map: WHOLE, cell: 0 },
        Op::Store { map: SMALL, cell: 3 },
        Op::Read { cells: 0..4 },
        Op::Write { cells: 1..3 },
        Op::WriteFrom { map: READER, from: 2, to: 0 },
        Op::Punch { cells: 1..4 },
        Op::Zero { cells: 0..3 },
        Op::Truncate { cells: 3 },
        Op::Sync { cells: 0..2048 },
        Op::Store { map: PRIVATE, cell: 0 },
        Op::Pin { cells: 0..2 },
        Op::Clone { cells: 0..4, to: SECOND },
    ];
    let there = [
        Op::Load { map: OTHER, cell: SECOND + 2 },
        Op::Store { map: OTHER, cell: SECOND + 1 },
        Op::Write { cells: SECOND + 1..SECOND + 3 },
        Op::Punch { cells: SECOND..SECOND + 2 },
        Op::Truncate { cells: SECOND },
        Op::Sync { cells: second.clone() },
        Op::Pin { cells: SECOND..SECOND + 2 },
        Op::Clone { cells: second, to: 0 },
        Op::Clone { cells: 0..4, to: SECOND },
    ];
    let around = [Op::Load { map: SMALL, cell: 0 }, Op::Store { map: SMALL, cell: 0 }];
    let mut scenarios = Vec::new();
    for start in [Start::SharedPte, Start::DirtyPte] {
        for one in &here {
            for other in &there {
                let actors = vec![vec![one.clone()], vec![other.clone()]];
                scenarios.push(Scenario::new(start, Flavour::Kernel, actors));
            }
        }
    }
    scenarios.extend(beside(&[Start::SharedPte], 2 * PAGE, "page", &around, &there));
    scenarios
}

/// Pairs in which a call of the first actor fails: of the block map, the medium or the page tables.
pub fn failures() -> Vec<Scenario> {
    let failing = [
        Op::Load { map: READER, cell: 0 },
        Op::Store { map: WHOLE, cell: 0 },
        Op::Store { map: SMALL, cell: 3 },
        Op::Write { cells: 1..3 },
        Op::Write { cells: 2047..2051 },
        Op::Punch { cells: 1..4 },
        Op::Zero { cells: 0..3 },
        Op::Truncate { cells: 3 },
        Op::Pin { cells: 0..2 },
        Op::Clone { cells: 0..4, to: SECOND },
    ];
    let others = [Op::Store { map: SMALL, cell: 2 }, Op::Load { map: READER, cell: 1 }];
    let starts = [
        Start::Hole,
        Start::ZeroPmd,
        Start::Unwritten,
        Start::Mixed,
        Start::DirtyPte,
        Start::SharedPte,
    ];
    let mut scenarios = Vec::new();
    for start in starts {
        for one in &failing {
            for other in &others {
                let actors = vec![vec![one.clone()], vec![other.clone()]];
                let mut scenario = Scenario::new(start, Flavour::Kernel, actors);
                // Copies of shared pages around a store have ten times the states of all others.
                if start != Start::SharedPte || *one != failing[1] {
                    scenario = scenario.around(2 * PAGE);
                }
                let calls = Call::ALL.into_iter().flat_map(|call| [(call, 0), (call, 1)]);
                for (call, nth) in calls.chain([(Call::Begin, 2)]) {
                    scenarios.push(scenario.clone().fails(Fails { actor: 0, call, nth }));
                }
            }
        }
    }
    scenarios.extend(refused_stores());
    scenarios
}

/// Stores that can have no storage, beside what changes what loads of the page see meanwhile.
fn refused_stores() -> Vec<Scenario> {
    let refused = |start, flavour, ops: [&Op; 2]| {
        let actors = ops.iter().map(|op| vec![(*op).clone()]).collect();
        Scenario::new(start, flavour, actors).fails(Fails { actor: 0, call: Call::Begin, nth: 0 })
    };
    let store = Op::Store { map: WHOLE, cell: 0 };
    let small_store = Op::Store { map: SMALL, cell: 3 };
    let behind = Op::Write { cells: 2..4 };
    vec![
        refused(Start::Hole, Flavour::Kernel, [&store, &behind]),
        refused(Start::ZeroPmd, Flavour::Kernel, [&store, &Op::Write { cells: 0..1 }]),
        refused(Start::ZeroPte, Flavour::Noted, [&small_store, &behind]),
        refused(Start::SharedPte, Flavour::Noted, [&small_store, &behind]),
    ]
}

/// Pairs in which a call of the first actor panics.
pub fn panics() -> Vec<Scenario> {
    crate::panics::scenarios()
}

/// The triples that the history of Linux's DAX names.
pub fn triples() -> Vec<Scenario> {
    let load = Op::Load { map: READER, cell: 0 };
    let small_load = Op::Load { map: SMALL, cell: 2 };
    let store = Op::Store { map: WHOLE, cell: 0 };
    let small_store = Op::Store { map: SMALL, cell: 3 };
    let write = Op::Write { cells: 1..3 };
    let one_page = Op::Write { cells: 0..2 };
    let punch = Op::Punch { cells: 0..1024 };
    let sync = Op::Sync { cells: 0..2048 };
    let three = |start, name: &str, ops: [&Op; 3]| {
        let actors = ops.iter().map(|op| vec![(*op).clone()]).collect();
        Scenario::new(start, Flavour::Kernel, actors).named(&format!("triple/{name}"))
    };
    vec![
        three(Start::Hole, "three faults on one entry", [&load, &store, &load]),
        three(Start::ZeroPmd, "three waiters on one entry", [&store, &write, &load]),
        three(Start::DirtyPmd, "three writers-back of one entry", [&sync, &sync, &store]),
        three(
            Start::DirtyPmd,
            "sync of two maps of one large entry",
            [&sync, &small_store, &store],
        ),
        three(Start::ZeroPte, "scan past a locked entry", [&small_load, &write, &punch]),
        three(Start::CleanPmd, "fault, write and reclaim", [&load, &write, &punch]),
        three(Start::Hole, "large and small faults and a write", [&load, &small_store, &write]),
        three(Start::Unwritten, "two stores and a write", [&store, &small_store, &write]),
        three(
            Start::ZeroPmd,
            "two small stores and a write",
            [&small_store, &small_store, &one_page],
        ),
        three(
            Start::SharedPte,
            "store, write, and the other file lets go",
            [&small_store, &write, &Op::Truncate { cells: SECOND }],
        ),
        three(Start::SharedPmd, "copies of shared blocks", [&store, &write, &load]),
        crate::panics::triple(),
    ]
}

/// An actor that looks after what another did, and sizes that end within a page.
pub fn sequences() -> Vec<Scenario> {
    let load = Op::Load { map: READER, cell: 0 };
    let store = Op::Store { map: WHOLE, cell: 0 };
    let sync = Op::Sync { cells: 0..2048 };
    let small_store = Op::Store { map: SMALL, cell: 3 };
    let scenario = |name: &str, start, actors| {
        Scenario::new(start, Flavour::Kernel, actors).named(&format!("sequence/{name}"))
    };
    vec![
        scenario(
            "store, sync, store, sync",
            Start::CleanPmd,
            vec![vec![store.clone(), sync.clone()], vec![small_store.clone(), sync.clone()]],
        ),
        scenario(
            "store past the end, then grow",
            Start::CleanPte,
            vec![vec![small_store.clone(), Op::Truncate { cells: 1024 }], vec![load.clone()]],
        )
        .size(3),
        scenario(
            "shrink and grow under a load",
            Start::CleanPmd,
            vec![
                vec![Op::Truncate { cells: 2 }, Op::Truncate { cells: 2048 }],
                vec![load.clone(), Op::Load { map: READER, cell: 2 }],
            ],
        ),
        scenario(
            "punch, then write again",
            Start::DirtyPmd,
            vec![
                vec![Op::Punch { cells: 0..1024 }, Op::Write { cells: 0..2 }],
                vec![store.clone(), load.clone()],
            ],
        ),
        scenario(
            "zero within a page",
            Start::CleanPte,
            vec![vec![Op::Zero { cells: 1..2 }], vec![store, Op::Load { map: SMALL, cell: 1 }]],
        ),
        scenario(
            "fill the last page, then load it",
            Start::CleanPte,
            vec![vec![Op::Write { cells: 3..4 }], vec![Op::Load { map: READER, cell: 3 }, load]],
        )
        .size(3),
    ]
    .into_iter()
    .chain(sequences_of_loss(&small_store))
    .chain(sequences_of_cuts())
    .collect()
}

/// Private copies of what is cut off the file, or is not after all.
fn sequences_of_cuts() -> Vec<Scenario> {
    let store = Op::Store { map: PRIVATE, cell: 1024 };
    let load = Op::Load { map: PRIVATE, cell: 1024 };
    let scenario = |name: &str, ops: Vec<Op>| {
        let actors = vec![ops, vec![load.clone()]];
        Scenario::new(Start::CleanPmd, Flavour::Kernel, actors).named(&format!("sequence/{name}"))
    };
    let grown = Op::Truncate { cells: 2048 };
    let truncated = vec![store.clone(), Op::Truncate { cells: 1024 }, grown, load.clone()];
    let collapsed = vec![store, Op::Collapse { cells: 0..1024 }];
    let fails = Fails { actor: 0, call: Call::Change, nth: 0 };
    vec![
        scenario("truncate a private copy away, then grow", truncated.clone()),
        scenario("collapse below a private copy", collapsed.clone()),
        scenario("truncate a private copy away", truncated[..2].to_vec()).fails(fails),
        scenario("collapse below a private copy", collapsed).fails(fails),
    ]
}

/// Stores to a hole behind data, which take two pages each, beside what meets the second one.
pub fn ahead() -> Vec<Scenario> {
    let punch = Op::Punch { cells: 1024..2048 };
    let stores = [Op::Store { map: WHOLE, cell: 1024 }, Op::Store { map: WHOLE, cell: 1026 }];
    let others = [
        Op::Load { map: READER, cell: 1026 },
        Op::Store { map: WHOLE, cell: 1027 },
        Op::Write { cells: 1025..1027 },
        Op::Write { cells: 1026..1027 },
        Op::Punch { cells: 1026..2048 },
        Op::Truncate { cells: 1026 },
        Op::Sync { cells: 1024..2048 },
        Op::Pin { cells: 1026..1028 },
    ];
    let mut scenarios = Vec::new();
    for other in others {
        // The second page is loaded first, or not; then it shows zeroes when it gets a block.
        let loads = Op::Load { map: READER, cell: 1026 };
        for (name, first) in [("hole", vec![punch.clone()]), ("zero", vec![punch.clone(), loads])] {
            let store = stores[0].clone();
            let actors = vec![[first, vec![store]].concat(), vec![other.clone()]];
            let scenario = Scenario::new(Start::CleanPmd, Flavour::Kernel, actors);
            scenarios.push(scenario.ahead(2 * PAGE).named(&format!("ahead/{name}/{other}")));
        }
    }
    let fails = |nth| Fails { actor: 0, call: Call::Begin, nth };
    let in_order = vec![vec![punch, stores[0].clone(), stores[1].clone()], vec![]];
    let in_order = Scenario::new(Start::CleanPmd, Flavour::Kernel, in_order);
    let in_order = in_order.ahead(2 * PAGE).named("ahead/in order");
    scenarios.extend((0..6).map(|nth| in_order.clone().fails(fails(nth))));
    scenarios
}

/// What is lost, or shared, under an operation that is under way.
fn sequences_of_loss(small_store: &Op) -> Vec<Scenario> {
    let scenario = |name: &str, start, actors| {
        Scenario::new(start, Flavour::Kernel, actors).named(&format!("sequence/{name}"))
    };
    vec![
        scenario(
            "zero past the end",
            Start::CleanPte,
            vec![
                vec![Op::Zero { cells: 2046..2051 }],
                vec![Op::Load { map: READER, cell: 2048 }, Op::Store { map: WHOLE, cell: 2050 }],
            ],
        ),
        scenario(
            "truncate to nothing under a pin",
            Start::DirtyPte,
            vec![vec![Op::Truncate { cells: 0 }], vec![Op::Pin { cells: 0..2 }]],
        ),
        scenario(
            "clone, then write, under a store",
            Start::DirtyPte,
            vec![
                vec![Op::Clone { cells: 0..4, to: SECOND }, Op::Write { cells: 1..3 }],
                vec![small_store.clone(), Op::Load { map: OTHER, cell: SECOND + 3 }],
            ],
        ),
        scenario(
            "truncate to nothing under a write from a map",
            Start::CleanPte,
            vec![
                vec![Op::Truncate { cells: 0 }],
                vec![Op::WriteFrom { map: READER, from: 2, to: 0 }],
            ],
        ),
    ]
}

/// Everything, in the order of a full run.
pub fn all() -> Vec<Scenario> {
    let mut scenarios = vec![seed()];
    scenarios.extend(triples());
    scenarios.extend(sequences());
    scenarios.extend(families());
    scenarios.extend(pairs(Flavour::Kernel));
    scenarios.extend(fault_around());
    scenarios.extend(ahead());
    scenarios.extend(sharing());
    scenarios.extend(failures());
    scenarios.extend(panics());
    scenarios.extend(tracking(Flavour::Noted));
    scenarios.extend(tracking(Flavour::Unnoticed));
    scenarios
}

/// The scenario of this name, or the part of one that a shrunk counter-example names: behind `~`
/// each actor that is left, with the numbers of its operations (`~a0.1+c0`).
pub fn scenario_named(name: &str) -> Option<Scenario> {
    if let Some((whole, part)) = name.rsplit_once('~') {
        let mut scenario = scenario_named(whole)?;
        let mut actors = Vec::new();
        for one in part.split('+') {
            let letter = one.chars().next().filter(char::is_ascii_lowercase)?;
            let ops = scenario.actors.get((letter as u8 - b'a') as usize)?;
            let numbers = one[1..].split('.').map(|number| number.parse::<usize>().ok());
            let kept: Option<Vec<_>> = numbers.map(|at| ops.get(at?).cloned()).collect();
            actors.push(kept?);
        }
        scenario.actors = actors;
        return Some(scenario.named(name));
    }
    all().into_iter().find(|scenario| scenario.name == name)
}
