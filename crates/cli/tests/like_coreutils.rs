//! Goal: every command does with symbolic links, slashes and dots at each of its arguments what
//! coreutils do. Method: each line runs in a small tree on the host, and by `limpid` where the same
//! tree, or one side of the copy, is in a pool. Both succeed and leave the same tree, or both fail
//! and ours is untouched.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use common::Sandbox;
use limpid::{FileKind, Pool, PoolOptions};

type Tree = BTreeMap<String, String>;

/// `/` at the end makes a directory, ` -> ` a link, ` = ` another name.
const TREE: [&str; 14] = [
    "x",
    "y",
    "two",
    "other = two",
    "dir/",
    "dir/f",
    "dd/",
    "dd/i",
    "empty/",
    "sy -> y",
    "dang -> nowhere",
    "sdir -> dir",
    "loop -> loop",
    "stwo -> two",
];

fn fill_host(root: &Path) {
    std::fs::create_dir(root).unwrap();
    for line in TREE {
        if let Some((name, target)) = line.split_once(" -> ") {
            std::os::unix::fs::symlink(target, root.join(name)).unwrap();
        } else if let Some((name, first)) = line.split_once(" = ") {
            std::fs::hard_link(root.join(first), root.join(name)).unwrap();
        } else if line.ends_with('/') {
            std::fs::create_dir(root.join(line)).unwrap();
        } else {
            std::fs::write(root.join(line), line).unwrap();
        }
    }
}

fn fill_pool(path: &Path) {
    let pool = PoolOptions::new().create(path, 8 << 20).unwrap();
    for line in TREE {
        if let Some((name, target)) = line.split_once(" -> ") {
            pool.symlink(target, name).unwrap();
        } else if let Some((name, first)) = line.split_once(" = ") {
            pool.hard_link(first, name).unwrap();
        } else if line.ends_with('/') {
            pool.create_dir(line, 0o755).unwrap();
        } else {
            pool.write(line, line.as_bytes()).unwrap();
        }
    }
}

fn host_tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![root.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            let shown = if kind.is_dir() {
                todo.push(path.clone());
                "directory".to_owned()
            } else if kind.is_symlink() {
                format!("-> {}", std::fs::read_link(&path).unwrap().display())
            } else {
                String::from_utf8(std::fs::read(&path).unwrap()).unwrap()
            };
            tree.insert(path.strip_prefix(root).unwrap().display().to_string(), shown);
        }
    }
    tree
}

fn pool_tree(path: &Path) -> Tree {
    let pool = PoolOptions::new().read_only(true).open(path).unwrap();
    let mut tree = Tree::new();
    add_directory(&pool, "", &mut tree);
    tree
}

fn add_directory(pool: &Pool, directory: &str, tree: &mut Tree) {
    for entry in pool.read_dir(format!("/{directory}")).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{directory}{}", entry.name.to_str().unwrap());
        let shown = match entry.kind {
            FileKind::Directory => {
                add_directory(pool, &format!("{path}/"), tree);
                "directory".to_owned()
            }
            FileKind::Symlink => format!("-> {}", pool.read_link(&path).unwrap().display()),
            _ => String::from_utf8(pool.read(&path).unwrap()).unwrap(),
        };
        tree.insert(path, shown);
    }
}

/// Which of the trees `a` and `b` is in a pool.
#[derive(Clone, Copy, PartialEq, Eq)]
enum InPool {
    A,
    B,
}

/// A folder with a full pool `p`, which each case starts with.
fn template() -> Sandbox {
    let sandbox = Sandbox::new();
    fill_pool(&sandbox.path("p"));
    sandbox
}

/// Runs a line by coreutils and by limpid. Words that begin with `a/` or `b/` are paths in one of
/// two trees, of which one is in a pool.
fn compare(line: &str, in_pool: InPool, template: &Sandbox) -> Result<(), String> {
    let sandbox = Sandbox::new();
    let theirs = sandbox.path("theirs");
    std::fs::create_dir(&theirs).unwrap();
    fill_host(&theirs.join("a"));
    fill_host(&theirs.join("b"));
    let (pooled, kept) = if in_pool == InPool::A { ("a", "b") } else { ("b", "a") };
    fill_host(&sandbox.path(kept));
    std::fs::copy(template.path("p"), sandbox.path("p")).unwrap();
    let before = (host_tree(&theirs.join("a")), host_tree(&theirs.join("b")));

    let words: Vec<&str> = line.split(' ').collect();
    let output = Command::new(words[0])
        .args(&words[1..])
        .current_dir(&theirs)
        .env("LC_ALL", "C")
        .output()
        .unwrap();
    let arguments: Vec<String> = words
        .iter()
        .map(|word| match word.strip_prefix(pooled) {
            Some(path) if path.starts_with('/') => format!("p:{path}"),
            _ => (*word).to_owned(),
        })
        .collect();
    let ended = sandbox.run(&arguments);

    let after = (host_tree(&sandbox.path(kept)), pool_tree(&sandbox.path("p")));
    let wanted = (host_tree(&theirs.join(kept)), host_tree(&theirs.join(pooled)));
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &ended.stderr;
    if output.status.success() != (ended.code == 0) {
        return Err(format!("{line}: only one succeeded:\n{told}"));
    }
    // Of several sources the first may have gone before a later one failed.
    let unchanged = ended.code != 0 && after == before;
    if after != wanted && !unchanged {
        return Err(format!("{line}: {wanted:?}\nbut {after:?}\n{told}"));
    }
    if ended.code == 0 && ended.stdout != output.stdout {
        return Err(format!("{line}: another output\n{told}"));
    }
    Ok(())
}

/// Compares all of the lines, each of which ends in a semicolon.
fn compare_all(lines: &str, in_pool: InPool) {
    let template = template();
    let lines = lines.split(';').map(str::trim).filter(|line| !line.is_empty());
    let wrong: Vec<String> =
        lines.filter_map(|line| compare(line, in_pool, &template).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const MOVES: &str = "
    mv a/x a/sy; mv a/x a/dang; mv a/dd a/dang; mv a/dd a/sy; mv a/x a/sdir; mv a/dd a/sdir;
    mv a/sy a/x; mv a/dang a/x; mv a/x a/loop; mv a/loop a/new; mv a/sdir a/dir; mv a/y a/sy;
    mv a/sy a/y; mv a/x a/dd; mv a/dir a/dd; mv a/x a/y; mv a/x a/x/; mv a/x a/x;
    mv a/sdir/ a/new; mv a/sdir/ a/dd; mv a/sdir a/new; mv a/dd a/new/; mv a/x a/new/;
    mv a/x a/sy/; mv a/two a/other; mv a/stwo a/two; mv a/stwo a/other; mv a/sy a/dang;
    mv a/sy a/sy; mv a/dd a/x; mv a/dd a/dir a/sdir; mv a/dd a/empty; mv a/x a/y a/dang;
    mv a/dd a/dd/i; mv a/dd a/loop; mv a/sdir/f a/sy; mv a/dd/. a/new; mv a/x a/sdir/;
    mv a/none a/sy; mv a/x/ a/new; mv a/dd/ a/new;
";

#[test]
fn mv_in_a_pool() {
    compare_all(MOVES, InPool::A);
}

const COPIES: &str = "
    cp a/x a/sy; cp a/x a/dang; cp a/x a/sdir; cp a/sy a/new; cp a/dang a/new; cp a/y a/sy;
    cp a/sy a/y; cp a/x a/loop; cp a/loop a/new; cp a/x a/new/; cp a/x a/sdir/; cp a/sy/ a/new;
    cp a/x a/sy/; cp a/dd a/new; cp a/sy a/sy; cp a/x a/y a/sdir; cp a/two a/other;
    cp a/stwo a/other; cp a/x a/dang/; cp -r a/dd a/dang; cp -r a/dd a/sdir; cp -r a/sy a/new;
    cp -r a/dang a/new; cp -r a/dang a/sy; cp -r a/sy a/x; cp -r a/sy a/y; cp -r a/y a/sy;
    cp -r a/x a/sy; cp -r a/x a/dang; cp -r a/sdir a/new; cp -r a/sdir/ a/new;
    cp -r a/sdir/ a/dd; cp -r a/sdir a/dd; cp -r a/dd a/x; cp -r a/sdir a/sy; cp -r a/loop a/sy;
    cp -r a/dd a/new/; cp -r a/sy a/new/; cp -r a/sy a/sy; cp -r a/dd/. a/sdir;
    cp -r a/dd/. a/new; cp -r a/stwo a/sy; cp -r a/stwo a/two; cp -r a/sdir a/dir;
    cp -r a/x a/y a/sy a/dd;
";

#[test]
fn cp_in_a_pool() {
    compare_all(COPIES, InPool::A);
}

const OTHERS: &str = "
    rm a/sy; rm a/sdir; rm -r a/sdir; rm -r a/sdir/; rm a/sdir/; rm a/dang; rm a/dang/;
    rm a/sy/; rm a/loop; rm -r a/dd/; rm a/dd; rm a/x/; rm -r a/dd/.; rm -r a/sdir/f;
    rm -r a/x a/sy a/dd; truncate -s 1 a/sy; truncate -s 1 a/dang; truncate -s 1 a/dir;
    truncate -s 1 a/new/; truncate -s 1 a/sdir; truncate -s 1 a/loop; truncate -s 1 a/sy/;
    mkdir a/dang; mkdir a/dang/; mkdir a/sy; mkdir a/sdir; mkdir a/new/; mkdir a/sdir/k;
    mkdir a/new/k; mkdir a/.; mkdir -p a/sdir/k; mkdir -p a/dang; mkdir -p a/dang/k;
    mkdir -p a/sdir; mkdir -p a/sy; mkdir -p a/new/k/; mkdir -p a/new/.; mkdir -p a/new/../k;
    mkdir -p a/loop; ln a/x a/sy; ln a/x a/sdir; ln a/x a/dang; ln a/sy a/new; ln a/dang a/new;
    ln a/sdir/ a/new; ln a/dd a/new; ln a/x a/new/; ln a/x a/x; ln a/x a/sdir/; ln a/x/ a/new;
    ln a/sdir a/new; ln a/x a/loop; ln -s q a/sdir; ln -s q a/dang; ln -s q a/sy;
    ln -s q a/new/; ln -s q a/loop; ln -s q/ a/sdir; ln -s q a/new; ln -s q a/empty/; cat a/sy;
    cat a/dang; cat a/sdir; cat a/loop; cat a/sdir/f; cat a/sy/; ls a/sdir; ls a/sdir/;
    ls a/loop/; ls a/dang/; ls a/sy/;
";

#[test]
fn the_other_commands() {
    compare_all(OTHERS, InPool::A);
}

/// What a copy or move between the host and a pool is tried with, in both directions.
const ACROSS: &str = "
    cp a/x b/sy; cp a/x b/dang; cp a/x b/sdir; cp a/x b/loop; cp a/x b/sy/; cp a/x b/new/;
    cp a/sy b/new; cp a/dang b/new; cp a/sdir/f b/sy; cp a/sy/ b/new; cp -r a/sy b/new;
    cp -r a/dang b/new; cp -r a/dang b/sy; cp -r a/sdir b/sdir; cp -r a/sdir/ b/new;
    cp -r a/sdir/ b/dd; cp -r a/dd b/dang; cp -r a/dd b/sy; cp -r a/dd b/sdir; cp -r a/x b/sy;
    cp -r a/x b/dang; cp -r a/loop b/sy; cp -r a/dd/. b/sdir; cp -r a/dir b/; cp -r a/. b/new;
    mv a/x b/sy; mv a/x b/dang; mv a/x b/loop; mv a/x b/sdir; mv a/sy b/y; mv a/dang b/x;
    mv a/sdir b/dd; mv a/dd b/dang; mv a/dd b/sy; mv a/dd b/new/; mv a/dd b/; mv a/empty b/;
    mv a/x b/new/; mv a/sdir/ b/dd; mv a/dd b/x;
";

#[test]
fn from_the_host_to_a_pool() {
    compare_all(ACROSS, InPool::B);
}

#[test]
fn from_a_pool_to_the_host() {
    compare_all(ACROSS, InPool::A);
}
