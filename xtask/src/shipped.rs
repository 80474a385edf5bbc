//! What is in `limpid` as it is shipped: nothing of the laboratory.
//!
//! The explorer, its stack-switching crate, the control of clock and failures in `limpid-fs` and
//! planted bugs are for tests. Neither the dependency tree of the binary, built as users build it,
//! nor its symbols may hold them. What the binary is built with does not depend on the profile, so
//! the one that the conformance suites need is looked at.

use std::path::Path;

use crate::{conformance, run};

/// Crates and features that the dependency tree must not name, as `cargo tree` prints them.
const NOT_IN_TREE: [&str; 4] = ["limpid-explore ", "generator ", "control", "canary"];

/// Parts of the names of what must not be linked: a crate, a crate, a module that is there with
/// the feature `control` only.
const NOT_IN_SYMBOLS: [&str; 3] = ["limpid_explore", "_ZN9generator", "7control7enabled"];

/// Builds the binary and looks; whether it is clean.
pub fn run(root: &Path) -> bool {
    let tree =
        ["tree", "--package=limpid-cli", "--edges=normal", "--prefix=none", "--format={p} {f}"];
    let Some(tree) = run::cargo_output(root, &tree) else { return false };
    if !run::cargo(root, &["build", "--package", "limpid-cli"]) {
        return false;
    }
    let binary = conformance::target(root).join("debug/limpid");
    let symbols = match std::fs::read(&binary) {
        Ok(bytes) => bytes,
        Err(error) => {
            eprintln!("xtask: {}: {error}: it was just built", binary.display());
            return false;
        }
    };
    let found: Vec<&str> = in_tree(&tree).into_iter().chain(in_symbols(&symbols)).collect();
    for name in &found {
        eprintln!("xtask: limpid as it is shipped holds {name}: it is for tests only");
    }
    found.is_empty()
}

fn in_tree(tree: &str) -> Vec<&'static str> {
    NOT_IN_TREE.into_iter().filter(|name| tree.contains(name)).collect()
}

fn in_symbols(binary: &[u8]) -> Vec<&'static str> {
    // Names are runs of printable characters, so all else can be passed over at once.
    let runs = binary.split(|byte| !byte.is_ascii_graphic());
    let names: Vec<&str> = runs.filter_map(|run| std::str::from_utf8(run).ok()).collect();
    let holds = |wanted: &&str| names.iter().any(|name| name.contains(*wanted));
    NOT_IN_SYMBOLS.into_iter().filter(holds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_tests_is_found() {
        assert_eq!(in_tree("limpid v0.1.0 (/x)\nlimpid-fs v0.1.0 (/x) \n"), [""; 0]);
        let bad = "limpid-explore v0.1.0 (/x)\nlimpid-fs v0.1.0 (/x) control\ngenerator v0.8.8\n";
        assert_eq!(in_tree(bad), ["limpid-explore ", "generator ", "control"]);
        assert_eq!(in_symbols(b"_ZN9limpid_fs7control9clock17h0E"), [""; 0]);
        assert_eq!(in_symbols(b"_ZN13clap_complete3aot9generator5utils"), [""; 0]);
        assert_eq!(in_symbols(b"_ZN9limpid_fs7control7enabled5clock17h0E"), ["7control7enabled"]);
    }
}
