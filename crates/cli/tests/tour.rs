//! Goal: the tour shows the seed problem on real page tables, in the documented JSON, on a pool of
//! its own and on one it is given, and leaves nothing behind.
//!
//! Method: the built binary, its JSON, and the pool afterwards.

use std::path::Path;
use std::process::{Command, Output};

fn limpid(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_limpid"));
    command.args(arguments).current_dir(dir).env("TMPDIR", dir).output().unwrap()
}

/// None, and said, where the machine has no maps.
fn tour(dir: &Path, arguments: &[&str]) -> Option<serde_json::Value> {
    let output = limpid(dir, &[&["tour", "--json", "--seconds", "1"], arguments].concat());
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("userfaultfd") {
        eprintln!("skipped: {stderr}");
        return None;
    }
    assert!(output.status.success(), "{stderr}");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_tour_holds_and_says_so_in_json() {
    let dir = tempfile::tempdir().unwrap();
    let Some(report) = tour(dir.path(), &[]) else { return };
    assert_eq!(report["coherent"], true);
    assert_eq!(report["race"]["stale"], 0);
    assert!(report["race"]["ops"].as_u64().unwrap() > 1000);
    let steps = report["steps"].as_array().unwrap();
    assert!(steps.len() >= 9 && steps.iter().all(|step| step["ok"] == true));
    let zero = report["zero_page_bytes"].as_u64().unwrap();
    assert_eq!(zero, 2 << 20, "one 2 MiB zero page");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_given_pool_keeps_its_files_and_gets_no_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    assert!(limpid(dir.path(), &["mkfs", "pool", "--size", "64MiB"]).status.success());
    assert!(limpid(dir.path(), &["mkdir", "pool:/kept"]).status.success());
    if tour(dir.path(), &["pool"]).is_none() {
        return;
    }
    let listed = limpid(dir.path(), &["ls", "pool:/"]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout).trim(), "kept");
}

#[test]
fn what_is_no_pool_is_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    std::fs::write(&path, "text".repeat(5000)).unwrap();
    let output = limpid(dir.path(), &["tour", "text"]);
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("not a pool") && stderr.trim().lines().count() == 1, "{stderr}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "text".repeat(5000));
}
