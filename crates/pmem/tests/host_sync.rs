//! Goal: after a sync of a medium on a plain file the host has nothing of it left to write: what
//! the library promises of power loss then rests on the host's file system alone.
//!
//! Method: the kernel counts the dirty pages of the file in its cache (cachestat, Linux 6.5). The
//! canary is the same count before the sync.

use std::os::fd::AsRawFd;

use limpid_pmem::{Media, Medium, OpenOptions, Persist};

/// Pages of the file that are dirty, or on their way to the disk.
fn unwritten(medium: &Medium) -> std::io::Result<u64> {
    const CACHESTAT: libc::c_long = 451;
    let range = [0u64, 0];
    let mut counts = [0u64; 5];
    // SAFETY: a range of two and room for five 64-bit words, as the call wants them; no flags.
    let done = unsafe {
        libc::syscall(CACHESTAT, medium.fd().as_raw_fd(), range.as_ptr(), counts.as_mut_ptr(), 0u32)
    };
    if done == 0 { Ok(counts[1] + counts[2]) } else { Err(std::io::Error::last_os_error()) }
}

#[test]
fn a_sync_leaves_the_host_nothing_to_write() {
    // The build folder is on a disk where /tmp may be memory, which is always dirty.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let medium = Medium::create(dir.path().join("pool"), 8 << 20, &OpenOptions::default()).unwrap();
    for round in 0..50u64 {
        for step in 0..20 {
            let at = (round * 7919 + step * 104_729) * 64 % ((8 << 20) - 8192);
            medium.write(at, &[round as u8 + 1; 5000], Persist::Yes).unwrap();
        }
        medium.store_u64(8 * round, round).unwrap();
        medium.fence();
        let before = match unwritten(&medium) {
            Ok(count) => count,
            Err(error) => return eprintln!("skipped: cachestat: {error}"),
        };
        assert!(before > 0, "stores through the map are dirty pages");
        medium.sync(0..medium.len()).unwrap();
        let after = unwritten(&medium).unwrap();
        if after == before {
            return eprintln!("skipped: the build folder lies in memory, which is never clean");
        }
        assert_eq!(after, 0, "of {before} pages");
    }
}
