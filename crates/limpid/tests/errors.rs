//! Goal: an error says what went wrong and nothing else: the text, the errno and the kind that
//! programs ask for belong together, and what failed for the moment works again. Method: each
//! failure is provoked.

use std::io::{self, ErrorKind, Read};

use limpid::{Error, File, MIN_POOL_SIZE, NodeKind, OpenOptions, Pool, PoolOptions};

fn pool() -> Pool {
    Pool::memory(16 << 20).unwrap()
}

#[test]
fn an_io_error_carries_the_errno() {
    let pool = pool();
    pool.create_dir("d", 0o755).unwrap();
    pool.write("d/f", b"x").unwrap();
    let file = File::open(&pool, "d/f").unwrap();
    for (error, errno) in [
        (File::open(&pool, "none").unwrap_err(), libc::ENOENT),
        (File::open(&pool, "d/f/x").unwrap_err(), libc::ENOTDIR),
        (pool.create_dir("d", 0o755).unwrap_err(), libc::EEXIST),
        (pool.remove_dir("d").unwrap_err(), libc::ENOTEMPTY),
        (pool.remove_file("d").unwrap_err(), libc::EISDIR),
        (pool.rename("d", "d/x").unwrap_err(), libc::EINVAL),
        (file.write_at(b"x", 0).unwrap_err(), libc::EBADF),
        (pool.get_xattr("d/f", true, "user.x").unwrap_err(), libc::ENODATA),
    ] {
        assert_eq!(error.errno(), errno, "{error}");
        let kind = io::Error::from_raw_os_error(errno).kind();
        let error = io::Error::from(error);
        assert_eq!((error.raw_os_error(), error.kind()), (Some(errno), kind), "{error}");
    }
}

#[test]
fn a_file_that_ends_too_soon_is_an_end_of_file() {
    let pool = pool();
    pool.write("f", b"four").unwrap();
    let file = File::open(&pool, "f").unwrap();
    let error = file.read_exact_at(&mut [0; 8], 0).unwrap_err();
    assert!(matches!(error, Error::EndOfFile { at: 0, len: 8, size: 4 }), "{error:?}");
    assert_eq!(io::Error::from(error).kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_too_large_is_not_told_of_a_file_of_0_bytes() {
    let pool = pool();
    let file = File::create(&pool, "f").unwrap();
    file.write_at(&[1; 8192], 0).unwrap();
    for error in [
        file.set_len(u64::MAX).unwrap_err(),
        file.write_at(b"x", u64::MAX - 1).unwrap_err(),
        file.allocate(1 << 62, 1 << 62).unwrap_err(),
    ] {
        assert_eq!(error.errno(), libc::EFBIG, "{error}");
        assert!(!error.to_string().contains("0 bytes"), "{error}");
    }
    let error = file.allocate(0, 0).unwrap_err();
    assert_eq!(error.errno(), libc::EINVAL, "{error}");
}

#[test]
fn only_regular_files_have_bytes() {
    let pool = pool();
    pool.create_dir("d", 0o755).unwrap();
    pool.make_node("fifo", NodeKind::Fifo, 0o600).unwrap();
    for (path, errno) in [("d", libc::EISDIR), ("/", libc::EISDIR), ("fifo", libc::EINVAL)] {
        let file = File::open(&pool, path).unwrap();
        assert_eq!(file.read_at(&mut [0; 8], 0).unwrap_err().errno(), errno, "{path}");
        assert_eq!((&file).read(&mut [0; 8]).unwrap_err().raw_os_error(), Some(errno), "{path}");
        assert_eq!(pool.read(path).unwrap_err().errno(), errno, "{path}");
        assert_eq!(file.map().unwrap_err().errno(), errno, "{path}");
        assert_eq!(file.seek_data(0).unwrap_err().errno(), errno, "{path}");
        // The attributes are there all the same.
        assert!(!file.metadata().unwrap().is_file(), "{path}");
    }
}

#[test]
fn emptying_an_empty_file_is_a_change() {
    let pool = pool();
    let file = File::create(&pool, "f").unwrap();
    let set = limpid::SetAttributes {
        mtime: Some(limpid::Timespec { seconds: 1, nanoseconds: 0 }),
        ..Default::default()
    };
    file.set_attributes(&set).unwrap();
    OpenOptions::new().write(true).truncate(true).open(&pool, "f").unwrap();
    pool.sync().unwrap();
    assert_ne!(pool.metadata("f").unwrap().mtime.seconds, 1);
}

#[test]
fn what_holds_no_pool_is_told_by_its_own_size() {
    let folder = tempfile::tempdir().unwrap();
    for size in [0_usize, 1, 4095, 5000] {
        let path = folder.path().join("file");
        std::fs::write(&path, vec![b'x'; size]).unwrap();
        let error = PoolOptions::new().read_only(true).open(&path).unwrap_err();
        let text = error.to_string();
        assert!(size == 0 || !text.contains(" 0 bytes"), "{text}");
        assert_eq!(error.errno(), libc::EINVAL, "{text}");
    }
    let error = PoolOptions::new().create(folder.path().join("p"), 5).unwrap_err();
    assert!(error.to_string().contains(&MIN_POOL_SIZE.to_string()), "{error}");
}
