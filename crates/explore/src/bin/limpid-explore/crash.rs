//! `limpid-explore crash`: what a power loss at any instant leaves, on the production code.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use limpid_explore::crash::{Bound, Broken, Counts, Row, replay, search_all, workloads};
use limpid_terminal::{Failure, Output, Result};
use serde_json::{Value, json};

use super::How;

/// Cut the power at every fence of file operations and check what is left
#[derive(Args)]
pub struct Crash {
    /// Only workloads whose name holds this
    part: Option<String>,
    /// Build one state again: WORKLOAD@CRASH, as a failure prints it
    #[arg(long, conflicts_with = "part", value_name = "TEXT")]
    replay: Option<String>,
    #[command(flatten)]
    how: How,
}

impl Crash {
    pub fn run(self) -> Result<()> {
        match self.replay {
            Some(text) => again(&text, self.how.json),
            None => search(self.part.as_deref().unwrap_or(""), &self.how),
        }
    }
}

fn search(part: &str, how: &How) -> Result<()> {
    let mut chosen = workloads();
    chosen.retain(|workload| workload.name().contains(part));
    if chosen.is_empty() {
        let advice = "leave it out to see the names of all";
        return Err(Failure::usage("no workload has this in its name", part, advice));
    }
    let end = Instant::now() + how.budget;
    let (mut rows, mut said) = (Vec::new(), Instant::now());
    let is_watched = std::io::stderr().is_terminal();
    let summary = search_all(
        &chosen,
        Bound::for_time(how.budget, chosen.len()),
        &|| Instant::now() >= end,
        &mut |row| {
            rows.push(row);
            if is_watched && said.elapsed() > Duration::from_secs(1) {
                said = Instant::now();
                eprintln!("{}/{} workloads", rows.len(), chosen.len());
            }
        },
    );
    rows.sort_by(|one, two| one.workload.cmp(&two.workload));
    let seconds = summary.time.as_secs_f64();
    let mut output = Output::stdout();
    if how.json {
        output.json(&json!({
            "workloads": rows.iter().map(row_json).collect::<Vec<Value>>(),
            "of": chosen.len(),
            "total": counts_json(summary.counts),
            "wrong": summary.broken.len(),
            "seconds": seconds,
        }))?;
    } else {
        for row in &rows {
            output.line(row_line(row))?;
        }
        output.line(format!(
            "{} of {} workloads: {}, {seconds:.1} s; {} wrong",
            summary.workloads,
            chosen.len(),
            counts_text(summary.counts),
            summary.broken.len()
        ))?;
    }
    output.finish()?;
    match &summary.broken[..] {
        [] => Ok(()),
        [first, ..] => Err(Failure::new(
            "a crash leaves what the contract does not allow",
            &first.replay,
            "report it with this replay string",
        )),
    }
}

fn row_line(row: &Row) -> String {
    let mut line = format!("{}: {}", row.workload, counts_text(row.counts));
    if let Some(broken) = &row.broken {
        line.push_str(&format!("\n  WRONG: {}\n  replay: {}", broken.why, broken.replay));
        line.push_str(&format!("\n  lost: {}", broken.lost.join("; ")));
    }
    line
}

fn counts_text(counts: Counts) -> String {
    let sampled = counts.points - counts.exhaustive;
    format!(
        "{} distinct states ({} in recoveries), {} points exhaustive and {sampled} sampled",
        counts.distinct, counts.in_recovery, counts.exhaustive
    )
}

fn counts_json(counts: Counts) -> Value {
    json!({
        "points": counts.points,
        "exhaustive": counts.exhaustive,
        "built": counts.built,
        "distinct": counts.distinct,
        "in_recovery": counts.in_recovery,
    })
}

fn row_json(row: &Row) -> Value {
    let mut value = counts_json(row.counts);
    value["workload"] = row.workload.clone().into();
    value["wrong"] = row.broken.as_ref().map_or(Value::Null, broken_json);
    value
}

fn broken_json(broken: &Broken) -> Value {
    json!({ "why": broken.why, "replay": broken.replay, "lost": broken.lost })
}

fn again(text: &str, json: bool) -> Result<()> {
    let replayed = replay(text).map_err(|error| {
        let advice = "give WORKLOAD@CRASH as a failure prints it";
        Failure::usage(error.to_string(), text, advice)
    })?;
    let mut output = Output::stdout();
    if json {
        output.json(&json!({ "lost": replayed.lost, "wrong": replayed.why }))?;
    } else {
        for piece in &replayed.lost {
            output.line(format!("lost: {piece}"))?;
        }
        output.line(replayed.why.as_deref().unwrap_or("nothing is wrong"))?;
    }
    output.finish()?;
    match replayed.why {
        None => Ok(()),
        Some(_) => Err(Failure::new(
            "a crash leaves what the contract does not allow",
            text,
            "report it with this replay string",
        )),
    }
}
