//! Goal: a real tree of thousands of files goes in and out unchanged. Method: the sources of the
//! crates that cargo has downloaded, or a tree made up for the occasion, are copied in, compared,
//! copied out, and compared.

mod common;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Sandbox, picture};
use limpid::PoolOptions;

/// As many as make a test of it; the rest of the registry would only take longer.
const FILES: usize = 3000;

/// Folders of cargo's registry that together have some thousands of files.
fn registry() -> Vec<PathBuf> {
    let home = env::var_os("HOME").map(PathBuf::from);
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let Some(cargo) = cargo.or_else(|| home.map(|home| home.join(".cargo"))) else {
        return Vec::new();
    };
    let mut folders = Vec::new();
    let mut files = 0;
    for index in children(&cargo.join("registry/src")) {
        for folder in children(&index) {
            if files < FILES {
                files += count(&folder);
                folders.push(folder);
            }
        }
    }
    if files < FILES { Vec::new() } else { folders }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn count(path: &Path) -> usize {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => children(path).iter().map(|path| count(path)).sum(),
        _ => 1,
    }
}

/// A tree of the same size, where cargo has none.
fn made_up(sandbox: &Sandbox) -> Vec<PathBuf> {
    eprintln!("skipped: cargo's registry is missing or small; a made-up tree takes its place");
    for index in 0..FILES {
        let bytes = vec![index as u8; index * 37 % 50_000];
        sandbox.write(&format!("made-up/{}/{}/{index}", index % 7, index % 31), bytes);
    }
    vec![sandbox.path("made-up")]
}

#[test]
fn a_real_tree_goes_in_and_out() {
    let sandbox = Sandbox::new();
    sandbox.ok(&["mkfs", "p", "--size", "2GiB"]);
    let found = registry();
    let folders = if found.is_empty() { made_up(&sandbox) } else { found };
    let arguments = |last: &str| {
        let mut arguments = vec!["cp".into(), "-r".into()];
        arguments.extend(folders.iter().map(|folder| folder.clone().into_os_string()));
        arguments.push(last.into());
        arguments
    };
    sandbox.ok(&["mkdir", "p:/in"]);
    sandbox.ok(&arguments("p:/in"));

    let mut files = 0;
    {
        let pool = PoolOptions::new().read_only(true).open(sandbox.path("p")).unwrap();
        for folder in &folders {
            let original = picture::of_host(folder);
            files += original.len();
            let name = Path::new("/in").join(folder.file_name().unwrap());
            let inside = picture::of_pool(&pool, &name);
            picture::assert_same(&original, &inside, &folder.display().to_string());
        }
        let problems = pool.check().unwrap();
        assert!(problems.is_empty(), "{problems:?}");
    }
    assert!(files >= FILES);

    sandbox.ok(&["cp", "-r", "p:/in", "out"]);
    for folder in &folders {
        let original = picture::of_host(folder);
        let out = picture::of_host(&sandbox.path("out").join(folder.file_name().unwrap()));
        picture::assert_same(&original, &out, &folder.display().to_string());
    }
}
