//! Goal: `limpid-explore` says what it searched, finds what is wrong, and replays it.
//!
//! Method: transcripts on small scenarios. Only bugs of the simulated parts are planted, which
//! needs no feature; a planted bug that is found ends with 0, since that is what was asked for.

use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A canary of the simulated parts, found within few executions.
const CANARY: &str = "B11";

/// How a run of the command ended.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ended {
    fn text(&self) -> &str {
        &self.stdout
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A folder of its own, in which the command runs.
struct Sandbox(TempDir);

impl Sandbox {
    fn new() -> Sandbox {
        Sandbox(tempfile::tempdir().unwrap())
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_limpid-explore"));
        command.args(arguments).current_dir(self.0.path()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        Ended { code: output.status.code().expect("not killed"), stdout, stderr }
    }

    fn ok(&self, arguments: &[&str]) -> Ended {
        let ended = self.run(arguments);
        assert_eq!((ended.code, &*ended.stderr), (0, ""), "{arguments:?}");
        ended
    }

    /// It has to fail with one line that says `what`.
    fn fails(&self, arguments: &[&str], what: &str) -> Ended {
        let ended = self.run(arguments);
        let line = &ended.stderr;
        assert!(matches!(ended.code, 1 | 2), "{arguments:?}: {}: {line}", ended.code);
        let is_line = line.starts_with("limpid-explore: ") && line.lines().count() == 1;
        assert!(is_line && line.contains(what), "{arguments:?}: {line}");
        ended
    }
}

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn the_readmes_commands_work() {
    let sandbox = Sandbox::new();
    let readme = include_str!("../../../README.md");
    let lines = readme.lines().filter_map(|line| line.strip_prefix("limpid-explore "));
    let mut ran = 0;
    for line in lines {
        sandbox.ok(&line.split(' ').collect::<Vec<_>>());
        ran += 1;
    }
    assert!(ran > 0, "the README's commands were found");
}

#[test]
fn list_names_scenarios_and_filters_them() {
    let sandbox = Sandbox::new();
    let all = sandbox.ok(&["list"]);
    assert!(all.text().lines().count() > 1000 && all.text().starts_with("seed\n"));
    let triples = sandbox.ok(&["list", "triple/"]);
    assert!(triples.text().lines().count() > 3);
    assert!(triples.text().lines().all(|name| name.contains("triple/")));
    assert_eq!(sandbox.ok(&["list", "no scenario is called so"]).text(), "");
}

#[test]
fn run_tells_the_search_and_whether_it_was_exhausted() {
    let sandbox = Sandbox::new();
    let ended = sandbox.ok(&["run", "seed"]);
    let line = ended.text().strip_suffix('\n').unwrap();
    assert!(line.starts_with("all schedules: exhausted; "), "{line}");
    for part in [" executions (", "/s), ", " states, "] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(line.lines().count(), 1);
}

#[test]
fn run_prints_json() {
    let sandbox = Sandbox::new();
    let json = sandbox.ok(&["run", "seed", "--json"]).json();
    let wanted = ["executions", "exhausted", "found", "scenario", "search", "seconds", "states"];
    assert_eq!(keys(&json), wanted);
    assert_eq!((&json["scenario"], &json["exhausted"]), (&"seed".into(), &true.into()));
    assert!(json["found"].is_null() && json["states"].as_u64().unwrap() > 100);
}

#[test]
fn a_canary_is_found_and_its_schedule_can_be_followed() {
    let sandbox = Sandbox::new();
    let found = sandbox.ok(&["canary", CANARY, "--html", "page.html"]);
    let page = std::fs::read_to_string(sandbox.0.path().join("page.html")).unwrap();
    assert!(page.contains("<html") && page.contains("C7"), "{page}");
    assert!(found.text().contains("C7"), "{}", found.text());
    let replay = found.text().lines().find_map(|line| line.strip_prefix("replay: "));
    let replay = replay.expect("a line begins with 'replay: '");
    // Without the planted bug the same steps are right.
    let followed = sandbox.ok(&["replay", replay]);
    assert!(followed.text().contains("BEGIN") && !followed.text().contains("C7"));
    let again = sandbox.ok(&["replay", replay]);
    assert_eq!(followed.text(), again.text(), "a replay is exact");
}

#[test]
fn a_schedule_that_breaks_the_contract_ends_with_1_and_bad_use_with_2() {
    let sandbox = Sandbox::new();
    let advice = "a schedule breaks the contract";
    let found = sandbox.fails(&["run", "seed", "--canary", CANARY], advice);
    assert_eq!(found.code, 1);
    let replay = found.text().lines().find_map(|line| line.strip_prefix("replay: "));
    let replay = replay.expect("a line begins with 'replay: '");
    let again = sandbox.fails(&["replay", replay, "--canary", CANARY], advice);
    assert!(again.code == 1 && again.text().contains("C7"), "{}", again.text());
    assert_eq!(sandbox.ok(&["replay", replay]).code, 0, "right without the bug");
    for wrong in [["run", "no-such"], ["replay", "seed"]] {
        assert_eq!(sandbox.run(&wrong).code, 2, "{wrong:?}");
    }
    let unknown = ["run", "seed", "--canary", "no-such"];
    assert_eq!(sandbox.fails(&unknown, "no such canary").code, 2);
}

#[test]
fn canaries_print_json() {
    let sandbox = Sandbox::new();
    let all = sandbox.ok(&["canary", "--json"]).json();
    let all = all.as_array().unwrap();
    assert!(all.len() >= 30);
    let wanted = ["can_be_planted", "name", "scenario", "what"];
    assert!(all.iter().all(|one| keys(one) == wanted));
    let one = sandbox.ok(&["canary", CANARY, "--json"]).json();
    assert_eq!(keys(&one), ["clause", "name", "replay", "scenario", "seen", "steps", "what"]);
    assert_eq!((&one["name"], &one["clause"]), (&CANARY.into(), &"C7".into()));
    let steps = one["steps"].as_array().unwrap();
    assert!(!steps.is_empty() && steps.iter().all(|step| keys(step) == ["actor", "text"]));
    assert!(sandbox.ok(&["replay", one["replay"].as_str().unwrap()]).code == 0);
}

#[test]
fn what_is_unknown_fails_with_one_line() {
    let sandbox = Sandbox::new();
    for (arguments, what) in [
        (["run", "no-such"], "no such scenario"),
        (["replay", "no-such@a"], "no such scenario or schedule"),
        (["replay", "seed@what?"], "no such scenario or schedule"),
        (["replay", "seed"], "no such scenario or schedule"),
        (["canary", "no-such"], "no such canary"),
    ] {
        sandbox.fails(&arguments, what);
    }
    sandbox.fails(&["run", "seed", "--budget", "soon"], "number");
    for budget in ["10001h", "18446744073709551615", "18446744073709551616", "-1"] {
        sandbox.fails(&["all", "--budget", budget], "");
        sandbox.fails(&["crash", "nosuch", "--budget", budget], "");
    }
}

#[test]
fn all_stops_at_its_budget_and_tells_what_is_not_complete() {
    let sandbox = Sandbox::new();
    let ended = sandbox.run(&["all", "--budget", "1s", "--json"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let json = ended.json();
    let wanted =
        ["executions", "not_complete", "not_searched", "scenarios", "seconds", "states", "wrong"];
    assert_eq!(keys(&json), wanted);
    let number = |key: &str| json[key].as_u64().unwrap();
    assert!(number("not_searched") > 0, "one second is too little: {json}");
    let all = sandbox.ok(&["list"]).text().lines().count() as u64;
    assert_eq!(number("scenarios") + number("not_searched"), all);
    assert_eq!(json["wrong"], Value::Array(Vec::new()));
}

#[test]
fn crash_lists_workloads_with_what_was_looked_at() {
    let sandbox = Sandbox::new();
    let ended = sandbox.ok(&["crash", "rename-exchange+chmod", "--budget", "1s"]);
    let lines: Vec<&str> = ended.text().lines().collect();
    assert!(lines[0].starts_with("rename-exchange+chmod: "), "{}", lines[0]);
    assert!(lines[0].contains(" distinct states (") && lines[0].ends_with(" sampled"));
    assert!(lines[1].starts_with("1 of 1 workloads: ") && lines[1].ends_with("; 0 wrong"));
    let json = sandbox.ok(&["crash", "mkdir+rmdir", "--json", "--budget", "1s"]).json();
    assert_eq!(keys(&json), ["of", "seconds", "total", "workloads", "wrong"]);
    assert_eq!(json["workloads"][0]["workload"], "mkdir+rmdir");
    assert!(json["total"]["distinct"].as_u64().unwrap() > 100 && json["wrong"] == 0);
}

#[test]
fn crash_replays_a_state() {
    let sandbox = Sandbox::new();
    let ended = sandbox.ok(&["crash", "--replay", "create@9:0,5"]);
    let lines: Vec<&str> = ended.text().lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("lost: journal, lane 0 slot 0"), "{lines:?}");
    assert_eq!(lines[2], "nothing is wrong");
    for (bad, what) in
        [("no-such@1:", "no such replay"), ("create@1000000:", "the workload has no such crash")]
    {
        let failed = sandbox.fails(&["crash", "--replay", bad], what);
        assert_eq!(failed.code, 2);
    }
    sandbox.fails(&["crash", "no workload is called so"], "no workload has this");
}
