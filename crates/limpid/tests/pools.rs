//! Goal: pools are opened by one writer at a time, several live in one process, and what cannot be
//! opened is refused in one line with nothing changed.
//!
//! Method: each case on a pool file in a temporary folder; the file's bytes are compared.

use std::path::Path;

use limpid::{Error, File, OpenOptions, Pool, PoolOptions};

const SIZE: u64 = 16 << 20;

fn one_line(error: &Error, part: &str) {
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    assert!(text.contains(part), "{text:?} should tell of {part:?}");
}

fn refused(path: &Path, part: &str) {
    let before = std::fs::read(path).unwrap();
    one_line(&Pool::open(path).unwrap_err(), part);
    assert!(std::fs::read(path).unwrap() == before, "nothing was changed");
}

#[test]
fn a_second_writer_is_refused_with_the_owners_pid() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let pool = Pool::create(&path, SIZE).unwrap();
    let error = Pool::open(&path).unwrap_err();
    one_line(&error, &std::process::id().to_string());
    assert_eq!(error.errno(), 16, "EBUSY");
    drop(pool);
    Pool::open(&path).unwrap();
}

#[test]
fn two_pools_in_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let one = Pool::create(dir.path().join("one"), SIZE).unwrap();
    let two = Pool::create(dir.path().join("two"), SIZE).unwrap();
    let (a, b) = (File::create(&one, "/x").unwrap(), File::create(&two, "/x").unwrap());
    a.write_at(&[1; 9000], 0).unwrap();
    b.write_at(&[2; 9000], 0).unwrap();
    if let (Ok(a), Ok(b)) = (a.map(), b.map_mut()) {
        assert_eq!((a.load_u64(8).unwrap(), b.load_u64(8).unwrap()), {
            (u64::from_ne_bytes([1; 8]), u64::from_ne_bytes([2; 8]))
        });
    }
    drop((a, b, one));
    assert_eq!(two.read("/x").unwrap(), [2; 9000]);
}

#[test]
fn what_is_no_pool_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("text");
    std::fs::write(&path, vec![b'x'; 100_000]).unwrap();
    refused(&path, "not a pool");
    std::fs::write(&path, b"short").unwrap();
    refused(&path, "text");
    one_line(&Pool::open(dir.path()).unwrap_err(), "neither a regular file");
    one_line(&Pool::open(dir.path().join("absent")).unwrap_err(), "absent");
    one_line(&Pool::create(dir.path().join("tiny"), 4096).unwrap_err(), "at least");
    assert!(!dir.path().join("tiny").exists());
}

#[test]
fn a_truncated_pool_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    drop(Pool::create(&path, SIZE).unwrap());
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(SIZE / 2).unwrap();
    refused(&path, "needs");
}

#[test]
fn a_corrupt_superblock_is_replaced_by_the_backup_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let pool = Pool::create(&path, SIZE).unwrap();
    pool.write("/kept", b"bytes").unwrap();
    drop(pool);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 0xff;
    std::fs::write(&path, &bytes).unwrap();
    let pool = Pool::open(&path).unwrap();
    assert!(pool.info().backup_superblock_used);
    assert_eq!(pool.read("/kept").unwrap(), b"bytes");
}

#[test]
fn a_read_only_pool_refuses_changes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pool");
    let pool = Pool::create(&path, SIZE).unwrap();
    pool.write("/file", b"bytes").unwrap();
    drop(pool);
    let before = std::fs::read(&path).unwrap();
    let pool = PoolOptions::new().read_only(true).open(&path).unwrap();
    assert_eq!(pool.read("/file").unwrap(), b"bytes");
    assert_eq!(pool.write("/file", b"other").unwrap_err().errno(), 30, "EROFS");
    assert_eq!(pool.create_dir("/dir", 0o755).unwrap_err().errno(), 30);
    assert_eq!(pool.remove_file("/file").unwrap_err().errno(), 30);
    let file = OpenOptions::new().read(true).write(true).open(&pool, "/file");
    assert!(file.is_err() || file.unwrap().write_at(b"x", 0).unwrap_err().errno() == 30);
    drop(pool);
    assert!(std::fs::read(&path).unwrap() == before, "nothing was changed");
}

#[test]
fn ranges_that_cannot_be_mapped_are_refused() {
    let pool = Pool::memory(SIZE).unwrap();
    let file = File::create(&pool, "/file").unwrap();
    one_line(&file.map().unwrap_err(), "empty");
    file.set_len(5000).unwrap();
    for range in [0..5001, 4000..u64::MAX, 6000..7000] {
        let error = limpid::MapOptions::new().range(range).map(&file).unwrap_err();
        one_line(&error, "do not lie in the 5000 bytes");
    }
    let blind = OpenOptions::new().write(true).open(&pool, "/file").unwrap();
    one_line(&blind.map().unwrap_err(), "not opened for reading");
    let fixed = File::open(&pool, "/file").unwrap();
    one_line(&fixed.map_mut().unwrap_err(), "not opened for writing");
}

#[test]
fn offsets_that_overflow_are_refused() {
    let pool = Pool::memory(SIZE).unwrap();
    let file = File::create(&pool, "/file").unwrap();
    assert!(file.write_at(b"x", u64::MAX).is_err());
    assert!(file.write_at(b"xx", i64::MAX as u64 - 1).is_err());
    assert!(file.set_len(u64::MAX).is_err());
    assert!(file.punch_hole(u64::MAX, 2).is_err());
    assert!(file.allocate(0, 0).is_err());
    assert_eq!(file.len(), 0);
    assert_eq!(file.read_at(&mut [0; 8], u64::MAX - 2).unwrap(), 0);
    assert_eq!(pool.check().unwrap(), Vec::<String>::new());
}

#[test]
fn a_full_pool_says_so_and_gives_space_back() {
    let pool = Pool::memory(SIZE).unwrap();
    let before = pool.statfs().unwrap().free;
    let file = File::create(&pool, "/fill").unwrap();
    let block = vec![7; 1 << 20];
    let error = loop {
        match file.append(&block) {
            Ok((_, len)) if len == block.len() => {}
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.errno(), 28, "ENOSPC: {error}");
    let full = vec![7; file.len() as usize];
    assert!(pool.read("/fill").unwrap() == full, "what was written is there");
    assert_eq!(pool.check().unwrap(), Vec::<String>::new());
    drop(file);
    pool.remove_file("/fill").unwrap();
    assert_eq!(pool.statfs().unwrap().free, before, "space is back at once");
}
