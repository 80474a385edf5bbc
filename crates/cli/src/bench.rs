//! `limpid bench`: Limpid beside tmpfs system calls and beside the raw copy, in one process and
//! one run.
//!
//! Every case runs in rounds; in each round each side runs once, in turn, so that a noisy moment
//! hits all sides. The numbers are medians over the rounds, in nanoseconds per operation; compare
//! the ratios, not the numbers.

mod cases;
mod large;
mod raw;
mod threads;

use serde_json::json;

use crate::failure::{self, Failure, Result};
use crate::output::Output;

/// Measure Limpid beside tmpfs and raw memory
#[derive(clap::Args, Clone, Debug)]
pub struct Bench {
    /// Fewer and smaller operations: a few seconds in all
    #[arg(long)]
    quick: bool,
    /// Treat the pool as persistent memory: stores leave the caches and are fenced
    #[arg(long)]
    persistent: bool,
    /// Run only cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Print one JSON array instead of a table
    #[arg(long)]
    json: bool,
}

/// One measured case; times in nanoseconds per operation.
#[derive(Clone, Debug)]
struct Row {
    case: &'static str,
    limpid_ns: f64,
    tmpfs_ns: Option<f64>,
    raw_ns: Option<f64>,
    /// What "raw" is here.
    note: &'static str,
}

impl Row {
    /// How many times as fast as the other side.
    fn ratio(&self, other: Option<f64>) -> Option<f64> {
        other.map(|other| other / self.limpid_ns)
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "case": self.case,
            "limpid_ns": round(self.limpid_ns),
            "tmpfs_ns": self.tmpfs_ns.map(round),
            "raw_ns": self.raw_ns.map(round),
            "ratio_tmpfs": self.ratio(self.tmpfs_ns).map(round),
            "ratio_raw": self.ratio(self.raw_ns).map(round),
            "note": self.note,
        })
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// One side of a case: does one round and returns nanoseconds per operation.
type Side<'a> = Box<dyn FnMut() -> limpid::Result<f64> + 'a>;

/// Runs the sides in turn, `rounds` times after one round of warming up; medians.
fn measure(rounds: usize, sides: &mut [Side<'_>]) -> limpid::Result<Vec<f64>> {
    let mut times = vec![Vec::new(); sides.len()];
    for round in 0..=rounds {
        for (side, times) in sides.iter_mut().zip(&mut times) {
            let time = side()?;
            if round > 0 {
                times.push(time);
            }
        }
    }
    Ok(times.into_iter().map(median).collect())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Nanoseconds per operation of `work` done `count` times.
fn per_op(count: u64, mut work: impl FnMut(u64) -> limpid::Result<()>) -> limpid::Result<f64> {
    let start = std::time::Instant::now();
    for number in 0..count {
        work(number)?;
    }
    Ok(start.elapsed().as_nanos() as f64 / count as f64)
}

/// What all cases share.
struct Setting {
    rounds: usize,
    ops: u64,
    quick: bool,
    persistent: bool,
}

impl Bench {
    /// Runs the cases and prints them.
    pub fn run(self) -> Result<()> {
        let setting = Setting {
            rounds: if self.quick { 5 } else { 11 },
            ops: if self.quick { 20_000 } else { 200_000 },
            quick: self.quick,
            persistent: self.persistent,
        };
        let all = || cases::ALL.iter().chain(large::ALL).chain(threads::ALL);
        let wanted =
            |name: &str| self.only.as_ref().is_none_or(|text| name.contains(text.as_str()));
        if !all().any(|(name, _)| wanted(name)) {
            let names: Vec<&str> = all().map(|(name, _)| *name).collect();
            let advice = format!("the cases are {}", names.join(", "));
            return Err(Failure::usage("no case has this in its name", "--only", &advice));
        }
        let mut output = Output::stdout();
        if !self.json {
            output.line(heading())?;
        }
        let mut rows = Vec::new();
        for (name, case) in all().filter(|(name, _)| wanted(name)) {
            match case(&setting) {
                Ok(row) => {
                    if !self.json {
                        output.line(row.line())?;
                    }
                    rows.push(row.json());
                }
                Err(limpid::Error::NoMaps(reason)) => eprintln!("skipped: {name}: {reason}"),
                Err(error) => return Err(failure::from_pool(&error, name)),
            }
        }
        if self.json {
            output.json(&serde_json::Value::from(rows))?;
        }
        output.finish()
    }
}

fn heading() -> String {
    let [case, limpid, tmpfs, raw] = ["case", "limpid ns", "tmpfs ns", "raw ns"];
    format!("{case:<24} {limpid:>12} {tmpfs:>12} {raw:>12} {:>8} {:>8}", "x tmpfs", "x raw")
}

impl Row {
    fn line(&self) -> String {
        let time = |time: Option<f64>| time.map_or("-".to_owned(), |time| format!("{time:.1}"));
        let ratio =
            |ratio: Option<f64>| ratio.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        format!(
            "{:<24} {:>12} {:>12} {:>12} {:>8} {:>8}  {}",
            self.case,
            time(Some(self.limpid_ns)),
            time(self.tmpfs_ns),
            time(self.raw_ns),
            ratio(self.ratio(self.tmpfs_ns)),
            ratio(self.ratio(self.raw_ns)),
            self.note
        )
    }
}

type Case = (&'static str, fn(&Setting) -> limpid::Result<Row>);
