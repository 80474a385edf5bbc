//! Goal: a map that cannot be had for want of open files says so, and can be had when there is
//! room. Method: a process of its own lowers its limit before the pool's first map, and raises it
//! again.

use limpid::{File, Pool};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn a_map_can_be_had_when_there_is_room_again() {
    let pool = Pool::memory(16 << 20).unwrap();
    let file = File::create(&pool, "f").unwrap();
    file.write_at(b"bytes", 0).unwrap();
    // The engine's own descriptors, which all pools share, are not the ones in question.
    let other = Pool::memory(16 << 20).unwrap();
    other.write("f", b"x").unwrap();
    if let Err(error) = File::open(&other, "f").unwrap().map() {
        eprintln!("skipped: maps cannot be had here: {error}");
        return;
    }
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: limit.maximum }).unwrap();
    let all: Vec<_> = std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    let refused = file.map();
    drop(all);
    setrlimit(Resource::Nofile, limit).unwrap();
    let error = refused.unwrap_err();
    assert_eq!(error.errno(), libc::EMFILE, "{error}");
    let mut bytes = [0; 5];
    file.map().unwrap().read(0, &mut bytes).unwrap();
    assert_eq!(&bytes, b"bytes");
}
