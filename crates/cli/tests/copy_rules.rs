//! Goal: `cp` and `mv` choose targets as the system's do, and a copy that fails changes nothing.
//! Method: small trees, and one file that does not fit.

mod common;

use std::os::unix::fs::symlink;

use common::{Sandbox, odd_name};

#[test]
fn a_directory_is_copied_into_and_a_new_name_is_taken() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("d/f", "1");
    sandbox.ok(&["cp", "-r", "d", "p:/new"]);
    sandbox.ok(&["cp", "-r", "d", "p:/new"]);
    sandbox.ok(&["cp", "-r", "d/", "p:/other/"]);
    assert_eq!(sandbox.ok(&["ls", "p:/"]).text(), "new\nother\n");
    assert_eq!(sandbox.ok(&["ls", "p:/new"]).text(), "d\nf\n");
    assert_eq!(sandbox.ok(&["ls", "p:/other"]).text(), "f\n");
}

#[test]
fn the_root_and_the_dot_give_their_contents() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("d/f", "1");
    sandbox.write("d/g/h", "2");
    sandbox.ok(&["cp", "-r", "d/.", "p:"]);
    assert_eq!(sandbox.ok(&["ls", "p:/"]).text(), "f\ng\n");
    sandbox.ok(&["cp", "-r", "p:", "new"]);
    std::fs::create_dir(sandbox.path("there")).unwrap();
    sandbox.ok(&["cp", "-r", "p:/", "there"]);
    for copy in ["new", "there"] {
        assert_eq!(sandbox.read(&format!("{copy}/g/h")), b"2");
    }
}

#[test]
fn a_file_is_replaced_and_a_directory_is_not() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("f", "new");
    sandbox.write("old", "old contents");
    sandbox.ok(&["cp", "old", "p:/f"]);
    sandbox.ok(&["cp", "f", "p:/f"]);
    assert_eq!(sandbox.ok(&["cat", "p:/f"]).stdout, b"new");
    sandbox.ok(&["mkdir", "-p", "p:/d/f"]);
    sandbox.fails(&["cp", "f", "p:/d"], "is a directory");
    sandbox.write("tree/f/x", "");
    sandbox.fails(&["cp", "-r", "tree/f", "p:/"], "is not a directory");
    assert_eq!(sandbox.ok(&["cat", "p:/f"]).stdout, b"new");
}

#[test]
fn links_are_followed_unless_trees_are_copied() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("f", "bytes");
    symlink("f", sandbox.path("l")).unwrap();
    sandbox.ok(&["cp", "l", "p:/file"]);
    sandbox.ok(&["cp", "-r", "l", "p:/link"]);
    let kind = |path: &str| sandbox.ok(&["stat", "--json", path]).json()["kind"].clone();
    assert_eq!((kind("p:/file"), kind("p:/link")), ("file".into(), "symlink".into()));
    // A link as the target leads to what is written.
    sandbox.ok(&["ln", "-s", "file", "p:/to"]);
    sandbox.write("g", "other");
    sandbox.ok(&["cp", "g", "p:/to"]);
    assert_eq!(kind("p:/to"), "symlink");
    assert_eq!(sandbox.ok(&["cat", "p:/file"]).stdout, b"other");
}

#[test]
fn a_stream_is_copied_to_its_end() {
    let sandbox = Sandbox::with_pool();
    let mut command = sandbox.command(&["cp", "/dev/stdin", "p:/f"]);
    command.stdin(std::fs::File::open(sandbox.write("in", "from a pipe")).unwrap());
    assert!(command.status().unwrap().success());
    assert_eq!(sandbox.ok(&["cat", "p:/f"]).stdout, b"from a pipe");
    sandbox.ok(&["cp", "p:/f", "/dev/null"]);
}

#[test]
fn a_copy_that_fails_leaves_everything_as_it_was() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("small", "keep me");
    sandbox.write("big", vec![1; 100 << 20]);
    sandbox.ok(&["cp", "small", "p:/f"]);
    let free = || sandbox.ok(&["df", "--json", "p"]).json()[0]["free"].clone();
    let before = free();
    sandbox.fails(&["cp", "big", "p:/f"], "no space left");
    sandbox.fails(&["cp", "big", "p:/g"], "no space left");
    assert_eq!(sandbox.ok(&["ls", "p:/"]).text(), "f\n");
    assert_eq!(sandbox.ok(&["cat", "p:/f"]).stdout, b"keep me");
    assert_eq!(free(), before);
    // And a move that fails keeps its source.
    sandbox.fails(&["mv", "big", "p:/"], "no space left");
    assert_eq!(sandbox.read("big").len(), 100 << 20);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("f", "1");
    sandbox.write("d/f", "2");
    sandbox.write("e/f", "3");
    sandbox.ok(&["cp", "-r", "d", "e", "p:/"]);
    let listing = || sandbox.ok(&["ls", "--json", "p:/"]).stdout;
    let before = listing();
    for (arguments, what) in [
        (&["cp", "d", "p:/"][..], "use -r"),
        (&["cp", "-r", "p:/d", "p:/d/inner"], "cannot go into itself"),
        (&["cp", "-r", "p:/", "p:/d"], "cannot go into itself"),
        (&["mv", "p:/d", "p:/d/inner"], "cannot go into itself"),
        (&["mv", "p:/", "p:/d"], "cannot be moved"),
        (&["mv", "p:/", "out"], "cannot be moved"),
        (&["cp", "p:/d/f", "p:/d/f"], "the same file"),
        (&["mv", "p:/d/f", "p:/d/f"], "the same file"),
        (&["cp", "d/f", "e/f", "p:/d"], "same name"),
        (&["cp", "d/f", "e/f", "p:/none"], "not a directory"),
        (&["cp", "f", "p:/none/"], "no such directory"),
        (&["cp", "f", "p:/none/x"], "no such file"),
        (&["cp", "none", "p:/"], "no such file"),
        (&["cp", "p:/none", "."], "no such file"),
        (&["cp", "f", "g"], "neither source nor target"),
        (&["mv", "f", "g"], "neither source nor target"),
        (&["cp", "p", "p:/"], "the pool itself"),
        (&["cp", "p:/d/f", "p"], "the pool itself"),
    ] {
        sandbox.fails(arguments, what);
    }
    assert_eq!(listing(), before);
    assert_eq!(sandbox.read("f"), b"1");
}

#[test]
fn odd_names_go_both_ways() {
    let sandbox = Sandbox::with_pool();
    std::fs::create_dir(sandbox.path("d")).unwrap();
    std::fs::write(sandbox.path("d").join(odd_name()), "x").unwrap();
    sandbox.ok(&["cp", "-r", "d", "p:/"]);
    sandbox.ok(&["cp", "-r", "p:/d", "back"]);
    assert_eq!(std::fs::read(sandbox.path("back").join(odd_name())).unwrap(), b"x");
}
