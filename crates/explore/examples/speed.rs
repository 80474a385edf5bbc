//! Runs the catalogue and prints what is wrong.
use limpid_explore::*;
use std::time::Instant;
fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let t = Instant::now();
    let (mut n, mut ex, mut st, mut bad, mut open) = (0, 0, 0, 0, 0);
    let mut worst = (0, String::new());
    for s in catalog::all() {
        if !s.name.contains(&filter) {
            continue;
        }
        let o = search::<ToyBlockMap>(
            &s,
            SimBug::None,
            Search::Complete,
            Limits { states: 4_000_000, time: std::time::Duration::from_secs(3) },
        );
        n += 1;
        ex += o.executions;
        st += o.states;
        if o.states > worst.0 {
            worst = (o.states, s.name.clone());
        }
        if let Some((v, sch)) = o.found {
            bad += 1;
            println!("{}: {} {} ({} steps)", s.name, v.clause, v.seen, sch.len());
            if filter.len() > 20 {
                for l in trace::<ToyBlockMap>(&s, SimBug::None, &sch) {
                    println!("{}{}: {}", " ".repeat(l.actor * 60), l.actor, l.text);
                }
            }
        } else if !o.exhausted {
            open += 1;
            if filter.len() > 20 {
                for l in trace::<ToyBlockMap>(&s, SimBug::None, &o.longest).iter().take(150) {
                    println!("{}{}: {}", " ".repeat(l.actor * 60), l.actor, l.text);
                }
            }
            println!("{}: NOT EXHAUSTED {} states", s.name, o.states);
        }
    }
    println!(
        "{n} scenarios, {ex} executions, {st} states, {bad} bad, {open} open, {:?}, worst {worst:?}",
        t.elapsed()
    );
}
