//! Goal: where the medium fails, that range fails with EIO and the rest works; changes stop only
//! when metadata could not be written, and then the reason is told.
//! Method: the host file is truncated below an open pool, so that accesses past its end raise
//! SIGBUS: once in the data of a file, once in front of all data.

use std::path::Path;

use limpid::{DumpOf, Error, FsError, Pool};
use limpid_pmem::Copier;

const EIO: i32 = 5;
const BLOCK: u64 = 4096;

fn skipped() -> bool {
    if !Copier::GUARDED {
        eprintln!("skipped: this architecture has no guarded copies");
    }
    !Copier::GUARDED
}

/// A pool with files of 2 MiB: one that is removed again, one in the middle, one behind it.
fn furnished(path: &Path) -> Pool {
    let pool = Pool::create(path, 32 << 20).unwrap();
    for name in ["/front", "/sound", "/lost"] {
        pool.write(name, &vec![name.as_bytes()[1]; 2 << 20]).unwrap();
    }
    pool.remove_file("/front").unwrap();
    pool
}

/// First block of a file that has one extent.
fn first_block(path: &Path, name: &str) -> u64 {
    let sections = limpid::dump(path, DumpOf::Path(name.as_bytes())).unwrap();
    let extents: Vec<_> =
        sections[0].fields.iter().filter(|field| field.name == "extent").collect();
    assert_eq!(extents.len(), 1, "{extents:?}");
    extents[0].value.rsplit(' ').next().unwrap().parse().unwrap()
}

fn truncate(path: &Path, len: u64) {
    std::fs::File::options().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn lost_data_fails_and_the_rest_works() {
    if skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    drop(furnished(&path));
    let (sound, lost) = (first_block(&path, "/sound"), first_block(&path, "/lost"));
    assert!(sound < lost, "the later file lies behind the earlier one");
    let pool = Pool::open(&path).unwrap();
    let file = limpid::OpenOptions::new().read(true).write(true).open(&pool, "/lost").unwrap();
    // The first 1 MiB of the file is left.
    truncate(&path, lost * BLOCK + (1 << 20));
    let mut bytes = vec![0; 8192];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert!(bytes.iter().all(|byte| *byte == b'l'));
    assert_eq!(file.read_at(&mut bytes, 1 << 20).unwrap_err().errno(), EIO);
    assert_eq!(file.write_at(&bytes, 1 << 20).unwrap_err().errno(), EIO);
    match file.map() {
        Ok(map) => {
            map.read(0, &mut bytes).unwrap();
            assert_eq!(map.read(1 << 20, &mut bytes).unwrap_err().errno(), EIO);
        }
        Err(Error::NoMaps(reason)) => eprintln!("skipped: maps: {reason}"),
        Err(error) => panic!("{error}"),
    }
    assert_eq!(pool.read("/sound").unwrap(), vec![b's'; 2 << 20]);
    // There is room in front.
    pool.write("/new", &[7; 50_000]).unwrap();
    assert_eq!(pool.read("/new").unwrap(), [7; 50_000]);
    pool.rename("/sound", "/renamed").unwrap();
    assert_eq!(pool.info().stopped_at, None);
}

#[test]
fn lost_metadata_stops_changes_and_says_why() {
    if skipped() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    let pool = furnished(&path);
    let file = limpid::OpenOptions::new().read(true).write(true).open(&pool, "/sound").unwrap();
    // The metadata in front of the data area is left, the journal with it.
    truncate(&path, 2 << 20);
    // The file's record is in memory, but cannot be written.
    let error = file.set_len(1 << 20).unwrap_err();
    assert_eq!(error.errno(), EIO, "{error}");
    let at = pool.info().stopped_at.expect("the pool says where the medium failed");
    assert!(at >= 2 << 20, "{at}");
    let error = pool.write("/new", b"x").unwrap_err();
    assert_eq!(error.errno(), EIO, "{error}");
    let error = file.set_len(2 << 20).unwrap_err();
    let stopped = matches!(
        error,
        Error::Fs(FsError::Stopped { .. }) | Error::Path { source: FsError::Stopped { .. }, .. }
    );
    assert!(stopped && error.errno() == EIO, "{error}");
    assert!(error.to_string().contains(&format!("byte {at}")), "{error}");
    let mut byte = [0];
    assert_eq!(file.read_at(&mut byte, 0).unwrap_err().errno(), EIO);
}
