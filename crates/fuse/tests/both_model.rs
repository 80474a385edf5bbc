//! Goal: the library and programs on the mount, all at work at once on one pool, see one file
//! system: the same names, attributes and bytes.
//!
//! Method: random operations by several threads, each by the library or by a program, against a
//! reference. Each thread has files of its own, whose bytes it knows; one file is shared, of which
//! each block has an owner who writes ever larger versions of it, and is read by all. All threads
//! look up, open and list each other's files, which come and go meanwhile. When they rest all is
//! compared. At the end the kernel is made to forget all, and the server must have forgotten it,
//! too.

mod common;
#[path = "../../limpid/tests/common/rng.rs"]
mod rng;
#[path = "../../limpid/tests/common/rounds.rs"]
mod rounds;
#[path = "both_model/twin.rs"]
mod twin;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::Mounted;
use common::client::Client;
use common::worker::fill;
use limpid::{File, Pool};
use limpid_fuse::MountOptions;
use rng::Rng;
use rounds::rounds;
use twin::Twin;

const THREADS: usize = 3;
/// Files of a thread's own.
const FILES: usize = 3;
/// How often all rest.
const RESTS: u64 = 3;
/// The shared file: words with owners, several to a page.
const WORDS: usize = 96;
const SHARED: &str = "shared";
const PAGE: u64 = 4096;
const LONG: Duration = Duration::from_secs(60);

/// The program.
#[test]
fn client() {
    common::client::serve();
}

/// For each word of the shared file the version that was begun last, and done last.
#[derive(Default)]
struct Versions {
    begun: Vec<AtomicU64>,
    done: Vec<AtomicU64>,
}

impl Versions {
    fn new() -> Versions {
        let words = || (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Versions { begun: words(), done: words() }
    }

    /// Words lie all over eight pages, neighbours belong to different threads.
    fn place(word: usize) -> u64 {
        (word % 8) as u64 * PAGE + (word / 8) as u64 * 8
    }

    fn change(&self, word: usize, change: impl FnOnce(u64)) {
        let version = self.begun[word].load(Ordering::SeqCst) + 1;
        self.begun[word].store(version, Ordering::SeqCst);
        change(version << 8 | word as u64);
        self.done[word].store(version, Ordering::SeqCst);
    }

    fn check(&self, word: usize, how: &str, read: impl FnOnce() -> u64) {
        let least = self.done[word].load(Ordering::SeqCst);
        let seen = read();
        let most = self.begun[word].load(Ordering::SeqCst);
        let (version, block) = (seen >> 8, (seen & 0xff) as usize);
        assert!(version == 0 || block == word, "{how}: word {word} has bytes of word {block}");
        assert!((least..=most).contains(&version), "{how}: {word} is {version}, {least} to {most}");
    }
}

/// One of the threads: the library and two programs do what it wants.
struct Party<'a> {
    mounted: &'a Mounted,
    versions: &'a Versions,
    number: usize,
    rng: Rng,
    twins: Vec<Twin>,
    /// Number of names that were ever made.
    made: u64,
    program: Client,
    /// Has the shared file open, and mapped.
    sharer: Client,
    inside: File,
}

impl Party<'_> {
    fn path(&self, name: &str) -> String {
        self.mounted.path(name).display().to_string()
    }

    fn fresh(&mut self) -> String {
        self.made += 1;
        format!("t{}_{}", self.number, self.made % 8)
    }

    /// Opens the shared file anew: writers come and go.
    fn share(&mut self) {
        let path = self.path(SHARED);
        self.sharer.ask("close");
        self.sharer.ask(&format!("open {path}"));
        self.sharer.ask(&format!("map {}", 8 * PAGE));
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..45 => self.own(),
            45..80 => self.shared(),
            80..92 => self.names(),
            92..97 => self.visit(),
            97..99 => self.share(),
            _ => {
                self.sharer.ask("evict");
            }
        }
    }

    fn own(&mut self) {
        let index = self.rng.below(FILES as u64) as usize;
        let path = self.path(&self.twins[index].names[0]);
        self.twins[index].step(&mut self.rng, &mut self.program, &self.mounted.pool, &path);
    }

    fn shared(&mut self) {
        let word = self.rng.below(WORDS as u64) as usize;
        let at = Versions::place(word);
        let versions = self.versions;
        let (inside, sharer) = (&self.inside, &mut self.sharer);
        if word % THREADS == self.number {
            let side = self.rng.below(3);
            versions.change(word, |value| match side {
                0 => inside.write_all_at(&value.to_ne_bytes(), at).unwrap(),
                1 => drop(sharer.ask(&format!("write {at} {value}"))),
                _ => drop(sharer.ask(&format!("store {at} {value}"))),
            });
        }
        versions.check(word, "library", || {
            let mut bytes = [0; 8];
            inside.read_exact_at(&mut bytes, at).unwrap();
            u64::from_ne_bytes(bytes)
        });
        versions.check(word, "call", || sharer.number(&format!("read {at}")));
        versions.check(word, "map", || sharer.number(&format!("load {at}")));
    }

    /// A name of an own file comes, goes or changes.
    fn names(&mut self) {
        let index = self.rng.below(FILES as u64) as usize;
        let (inside, name) = (self.rng.below(2) == 0, self.fresh());
        let pool = &self.mounted.pool;
        if self.twins.iter().any(|twin| twin.names.contains(&name)) {
            return;
        }
        let old = self.twins[index].names[0].clone();
        let (from, to) = (self.path(&old), self.path(&name));
        match self.rng.below(5) {
            0 | 1 => {
                match inside {
                    true => pool.hard_link(&old, &name).unwrap(),
                    false => assert_eq!(self.program.ask(&format!("link {from} {to}")), "ok"),
                }
                self.twins[index].names.push(name);
            }
            2 => {
                match inside {
                    true => pool.rename(&old, &name).unwrap(),
                    false => assert_eq!(self.program.ask(&format!("rename {from} {to}")), "ok"),
                }
                self.twins[index].names[0] = name;
            }
            3 if self.twins[index].names.len() > 1 => {
                match inside {
                    true => pool.remove_file(&old).unwrap(),
                    false => assert_eq!(self.program.ask(&format!("remove {from}")), "ok"),
                }
                self.twins[index].names.remove(0);
            }
            _ => self.replace(index, inside, &name),
        }
    }

    /// A file goes, with its last name, and another comes: over it or beside it.
    fn replace(&mut self, index: usize, inside: bool, name: &str) {
        let pool = &self.mounted.pool;
        let twin = Twin::new(name);
        let path = self.path(name);
        match inside {
            true => drop(File::create(pool, name).unwrap()),
            false => assert_eq!(self.program.ask(&format!("make {path}")), "ok"),
        }
        let mut gone = std::mem::replace(&mut self.twins[index], twin);
        let old = self.path(&gone.names[0]);
        self.program.ask(&format!("open {old}"));
        let over = gone.names.pop().expect("it has a name");
        for old in &gone.names {
            pool.remove_file(old).unwrap();
        }
        let (to, by) = (self.path(&over), self.rng.below(4));
        match by {
            0 => pool.rename(name, &over).unwrap(),
            1 => assert_eq!(self.program.ask(&format!("rename {path} {to}")), "ok"),
            2 => pool.remove_file(&over).unwrap(),
            _ => assert_eq!(self.program.ask(&format!("remove {to}")), "ok"),
        }
        if by < 2 {
            self.twins[index].names[0] = over;
        }
        // Whoever has it open has it yet.
        gone.without_names(&mut self.program);
    }

    /// Opens what others make and remove.
    fn visit(&mut self) {
        let name = format!("t{}_{}", self.rng.below(THREADS as u64), self.rng.below(8));
        let path = self.path(&name);
        match self.rng.below(4) {
            0 => {
                let _ = File::open(&self.mounted.pool, &name)
                    .map(|file| file.read_at(&mut [0; 64], 0).unwrap());
            }
            1 => drop(self.program.ask(&format!("peek {path}"))),
            2 => drop(self.program.ask(&format!("facts {path}"))),
            _ => drop(self.program.ask(&format!("names {}", self.path("")))),
        }
    }

    /// All that this thread knows is so, by the mount and by the library.
    fn compare(&mut self) -> Vec<String> {
        self.program.ask("close");
        for index in 0..FILES {
            let paths: Vec<String> =
                self.twins[index].names.iter().map(|name| self.path(name)).collect();
            self.twins[index].compare(&mut self.program, &self.mounted.pool, &paths);
        }
        self.twins.iter().flat_map(|twin| twin.names.clone()).collect()
    }
}

/// Ends a test whose threads hang, or have failed.
struct Failed<'a>(&'a AtomicBool);

impl Drop for Failed<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}

/// A number that the mount tells of itself.
fn metric(mounted: &Mounted, name: &str) -> u64 {
    let text = limpid_fuse::metrics(&mounted.path("")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.expect("a metric").parse().unwrap()
}

/// Mounting anew has the kernel forget what nobody uses. False where only root may.
fn forget_all(dir: &Path) -> bool {
    use rustix::mount::{MountFlags, mount_remount};
    mount_remount(dir, MountFlags::NOSUID | MountFlags::NODEV, c"").is_ok()
}

fn wait_until(what: &str, is: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < LONG, "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn random_operations_of_both_sides_agree() {
    let pool = Pool::memory(64 << 20).unwrap();
    let Some(mounted) = Mounted::with(pool, MountOptions::default()) else { return };
    let mut rng = Rng::announced("both sides");
    let steps = rounds(150, 3000);
    let versions = Versions::new();
    let shared = File::create(&mounted.pool, SHARED).unwrap();
    shared.set_len(8 * PAGE).unwrap();
    let failed = AtomicBool::new(false);
    let mut parties: Vec<Party<'_>> = (0..THREADS)
        .map(|number| {
            let rng = Rng::new(rng.next());
            let (program, sharer) = (Client::new(), Client::new());
            let inside = shared.try_clone().unwrap();
            let (mounted, versions, twins) = (&mounted, &versions, Vec::new());
            let mut party =
                Party { mounted, versions, number, rng, twins, made: 0, program, sharer, inside };
            for _ in 0..FILES {
                let name = party.fresh();
                drop(File::create(&mounted.pool, &name).unwrap());
                party.twins.push(Twin::new(&name));
            }
            party.share();
            party
        })
        .collect();
    for _ in 0..RESTS {
        std::thread::scope(|scope| {
            let failed = &failed;
            for party in &mut parties {
                scope.spawn(move || {
                    let _failed = Failed(failed);
                    for _ in 0..steps {
                        if failed.load(Ordering::SeqCst) {
                            return;
                        }
                        party.step();
                    }
                });
            }
        });
        rest(&mounted, &mut parties);
    }
    drop(parties);
    drop(shared);
    let dir = mounted.path("");
    if forget_all(&dir) {
        wait_until("the kernel knows what it has forgotten", || {
            forget_all(&dir);
            metric(&mounted, "limpid_open_files") + metric(&mounted, "limpid_known_inodes") == 0
        });
    } else {
        eprintln!("skipped: only root has the kernel forget what it knows");
    }
    mounted.finish();
}

/// All is compared.
fn rest(mounted: &Mounted, parties: &mut [Party<'_>]) {
    let mut names = vec![SHARED.to_owned()];
    for party in parties.iter_mut() {
        names.extend(party.compare());
    }
    names.sort();
    let listed = mounted.pool.read_dir("/").unwrap().map(|entry| entry.unwrap().name);
    let mut listed: Vec<String> = listed.map(|name| name.into_string().unwrap()).collect();
    listed.sort();
    assert_eq!(listed, names, "the library's names");
    for party in parties.iter_mut() {
        let path = party.path("");
        assert_eq!(party.program.ask(&format!("names {path}")), names.join(","), "the mount's");
    }
    assert_eq!(mounted.pool.check().unwrap(), Vec::<String>::new());
}

/// Two changes of the library lie in the way of one read: it sees both, or what was before.
#[test]
fn reads_meet_two_changes_at_once() {
    const HALF: u64 = 8 * PAGE;
    const MET: u64 = 10;
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let file = File::create(&mounted.pool, "/f").unwrap();
    file.set_len(2 * HALF).unwrap();
    let [begun, done] = [(); 2].map(|()| [AtomicU64::new(0), AtomicU64::new(0)]);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for half in 0..2usize {
            let (file, begun, done, ended) = (&file, &begun, &done, &ended);
            scope.spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    let version = begun[half].load(Ordering::SeqCst) + 1;
                    begun[half].store(version, Ordering::SeqCst);
                    let bytes = version.to_ne_bytes().repeat(HALF as usize / 8);
                    file.write_all_at(&bytes, half as u64 * HALF).unwrap();
                    done[half].store(version, Ordering::SeqCst);
                }
            });
        }
        let _ended = Ended(&ended);
        let mut program = Client::new();
        program.ask(&format!("open {}", mounted.path("f").display()));
        let began = Instant::now();
        while metric(&mounted, "limpid_gates_met_total") < MET {
            assert!(began.elapsed() < LONG, "no read has met two changes");
            let least = done.each_ref().map(|done| done.load(Ordering::SeqCst));
            let seen = program.ask(&format!("versions 0 {}", 2 * HALF));
            let most = begun.each_ref().map(|begun| begun.load(Ordering::SeqCst));
            for (page, version) in seen.split(',').enumerate() {
                let (half, version) = (page / 8, version.parse::<u64>().unwrap());
                let is = least[half]..=most[half];
                assert!(is.contains(&version), "page {page} is {version}, not {is:?}");
            }
        }
    });
    drop(file);
    mounted.finish();
}

/// Ends the other threads, also when this one panics.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The canary: a reference that is wrong by one byte.
#[test]
fn the_comparison_finds_a_wrong_byte() {
    let Some(mounted) = Mounted::new(MountOptions::default()) else { return };
    let mut twin = Twin::new("f");
    mounted.pool.write("f", &fill(1, 5000)).unwrap();
    twin.bytes = fill(1, 5000);
    let paths = [mounted.path("f").display().to_string()];
    let mut program = Client::new();
    twin.compare(&mut program, &mounted.pool, &paths);
    twin.bytes[4097] ^= 1;
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        twin.compare(&mut program, &mounted.pool, &paths);
    }));
    assert!(caught.is_err());
    drop(program);
    mounted.finish();
}
