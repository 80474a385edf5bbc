//! Goal: every number that a command takes, at its extremes, is obeyed or refused in one line with
//! an exit code that is not 0; nothing is made or mounted then, and nothing dies.
//!
//! Method: a table of commands and numbers; and commands and mounts that cannot have the threads,
//! files, memory or file sizes they want, because the shell that starts them has limited these.

mod common;

use std::process::Command;

use common::Sandbox;
use common::mount::{MountPoint, can_mount};

/// 2^63 and 2^64 and their neighbours, and what is no number at all.
const HUGE: [&str; 5] = [
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
    "-1",
];

#[test]
fn numbers_of_mount_that_mean_nothing_are_refused() {
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    let names = ["threads", "busy_poll", "uid", "gid", "umask"];
    let huge = names.iter().flat_map(|name| HUGE.map(|number| format!("{name}={number}")));
    let more = ["threads=0", "threads=257", "threads=20000", "threads=", "threads=2.5"];
    let more = more.into_iter().chain(["uid=4294967295", "gid=4294967295", "umask=1000"]);
    for option in huge.chain(more.map(str::to_owned)) {
        for foreground in [false, true] {
            let mut arguments = vec!["mount", "p", "dir", "-o", &option];
            arguments.extend(foreground.then_some("--foreground"));
            sandbox.fails(&arguments, &option);
        }
        assert!(!dir.mounted(), "{option}");
    }
}

#[test]
fn numbers_of_mount_at_their_extremes_work() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    for options in ["threads=1,busy_poll=0,uid=0,umask=0", "threads=256,busy_poll=10000,umask=777"]
    {
        sandbox.ok(&["mount", "p", "dir", "-o", options]);
        std::fs::write(dir.path.join("f"), options).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path.join("f")).unwrap(), options);
        sandbox.ok(&["umount", "dir"]);
    }
    sandbox.ok(&["mount", "p", "dir", "-o", "uid=4294967294,gid=4294967294"]);
    sandbox.ok(&["umount", "dir"]);
}

#[test]
fn numbers_of_other_commands_are_refused() {
    let sandbox = Sandbox::with_pool();
    let ls = sandbox.ok(&["ls", "p:/"]).stdout;
    for number in HUGE {
        for size in [number.to_owned(), format!("{number}K"), format!("{number}P")] {
            sandbox.fails(&["mkfs", "new", "--size", &size], "");
            sandbox.fails(&["mount", "new", "nowhere", "--size", &size], "");
            sandbox.fails(&["truncate", "-s", &size, "p:/new"], "");
        }
        sandbox.fails(&["dump", "p", "inode", number], "");
        sandbox.fails(&["tour", "--seconds", number], "");
    }
    // Of these numbers some mean something elsewhere.
    for arguments in [
        &["mkfs", "new", "--size", "0"][..],
        &["mkfs", "new", "--size", "8191PiB"],
        &["mkfs", "new", "--size", "9223372036854775807"],
        &["dump", "p", "inode", "9223372036854775807"],
        &["dump", "p", "inode", "0"],
        &["tour", "--seconds", "0"],
        &["tour", "--seconds", "3601"],
    ] {
        sandbox.fails(arguments, "");
    }
    assert!(!sandbox.path("new").exists());
    assert_eq!(sandbox.ok(&["ls", "p:/"]).stdout, ls, "nothing was made");
    sandbox.ok(&["truncate", "-s", "9223372036854775807", "p:/large"]);
    sandbox.ok(&["truncate", "-s", "0", "p:/large"]);
    sandbox.ok(&["fsck", "p"]);
}

#[test]
fn a_mount_that_cannot_have_what_it_wants_is_not_there() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    for foreground in ["", "--foreground"] {
        let mut command = Command::new("sh");
        let script = "ulimit -n 60; exec \"$0\" mount p dir -o threads=200 $1";
        command.args(["-c", script, env!("CARGO_BIN_EXE_limpid"), foreground]);
        let output = command.current_dir(sandbox.path("")).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("200 threads cannot be started"), "{said}");
        assert!(said.contains("-o threads="), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!dir.mounted());
    }
    sandbox.ok(&["mount", "p", "dir"]);
    sandbox.ok(&["umount", "dir"]);
}

/// Runs a command from a shell with a limit.
fn limited(sandbox: &Sandbox, limit: &str, arguments: &str) -> std::process::Output {
    let script = format!("ulimit {limit} || exit 99; exec \"$0\" {arguments}");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_limpid")]);
    let output = command.current_dir(sandbox.path("")).output().unwrap();
    assert_ne!(output.status.code(), Some(99), "{limit}: {output:?}");
    output
}

#[test]
fn limits_of_the_process_are_told_as_such() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("host", vec![7; 100_000]);
    sandbox.ok(&["cp", "host", "p:/file"]);
    for (limit, arguments, what) in [
        ("-f 1000", "mkfs new --size 16MiB", "'ulimit -f'"),
        ("-f 0", "mkfs new --size 16MiB", "'ulimit -f'"),
        ("-f 0", "cp p:/file new", "'ulimit -f'"),
        ("-f 1", "cp p:/file new", "'ulimit -f'"),
        ("-n 5", "cp -r host p:/new", "'ulimit -n'"),
        ("-v 2000000", "mkfs new --size 8GiB", "'ulimit -v'"),
    ] {
        let output = limited(&sandbox, limit, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{limit}, {arguments}: {said}");
        assert_eq!(said.lines().count(), 1, "{limit}, {arguments}: {said}");
        assert!(said.contains(what), "{limit}, {arguments}: {said}");
        assert!(!sandbox.path("new").exists(), "{limit}, {arguments}");
    }
    sandbox.fails(&["mkfs", "none/new", "--size", "16MiB"], "no such directory");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let help = sandbox.command(&["--help"]).stdout(full).output().unwrap();
    assert!(!help.status.success(), "nobody has seen it");
    sandbox.ok(&["fsck", "p"]);
}

#[test]
fn a_server_that_does_not_answer_is_told_and_can_be_left() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    let signal = |server, signal| rustix::process::kill_process(server, signal).unwrap();
    use rustix::process::Signal;
    sandbox.ok(&["mount", "p", "dir"]);
    let server = dir.process();
    signal(server, Signal::STOP);
    let mut asking = sandbox.command(&["umount", "dir"]);
    let mut asking = asking.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    let mut stderr = std::io::BufReader::new(asking.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut stderr, &mut told).unwrap();
    signal(server, Signal::CONT);
    assert!(told.contains("does not answer") && told.contains("--lazy"), "{told}");
    assert!(asking.wait().unwrap().success());
    assert!(!dir.mounted());
    sandbox.ok(&["mount", "p", "dir"]);
    let server = dir.process();
    signal(server, Signal::STOP);
    let mut leaving = Command::new("timeout");
    leaving.args(["60", env!("CARGO_BIN_EXE_limpid"), "umount", "--lazy", "dir"]);
    let left = leaving.current_dir(sandbox.path("")).output().unwrap();
    signal(server, Signal::CONT);
    assert!(left.status.success(), "{left:?}");
    assert!(!dir.mounted());
    common::mount::wait_for_end(server);
    sandbox.ok(&["fsck", "p"]);
}

#[test]
fn a_dead_mount_is_told_as_such_wherever_it_is_met() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let dir = MountPoint::new(&sandbox, "dir");
    sandbox.ok(&["mount", "p", "dir"]);
    sandbox.write("host", b"x");
    let server = dir.process();
    rustix::process::kill_process(server, rustix::process::Signal::STOP).unwrap();
    // It waits for an answer while the process goes, or comes later.
    let mut waiting = sandbox.command(&["stat", "dir"]);
    let waiting = waiting.stderr(std::process::Stdio::piped()).spawn().unwrap();
    rustix::process::kill_process(server, rustix::process::Signal::KILL).unwrap();
    let told = waiting.wait_with_output().unwrap();
    assert!(!told.status.success(), "{told:?}");
    assert!(String::from_utf8_lossy(&told.stderr).contains("dead"), "{told:?}");
    let dead: [&[&str]; 5] = [
        &["stat", "dir"],
        &["mount", "p", "dir"],
        &["ls", "dir/pool:/"],
        &["mkfs", "dir/pool", "--size", "16MiB"],
        &["info", "dir/pool"],
    ];
    for command in dead {
        let ended = sandbox.fails(command, "dead");
        assert!(ended.stderr.contains("limpid umount"), "{command:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("try again"), "{command:?}: {}", ended.stderr);
    }
    sandbox.ok(&["umount", "dir"]);
}
