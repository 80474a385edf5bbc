//! Goal: every command does what its help says. Method: each runs on a small pool, and what it did
//! is seen through the others.

mod common;

use common::Sandbox;

#[test]
fn mkfs_makes_a_pool_that_info_describes() {
    let sandbox = Sandbox::new();
    let made = sandbox.ok(&["mkfs", "p", "--size", "64MiB", "--label", "blue"]);
    assert_eq!(made.text(), "p: a pool of 64 MiB\n");
    assert_eq!(std::fs::metadata(sandbox.path("p")).unwrap().len(), 64 << 20);
    let info = sandbox.ok(&["info", "p"]);
    for part in ["label", "blue", "64 MiB (67108864 bytes)", "durability"] {
        assert!(info.text().contains(part), "{part}: {}", info.text());
    }
}

#[test]
fn mkfs_takes_an_empty_file_and_with_force_a_full_one() {
    let sandbox = Sandbox::new();
    sandbox.write("p", "");
    sandbox.ok(&["mkfs", "p", "--size", "64MiB"]);
    sandbox.ok(&["mkdir", "p:/d"]);
    sandbox.ok(&["mkfs", "p", "--force"]);
    assert_eq!(sandbox.ok(&["ls", "p:/"]).text(), "");
    assert_eq!(std::fs::metadata(sandbox.path("p")).unwrap().len(), 64 << 20);
}

#[test]
fn ls_sorts_names_and_shows_attributes() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("b", "hello");
    sandbox.ok(&["cp", "b", "p:/b"]);
    sandbox.ok(&["mkdir", "p:/a"]);
    sandbox.ok(&["ln", "-s", "a/x", "p:/c"]);
    assert_eq!(sandbox.ok(&["ls", "p:"]).text(), "a\nb\nc\n");
    let long = sandbox.ok(&["ls", "-l", "p:/"]);
    let lines: Vec<&str> = long.text().lines().collect();
    assert!(lines[0].starts_with("drwxr-xr-x") && lines[0].ends_with(" a"), "{}", lines[0]);
    assert!(lines[1].starts_with("-rw-") && lines[1].contains(" 5 "), "{}", lines[1]);
    assert!(lines[2].starts_with("lrwxrwxrwx") && lines[2].ends_with("c -> a/x"), "{}", lines[2]);
    assert_eq!(sandbox.ok(&["ls", "p:/b"]).text(), "/b\n");
}

#[test]
fn stat_shows_a_link_or_what_it_leads_to() {
    let sandbox = Sandbox::with_pool();
    sandbox.ok(&["truncate", "-s", "3K", "p:/f"]);
    sandbox.ok(&["ln", "-s", "f", "p:/l"]);
    let link = sandbox.ok(&["stat", "p:/l"]);
    assert!(link.text().contains("symlink") && link.text().contains("target"), "{}", link.text());
    let file = sandbox.ok(&["stat", "-L", "p:/l"]);
    assert!(file.text().contains("3072 bytes"), "{}", file.text());
}

#[test]
fn cat_writes_files_one_after_the_other() {
    let sandbox = Sandbox::with_pool();
    let long: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_ne_bytes).collect();
    sandbox.write("one", &long);
    sandbox.write("two", "end");
    sandbox.ok(&["cp", "one", "two", "p:/"]);
    let both = sandbox.ok(&["cat", "p:/one", "p:/two"]).stdout;
    assert!(both == [&long[..], b"end"].concat());
}

#[test]
fn mv_renames_in_a_pool_and_moves_across() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("f", "hello");
    sandbox.write("d/g", "there");
    sandbox.ok(&["mv", "f", "d", "p:/"]);
    assert!(!sandbox.path("f").exists() && !sandbox.path("d").exists());
    sandbox.ok(&["mv", "p:/f", "p:/d"]);
    sandbox.ok(&["mv", "p:/d", "p:/e"]);
    assert_eq!(sandbox.ok(&["ls", "p:/"]).text(), "e\n");
    assert_eq!(sandbox.ok(&["ls", "p:/e"]).text(), "f\ng\n");
    sandbox.ok(&["mv", "p:/e", "back"]);
    assert_eq!(sandbox.read("back/f"), b"hello");
    assert_eq!(sandbox.read("back/g"), b"there");
    assert_eq!(sandbox.ok(&["ls", "p:/"]).text(), "");
}

#[test]
fn rm_removes_files_and_trees_and_gives_the_space_back() {
    let sandbox = Sandbox::with_pool();
    let free = || sandbox.ok(&["df", "--json", "p"]).json()[0]["free"].as_u64().unwrap();
    let before = free();
    sandbox.write("d/e/big", vec![7; 20 << 20]);
    sandbox.ok(&["cp", "-r", "d", "p:/"]);
    assert!(free() + (20 << 20) <= before);
    sandbox.ok(&["rm", "-r", "p:/d"]);
    assert_eq!(sandbox.ok(&["ls", "p:/"]).text(), "");
    // The root directory may keep a block it grew by.
    assert!(free() + 65536 >= before, "{} of {before}", free());
}

#[test]
fn mkdir_makes_parents_when_told() {
    let sandbox = Sandbox::with_pool();
    sandbox.ok(&["mkdir", "p:/a", "p:/b"]);
    sandbox.ok(&["mkdir", "-p", "p:/c/d/e", "p:/a"]);
    assert_eq!(sandbox.ok(&["ls", "p:/"]).text(), "a\nb\nc\n");
    assert_eq!(sandbox.ok(&["ls", "p:/c/d"]).text(), "e\n");
}

#[test]
fn ln_makes_names_and_links() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("f", "hello");
    sandbox.ok(&["cp", "f", "p:/f"]);
    sandbox.ok(&["mkdir", "p:/d"]);
    sandbox.ok(&["ln", "p:/f", "p:/g"]);
    sandbox.ok(&["ln", "p:/f", "p:/d"]);
    sandbox.ok(&["ln", "-s", "../f", "p:/d/s"]);
    assert_eq!(sandbox.ok(&["stat", "--json", "p:/f"]).json()["nlink"], 3);
    for path in ["p:/g", "p:/d/f", "p:/d/s"] {
        assert_eq!(sandbox.ok(&["cat", path]).stdout, b"hello", "{path}");
    }
}

#[test]
fn truncate_cuts_grows_and_creates() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("f", "hello");
    sandbox.ok(&["cp", "f", "p:/f"]);
    sandbox.ok(&["truncate", "-s", "3", "p:/f", "p:/new"]);
    sandbox.ok(&["truncate", "-s", "5", "p:/f"]);
    assert_eq!(sandbox.ok(&["cat", "p:/f"]).stdout, b"hel\0\0");
    assert_eq!(sandbox.ok(&["cat", "p:/new"]).stdout, b"\0\0\0");
}

#[test]
fn completions_are_scripts() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(sandbox.ok(&["completions", shell]).text().contains("mkfs"), "{shell}");
    }
}

#[test]
fn help_names_every_command() {
    let sandbox = Sandbox::new();
    let help = sandbox.ok(&["--help"]);
    for command in ["mkfs", "info", "df", "ls", "stat", "cat", "cp", "mv", "rm", "mkdir", "ln"] {
        assert!(help.text().contains(command), "{command}");
    }
    let short = sandbox.ok(&["-h"]);
    let bare = sandbox.run::<&str>(&[]);
    assert_eq!((bare.code, bare.stderr.as_str()), (2, short.text()));
}
