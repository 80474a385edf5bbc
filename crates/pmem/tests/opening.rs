//! Goal: a medium is what the kernel says it is; one writer or many readers have it; errors say
//! who is to blame.
//! Method: files, devices and processes of this machine; the second process is this test binary.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use limpid_pmem::{Durability, Kind, Media, MediaError, Medium, OpenError, OpenOptions, Persist};

const LEN: u64 = 1 << 20;

fn read_only() -> OpenOptions {
    OpenOptions { read_only: true, ..OpenOptions::default() }
}

fn default() -> OpenOptions {
    OpenOptions::default()
}

#[test]
fn a_file_is_sparse_and_keeps_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    let size = 64 << 30;
    let medium = Medium::create(&path, size, &default()).unwrap();
    assert_eq!((medium.len(), medium.kind()), (size, Kind::File));
    assert_eq!((medium.durability(), medium.granularity()), (Durability::Process, 4096));
    assert_eq!(medium.as_ptr() as usize % (2 << 20), 0);
    medium.write(size - 4, b"last", Persist::Yes).unwrap();
    medium.sync(size - 4..size).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() < 1000);
    assert!(medium.describe().starts_with("file, 68719476736 bytes"), "{}", medium.describe());
    drop(medium);

    let medium = Medium::open(&path, &read_only()).unwrap();
    let mut bytes = [0; 4];
    medium.read(size - 4, &mut bytes).unwrap();
    assert_eq!(&bytes, b"last");
}

#[test]
fn a_read_only_medium_refuses_stores() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    drop(Medium::create(&path, LEN, &default()).unwrap());
    let medium = Medium::open(&path, &read_only()).unwrap();
    assert!(medium.read_only());
    let refused = Err(MediaError::ReadOnly);
    assert_eq!(medium.write(0, &[1], Persist::No), refused);
    assert_eq!(medium.zero(0..1, Persist::No), refused);
    assert_eq!(medium.copy(0, 8, 8, Persist::No), refused);
    assert_eq!(medium.store_u64(0, 1), refused);
    assert_eq!(medium.load_u64(0), Ok(0));
    assert_eq!(medium.sync(0..LEN), Ok(()));
}

#[test]
fn create_does_not_take_what_exists_unless_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    drop(Medium::create(&path, LEN, &default()).unwrap());
    fs::write(&path, vec![9; 8192]).unwrap();
    let again = Medium::create(&path, LEN, &default());
    assert!(matches!(again, Err(OpenError::Exists { .. })), "{again:?}");
    assert_eq!(fs::read(&path).unwrap(), vec![9; 8192]);

    let reuse = OpenOptions { reuse: true, ..default() };
    let medium = Medium::create(&path, 2 * LEN, &reuse).unwrap();
    assert_eq!((medium.len(), medium.load_u64(0)), (2 * LEN, Ok(0)));
    medium.store_u64(0, 5).unwrap();
    // Not while somebody has it, and then nothing is lost.
    let again = Medium::create(&path, LEN, &reuse);
    assert!(matches!(again, Err(OpenError::InUse { .. })), "{again:?}");
    assert_eq!(medium.load_u64(0), Ok(5));
}

#[test]
fn what_is_no_medium_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, size| {
        let path = folder.path().join(name);
        fs::write(&path, vec![0; size]).unwrap();
        path
    };
    for size in [0, 1, 4095] {
        let error = Medium::open(file("small", size), &default()).unwrap_err();
        assert!(matches!(error, OpenError::TooSmall { size: s, .. } if s < 4096), "{error}");
    }
    assert_eq!(Medium::open(file("odd", 9000), &default()).unwrap().len(), 8192);
    for path in ["/dev/null", "/dev/zero", "/"] {
        for options in [default(), read_only()] {
            let error = Medium::open(path, &options).unwrap_err();
            assert!(matches!(error, OpenError::NotAMedium { .. }), "{path}: {error}");
        }
    }
    let error = Medium::open(folder.path().join("none"), &default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot open "), "{error}");
    assert!(Medium::memory(0, &default()).is_err());
    assert!(Medium::memory(u64::MAX, &default()).is_err());
    // A failed creation leaves nothing behind.
    let path = folder.path().join("huge");
    assert!(Medium::create(&path, u64::MAX >> 1, &default()).is_err());
    assert!(!path.exists());
}

#[test]
fn one_writer_or_many_readers_in_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    let own = Some(std::process::id());
    let in_use = |options: &OpenOptions| match Medium::open(&path, options) {
        Err(OpenError::InUse { pid, .. }) => pid,
        other => panic!("expected a refusal: {other:?}"),
    };
    let writer = Medium::create(&path, LEN, &default()).unwrap();
    assert_eq!(in_use(&default()), own);
    // The first refusal closed a descriptor of the file; the lock must have survived that.
    assert_eq!(in_use(&read_only()), own);
    drop(writer);
    let readers = [(); 2].map(|()| Medium::open(&path, &read_only()).unwrap());
    assert_eq!(in_use(&default()), own);
    drop(readers);
    drop(Medium::open(&path, &default()).unwrap());
}

#[test]
fn another_process_is_named() {
    if let Some(path) = std::env::var_os("LIMPID_CHILD_POOL") {
        let _held = Medium::open(path, &default()).unwrap();
        println!("ready");
        // Holds the pool until the parent closes the pipe.
        std::io::read_to_string(std::io::stdin()).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    drop(Medium::create(&path, LEN, &default()).unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process_is_named", "--nocapture"])
        .env("LIMPID_CHILD_POOL", &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let ready = std::io::BufRead::lines(output).any(|line| line.unwrap().ends_with("ready"));
    assert!(ready, "the child could not open the pool");
    match Medium::open(&path, &default()) {
        Err(error @ OpenError::InUse { pid, .. }) => {
            assert_eq!(pid, Some(child.id()));
            assert!(error.to_string().ends_with(&format!("in use by process {}", child.id())));
        }
        other => panic!("expected a refusal: {other:?}"),
    }
    // The lock goes with its owner, however that dies.
    child.kill().unwrap();
    child.wait().unwrap();
    Medium::open(&path, &default()).unwrap();
}

#[test]
fn memory_has_a_file_and_huge_pages_if_it_says_so() {
    let options = OpenOptions { populate: true, ..default() };
    let medium = Medium::memory(8 << 20, &options).unwrap();
    assert_eq!((medium.kind(), medium.durability()), (Kind::Memory, Durability::None));
    let stat = rustix::fs::fstat(medium.fd()).unwrap();
    assert_eq!(stat.st_size, 8 << 20);
    assert!(stat.st_blocks * 512 >= 8 << 20, "populated");
    if !medium.huge() {
        eprintln!("skipped: no huge pages for memory here (needs CAP_SYS_ADMIN)");
        return;
    }
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let start = format!("{:x}-", medium.as_ptr() as usize);
    let mine = maps.split_once(&start).expect("the mapping is listed").1;
    let mapped = mine.lines().find(|line| line.starts_with("ShmemPmdMapped:")).unwrap();
    assert!(mapped.contains(" 8192 kB"), "{mapped}");
}

#[test]
fn a_persistent_medium_can_be_feigned() {
    let options = OpenOptions { assume_persistent: true, ..default() };
    let medium = Medium::memory(LEN, &options).unwrap();
    assert_eq!((medium.kind(), medium.durability()), (Kind::Memory, Durability::Power));
}

/// Set LIMPID_TEST_MEDIA to a colon-separated list of files on DAX file systems and /dev/dax
/// devices whose contents may be destroyed.
#[test]
fn real_persistent_media() {
    let Some(list) = std::env::var_os("LIMPID_TEST_MEDIA") else {
        eprintln!("skipped: LIMPID_TEST_MEDIA names no persistent media");
        return;
    };
    for path in std::env::split_paths(&list) {
        let medium = Medium::open(&path, &default()).unwrap();
        eprintln!("{}: {}", path.display(), medium.describe());
        assert!(matches!(medium.kind(), Kind::Fsdax | Kind::Devdax));
        assert_eq!(medium.durability(), Durability::Power);
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| i as u8).collect();
        medium.write(4000, &bytes, Persist::Yes).unwrap();
        medium.fence();
        let mut found = vec![0; bytes.len()];
        medium.read(4000, &mut found).unwrap();
        assert!(found == bytes);
        assert!(matches!(Medium::open(&path, &default()), Err(OpenError::InUse { .. })));
    }
}
