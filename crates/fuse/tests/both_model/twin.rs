//! One file of a thread's own, and what it should hold.

use limpid::{File, Map, MapOptions, OpenOptions, Pool};

use crate::common::client::Client;
use crate::common::worker::{fill, sum};
use crate::rng::Rng;

/// Largest size of a file.
const LIMIT: u64 = 96 << 10;
const PAGE: u64 = 4096;

/// How a program has the file open: not, or with so many bytes of it mapped.
#[derive(Clone, Copy, PartialEq)]
enum Opened {
    Not,
    Mapped(u64),
}

pub struct Twin {
    pub names: Vec<String>,
    pub bytes: Vec<u8>,
    inside: Option<(File, Option<Map>)>,
    /// Of the bytes that are written next.
    seed: u64,
}

impl Twin {
    pub fn new(name: &str) -> Twin {
        Twin { names: vec![name.to_owned()], bytes: Vec::new(), inside: None, seed: 0 }
    }

    fn inside(&mut self, pool: &Pool) -> &File {
        let name = &self.names[0];
        let (file, _) = self.inside.get_or_insert_with(|| {
            let mut options = OpenOptions::new();
            (options.read(true).write(true).open(pool, name).unwrap(), None)
        });
        file
    }

    fn put(&mut self, at: u64, data: &[u8]) {
        let end = at as usize + data.len();
        let size = self.bytes.len().max(end);
        self.bytes.resize(size, 0);
        self.bytes[at as usize..end].copy_from_slice(data);
    }

    fn clear(&mut self, at: u64, len: u64) {
        let size = self.bytes.len();
        let end = size.min((at + len) as usize);
        self.bytes[size.min(at as usize)..end].fill(0);
    }

    /// One operation by the library or by a program, and a look at some bytes by both.
    pub fn step(&mut self, rng: &mut Rng, program: &mut Client, pool: &Pool, path: &str) {
        // A program has one file open at a time, so that writers come and go.
        let opened = match rng.below(4) {
            0 => Opened::Not,
            _ => {
                program.ask(&format!("open {path}"));
                let len = (self.bytes.len() as u64).next_multiple_of(PAGE);
                if len > 0 {
                    program.ask(&format!("map {len}"));
                }
                Opened::Mapped(len)
            }
        };
        for _ in 0..1 + rng.below(4) {
            self.seed = rng.next() >> 8;
            let at = rng.below(LIMIT - 20_000);
            let at = if rng.below(2) == 0 { at / PAGE * PAGE } else { at };
            let most = if rng.below(4) == 0 { 20_000 } else { 600 };
            let len = 1 + rng.below(most);
            match opened {
                Opened::Mapped(mapped) if rng.below(2) == 0 => {
                    self.by_program(rng, program, path, (at, len), mapped);
                }
                _ => self.by_library(rng, pool, (at, len)),
            }
            self.look(rng, program, pool, opened);
        }
        program.ask("close");
        if rng.below(4) == 0 {
            self.inside = None;
        }
    }

    fn by_program(
        &mut self,
        rng: &mut Rng,
        program: &mut Client,
        path: &str,
        (at, len): (u64, u64),
        mapped: u64,
    ) {
        let (seed, size) = (self.seed, self.bytes.len() as u64);
        match rng.below(12) {
            0..4 => {
                assert_eq!(program.ask(&format!("fill {at} {len} {seed}")), "ok");
                self.put(at, &fill(seed, len as usize));
            }
            4 if size + len < LIMIT => {
                assert_eq!(program.ask(&format!("append_fill {path} {len} {seed}")), "ok");
                self.put(size, &fill(seed, len as usize));
            }
            5 => {
                program.ask(&format!("truncate {at}"));
                self.bytes.resize(at as usize, 0);
            }
            6 => {
                program.ask(&format!("punch {at} {len}"));
                self.clear(at, len);
            }
            7 => {
                program.ask(&format!("fallocate {at} {len}"));
                let size = size.max(at + len);
                self.bytes.resize(size as usize, 0);
            }
            8 => drop(program.ask("sync")),
            _ => {
                let most = mapped.min(size) / 8 * 8;
                let (at, len) = (at / 8 * 8, len.next_multiple_of(8));
                assert_eq!(program.number("len"), size, "the mount's size of {}", self.names[0]);
                if at + len <= most {
                    program.ask(&format!("store_fill {at} {len} {seed}"));
                    self.put(at, &fill(seed, len as usize));
                }
            }
        }
    }

    fn by_library(&mut self, rng: &mut Rng, pool: &Pool, (at, len): (u64, u64)) {
        let (seed, size) = (self.seed, self.bytes.len() as u64);
        let data = fill(seed, len as usize);
        let choice = rng.below(12);
        let file = self.inside(pool);
        match choice {
            0..4 => {
                file.write_all_at(&data, at).unwrap();
                self.put(at, &data);
            }
            4 if size + len < LIMIT => {
                assert_eq!(file.append(&data).unwrap(), (size, data.len()));
                self.put(size, &data);
            }
            5 => {
                file.set_len(at).unwrap();
                self.bytes.resize(at as usize, 0);
            }
            6 => {
                file.punch_hole(at, len).unwrap();
                self.clear(at, len);
            }
            7 => {
                file.allocate(at, len).unwrap();
                self.bytes.resize(size.max(at + len) as usize, 0);
            }
            8 => {
                file.zero_range(at, len, true).unwrap();
                self.clear(at, len);
            }
            9 => file.sync_data().unwrap(),
            _ => self.store(pool, at, &data),
        }
    }

    /// Stores through a map of the library, which programs see after a flush.
    fn store(&mut self, pool: &Pool, at: u64, data: &[u8]) {
        let end = at as usize + data.len();
        self.inside(pool);
        if end > self.bytes.len() {
            return;
        }
        let Some((file, map)) = &mut self.inside else { return };
        // What programs have stored through maps is fetched first: a sync point.
        file.sync_data().unwrap();
        if map.as_ref().is_none_or(|map| map.len() < end) {
            *map = match MapOptions::new().write(true).map(file) {
                Err(limpid::Error::NoMaps(_)) => return,
                made => Some(made.unwrap()),
            };
        }
        let map = map.as_ref().expect("made above");
        map.write(at as usize, data).unwrap();
        map.flush(at as usize..end).unwrap();
        self.put(at, data);
    }

    /// Some bytes are looked at by all paths.
    fn look(&mut self, rng: &mut Rng, program: &mut Client, pool: &Pool, opened: Opened) {
        let size = self.bytes.len() as u64;
        let at = rng.below(size + 1) / 8 * 8;
        let len = (8 + rng.below(6000) / 8 * 8).min(size - at);
        let want = sum(&self.bytes[at as usize..(at + len) as usize]);
        let what = format!("{}, {len} bytes at {at} of {size}", self.names[0]);
        if let Opened::Mapped(mapped) = opened {
            assert_eq!(program.number(&format!("sum {at} {len}")), want, "call: {what}");
            let len = len / 8 * 8;
            // A map reaches a new end when the program has asked for the size.
            assert_eq!(program.number("len"), size, "the mount's size of {}", self.names[0]);
            if len > 0 && at + len <= mapped {
                let want = sum(&self.bytes[at as usize..(at + len) as usize]);
                assert_eq!(program.number(&format!("sum_map {at} {len}")), want, "map: {what}");
            }
        }
        let mut bytes = vec![0; len as usize];
        self.inside(pool).read_exact_at(&mut bytes, at).unwrap();
        assert_eq!(sum(&bytes), want, "library: {what}");
    }

    /// All names stand for this file, which has these bytes and attributes, on both sides.
    pub fn compare(&mut self, program: &mut Client, pool: &Pool, paths: &[String]) {
        let size = self.bytes.len() as u64;
        let ino = pool.metadata(&self.names[0]).unwrap().ino;
        for (name, path) in self.names.iter().zip(paths) {
            let found = pool.metadata(name).unwrap();
            let facts = (found.ino, found.size, u64::from(found.nlink));
            assert_eq!(facts, (ino, size, self.names.len() as u64), "{name}");
            let told = format!("{ino} {size} {}", self.names.len());
            assert_eq!(program.ask(&format!("facts {path}")), told, "the mount's {name}");
        }
        program.ask(&format!("open {}", paths[0]));
        let told = program.number(&format!("sum 0 {}", size + 1));
        program.ask("close");
        assert_eq!(told, sum(&self.bytes), "the mount's bytes of {}", self.names[0]);
        assert!(pool.read(&self.names[0]).unwrap() == self.bytes, "the bytes of {}", self.names[0]);
    }

    /// A file that has lost its names is there as long as somebody has it open.
    pub fn without_names(&mut self, program: &mut Client) {
        let told = program.number(&format!("sum 0 {}", self.bytes.len() + 1));
        assert_eq!(told, sum(&self.bytes), "a file without names, on the mount");
        if let Some((file, _)) = self.inside.take() {
            let mut bytes = vec![0; self.bytes.len()];
            file.read_exact_at(&mut bytes, 0).unwrap();
            assert!(bytes == self.bytes, "a file without names");
            file.write_all_at(b"more", 7).unwrap();
        }
        program.ask("close");
    }
}
