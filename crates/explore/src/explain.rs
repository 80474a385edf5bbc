//! Schedules as strings, the smallest counter-example, and showing it: one column per actor.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::catalog::scenario_named;
use crate::scenario::Scenario;
use crate::search::{Limits, Search, follow, search};
use crate::sim::Subject;
use crate::world::{Line, SimBug, Violation};

/// A schedule as text: actors by letter, each with how often it is picked in a row (`a3ba`).
pub fn schedule_text(schedule: &[u8]) -> String {
    let mut text = String::new();
    for run in schedule.chunk_by(|one, other| one == other) {
        text.push((b'a' + run[0]) as char);
        if run.len() > 1 {
            let _ = write!(text, "{}", run.len());
        }
    }
    text
}

/// Reads what [`schedule_text`] wrote.
pub fn parse_schedule(text: &str) -> Option<Vec<u8>> {
    let mut schedule: Vec<u8> = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(actor) = rest.next() {
        if !('a'..='d').contains(&actor) {
            return None;
        }
        let mut count = 0usize;
        while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
            count = count.checked_mul(10)?.checked_add(digit as usize)?;
            rest.next();
        }
        if count > 100_000 {
            return None;
        }
        schedule.extend(std::iter::repeat_n(actor as u8 - b'a', count.max(1)));
    }
    Some(schedule)
}

/// One schedule that was followed, step by step.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The scenario.
    pub scenario: Scenario,
    /// The schedule, as far as it went.
    pub schedule: Vec<u8>,
    /// What each actor did and saw.
    pub lines: Vec<Line>,
    /// What was wrong, if anything.
    pub violation: Option<Violation>,
}

/// Follows a schedule of a scenario exactly.
pub fn replay<B: Subject>(scenario: &Scenario, bug: SimBug, schedule: &[u8]) -> Replay {
    let run = follow::<B>(scenario, bug, schedule);
    Replay {
        scenario: scenario.clone(),
        schedule: run.schedule,
        lines: run.trace,
        violation: run.violation,
    }
}

/// Follows `SCENARIO@SCHEDULE`, over the toy block map. `None` if it cannot be read.
pub fn replay_text(text: &str, bug: SimBug) -> Option<Replay> {
    let (name, schedule) = text.rsplit_once('@')?;
    let scenario = scenario_named(name)?;
    let schedule = parse_schedule(schedule)?;
    Some(replay::<crate::ToyBlockMap>(&scenario, bug, &schedule))
}

/// Looks for the smallest counter-example: actors and operations are dropped as long as some
/// schedule still breaks the same clause, then the number of preemptions is made as small as can
/// be. Returns `None` if nothing is wrong.
pub fn shrink<B: Subject>(scenario: &Scenario, bug: SimBug, limits: Limits) -> Option<Replay> {
    let (violation, mut schedule) = search::<B>(scenario, bug, Search::Complete, limits).found?;
    let mut small = scenario.clone();
    let mut kept: Vec<(usize, Vec<usize>)> =
        small.actors.iter().map(|ops| (0..ops.len()).collect()).enumerate().collect();
    let fails = |candidate: &Scenario, kind| {
        let found = search::<B>(candidate, bug, kind, limits).found;
        found.filter(|(other, _)| other.clause == violation.clause).map(|found| found.1)
    };
    let mut actor = 0;
    while actor < small.actors.len() {
        let mut op = 0;
        while actor < small.actors.len() && op < small.actors[actor].len() {
            let mut candidate = small.clone();
            candidate.actors[actor].remove(op);
            if candidate.actors[actor].is_empty() {
                candidate.actors.remove(actor);
            }
            let mut left = kept.clone();
            left[actor].1.remove(op);
            left.retain(|(_, ops)| !ops.is_empty());
            candidate.name = part_name(&scenario.name, &left);
            let smaller = !candidate.actors.is_empty();
            match smaller.then(|| fails(&candidate, Search::Complete)).flatten() {
                Some(found) => {
                    schedule = found;
                    small = candidate;
                    kept = left;
                }
                None => op += 1,
            }
        }
        actor += 1;
    }
    let fewest = (0..4).find_map(|bound| fails(&small, Search::Preemptions(bound)));
    Some(replay::<B>(&small, bug, &fewest.unwrap_or(schedule)))
}

/// The name of a part of a scenario: of each actor that is left, the numbers of its operations.
fn part_name(whole: &str, kept: &[(usize, Vec<usize>)]) -> String {
    let actors = kept.iter().map(|(actor, ops)| {
        let ops: Vec<_> = ops.iter().map(ToString::to_string).collect();
        format!("{}{}", letter(*actor), ops.join("."))
    });
    format!("{whole}~{}", actors.collect::<Vec<_>>().join("+"))
}

const WIDTH: usize = 52;

impl Replay {
    /// The string that replays it.
    pub fn text(&self) -> String {
        format!("{}@{}", self.scenario.name, schedule_text(&self.schedule))
    }

    /// The steps as JSON, with what was wrong and the string that replays them.
    pub fn json(&self) -> Value {
        let steps: Vec<_> = self
            .lines
            .iter()
            .map(|line| json!({ "actor": letter(line.actor).to_string(), "text": line.text }))
            .collect();
        json!({
            "scenario": self.scenario.name,
            "steps": steps,
            "clause": self.violation.as_ref().map(|violation| violation.clause),
            "seen": self.violation.as_ref().map(|violation| &violation.seen),
            "replay": self.text(),
        })
    }

    /// One column per actor, one line per step, then what was wrong.
    pub fn columns(&self) -> String {
        let mut text = format!("{}\n\n", self.scenario.name);
        for (actor, ops) in self.scenario.actors.iter().enumerate() {
            let ops: Vec<_> = ops.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "actor {}: {}", letter(actor), ops.join("; "));
        }
        text.push('\n');
        for line in &self.lines {
            let indent = " ".repeat(line.actor * WIDTH);
            let _ = writeln!(text, "{indent}{} {}", letter(line.actor), line.text);
        }
        match &self.violation {
            Some(violation) => {
                let _ = writeln!(text, "\n{}: {}", violation.clause, violation.seen);
            }
            None => text.push_str("\nnothing wrong\n"),
        }
        let _ = writeln!(text, "replay: {}", self.text());
        text
    }

    /// The same as a page of HTML.
    pub fn html(&self) -> String {
        let mut rows = String::new();
        for (number, line) in self.lines.iter().enumerate() {
            let _ = write!(rows, "<tr><td class=n>{}</td>", number + 1);
            for actor in 0..self.scenario.actors.len() {
                let cell = if actor == line.actor { escape(&line.text) } else { String::new() };
                let _ = write!(rows, "<td>{cell}</td>");
            }
            rows.push_str("</tr>\n");
        }
        let heads = self.scenario.actors.iter().enumerate().map(|(actor, ops)| {
            let ops: Vec<_> = ops.iter().map(ToString::to_string).collect();
            format!("<th>{}: {}</th>", letter(actor), escape(&ops.join("; ")))
        });
        let verdict = match &self.violation {
            Some(violation) => format!("{}: {}", violation.clause, violation.seen),
            None => "nothing wrong".into(),
        };
        format!(
            "<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title>\n<style>\
             body{{font:14px sans-serif;margin:2em}}table{{border-collapse:collapse}}\
             td,th{{border:1px solid #ccc;padding:2px 8px;text-align:left;\
             font-family:monospace}}th{{background:#eee}}td.n{{color:#888}}\
             p.bad{{background:#fdd;padding:8px}}</style>\n<h1>{name}</h1>\n\
             <table><tr><th></th>{heads}</tr>\n{rows}</table>\n<p class=bad>{verdict}</p>\n\
             <p>replay: <code>{replay}</code></p></html>\n",
            name = escape(&self.scenario.name),
            heads = heads.collect::<String>(),
            verdict = escape(&verdict),
            replay = escape(&self.text()),
        )
    }
}

fn letter(actor: usize) -> char {
    (b'a' + actor as u8) as char
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_read_back_what_was_written() {
        let schedule = [0, 0, 0, 1, 0, 2, 2];
        assert_eq!(schedule_text(&schedule), "a3bac2");
        assert_eq!(parse_schedule("a3bac2").as_deref(), Some(&schedule[..]));
        assert_eq!(parse_schedule("a3xc"), None);
    }
}
