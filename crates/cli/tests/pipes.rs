//! Goal: output that nobody reads any more ends a command quietly; output that cannot be written
//! is a failure. Method: the reading end of a pipe is closed early, and a full device is written.

mod common;

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use common::{Ended, Sandbox, assert_one_line};

#[test]
fn a_closed_pipe_is_no_failure() {
    let sandbox = Sandbox::with_pool();
    sandbox.write("big", vec![b'x'; 10 << 20]);
    sandbox.ok(&["cp", "big", "p:/big"]);
    for arguments in [&["cat", "p:/big"][..], &["ls", "p:/"], &["--help"]] {
        let mut command = sandbox.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let _ = stdout.read(&mut [0; 10]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", output.status);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn a_full_output_is_a_failure() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        eprintln!("skipped: there is no /dev/full");
        return;
    };
    let sandbox = Sandbox::with_pool();
    let mut command = sandbox.command(&["info", "p"]);
    let output = command.stdout(full).stderr(Stdio::piped()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let ended = Ended { code: output.status.code().unwrap(), stdout: Vec::new(), stderr };
    assert_one_line(&ended, "standard output", "info to /dev/full");
}
