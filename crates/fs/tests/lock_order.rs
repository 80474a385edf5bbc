//! Goal: renames, exchanges, removals and links in a tree whose directories change places all
//! come to their end: no order of locks closes a circle.
//! Method: a few threads do what is known to need many directories at once, on the same few
//! directories: two subdirectories are exchanged and replaced, files move between directories
//! that move themselves, directories are moved below one another, removed and made again. Another
//! thread waits for them until a deadline. In builds with debug assertions every lock is checked
//! as well (`limpid-locks`), so a wrong order is found without its circle.

mod support;

use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use limpid_fs::{Fs, FsError, Ino, RenameFlags};
use support::{DIR, FILE, MIB, pool};

/// Steps of each thread.
const STEPS: u32 = 3000;
/// A thread that has not ended by then is stuck.
const DEADLINE: Duration = Duration::from_secs(120);

type Job = Box<dyn FnMut(u32) + Send>;

/// Errors that a race may rightly end in.
fn allowed(result: Result<(), FsError>) {
    use FsError::*;
    match result {
        Ok(()) | Err(Exists | NotFound | NotEmpty | IsDirectory | NotDirectory | Invalid) => {}
        Err(error) => panic!("{error:?}"),
    }
}

fn make_dir(fs: &Fs, dir: Ino, name: &[u8]) -> Result<Ino, FsError> {
    let inode = fs.create(dir, name, DIR)?;
    let ino = inode.ino();
    fs.release(inode)?;
    Ok(ino)
}

/// Runs all jobs at once, each for all steps.
fn run(jobs: Vec<(&'static str, Job)>) {
    let (done, end) = mpsc::channel();
    let mut left: Vec<_> = jobs.iter().map(|(name, _)| *name).collect();
    for (name, mut job) in jobs {
        let done = done.clone();
        std::thread::spawn(move || {
            let steps = std::panic::AssertUnwindSafe(|| (0..STEPS).for_each(&mut job));
            let _ = done.send((name, std::panic::catch_unwind(steps).is_ok()));
        });
    }
    while !left.is_empty() {
        match end.recv_timeout(DEADLINE) {
            Ok((name, true)) => left.retain(|other| *other != name),
            Ok((name, false)) => panic!("{name} panicked"),
            Err(_) => panic!("stuck: {left:?} did not end in {DEADLINE:?}"),
        }
    }
}

/// p holds x and t, t holds s, and the file f moves between s and x. The number of s is the
/// smallest, that of t the largest: locked by number, s comes before x, x before t, t before s.
#[test]
fn exchanged_parents() {
    let fs = pool(64 * MIB);
    let p = make_dir(&fs, fs.root(), b"p").unwrap();
    let s = make_dir(&fs, p, b"s").unwrap();
    let x = make_dir(&fs, p, b"x").unwrap();
    let t = make_dir(&fs, p, b"t").unwrap();
    assert!(s < x && x < t);
    fs.rename(p, b"s", t, b"s", RenameFlags::empty()).unwrap();
    fs.release(fs.create(s, b"f", FILE).unwrap()).unwrap();
    let (one, two, three) = (fs.clone(), fs.clone(), fs.clone());
    let jobs: Vec<(&'static str, Job)> = vec![
        (
            "exchange of two subdirectories",
            Box::new(move |_| one.rename(p, b"x", p, b"t", RenameFlags::EXCHANGE).unwrap()),
        ),
        (
            "move between directories",
            Box::new(move |step| {
                let (from, to) = if step.is_multiple_of(2) { (s, x) } else { (x, s) };
                two.rename(from, b"f", to, b"f", RenameFlags::empty()).unwrap();
            }),
        ),
        (
            "rename of a subdirectory",
            Box::new(move |step| {
                let (from, to) = if step.is_multiple_of(2) { (b"s", b"r") } else { (b"r", b"s") };
                three.rename(t, from, t, to, RenameFlags::empty()).unwrap();
            }),
        ),
    ];
    run(jobs);
    assert_eq!(fs.check(), []);
}

/// Everything that takes more than one directory, on a tree of few names.
#[test]
fn a_tree_in_motion() {
    let fs = pool(64 * MIB);
    // Directories that some thread found lately; they may be gone.
    let dirs = Arc::new(Mutex::new(vec![fs.root(); 6]));
    let jobs = ["one", "two", "three", "four"].into_iter().enumerate().map(|(number, name)| {
        let (fs, dirs) = (fs.clone(), dirs.clone());
        let mut random = fastrand::Rng::with_seed(number as u64);
        let job = move |_| {
            let mut dir = || dirs.lock().unwrap()[random.usize(..6)];
            let (one, two) = (dir(), dir());
            let mut name = || [b'a' + random.u8(..4)];
            let (first, second) = (name(), name());
            let none = RenameFlags::empty();
            match random.u32(..16) {
                0..4 => match make_dir(&fs, one, &first) {
                    Ok(made) => dirs.lock().unwrap()[random.usize(1..6)] = made,
                    Err(error) => allowed(Err(error)),
                },
                4 => allowed(fs.create(one, &first, FILE).and_then(|file| fs.release(file))),
                5 => allowed(fs.rmdir(one, &first).map(|_| ())),
                6 => allowed(fs.unlink(one, &first).map(|_| ())),
                7 => match fs.lookup(one, &first) {
                    Ok(found) => allowed(fs.link(found.ino(), two, &second)),
                    Err(error) => allowed(Err(error)),
                },
                8 => allowed(fs.rename(one, &first, one, &second, none)),
                9 | 10 => allowed(fs.rename(one, &first, one, &second, RenameFlags::EXCHANGE)),
                11..14 => allowed(fs.rename(one, &first, two, &second, none)),
                _ => allowed(fs.rename(one, &first, two, &second, RenameFlags::EXCHANGE)),
            }
        };
        (name, Box::new(job) as Job)
    });
    run(jobs.collect());
    assert_eq!(fs.check(), []);
}
