//! Scenarios: a start state, the maps, and what each actor does.

use limpid_dax::{FaultPolicy, Order, StoreUnit};

use crate::history::{FILE_CELLS, file_of};
use crate::op::Op;
use crate::sim::{MapSpec, Tracking};

/// What the first 2 MiB unit of the file is at the beginning. The file has two units; the second
/// holds data on blocks of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// A hole that nobody has looked at.
    Hole,
    /// A hole; its first page was loaded through a small map.
    ZeroPte,
    /// A hole, mapped by a 2 MiB zero page.
    ZeroPmd,
    /// Two pages with data, the first loaded; the rest a hole.
    CleanPte,
    /// A unit of data, loaded.
    CleanPmd,
    /// Two pages with data, the first stored to.
    DirtyPte,
    /// A unit of data, stored to.
    DirtyPmd,
    /// Blocks that were never written.
    Unwritten,
    /// The first page has data and was stored to, the second is a hole and was loaded.
    Mixed,
    /// Two pages with data that the second file shares, the first loaded; the rest a hole.
    SharedPte,
    /// A unit of data, loaded; the second unit shares its blocks.
    SharedPmd,
}

impl Start {
    /// All start states.
    pub const ALL: [Start; 11] = [
        Start::Hole,
        Start::ZeroPte,
        Start::ZeroPmd,
        Start::CleanPte,
        Start::CleanPmd,
        Start::DirtyPte,
        Start::DirtyPmd,
        Start::Unwritten,
        Start::Mixed,
        Start::SharedPte,
        Start::SharedPmd,
    ];

    /// The name in scenario names.
    pub fn name(self) -> &'static str {
        match self {
            Start::Hole => "hole",
            Start::ZeroPte => "zero-pte",
            Start::ZeroPmd => "zero-pmd",
            Start::CleanPte => "clean-pte",
            Start::CleanPmd => "clean-pmd",
            Start::DirtyPte => "dirty-pte",
            Start::DirtyPmd => "dirty-pmd",
            Start::Unwritten => "unwritten",
            Start::Mixed => "mixed",
            Start::SharedPte => "shared-pte",
            Start::SharedPmd => "shared-pmd",
        }
    }
}

/// Actors, each with its operations, from a start state.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Unique name.
    pub name: String,
    /// The start state.
    pub start: Start,
    /// Size of the file at the beginning, in cells.
    pub size: u32,
    /// Fault-around in bytes.
    pub around: u64,
    /// Stores to holes take small pages, and so many bytes ahead.
    pub ahead: Option<u64>,
    /// The maps.
    pub maps: Vec<MapSpec>,
    /// Operations of each actor, at most four actors.
    pub actors: Vec<Vec<Op>>,
    /// Calls that fail.
    pub fails: Vec<Fails>,
    /// The actor of which one call panics, any of them.
    pub panics: Option<usize>,
    /// What was done before, in this order, after the start state was made.
    pub before: Vec<Op>,
    /// The first of the four cells in each unit that are looked at.
    pub looks_at: u32,
    /// Everybody waits in one queue.
    pub one_queue: bool,
}

/// A call that fails: the one numbered `nth`, from 0, among those of its kind by one actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fails {
    /// The actor.
    pub actor: usize,
    /// The kind of call.
    pub call: Call,
    /// Which one.
    pub nth: u32,
}

/// Calls of the DAX layer that can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `Iomap::begin`.
    Begin,
    /// `Iomap::publish`.
    Publish,
    /// A mutator of the block map.
    Change,
    /// `Media::zero` or `Media::copy`.
    Media,
    /// `Mmu::install`.
    Install,
}

impl Call {
    /// All of them.
    pub const ALL: [Call; 5] =
        [Call::Begin, Call::Publish, Call::Change, Call::Media, Call::Install];
}

/// How page tables behave: those of a kernel, or of user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Stores to read-only storage fault, write-protecting works.
    Kernel,
    /// Storage is always writable; stores are noted.
    Noted,
    /// Storage is always writable; stores go by unnoticed.
    Unnoticed,
}

impl Flavour {
    /// The name in scenario names.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Kernel => "kernel",
            Flavour::Noted => "noted",
            Flavour::Unnoticed => "unnoticed",
        }
    }

    /// A map of these pages.
    pub fn map(self, start: u32, end: u32, shared: bool, writable: bool) -> MapSpec {
        let tracking = match self {
            Flavour::Kernel => Tracking::Faults,
            Flavour::Noted => Tracking::Noted,
            Flavour::Unnoticed => Tracking::Unnoticed,
        };
        let stores_fault = self == Flavour::Kernel;
        MapSpec { file: 0, start, end, shared, writable, stores_fault, tracking }
    }
}

/// Number of the map of the whole file, shared and writable.
pub const WHOLE: usize = 0;
/// Number of the second map of the whole file, for loads only.
pub const READER: usize = 1;
/// Number of the map of two pages, shared and writable.
pub const SMALL: usize = 2;
/// Number of the private map.
pub const PRIVATE: usize = 3;

/// Number of the map of two pages of the second file, shared and writable.
pub const OTHER: usize = 4;
/// Number of the map that begins at the second page and ends inside the second unit.
pub const INNER: usize = 5;
/// Number of the map that begins with the last page of the first unit.
pub const ACROSS: usize = 6;
/// Number of the private map of the pages of [`INNER`].
pub const PRIVATE_INNER: usize = 7;
/// The first cell of the second file.
pub const SECOND: u32 = FILE_CELLS;

/// The usual maps, in the order of their numbers.
pub fn usual_maps(flavour: Flavour) -> Vec<MapSpec> {
    vec![
        flavour.map(0, 2048, true, true),
        flavour.map(0, 2048, true, false),
        flavour.map(0, 2, true, true),
        flavour.map(0, 2048, false, true),
    ]
}

impl Scenario {
    /// A scenario with the usual maps, a file of two units, and no fault-around. Maps that are
    /// used neither by an operation nor by the start state show nothing and cost no step.
    pub fn new(start: Start, flavour: Flavour, actors: Vec<Vec<Op>>) -> Scenario {
        let ops: Vec<_> = actors
            .iter()
            .map(|ops| ops.iter().map(Op::to_string).collect::<Vec<_>>().join("; "))
            .collect();
        let name = format!("{}/{}/{}", start.name(), flavour.name(), ops.join(" | "));
        let size = 2048;
        let mut scenario = Scenario {
            name,
            start,
            size,
            around: 0,
            ahead: None,
            maps: usual_maps(flavour),
            actors,
            fails: Vec::new(),
            panics: None,
            before: Vec::new(),
            looks_at: 0,
            one_queue: false,
        };
        scenario.maps.push(MapSpec { file: 1, ..flavour.map(0, 2, true, true) });
        scenario.maps.push(flavour.map(1, 700, true, true));
        scenario.maps.push(flavour.map(511, 1025, true, true));
        scenario.maps.push(flavour.map(1, 700, false, true));
        scenario
    }

    /// Number of files: two if the start state or an operation needs a second one.
    pub fn file_count(&self) -> usize {
        let second = |op: &Op| match op {
            Op::Clone { cells, to } => file_of(cells.start) + file_of(*to) > 0,
            op => file_of(op.cell()) > 0,
        };
        let mut ops = self.before.iter().chain(self.actors.iter().flatten());
        let two = self.start == Start::SharedPte || ops.any(second);
        1 + usize::from(two)
    }

    /// True if files, or parts of one, share blocks: of use only over a block map that can.
    pub fn shares(&self) -> bool {
        let clones = |op: &Op| matches!(op, Op::Clone { .. });
        matches!(self.start, Start::SharedPte | Start::SharedPmd)
            || self.before.iter().chain(self.actors.iter().flatten()).any(clones)
    }

    /// The same under another name.
    pub fn named(mut self, name: &str) -> Scenario {
        self.name = name.into();
        self
    }

    /// The same with fault-around of so many bytes.
    pub fn around(mut self, bytes: u64) -> Scenario {
        self.around = bytes;
        self
    }

    /// The same with stores that take small pages, and so many bytes ahead.
    pub fn ahead(mut self, bytes: u64) -> Scenario {
        self.ahead = Some(bytes);
        self
    }

    /// How faults behave in it.
    pub fn policy(&self) -> FaultPolicy {
        let store_unit = if self.ahead.is_some() { StoreUnit::Page } else { StoreUnit::Huge };
        let ahead = self.ahead.unwrap_or_default();
        FaultPolicy { largest: Order::Pmd, around: self.around, store_unit, ahead }
    }

    /// The same with a call that fails, besides those that do already.
    pub fn fails(mut self, fails: Fails) -> Scenario {
        self.name = format!("fails/{:?}-{}/{}", fails.call, fails.nth, self.name);
        self.fails.push(fails);
        self
    }

    /// The same, after these operations.
    pub fn after(mut self, before: Vec<Op>) -> Scenario {
        self.before = before;
        self
    }

    /// The same, with both halves of two pages of each unit looked at that begin at this cell.
    pub fn looks_at(mut self, cell: u32) -> Scenario {
        self.looks_at = cell;
        self
    }

    /// The same with one queue for all who wait.
    pub fn one_queue(mut self) -> Scenario {
        self.one_queue = true;
        self
    }

    /// The same with a panic in a call of this actor; of two at most.
    pub fn panics(mut self, actor: usize) -> Scenario {
        self.name = format!("panics/{}", self.name);
        self.panics = Some(actor);
        self
    }

    /// The same with a file of so many cells.
    pub fn size(mut self, cells: u32) -> Scenario {
        self.size = cells;
        self
    }
}

/// The scenario of 2017: load a hole through a 2 MiB map, while and after somebody writes there.
pub fn seed() -> Scenario {
    let load = Op::Load { map: READER, cell: 0 };
    let write = Op::Write { cells: 0..2 };
    let actors = vec![vec![load.clone()], vec![write, load]];
    Scenario::new(Start::Hole, Flavour::Kernel, actors).named("seed")
}
