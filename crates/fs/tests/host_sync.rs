//! Goal: on a plain file, a pool that was synced and not changed since is whole after a power loss,
//! with everything that was done before the sync.
//!
//! Method: a recording medium of durability "process". The host's disk is played by an image that
//! takes a store over only when a sync covers it; after each sync the image alone is opened,
//! checked and compared. The canary believes in the first half of each sync only.

mod support;

use std::sync::Arc;

use limpid_fs::{Access, FormatOptions, Fs, RenameFlags};
use limpid_pmem::{Durability, Media, Op, Recorder, VecMedia};
use support::{FILE, MIB, read, seed, write};

/// The disk of a host whose cache writes nothing back before it is told to.
struct Disk {
    image: Vec<u8>,
    cached: Vec<(u64, Box<[u8]>)>,
}

impl Disk {
    fn event(&mut self, op: Op, believed: f64) {
        match op {
            Op::Store { at, bytes } => self.cached.push((at, bytes)),
            Op::Sync(range) => {
                let end = range.start + ((range.end - range.start) as f64 * believed) as u64;
                for (at, bytes) in std::mem::take(&mut self.cached) {
                    if at >= range.start && at + bytes.len() as u64 <= end {
                        self.image[at as usize..][..bytes.len()].copy_from_slice(&bytes);
                    } else {
                        self.cached.push((at, bytes));
                    }
                }
            }
            Op::Flush(_) | Op::Fence => {}
        }
    }
}

type Files = Vec<(String, Vec<u8>)>;

/// Whether the image is a sound pool with just these files.
fn holds(image: &[u8], files: &Files) -> Result<(), String> {
    let media: Arc<dyn Media> = Arc::new(VecMedia::from_bytes(image));
    let (fs, _) = Fs::open(media, Access::ReadWrite).map_err(|error| error.to_string())?;
    let problems = fs.check();
    if !problems.is_empty() {
        return Err(format!("{problems:?}"));
    }
    for (name, bytes) in files {
        let inode = fs.open_child(fs.root(), name.as_bytes()).map_err(|error| error.to_string())?;
        let found = read(&inode, &**fs.media(), 0, inode.size());
        fs.release(inode).map_err(|error| error.to_string())?;
        if found != *bytes {
            return Err(format!("{name} differs"));
        }
    }
    Ok(())
}

fn run(believed: f64) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed());
    let size = 6 * MIB;
    let recorder =
        Arc::new(Recorder::new(VecMedia::new(size).with_durability(Durability::Process)));
    let media: Arc<dyn Media> = recorder.clone();
    Fs::format(&media, &FormatOptions::default()).unwrap();
    let (fs, _) = Fs::open(media, Access::ReadWrite).unwrap();
    let mut disk = Disk { image: vec![0; size as usize], cached: Vec::new() };
    let mut files = Files::new();
    for round in 0..60 {
        for step in 0..random.usize(1..6) {
            if files.len() > 12 {
                let (name, _) = files.swap_remove(random.usize(..files.len()));
                fs.unlink(fs.root(), name.as_bytes()).unwrap();
            }
            let name = format!("f{round}.{step}");
            let inode = fs.create(fs.root(), name.as_bytes(), FILE).unwrap();
            let bytes = vec![random.u8(1..); random.usize(1..5) * 4096];
            write(&inode, &**fs.media(), 0, &bytes).unwrap();
            fs.release(inode).unwrap();
            let moved = format!("moved {name}");
            let (from, to) = (name.as_bytes(), moved.as_bytes());
            fs.rename(fs.root(), from, fs.root(), to, RenameFlags::empty()).unwrap();
            files.push((moved, bytes));
        }
        fs.sync().unwrap();
        recorder.take().into_iter().for_each(|event| disk.event(event.op, believed));
        holds(&disk.image, &files)?;
    }
    Ok(())
}

#[test]
fn what_a_sync_covered_is_there_after_a_power_loss() {
    run(1.0).unwrap();
}

#[test]
fn canary_a_sync_of_half_the_pool_is_noticed() {
    run(0.5).unwrap_err();
}
