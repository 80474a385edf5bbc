//! Rules about manifests, read line by line: tables and the keys in them are all they need.

use std::collections::BTreeSet;

use super::tree::{Offence, Source, Tree};

/// Where every dependency has a line that says who uses it and why.
const DEPENDENCIES: &str = "docs/dependencies.md";

/// Every crate takes the workspace's lints.
pub fn lints(tree: &Tree) -> Vec<Offence> {
    let crates = tree.manifests().filter(|manifest| package_name(manifest).is_some());
    let loose = crates.filter(|manifest| {
        let entries = entries(manifest);
        let inherits = |entry: &Entry<'_>| {
            let key = (entry.table, entry.key);
            entry.value == "true"
                && [("lints", "workspace"), ("", "lints.workspace")].contains(&key)
        };
        !entries.iter().any(inherits)
    });
    loose.map(|manifest| manifest.offence(1, "`lints.workspace = true` is missing")).collect()
}

/// Every dependency that is not a crate of the workspace has a line in docs/dependencies.md.
pub fn dependencies(tree: &Tree) -> Vec<Offence> {
    let own: BTreeSet<&str> = tree.manifests().filter_map(package_name).collect();
    let listed = tree.source(DEPENDENCIES).map_or("", |source| &source.text);
    let listed: BTreeSet<&str> = listed.lines().filter_map(listed_name).collect();
    let mut offences = Vec::new();
    for manifest in tree.manifests() {
        for (line, name) in dependency_names(manifest) {
            if !own.contains(name) && !listed.contains(name) {
                let what = format!("`{name}` has no line in {DEPENDENCIES}");
                offences.push(manifest.offence(line, what));
            }
        }
    }
    offences
}

/// The name in a row of the list: "| `name` | ...".
fn listed_name(row: &str) -> Option<&str> {
    let (name, _) = row.strip_prefix("| `")?.split_once('`')?;
    Some(name)
}

/// A `key = value` line of a manifest.
struct Entry<'a> {
    line: usize,
    table: &'a str,
    key: &'a str,
    value: &'a str,
}

fn entries(manifest: &Source) -> Vec<Entry<'_>> {
    let mut table = "";
    let mut entries = Vec::new();
    for (index, line) in manifest.text.lines().enumerate() {
        let line = line.split(" #").next().unwrap_or(line).trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            table = name.trim();
            entries.push(Entry { line: index + 1, table, key: "", value: "" });
        } else if let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
            entries.push(Entry { line: index + 1, table, key: key.trim(), value: value.trim() });
        }
    }
    entries
}

fn package_name(manifest: &Source) -> Option<&str> {
    let entries = entries(manifest);
    let name = entries.iter().find(|entry| (entry.table, entry.key) == ("package", "name"))?;
    Some(name.value.trim_matches('"'))
}

/// Names of the dependencies of any kind, with their lines.
fn dependency_names(manifest: &Source) -> Vec<(usize, &str)> {
    let is_list = |table: &str| table.ends_with("dependencies");
    let mut names = Vec::new();
    for entry in entries(manifest) {
        if entry.key.is_empty() {
            // A table of its own: [dependencies.name].
            let parts = entry.table.rsplit_once('.');
            names.extend(
                parts.filter(|(list, _)| is_list(list)).map(|(_, name)| (entry.line, name)),
            );
        } else if is_list(entry.table) {
            let name = entry.key.split('.').next().unwrap_or(entry.key);
            names.push((entry.line, name.trim_matches('"')));
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::super::tree::places;
    use super::*;

    #[test]
    fn loose_lints_are_reported() {
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace.lints.rust]\n"),
            ("a/Cargo.toml", "[package]\nname = \"a\"\n[lints]\nworkspace = true\n"),
            ("b/Cargo.toml", "lints.workspace = true\n[package]\nname = \"b\"\n"),
            ("c/Cargo.toml", "[package]\nname = \"c\"\n[lints]\nworkspace = false\n"),
        ]);
        assert_eq!(places(lints(&tree)), ["c/Cargo.toml:1"]);
    }

    #[test]
    fn unlisted_dependencies_are_reported() {
        let manifest = [
            "[package]",
            "name = \"a\"",
            "[dependencies]",
            "b.workspace = true",
            "listed = \"1\"",
            "# c = \"1\"",
            "d = { version = \"1\" } # why",
            "[target.'cfg(unix)'.dev-dependencies]",
            "e = \"1\"",
            "[build-dependencies.f]",
            "version = \"1\"",
            "[features]",
            "g = []",
        ]
        .join("\n");
        let tree = Tree::of(&[
            ("Cargo.toml", "[workspace.dependencies]\nh = \"1\"\n"),
            ("a/Cargo.toml", &manifest),
            ("b/Cargo.toml", "[package]\nname = \"b\"\n"),
            (DEPENDENCIES, "| name | used by | why |\n| `listed` | a | it is kept well |\n"),
        ]);
        let expected = ["Cargo.toml:2", "a/Cargo.toml:7", "a/Cargo.toml:9", "a/Cargo.toml:10"];
        assert_eq!(places(dependencies(&tree)), expected);
    }
}
