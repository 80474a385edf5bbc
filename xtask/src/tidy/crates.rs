//! Rules about what a crate may do: where `unsafe` is allowed, and that the DAX layer needs no
//! operating system.

use super::lexer;
use super::tree::{Offence, Tree};

/// The audit list: where `unsafe` may stand (files, or folders with `/` at the end).
const UNSAFE: [&str; 9] = [
    "crates/pmem/",
    "crates/mmu/",
    // The API for those who can prove that nobody changes the bytes, and its tests.
    "crates/limpid/src/slice.rs",
    "crates/limpid/tests/",
    // Opens LMDB, whose API asks for a promise about its files.
    "crates/cli/tests/common/lmdb.rs",
    // Maps a file of a mount, as programs do.
    "crates/fuse/tests/common/kernel_map.rs",
    // Asks for and opens handles of files.
    "crates/fuse/tests/common/file_handle.rs",
    // Asks the host what it has yet to write, and writes without waiting.
    "crates/fuse/tests/common/calls.rs",
    // Measures loads and stores through plain pointers.
    "crates/cli/src/bench/raw.rs",
];

/// The root of the DAX layer, and what its first lines must declare.
const DAX: &str = "crates/dax/src/lib.rs";
const DAX_DECLARES: [&str; 2] = ["#![no_std]", "#![forbid(unsafe_code)]"];

/// `unsafe` stands only where the audit list allows it.
pub fn unsafe_code(tree: &Tree) -> Vec<Offence> {
    let mut offences = Vec::new();
    let audited = |path: &str| UNSAFE.iter().any(|allowed| path.starts_with(allowed));
    for source in tree.rust().filter(|source| !audited(&source.path)) {
        for (index, line) in source.code.lines().enumerate() {
            if lexer::find_word(line, "unsafe").is_some() {
                let what = "`unsafe` outside the audit list in xtask/src/tidy/crates.rs";
                offences.push(source.offence(index + 1, what));
            }
        }
    }
    offences
}

/// The DAX layer is `no_std` and without `unsafe`; only its tests may use `std`.
pub fn no_std(tree: &Tree) -> Vec<Offence> {
    let Some(root) = tree.source(DAX) else { return Vec::new() };
    let declared = |wanted: &str| root.code.lines().any(|line| line.trim_end() == wanted);
    let missing = DAX_DECLARES.into_iter().filter(|wanted| !declared(wanted));
    let mut offences: Vec<Offence> =
        missing.map(|wanted| root.offence(1, format!("`{wanted}` is missing"))).collect();
    let lines: Vec<&str> = root.code.lines().map(str::trim).collect();
    for (index, line) in lines.iter().enumerate() {
        let for_tests = index > 0 && lines[index - 1] == "#[cfg(test)]";
        if line.starts_with("extern crate std") && !for_tests {
            offences.push(root.offence(index + 1, "the DAX layer uses `std`"));
        }
    }
    offences
}

#[cfg(test)]
mod tests {
    use super::super::tree::places;
    use super::*;

    #[test]
    fn unsafe_outside_the_list_is_reported() {
        let text = "// unsafe\nunsafe { f() }\n";
        let tree = Tree::of(&[("crates/pmem/src/a.rs", text), ("crates/fs/src/a.rs", text)]);
        assert_eq!(places(unsafe_code(&tree)), ["crates/fs/src/a.rs:2"]);
    }

    #[test]
    fn a_dax_layer_with_std_is_reported() {
        let good = "#![no_std]\n#![forbid(unsafe_code)]\n#[cfg(test)]\nextern crate std;\n";
        let bad = "// #![no_std]\n#![forbid(unsafe_code)]\nextern crate std;\n";
        assert_eq!(no_std(&Tree::of(&[(DAX, good)])), []);
        let expected = [format!("{DAX}:1"), format!("{DAX}:3")];
        assert_eq!(places(no_std(&Tree::of(&[(DAX, bad)]))), expected);
    }
}
