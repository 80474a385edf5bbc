//! The rule that every lock whose order is checked has a class.

use super::lexer::{find_word, is_word};
use super::tree::{Offence, Source, Tree};

/// Where locks are those of `limpid-locks`.
const CHECKED: [&str; 3] = ["crates/fs/src/", "crates/limpid/src/", "crates/fuse/src/"];
/// What std calls things that are waited for.
const NAMES: [&str; 5] = ["Mutex", "RwLock", "Condvar", "ReentrantLock", "Barrier"];

/// In the crates whose order of locks is checked, the locks are those of `limpid-locks`; unit
/// tests, which come last in a file or in a file `tests.rs`, use what they like.
pub fn bare_locks(tree: &Tree) -> Vec<Offence> {
    let checked = |path: &str| CHECKED.iter().any(|start| path.starts_with(start));
    let sources =
        tree.rust().filter(|source| checked(&source.path) && !source.path.ends_with("/tests.rs"));
    sources.flat_map(offences).collect()
}

fn offences(source: &Source) -> Vec<Offence> {
    let code = source.code.split("#[cfg(test)]").next().unwrap_or_default();
    let line_of = |at: usize| code[..at].lines().count().max(1);
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        if find_word(line, "parking_lot").is_some() {
            found.push(index + 1);
        }
    }
    const PATH: &str = "std::sync::";
    for (at, _) in code.match_indices(PATH) {
        let rest = &code[at + PATH.len()..];
        let named = match rest.starts_with('{') {
            true => rest.split(';').next().unwrap_or_default(),
            false => rest.split(|c| !is_word(c)).next().unwrap_or_default(),
        };
        if NAMES.iter().any(|name| find_word(named, name).is_some()) {
            found.push(line_of(at + 1));
        }
    }
    let what = "a lock without a class: take those of limpid-locks";
    found.into_iter().map(|line| source.offence(line, what)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::places;
    use super::*;

    #[test]
    fn locks_without_a_class_are_reported() {
        let bad = "use std::sync::{\n    Arc,\n    Mutex,\n};\nuse parking_lot::RwLock;\n\
                   static A: std::sync::RwLock<()> = b();\n";
        let good = "use std::sync::{Arc, OnceLock};\nuse limpid_locks::Mutex; // not parking_lot\n\
                    use std::sync::atomic::AtomicU64;\nstruct A { a: std::sync::Arc<Mutex<()>> }\n\
                    #[cfg(test)]\nmod tests {\n    use std::sync::Mutex;\n}\n";
        let tree = Tree::of(&[
            ("crates/fs/src/a.rs", bad),
            ("crates/limpid/src/a.rs", good),
            ("crates/fuse/src/a/tests.rs", bad),
            ("crates/fs/tests/a.rs", bad),
            ("crates/mmu/src/a.rs", bad),
        ]);
        let expected = ["crates/fs/src/a.rs:5", "crates/fs/src/a.rs:1", "crates/fs/src/a.rs:6"];
        assert_eq!(places(bare_locks(&tree)), expected);
    }
}
