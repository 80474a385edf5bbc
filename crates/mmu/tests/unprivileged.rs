//! Goal: without privileges maps work for the program's own accesses, and the engine says what
//! does not: system calls on pages that are not there return EFAULT.
//! Method: the same test program again as user "nobody", which is refused the full userfaultfd.

mod common;

use std::os::unix::process::CommandExt;
use std::process::Command;

use common::*;
use limpid_dax::PageRange;

const CHILD: &str = "LIMPID_TEST_UNPRIVILEGED";

#[test]
fn user_mode_faults_suffice_for_the_program() {
    if std::env::var_os(CHILD).is_some() {
        return as_nobody();
    }
    if engine().is_none() {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "user_mode_faults_suffice_for_the_program", "--nocapture"])
        .env(CHILD, "1")
        .uid(65534)
        .gid(65534)
        .output();
    match child {
        Ok(output) => {
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{output:?}");
        }
        Err(error) => eprintln!("skipped: nobody may not run this program ({error})"),
    }
}

fn as_nobody() {
    let Some(engine) = engine() else { return };
    let capabilities = engine.capabilities();
    eprintln!("{capabilities}");
    if capabilities.kernel_faults {
        eprintln!("skipped: every user gets the full userfaultfd here");
        return;
    }
    assert!(capabilities.to_string().contains("EFAULT"));
    let file = TestFile::new(engine, 8);
    for private in [false, true] {
        let map = file.map(PageRange::new(0, 2 * UNIT_PAGES), true, private);
        assert_eq!(map.load_u64(8192), Ok(0));
        map.store_u64(8192, 9).unwrap();
        assert_eq!(map.load_u64(8192), Ok(9));
        file.punch(0);
        assert_eq!(map.load_u64(8192), Ok(if private { 9 } else { 0 }));
        let (_from, to) = rustix::pipe::pipe().unwrap();
        // SAFETY: the bytes lie in the live map; the kernel reads them or fails.
        let write = |unit: u64| unsafe {
            let at = map.as_ptr().add((unit * UNIT) as usize);
            rustix::io::write(&to, std::slice::from_raw_parts(at, 8))
        };
        assert_eq!(write(1), Err(rustix::io::Errno::FAULT));
        assert_eq!(map.load_u64(UNIT as usize), Ok(0));
        assert_eq!(write(1), Ok(8));
    }
}
