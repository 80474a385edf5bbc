//! The `limpid` command: make pools, look into them, and move files in and out.
//!
//! A command ends in one of three ways: it did what it was told (exit code 0), it failed and said
//! so in one line on standard error (1), or it was not understood (2). `fsck` has more codes.

#![deny(unsafe_code)]

mod bench;
mod cmd;
mod copy;
mod failure;
mod interrupt;
mod output;
mod pool_path;
mod pools;
mod race;
mod size;
mod tour;

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Parser;
use signal_hook::consts::SIGXFSZ;

use cmd::Command;

/// Files on byte-addressable memory, where read, write and mmap always agree.
///
/// Files in a pool are written POOL:/path, where POOL is the pool's file or device.
#[derive(Parser)]
#[command(name = "limpid", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    // A file that would become larger than the process may make one is an error, told as others.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    limpid_terminal::run("limpid", arguments(), |arguments: Arguments| {
        arguments.command.run().and_then(|()| interrupt::check())
    })
}

/// The names under which mount(8) and umount(8) find a helper, and the command that each is.
const HELPERS: [(&str, &str); 4] = [
    ("mount.limpid", "mount"),
    ("mount.fuse.limpid", "mount"),
    ("umount.limpid", "umount"),
    ("umount.fuse.limpid", "umount"),
];

/// The command line. Under the name of a helper, the command is what it helps with.
fn arguments() -> Vec<OsString> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().and_then(|program| Path::new(program).file_name());
    let helper = HELPERS.into_iter().find(|(helper, _)| name == Some(OsStr::new(helper)));
    if let Some((_, command)) = helper {
        arguments.insert(1, command.into());
        if command == "mount" {
            arguments.insert(2, "--helper".into());
        }
    }
    arguments
}
