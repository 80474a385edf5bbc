//! Goal: handles that a forked child inherited refuse with one clear error, touch nothing and wait
//! for nothing, dropping them does nothing, and the child can use a pool of its own.
//! Method: forks without exec while other threads write through the pool, so that locks are held
//! at the moment of the fork; the child makes every kind of call, drops everything, makes a pool,
//! and tells by its exit code which step was wrong. It has a deadline. The parent goes on, and the
//! pool is sound and holds what the parent wrote.

mod common;

use std::io::{Read, Seek, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use limpid::{Error, File, Map, MapOptions, Opening, Pool, SetAttributes};

const FORKS: usize = 20;
const DEADLINE: Duration = Duration::from_secs(20);

fn is_refused<T>(result: limpid::Result<T>) -> bool {
    matches!(result, Err(Error::Forked))
}

/// As `is_refused`; of the error only its errno is left.
fn io_refused<T>(result: std::io::Result<T>) -> bool {
    result.err().and_then(|error| error.raw_os_error()) == Some(libc::EBADF)
}

/// What a child inherits.
struct Inherited {
    pool: Pool,
    file: File,
    maps: Vec<Map>,
}

/// All of the child's steps; the number of the first that is wrong, or 0.
fn child(inherited: Inherited) -> i32 {
    let Inherited { pool, mut file, maps } = inherited;
    let inodes = pool.inodes();
    let set = SetAttributes { mode: Some(0o600), ..SetAttributes::default() };
    let root = inodes.root();
    let calls = [
        is_refused(pool.metadata("/file")),
        is_refused(pool.create_dir("/made", 0o755)),
        is_refused(pool.remove_file("/file")),
        is_refused(pool.rename("/file", "/other")),
        is_refused(pool.hard_link("/file", "/other")),
        !pool.exists("/file"),
        is_refused(pool.read_dir("/").and_then(Iterator::collect::<limpid::Result<Vec<_>>>)),
        is_refused(pool.set_attributes("/file", true, &set)),
        is_refused(pool.sync()),
        is_refused(pool.check()),
        is_refused(pool.statfs()),
        is_refused(File::open(&pool, "/file")),
        is_refused(File::create(&pool, "/made")),
        is_refused(file.read_at(&mut [0; 8], 0)),
        is_refused(file.write_at(b"child", 0)),
        is_refused(file.append(b"child")),
        is_refused(file.set_len(1)),
        is_refused(file.punch_hole(0, 4096)),
        is_refused(file.sync_all()),
        is_refused(file.sync_data()),
        is_refused(file.metadata()),
        is_refused(file.seek_data(0)),
        is_refused(file.set_attributes(&set)),
        is_refused(file.map()),
        io_refused(file.read(&mut [0; 8])),
        io_refused(file.write(b"child")),
        io_refused(file.rewind()),
        is_refused(inodes.lookup(root, b"file")),
        is_refused(inodes.metadata(root)),
        is_refused(inodes.unlink(root, b"file")),
        is_refused(inodes.open(root, Opening::READ)),
        is_refused(inodes.read_dir(root, 0, &mut |_| true)),
        is_refused(inodes.set_attributes(root, &set)),
        maps.iter().all(|map| is_refused(map.load_u64(0))),
        maps.iter().all(|map| is_refused(map.store_u64(0, 1))),
        maps.iter().all(|map| is_refused(map.read(0, &mut [0; 8]))),
        maps.iter().all(|map| is_refused(map.flush(0..8))),
        maps.iter().all(|map| is_refused(map.page_sizes())),
    ];
    if let Some(wrong) = calls.iter().position(|refused| !refused) {
        return 1 + wrong as i32;
    }
    drop((maps, file, inodes, pool));
    let own = Pool::memory(16 << 20).and_then(|pool| {
        File::create(&pool, "/own")?.write_all_at(b"own", 0)?;
        pool.read("/own")
    });
    if own.is_ok_and(|bytes| bytes == b"own") { 0 } else { 100 }
}

/// Forks, and says how the child ended.
fn fork(inherited: Inherited) -> Result<(), String> {
    // SAFETY: the child calls nothing that needs a thread it does not have, as this test proves,
    // and leaves by _exit.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "{}", std::io::Error::last_os_error());
    if pid == 0 {
        let code = child(inherited);
        // SAFETY: ends the child.
        unsafe { libc::_exit(code) }
    }
    let started = Instant::now();
    let mut status = 0;
    // SAFETY: our own child; the status is ours to be written.
    while unsafe { libc::waitpid(pid, &mut status, libc::WNOHANG) } == 0 {
        if started.elapsed() > DEADLINE {
            // SAFETY: the child was not waited for yet, so the number is its own.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            // SAFETY: as above.
            unsafe { libc::waitpid(pid, &mut status, 0) };
            return Err(format!("the child did not end within {DEADLINE:?}"));
        }
        // Only how soon the end is seen depends on this.
        std::thread::park_timeout(Duration::from_millis(1));
    }
    match (libc::WIFEXITED(status), libc::WEXITSTATUS(status)) {
        (true, 0) => Ok(()),
        (true, step) => Err(format!("step {step} of the child was wrong")),
        _ => Err(format!("the child ended with status {status:#x}")),
    }
}

#[test]
fn a_child_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    let pool = Pool::create(&path, 32 << 20).unwrap();
    let file = File::create(&pool, "/file").unwrap();
    file.set_len(1 << 20).unwrap();
    let with_maps = common::maps_work();
    let stop = AtomicBool::new(false);
    let failure = std::thread::scope(|scope| {
        for name in ["/a", "/b"] {
            let (pool, stop) = (&pool, &stop);
            scope.spawn(move || {
                let file = File::create(pool, name).unwrap();
                let mut round = 0u64;
                while !stop.load(Ordering::Relaxed) {
                    file.write_all_at(&round.to_ne_bytes(), round % 64 * 4096).unwrap();
                    file.punch_hole(round % 64 * 4096, 4096).unwrap();
                    round += 1;
                }
            });
        }
        let failure = (0..FORKS).find_map(|_| {
            let maps = [(false, false), (true, false), (true, true)].into_iter();
            let maps = maps.filter(|_| with_maps).map(|(write, private)| {
                MapOptions::new().write(write || private).private(private).map(&file).unwrap()
            });
            let inherited = Inherited {
                pool: pool.clone(),
                maps: maps.collect(),
                file: file.try_clone().unwrap(),
            };
            fork(inherited).err()
        });
        stop.store(true, Ordering::Relaxed);
        failure
    });
    assert_eq!(failure, None);
    file.write_all_at(b"parent", 0).unwrap();
    assert_eq!(pool.check().unwrap(), Vec::<String>::new());
    drop((file, pool));
    let pool = Pool::open(&path).unwrap();
    assert!(pool.info().clean, "the parent closed it");
    assert_eq!(pool.read("/file").unwrap()[..6], *b"parent");
}
