//! Goal: what a user can get wrong ends in one line that says what, where and what to do, with exit
//! code 1 or 2, and changes nothing. Method: tables of command lines and of damaged pools.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use common::{Sandbox, assert_one_line, is_root};

/// A sandbox with a pool that holds a file and a directory.
fn furnished() -> Sandbox {
    let sandbox = Sandbox::with_pool();
    sandbox.write("f", "hello");
    sandbox.write("text", "not a pool, but long enough to be looked at. ".repeat(200));
    sandbox.write("short", "tiny");
    sandbox.write("empty", "");
    sandbox.ok(&["cp", "f", "p:/f"]);
    sandbox.ok(&["mkdir", "-p", "p:/d/e"]);
    sandbox
}

/// Commands that look into a pool or change it, for a pool that cannot be opened.
fn commands_on(pool: &str) -> Vec<Vec<String>> {
    let texts: [&[&str]; 12] = [
        &["info", "P"],
        &["df", "P"],
        &["ls", "P:/"],
        &["stat", "P:/f"],
        &["cat", "P:/f"],
        &["cp", "P:/f", "out"],
        &["cp", "f", "P:/g"],
        &["mv", "f", "P:/g"],
        &["rm", "P:/f"],
        &["mkdir", "P:/g"],
        &["ln", "-s", "f", "P:/g"],
        &["truncate", "-s", "1", "P:/f"],
    ];
    let own = |part: &&str| part.replacen('P', pool, 1);
    texts.iter().map(|parts| parts.iter().map(own).collect()).collect()
}

#[test]
fn what_is_no_pool_is_refused_by_every_command() {
    let sandbox = furnished();
    for (pool, what) in [
        ("text", "not a pool"),
        ("short", "not a pool"),
        ("empty", "not a pool"),
        ("none", "no such pool"),
        (".", "neither a regular file nor"),
        ("/dev/null", "neither a regular file nor"),
        ("none/none", "no such pool"),
        ("f/none", "not a directory"),
    ] {
        for arguments in commands_on(pool) {
            sandbox.fails(&arguments, what);
        }
    }
    assert!(sandbox.read("text").starts_with(b"not a pool"));
    assert_eq!((sandbox.read("short"), sandbox.read("empty")), (b"tiny".to_vec(), Vec::new()));
    assert_eq!(sandbox.read("f"), b"hello", "a failed move took its source");
    assert!(!sandbox.path("none").exists() && !sandbox.path("out").exists());
}

#[test]
fn command_lines_that_cannot_be_meant_are_usage_errors() {
    let sandbox = furnished();
    for (arguments, what) in [
        (&["frobnicate"][..], "frobnicate"),
        (&["ls"], "<PATH>"),
        (&["ls", "--colour", "p:/"], "--colour"),
        (&["cp", "f"], "<SOURCES>"),
        (&["mkfs", "new", "--size", "1GiBB"], "unknown unit 'GiBB'"),
        (&["mkfs", "new", "--size", "-1"], "no number"),
        (&["mkfs", "new", "--size", "1.5.2G"], "no number"),
        (&["mkfs", "new", "--size", ""], "--size"),
        (&["mkfs", "new", "--size", "1GB"], "unknown unit 'GB'"),
        (&["mkfs", "new", "--size", "99999999999999999999"], "larger than any file"),
        (&["mkfs", "new", "--size", "9EiB"], "unknown unit 'EiB'"),
        (&["mkfs", "new", "--size", "8192PiB"], "larger than any file"),
        (&["mkfs", "new"], "give --size"),
        (&["truncate", "-s", "1Q", "p:/f"], "unknown unit 'Q'"),
        (&["truncate", "-s", "-5", "p:/f"], "no number"),
        (&["ls", "/etc"], "write POOL:/path"),
        (&["ls", "p"], "write POOL:/path"),
        (&["cat", "f"], "write POOL:/path"),
        (&["rm", "f"], "write POOL:/path"),
        (&["mkdir", "new"], "write POOL:/path"),
        (&["ln", "p:/f", "new"], "write POOL:/path"),
        (&["ls", ":/f"], "no pool is named"),
        (&["cp", "f", ""], "empty path"),
        (&["completions", "tcl"], "tcl"),
    ] {
        let ended = sandbox.fails(arguments, what);
        assert_eq!(ended.code, 2, "{arguments:?}");
    }
    assert!(!sandbox.path("new").exists());
    assert_eq!(sandbox.ok(&["cat", "p:/f"]).stdout, b"hello");
}

#[test]
fn operations_that_cannot_be_done_change_nothing() {
    let sandbox = furnished();
    let long = format!("p:/{}", "n".repeat(256));
    let deep = format!("p:/{}", "d/".repeat(3000));
    let label = "l".repeat(65);
    let listing = || sandbox.ok(&["ls", "--json", "p:/"]).stdout;
    let before = listing();
    for (arguments, what) in [
        (&["mkfs", "p", "--size", "64MiB"][..], "--force"),
        (&["mkfs", "text", "--size", "64MiB"], "--force"),
        (&["mkfs", "new", "--size", "4095"], "too few for a pool"),
        (&["mkfs", "p", "--size", "4095", "--force"], "too few for a pool"),
        (&["mkfs", "new", "--size", "64MiB", "--label", &label], "label"),
        (&["mkfs", "none/new", "--size", "64MiB"], "no such"),
        (&["mkfs", ".", "--size", "64MiB"], "neither a regular file nor"),
        (&["mkfs", "/dev/null"], "neither a regular file nor"),
        (&["ls", "p:/none"], "no such file"),
        (&["ls", "p:/f/x"], "not a directory"),
        (&["stat", "p:/none"], "no such file"),
        (&["cat", "p:/d"], "is a directory"),
        (&["cat", "p:/../../etc/passwd"], "no such file"),
        (&["rm", "p:/d"], "use -r"),
        (&["rm", "-r", "p:/"], "refusing to remove the root"),
        (&["rm", "-r", "p:"], "refusing to remove the root"),
        (&["rm", "-r", "p:/d/.."], "refusing to remove the root"),
        (&["rm", "-r", "p:/d/."], "refusing to remove the root"),
        (&["rm", "-r", "p:/f", "p:/"], "refusing to remove the root"),
        (&["rm", "p:/none"], "no such file"),
        (&["mkdir", "p:/d"], "exists already"),
        (&["mkdir", "p:/"], "exists already"),
        (&["mkdir", "p:/none/x"], "no such file"),
        (&["mkdir", "-p", "p:/f/x"], "not a directory"),
        (&["mkdir", &long], "name is too long"),
        (&["mkdir", &deep], "name is too long"),
        (&["ln", "p:/none", "p:/x"], "no such file"),
        (&["ln", "p:/d", "p:/x"], "use -s"),
        (&["ln", "p:/f", "p:/f"], "exists already"),
        (&["ln", "-s", "", "p:/x"], ""),
        (&["mv", "p:/d", "p:/f"], "not a directory"),
        (&["mv", "p:/none", "p:/x"], "no such file"),
        (&["truncate", "-s", "16383P", "p:/f"], "larger than any file"),
        (&["truncate", "-s", "1", "p:/d"], "is a directory"),
    ] {
        let ended = sandbox.fails(arguments, what);
        assert!(matches!(ended.code, 1 | 2), "{arguments:?}");
    }
    assert!(!sandbox.path("new").exists());
    assert_eq!(listing(), before);
    assert_eq!(sandbox.ok(&["ls", "p:/d"]).text(), "e\n");
}

#[test]
fn a_link_to_another_pool_is_refused() {
    let sandbox = furnished();
    sandbox.ok(&["mkfs", "q", "--size", "64MiB"]);
    sandbox.fails(&["ln", "p:/f", "q:/f"], "another pool");
}

#[test]
fn links_that_go_in_circles_end() {
    let sandbox = furnished();
    sandbox.ok(&["ln", "-s", "loop", "p:/loop"]);
    for command in [&["cat", "p:/loop"][..], &["cp", "f", "p:/loop"], &["ls", "p:/loop/x"]] {
        sandbox.fails(command, "too many symbolic links");
    }
}

#[test]
fn a_link_cannot_lead_out_of_the_pool() {
    let sandbox = furnished();
    let secret = sandbox.write("secret", "of the host");
    let target = secret.to_str().unwrap();
    sandbox.ok(&["ln", "-s", target, "p:/absolute"]);
    sandbox.ok(&["ln", "-s", "../../../../../../etc/passwd", "p:/relative"]);
    for path in ["p:/absolute", "p:/relative"] {
        sandbox.fails(&["cat", path], "no such file");
    }
}

#[test]
fn a_pool_in_use_is_refused_with_its_owner() {
    let sandbox = furnished();
    let owner = format!("in use by process {}", std::process::id());
    let pool = limpid::Pool::open(sandbox.path("p")).unwrap();
    for arguments in commands_on("p") {
        sandbox.fails(&arguments, &owner);
    }
    sandbox.fails(&["mkfs", "p", "--size", "64MiB", "--force"], &owner);
    assert_eq!(pool.read("/f").unwrap(), b"hello");
    drop(pool);
    assert_eq!(sandbox.ok(&["cat", "p:/f"]).stdout, b"hello");
}

#[test]
fn readers_share_a_pool() {
    let sandbox = furnished();
    let options = limpid::PoolOptions::new().read_only(true);
    let _pool = options.open(sandbox.path("p")).unwrap();
    assert_eq!(sandbox.ok(&["cat", "p:/f"]).stdout, b"hello");
    sandbox.fails(&["rm", "p:/f"], "in use by process");
}

#[test]
fn a_read_only_pool_is_not_opened_for_writing() {
    let sandbox = furnished();
    fs::set_permissions(sandbox.path("p"), Permissions::from_mode(0o444)).unwrap();
    assert_eq!(sandbox.ok(&["cat", "p:/f"]).stdout, b"hello");
    if is_root() {
        eprintln!("skipped: root may write to read-only files");
        return;
    }
    sandbox.fails(&["rm", "p:/f"], "not permitted");
}

/// Changes the first superblock and gives it a right checksum again.
fn reseal(bytes: &mut [u8], change: impl Fn(&mut [u8])) {
    change(bytes);
    bytes[12..16].fill(0);
    let checksum = crc32c::crc32c(&bytes[..512]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
}

#[test]
fn damaged_and_foreign_pools_are_refused_and_left_alone() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage); 6] = [
        ("the pool needs", |bytes| bytes.truncate(bytes.len() / 2)),
        ("the pool needs", |bytes| bytes.truncate(bytes.len() - 4096)),
        ("version 77", |bytes| reseal(bytes, |bytes| bytes[8] = 77)),
        ("feature bits 0x8", |bytes| reseal(bytes, |bytes| bytes[32] = 8)),
        ("corrupt", |bytes| {
            let backup = bytes.len() - 4096;
            bytes[100] ^= 1;
            bytes[backup + 100] ^= 1;
        }),
        ("not a pool", |bytes| {
            let backup = bytes.len() - 4096;
            bytes[..512].fill(0);
            bytes[backup..].fill(0);
        }),
    ];
    let sandbox = furnished();
    let good = sandbox.read("p");
    for (what, damage) in cases {
        let mut bytes = good.clone();
        damage(&mut bytes);
        sandbox.write("bad", &bytes);
        for arguments in commands_on("bad") {
            sandbox.fails(&arguments, what);
        }
        assert!(sandbox.read("bad") == bytes, "{what}: a refused pool was changed");
    }
}

#[test]
fn a_corrupt_first_superblock_is_told_and_its_backup_used() {
    let sandbox = furnished();
    let mut bytes = sandbox.read("p");
    bytes[100] ^= 1;
    sandbox.write("p", &bytes);
    let ended = sandbox.run(&["info", "--json", "p"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert!(ended.stderr.contains("the backup is used"), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1);
    assert_eq!(ended.json()["backup_superblock_used"], true);
    assert_eq!(sandbox.run(&["cat", "p:/f"]).stdout, b"hello");
}

#[test]
fn damage_anywhere_never_panics_or_hangs() {
    let sandbox = furnished();
    let good = sandbox.read("p");
    let seed = 0x5eed_u64;
    eprintln!("seed {seed:#x}");
    let mut state = seed;
    let mut next = || {
        // xorshift64: enough to pick places.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let used: Vec<usize> =
        (0..good.len() / 64).filter(|at| good[at * 64..][..64].iter().any(|b| *b != 0)).collect();
    for round in 0..40 {
        let mut bytes = good.clone();
        for _ in 0..4 {
            let line = used[next() as usize % used.len()];
            bytes[line * 64 + next() as usize % 64] = next() as u8;
        }
        sandbox.write("bad", &bytes);
        for arguments in [
            &["ls", "-l", "bad:/"][..],
            &["cp", "-r", "bad:/", "out"],
            &["cp", "f", "bad:/new"],
            &["rm", "-r", "bad:/d"],
        ] {
            let ended = sandbox.run(arguments);
            if ended.code != 0 {
                // The backup superblock may be told of in a line of its own.
                let last = ended.stderr.lines().last().unwrap_or_default();
                let ended = common::Ended { stderr: format!("{last}\n"), ..ended };
                assert_one_line(&ended, "", &format!("round {round}: {arguments:?}"));
            }
        }
        let _ = fs::remove_dir_all(sandbox.path("out"));
    }
}

#[test]
fn what_was_meant_is_suggested() {
    let sandbox = Sandbox::with_pool();
    for (arguments, what) in [
        (&["mkf", "q"][..], "mkfs"),
        (&["cp", "--recursve", "p:/", "o"], "--recursive"),
        (&["completions", "bas"], "bash"),
    ] {
        let ended = sandbox.fails(arguments, what);
        assert_eq!(ended.code, 2, "{arguments:?}");
    }
}

#[test]
fn a_file_that_holds_no_pool_is_told_as_one() {
    let sandbox = Sandbox::new();
    sandbox.write("empty", "");
    sandbox.write("small", "a few words");
    sandbox.write("text", "words ".repeat(1000));
    sandbox.write("large", vec![7; 8 << 20]);
    for command in ["info", "df", "fsck"] {
        sandbox.fails(&[command, "empty"], "the file is empty");
        sandbox.fails(&[command, "small"], "11 bytes are too few for one");
        let ended = sandbox.fails(&[command, "text"], "not a pool");
        assert!(!ended.stderr.contains("--size'"), "{}", ended.stderr);
        sandbox.fails(&[command, "large"], "not a pool");
    }
}
