//! The command `limpid-explore`: every interleaving of the DAX layer's operations, on the
//! production code.

#![forbid(unsafe_code)]

mod crash;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use limpid_explore::canaries::{self, Canary, Plant};
use limpid_explore::catalog::{all, scenario_named};
use limpid_explore::{
    Limits, Replay, SimBug, ToyBlockMap, best_search, replay_text, run_all, search_name, shrink,
};
use limpid_terminal::{Failure, Output, Result};
use serde_json::{Value, json};

/// Run file operations through every interleaving and check the coherence contract
#[derive(Parser)]
#[command(name = "limpid-explore", version, max_term_width = 100)]
struct Explore {
    #[command(subcommand)]
    what: What,
}

fn main() -> ExitCode {
    limpid_terminal::run("limpid-explore", std::env::args_os(), Explore::run)
}

#[derive(Subcommand)]
enum What {
    /// List scenarios
    List {
        /// Only those whose name holds this
        part: Option<String>,
    },
    /// Search the schedules of one scenario
    Run {
        /// The scenario's name
        scenario: String,
        /// Plant this bug first
        #[arg(long, value_name = "NAME")]
        canary: Option<String>,
        #[command(flatten)]
        how: How,
    },
    /// Follow one schedule, step by step
    Replay {
        /// SCENARIO@SCHEDULE, as a failure prints it
        text: String,
        /// Plant this bug first
        #[arg(long, value_name = "NAME")]
        canary: Option<String>,
        /// Also write a page of HTML here
        #[arg(long)]
        html: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Plant a bug and show how it is found
    Canary {
        /// The canary's name; without, all are listed
        name: Option<String>,
        /// Also write a page of HTML here
        #[arg(long)]
        html: Option<PathBuf>,
        #[command(flatten)]
        how: How,
    },
    /// Search all scenarios
    All {
        #[command(flatten)]
        how: How,
    },
    Crash(crash::Crash),
}

#[derive(Args)]
struct How {
    /// Time to spend: a number with s, m or h
    #[arg(long, default_value = "60s", value_parser = parse_budget)]
    budget: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Longer than anybody waits, and still a time that can be added to today's.
const LONGEST: u64 = 10_000 * 3600;

fn parse_budget(text: &str) -> std::result::Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err("use a number with s, m or h".into()),
    };
    let number: u64 = number.parse().map_err(|_| "use a number with s, m or h".to_string())?;
    let seconds = number.checked_mul(factor).filter(|seconds| *seconds <= LONGEST);
    seconds.map(Duration::from_secs).ok_or("longer than 10000h".into())
}

impl Explore {
    fn run(self) -> Result<()> {
        match self.what {
            What::List { part } => list(part.as_deref().unwrap_or("")),
            What::Run { scenario, canary, how } => run(&scenario, canary.as_deref(), &how),
            What::Replay { text, canary, html, json } => {
                let replay = planted(canary.as_deref(), |bug| replay_text(&text, bug))?;
                let replay = replay.ok_or_else(|| {
                    let advice = "give SCENARIO@SCHEDULE as a failure prints it";
                    Failure::usage("no such scenario or schedule", &text, advice)
                })?;
                write_html(&replay, html)?;
                if json { print_json(&replay.json()) } else { show(&replay) }?;
                match replay.violation {
                    Some(_) => Err(broken(&text, "see the last lines of the schedule")),
                    None => Ok(()),
                }
            }
            What::Canary { name: None, how, .. } => canaries(how.json),
            What::Canary { name: Some(name), html, how } => canary(&name, html, &how),
            What::All { how } => everything(&how),
            What::Crash(crash) => crash.run(),
        }
    }
}

fn list(part: &str) -> Result<()> {
    let mut output = Output::stdout();
    for scenario in all().iter().filter(|scenario| scenario.name.contains(part)) {
        output.line(&scenario.name)?;
    }
    output.finish()
}

/// A schedule broke the contract: exit code 1, while a command line that is wrong ends with 2.
fn broken(place: &str, advice: &str) -> Failure {
    Failure::new("a schedule breaks the contract", place, advice)
}

/// Does `work` with the bug of this name planted, if there is a name.
fn planted<R>(name: Option<&str>, work: impl FnOnce(SimBug) -> R) -> Result<R> {
    match name {
        Some(name) => Ok(canary_named(name)?.planted(work)),
        None => Ok(work(SimBug::None)),
    }
}

/// The canary of this name, if this build can plant it.
fn canary_named(name: &str) -> Result<&'static Canary> {
    let advice = "see 'limpid-explore canary'";
    let canary = canaries::all().find(|canary| canary.name == name);
    let canary = canary.ok_or_else(|| Failure::usage("no such canary", name, advice))?;
    if !can_be_planted(canary) {
        let advice = "build with --features canary, or choose one of the simulated parts";
        return Err(Failure::usage("this canary leaves out a step of the DAX layer", name, advice));
    }
    Ok(canary)
}

fn run(name: &str, canary: Option<&str>, how: &How) -> Result<()> {
    let advice = "see 'limpid-explore list'";
    let scenario =
        scenario_named(name).ok_or_else(|| Failure::usage("no such scenario", name, advice))?;
    let limits = Limits { time: how.budget, ..Limits::default() };
    let (outcome, small) = planted(canary, |bug| {
        let outcome = best_search::<ToyBlockMap>(&scenario, bug, limits);
        let found = outcome.found.is_some();
        let small = found.then(|| shrink::<ToyBlockMap>(&scenario, bug, limits)).flatten();
        (outcome, small)
    })?;
    let mut output = Output::stdout();
    if how.json {
        let mut value = outcome.json(&scenario.name);
        if let Some(small) = &small {
            value["smallest"] = small.json();
        }
        output.json(&value)?;
    } else {
        let exhausted = if outcome.exhausted { "exhausted" } else { "NOT exhausted" };
        let seconds = outcome.time.as_secs_f64();
        let rate = outcome.executions as f64 / seconds.max(1e-9);
        output.line(format!(
            "{}: {exhausted}; {} executions ({rate:.0}/s), {} states, {seconds:.2} s",
            search_name(outcome.search),
            outcome.executions,
            outcome.states
        ))?;
    }
    output.finish()?;
    if outcome.found.is_none() {
        return Ok(());
    }
    if let Some(small) = small.filter(|_| !how.json) {
        show(&small)?;
    }
    Err(broken(name, "report it with the replay string"))
}

fn write_html(replay: &Replay, html: Option<PathBuf>) -> Result<()> {
    match html {
        Some(path) => std::fs::write(&path, replay.html())
            .map_err(|error| Failure::from_system(&error, path.display())),
        None => Ok(()),
    }
}

fn print_json(value: &Value) -> Result<()> {
    let mut output = Output::stdout();
    output.json(value)?;
    output.finish()
}

fn show(replay: &Replay) -> Result<()> {
    let mut output = Output::stdout();
    output.bytes(replay.columns().as_bytes())?;
    output.finish()
}

fn canaries(json: bool) -> Result<()> {
    if json {
        let rows = canaries::all().map(|one| {
            json!({
                "name": one.name,
                "what": one.what,
                "scenario": one.scenario,
                "can_be_planted": can_be_planted(one),
            })
        });
        return print_json(&rows.collect());
    }
    let mut output = Output::stdout();
    let rows: Vec<_> =
        canaries::all().map(|one| vec![one.name.to_owned(), one.what.to_owned()]).collect();
    output.table(&rows, &[])?;
    output.finish()
}

/// Steps of the DAX layer can be left out with the feature `canary` only.
fn can_be_planted(canary: &Canary) -> bool {
    cfg!(feature = "canary") || matches!(canary.plant, Plant::Sim(_))
}

fn canary(name: &str, html: Option<PathBuf>, how: &How) -> Result<()> {
    let canary = canary_named(name)?;
    let limits = Limits { time: how.budget, ..Limits::default() };
    let found = scenario_named(canary.scenario)
        .and_then(|scenario| canary.planted(|bug| shrink::<ToyBlockMap>(&scenario, bug, limits)));
    match found {
        Some(replay) => {
            write_html(&replay, html)?;
            if !how.json {
                return show(&replay);
            }
            let mut value = replay.json();
            value["name"] = canary.name.into();
            value["what"] = canary.what.into();
            print_json(&value)
        }
        None => Err(Failure::new("the planted bug was not found", name, "this is a bug")),
    }
}

fn everything(how: &How) -> Result<()> {
    let mut wrong = Vec::new();
    let mut said = Instant::now();
    let scenarios = all();
    let progress = run_all::<ToyBlockMap>(&scenarios, how.budget, |progress, scenario, outcome| {
        if outcome.found.is_some() {
            wrong.push(outcome.json(&scenario.name));
        }
        if said.elapsed() > Duration::from_secs(1) {
            said = Instant::now();
            eprintln!(
                "{}/{} scenarios, {:.0} executions/s",
                progress.done,
                progress.of,
                progress.rate()
            );
        }
    });
    let mut output = Output::stdout();
    if how.json {
        output.json(&json!({
            "scenarios": progress.done,
            "executions": progress.executions,
            "states": progress.states,
            "not_complete": progress.not_complete,
            "not_searched": progress.not_searched,
            "seconds": progress.time.as_secs_f64(),
            "wrong": wrong,
        }))?;
    } else {
        for one in &wrong {
            output.line(one.to_string())?;
        }
        output.line(format!(
            "{} scenarios, {} of them not through all schedules; {} more not begun; \
             {} executions ({:.0}/s), {} states; {} wrong",
            progress.done,
            progress.not_complete,
            progress.not_searched,
            progress.executions,
            progress.rate(),
            progress.states,
            progress.wrong
        ))?;
    }
    output.finish()?;
    if progress.wrong == 0 {
        return Ok(());
    }
    let advice = "see 'limpid-explore replay'";
    Err(Failure::new(
        "schedules break the contract",
        format!("{} scenarios", progress.wrong),
        advice,
    ))
}
