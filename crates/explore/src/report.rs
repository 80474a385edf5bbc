//! What `limpid-explore` needs: many scenarios within a budget, with progress and JSON.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::explain::schedule_text;
use crate::scenario::Scenario;
use crate::search::{Limits, Outcome, Search, search};
use crate::sim::Subject;
use crate::world::SimBug;

/// How far a run over many scenarios has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Scenarios done.
    pub done: usize,
    /// Scenarios in all.
    pub of: usize,
    /// Executions so far.
    pub executions: u64,
    /// Distinct states so far, counted for each scenario by itself.
    pub states: u64,
    /// Scenarios of which not all schedules were covered: the search of these fell back to a
    /// number of preemptions, or the budget was over.
    pub not_complete: usize,
    /// Scenarios that were not begun, since the budget was over.
    pub not_searched: usize,
    /// Scenarios in which something is wrong.
    pub wrong: usize,
    /// Time since the beginning.
    pub time: Duration,
}

impl Progress {
    /// Executions per second.
    pub fn rate(&self) -> f64 {
        self.executions as f64 / self.time.as_secs_f64().max(1e-9)
    }
}

/// Name of a kind of search, for people: with what it covers.
pub fn search_name(kind: Search) -> String {
    match kind {
        Search::Complete => "all schedules".into(),
        Search::Preemptions(bound) => format!("all schedules with at most {bound} preemptions"),
        Search::Random { seed, executions } => {
            format!("{executions} random schedules, seed {seed}")
        }
        Search::Pct { seed, executions, depth } => {
            format!("{executions} schedules of random priorities, depth {depth}, seed {seed}")
        }
    }
}

impl Outcome {
    /// The outcome as JSON.
    pub fn json(&self, scenario: &str) -> Value {
        let found = self.found.as_ref().map(|(violation, schedule)| {
            json!({
                "clause": violation.clause,
                "seen": violation.seen,
                "replay": format!("{scenario}@{}", schedule_text(schedule)),
            })
        });
        json!({
            "scenario": scenario,
            "search": search_name(self.search),
            "executions": self.executions,
            "states": self.states,
            "exhausted": self.exhausted,
            "seconds": self.time.as_secs_f64(),
            "found": found,
        })
    }
}

/// Searches one scenario as far as it fits: all schedules, else all with three preemptions, else
/// two, else random priorities with a seed. The outcome says which. Ends when the time is over,
/// whichever it has come to.
pub fn best_search<B: Subject>(scenario: &Scenario, bug: SimBug, limits: Limits) -> Outcome {
    let began = Instant::now();
    let share = Limits { time: limits.time / 4, ..limits };
    for kind in [Search::Complete, Search::Preemptions(3), Search::Preemptions(2)] {
        let outcome = search::<B>(scenario, bug, kind, share);
        if outcome.exhausted || outcome.found.is_some() || began.elapsed() >= limits.time {
            return outcome;
        }
    }
    let kind = Search::Pct { seed: 1, executions: u64::MAX, depth: 3 };
    let left = limits.time.saturating_sub(began.elapsed());
    search::<B>(scenario, bug, kind, Limits { time: left, ..limits })
}

/// Searches all scenarios, each with its share of the budget that is left, and tells after each.
/// Ends when the budget is over, and counts those that were not begun.
pub fn run_all<B: Subject>(
    scenarios: &[Scenario],
    budget: Duration,
    mut each: impl FnMut(&Progress, &Scenario, &Outcome),
) -> Progress {
    let began = Instant::now();
    let mut progress = Progress { of: scenarios.len(), ..Progress::default() };
    for scenario in scenarios {
        let left = budget.saturating_sub(began.elapsed());
        if left.is_zero() {
            break;
        }
        // The first ones are the largest; a scenario may use a tenth of what is left.
        let limits = Limits { time: left / 10, ..Limits::default() };
        let outcome = best_search::<B>(scenario, SimBug::None, limits);
        progress.done += 1;
        progress.executions += outcome.executions;
        progress.states += outcome.states;
        progress.wrong += usize::from(outcome.found.is_some());
        let complete = outcome.exhausted && outcome.search == Search::Complete;
        progress.not_complete += usize::from(!complete && outcome.found.is_none());
        progress.time = began.elapsed();
        each(&progress, scenario, &outcome);
    }
    progress.not_searched = progress.of - progress.done;
    progress.time = began.elapsed();
    progress
}
