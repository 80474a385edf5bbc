//! The search: through all schedules, up to a number of preemptions, or at random.
//!
//! Each execution starts anew and follows a path through the graph of states. A state is known by
//! the hash of everything that is shared and of everything each actor has observed since its
//! operation began; actors are deterministic, so equal states go on alike. The graph has no
//! cycles, since actors only go forward. An execution takes a step not tried before wherever
//! there is one, and a state is closed when all its steps were tried and lead to closed states.
//! When the first state is closed, every state that any schedule can reach has been checked.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::lab::{Guide, Lab, Run};
use crate::scenario::Scenario;
use crate::sim::Subject;
use crate::world::{SimBug, Violation};

/// Which schedules are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// All of them.
    Complete,
    /// All with at most so many preemptions: switches away from an actor that could have gone on.
    Preemptions(u32),
    /// So many executions, each with actors picked at random.
    Random {
        /// Of the random numbers.
        seed: u64,
        /// How many.
        executions: u64,
    },
    /// So many executions with random priorities and a few random changes of them (Burckhardt et
    /// al., "A randomized scheduler with probabilistic guarantees of finding bugs", 2010).
    Pct {
        /// Of the random numbers.
        seed: u64,
        /// How many.
        executions: u64,
        /// Changes of priority in each.
        depth: u32,
    },
}

impl Search {
    /// The search that a test has the time for: all schedules; of three actors, or with a panic,
    /// all with at most three preemptions, of which the panic is one.
    pub fn of(scenario: &Scenario) -> Search {
        let many = scenario.actors.len() > 2 || scenario.panics.is_some();
        if many { Search::Preemptions(3) } else { Search::Complete }
    }
}

/// How far a search may go.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Distinct states kept.
    pub states: usize,
    /// Time.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { states: 4_000_000, time: Duration::from_secs(60) }
    }
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which schedules were searched.
    pub search: Search,
    /// Executions run.
    pub executions: u64,
    /// Distinct states reached and checked.
    pub states: u64,
    /// True if all schedules that `search` names were covered.
    pub exhausted: bool,
    /// Time taken.
    pub time: Duration,
    /// The first violation, with the schedule that shows it.
    pub found: Option<(Violation, Vec<u8>)>,
    /// The longest schedule that was run.
    pub longest: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Node {
    enabled: u8,
    tried: u8,
    closed: bool,
    next: [u32; 4],
}

const UNKNOWN: u32 = u32::MAX;

struct Graph {
    nodes: Vec<Node>,
    known: FxHashMap<u64, u32>,
}

/// Follows the graph, trying new steps first.
struct Walk<'a> {
    graph: &'a mut Graph,
    bound: Option<u32>,
    at: u32,
    came_by: Option<usize>,
    last: Option<usize>,
    preemptions: u32,
    /// (state, step) since the beginning, until a closed state was met.
    path: Vec<(u32, u8)>,
    over: bool,
}

impl Guide for Walk<'_> {
    fn pick(&mut self, enabled: u8, last: Option<usize>) -> usize {
        let mut choices = enabled;
        let going_on = last.filter(|last| enabled & 1 << last != 0);
        if let (Some(last), Some(bound)) = (going_on, self.bound)
            && self.preemptions >= bound
        {
            choices = 1 << last;
        }
        let actor = if self.over {
            going_on.unwrap_or(choices.trailing_zeros() as usize)
        } else {
            self.choose(choices, going_on)
        };
        if going_on.is_some_and(|last| last != actor) {
            self.preemptions += 1;
        }
        self.last = Some(actor);
        self.came_by = Some(actor);
        actor
    }

    fn reached(&mut self, fingerprint: impl FnOnce() -> u64) -> bool {
        if self.over {
            return false;
        }
        if let Some(actor) = self.came_by {
            let next = self.graph.nodes[self.at as usize].next[actor];
            if next != UNKNOWN {
                self.at = next;
                return false;
            }
        }
        if self.came_by.is_none() && !self.graph.nodes.is_empty() {
            // Every execution begins in the same state.
            return false;
        }
        let mut key = fingerprint();
        if self.bound.is_some() {
            let last = self.last.map_or(7, |last| last as u64);
            let context = (u64::from(self.preemptions) << 3 | last) + 1;
            key ^= context.wrapping_mul(0xd6e8_feb8_6659_fd93);
        }
        let fresh = self.graph.nodes.len() as u32;
        let id = *self.graph.known.entry(key).or_insert(fresh);
        if id == fresh {
            let next = [UNKNOWN; 4];
            self.graph.nodes.push(Node { enabled: 0, tried: 0, closed: false, next });
        }
        if let Some(actor) = self.came_by {
            self.graph.nodes[self.at as usize].next[actor] = id;
        }
        self.at = id;
        self.over = self.graph.nodes[id as usize].closed;
        id == fresh
    }
}

impl Walk<'_> {
    fn choose(&mut self, choices: u8, going_on: Option<usize>) -> usize {
        let node = &self.graph.nodes[self.at as usize];
        let untried = choices & !node.tried;
        let open = (0..4).filter(|actor| choices & 1 << actor != 0).filter(|actor| {
            let next = node.next[*actor];
            next == UNKNOWN || !self.graph.nodes[next as usize].closed
        });
        let open = open.fold(0u8, |bits, actor| bits | 1 << actor);
        let from = [untried, open, choices].into_iter().find(|bits| *bits != 0);
        let from = from.expect("some actor is enabled");
        let actor = match going_on.filter(|last| from & 1 << last != 0) {
            Some(last) => last,
            None => from.trailing_zeros() as usize,
        };
        let node = &mut self.graph.nodes[self.at as usize];
        node.enabled = choices;
        node.tried |= 1 << actor;
        self.path.push((self.at, actor as u8));
        actor
    }

    /// Closes what can be closed, from the end of the path back to its beginning.
    fn close(&mut self) {
        if !self.over {
            self.graph.nodes[self.at as usize].closed = true;
        }
        for &(at, _) in self.path.iter().rev() {
            let node = self.graph.nodes[at as usize];
            let all = (0..4).filter(|actor| node.enabled & 1 << actor != 0).all(|actor| {
                let next = node.next[actor];
                next != UNKNOWN && self.graph.nodes[next as usize].closed
            });
            if !all {
                break;
            }
            self.graph.nodes[at as usize].closed = true;
        }
    }
}

/// A small generator of random numbers (SplitMix64).
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn nth_bit(bits: u8, n: u64) -> usize {
    let set = (0..8).filter(|bit| bits & 1 << bit != 0);
    set.clone().nth(n as usize % set.count()).expect("a bit is set")
}

/// Picks at random, or by random priorities that change at a few random steps.
struct Dice<'a> {
    random: &'a mut Random,
    priorities: Option<[u64; 4]>,
    changes: Vec<u64>,
    step: u64,
    states: &'a mut rustc_hash::FxHashSet<u64>,
}

impl Guide for Dice<'_> {
    fn pick(&mut self, enabled: u8, last: Option<usize>) -> usize {
        self.step += 1;
        let Some(priorities) = &mut self.priorities else {
            let n = self.random.next();
            return nth_bit(enabled, n);
        };
        if self.changes.contains(&self.step)
            && let Some(last) = last
        {
            priorities[last] = self.random.below(1000);
        }
        let actors = (0..4).filter(|actor| enabled & 1 << actor != 0);
        actors.max_by_key(|actor| priorities[*actor]).expect("some actor is enabled")
    }

    fn reached(&mut self, fingerprint: impl FnOnce() -> u64) -> bool {
        self.states.insert(fingerprint())
    }
}

/// Follows a schedule, then lets each actor go on as far as it can; checks every state.
pub(crate) struct Follow<'a> {
    pub schedule: &'a [u8],
    pub at: usize,
}

impl Guide for Follow<'_> {
    fn pick(&mut self, enabled: u8, last: Option<usize>) -> usize {
        let wanted = self.schedule.get(self.at).map(|actor| usize::from(*actor));
        self.at += 1;
        let possible = |actor: &usize| enabled & 1 << actor != 0;
        let first = enabled.trailing_zeros() as usize;
        wanted.filter(possible).or(last.filter(possible)).unwrap_or(first)
    }

    fn reached(&mut self, _: impl FnOnce() -> u64) -> bool {
        true
    }
}

/// Searches the schedules of one scenario for a violation, over the block map `B`.
pub fn search<B: Subject>(
    scenario: &Scenario,
    bug: SimBug,
    kind: Search,
    limits: Limits,
) -> Outcome {
    let mut lab = Lab::<B>::new(scenario.clone(), bug);
    let began = Instant::now();
    let mut outcome = match kind {
        Search::Complete => graph(&mut lab, None, limits),
        Search::Preemptions(bound) => graph(&mut lab, Some(bound), limits),
        Search::Random { seed, executions } => dice(&mut lab, seed, executions, None, limits),
        Search::Pct { seed, executions, depth } => {
            dice(&mut lab, seed, executions, Some(depth), limits)
        }
    };
    outcome.search = kind;
    outcome.time = began.elapsed();
    outcome
}

fn empty_outcome() -> Outcome {
    Outcome {
        search: Search::Complete,
        executions: 0,
        states: 0,
        exhausted: false,
        time: Duration::ZERO,
        found: None,
        longest: Vec::new(),
    }
}

fn found(run: Run) -> Option<(Violation, Vec<u8>)> {
    run.violation.map(|violation| (violation, run.schedule))
}

fn graph<B: Subject>(lab: &mut Lab<B>, bound: Option<u32>, limits: Limits) -> Outcome {
    let began = Instant::now();
    let mut graph = Graph { nodes: Vec::new(), known: FxHashMap::default() };
    let mut outcome = empty_outcome();
    let mut path = Vec::new();
    loop {
        path.clear();
        let mut walk = Walk {
            graph: &mut graph,
            bound,
            at: 0,
            came_by: None,
            last: None,
            preemptions: 0,
            path,
            over: false,
        };
        let run = lab.run(&mut walk);
        walk.close();
        path = walk.path;
        outcome.executions += 1;
        outcome.states = graph.nodes.len() as u64;
        if run.schedule.len() > outcome.longest.len() {
            outcome.longest.clone_from(&run.schedule);
        }
        outcome.found = found(run);
        outcome.exhausted = graph.nodes[0].closed && outcome.found.is_none();
        let out_of_time = outcome.executions.is_multiple_of(64) && began.elapsed() > limits.time;
        if outcome.found.is_some() || outcome.exhausted {
            return outcome;
        }
        if graph.nodes.len() > limits.states || out_of_time {
            return outcome;
        }
    }
}

fn dice<B: Subject>(
    lab: &mut Lab<B>,
    seed: u64,
    executions: u64,
    depth: Option<u32>,
    limits: Limits,
) -> Outcome {
    let began = Instant::now();
    let mut random = Random(seed);
    let mut states = Default::default();
    let mut outcome = empty_outcome();
    let mut length = 64;
    while outcome.executions < executions && began.elapsed() < limits.time {
        let priorities = depth.map(|_| core::array::from_fn(|_| 1000 + random.below(1000)));
        let changes = (0..depth.unwrap_or(0)).map(|_| random.below(length)).collect();
        let mut dice =
            Dice { random: &mut random, priorities, changes, step: 0, states: &mut states };
        let run = lab.run(&mut dice);
        length = length.max(run.schedule.len() as u64);
        outcome.executions += 1;
        outcome.states = states.len() as u64;
        outcome.found = found(run);
        if outcome.found.is_some() {
            break;
        }
    }
    outcome
}

/// Replays a schedule and tells what happened, step by step.
pub(crate) fn follow<B: Subject>(scenario: &Scenario, bug: SimBug, schedule: &[u8]) -> Run {
    let mut lab = Lab::<B>::new(scenario.clone(), bug);
    lab.tracing = true;
    lab.run(&mut Follow { schedule, at: 0 })
}
