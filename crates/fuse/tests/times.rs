//! Goal: the time of last change that a program sets stays, though the kernel writes back later
//! what was stored through a map before.
//!
//! Method: a program stores, the time is set by a path of the mount and through the library, then
//! the program syncs, unmaps and closes. What is stored afterwards changes the time again.

mod common;

use std::path::Path;

use common::Mounted;
use common::client::Client;
use limpid::{SetAttributes, Timespec};
use limpid_fuse::MountOptions;
use rustix::fs::{AtFlags, CWD, Timestamps};

const THEN: i64 = 1_000_000_000;

/// The program.
#[test]
fn client() {
    common::client::serve();
}

/// The time of the last change, in seconds.
fn modified(path: &Path) -> i64 {
    rustix::fs::stat(path).unwrap().st_mtime
}

fn set_by_path(path: &Path) {
    let then = rustix::fs::Timespec { tv_sec: THEN, tv_nsec: 0 };
    let times = Timestamps { last_access: then, last_modification: then };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
}

/// A program that has stored through a map of the file.
fn stored(mounted: &Mounted) -> Client {
    std::fs::write(mounted.path("f"), [7; 8192]).unwrap();
    let mut program = Client::new();
    program.ask(&format!("open {}", mounted.path("f").display()));
    program.ask("map 8192");
    program.ask("store 4096 1");
    program
}

/// The time stays whatever carries the stores out of the kernel, and moves with new stores.
fn stays(mounted: Mounted, mut program: Client) {
    let path = mounted.path("f");
    assert_eq!(modified(&path), THEN);
    program.ask("sync");
    assert_eq!(modified(&path), THEN, "after a sync");
    assert_eq!(program.number("load 4096"), 1);
    program.ask("store 0 2");
    program.ask("sync");
    assert!(modified(&path) > THEN, "a store after it counts");
    set_by_path(&path);
    program.ask("close");
    drop(program);
    assert_eq!(modified(&path), THEN, "after the end of the map");
    mounted.finish();
}

#[test]
fn a_time_set_after_a_store_stays() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let program = stored(&mounted);
    set_by_path(&mounted.path("f"));
    stays(mounted, program);
}

#[test]
fn a_time_set_through_the_library_stays() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let program = stored(&mounted);
    let then = Timespec { seconds: THEN, nanoseconds: 0 };
    let set = SetAttributes { mtime: Some(then), ..SetAttributes::default() };
    mounted.pool.set_attributes("/f", true, &set).unwrap();
    stays(mounted, program);
}
