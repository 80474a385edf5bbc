//! Goal: whatever bytes a medium holds, nothing panics, hangs or reads past the end.
//! Method: pools with something of everything, one of them crashed with work in its journal;
//! random damage, most of it with checksums made right again, so that it gets past them; then
//! everything is walked, used, removed and checked. A pool is done within seconds, or the watchdog
//! ends the test.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{Access, BLOCK, FileKind, Fs, Ino, Kind, RenameFlags, XattrFlags};
use limpid_pmem::{Media, Op, Recorder, VecMedia};
use support::damage::damage;
use support::{DIR, FILE, MIB, node, open, pool, seed, write};

const LEN: u64 = 5 * MIB;

/// A pool with something of everything.
fn populate() -> Vec<u8> {
    let fs = pool(LEN);
    let root = fs.root();
    let media = fs.media().clone();
    let dir = fs.create(root, b"dir", DIR).unwrap();
    let below = fs.create(dir.ino(), b"below", DIR).unwrap();
    for number in 0..300 {
        let name = format!("name{number}{}", "x".repeat(number % 60)).into_bytes();
        fs.release(fs.create(below.ino(), &name, FILE).unwrap()).unwrap();
    }
    for number in (0..300).step_by(3) {
        let name = format!("name{number}{}", "x".repeat(number % 60)).into_bytes();
        fs.unlink(below.ino(), &name).unwrap();
    }
    let small = fs.create(root, b"small", FILE).unwrap();
    write(&small, &*media, 0, &[1; 20_000]).unwrap();
    let sparse = fs.create(root, b"sparse", FILE).unwrap();
    for page in 0..180 {
        write(&sparse, &*media, page * 5 * BLOCK, &[2; 30]).unwrap();
    }
    sparse.allocate(PageRange::new(2000, 2010), None).unwrap();
    fs.set_xattr(&small, b"user.a", &[3; 100], XattrFlags::empty()).unwrap();
    fs.set_xattr(&small, b"user.b", &[4; 9000], XattrFlags::empty()).unwrap();
    fs.create(root, b"link", node(Kind::Symlink(b"there"))).unwrap();
    fs.create(root, b"long", node(Kind::Symlink(&[b't'; 2000]))).unwrap();
    fs.create(root, b"fifo", node(Kind::Fifo)).unwrap();
    let orphan = fs.create(root, b"orphan", FILE).unwrap();
    write(&orphan, &*media, 0, &[5; 9000]).unwrap();
    fs.unlink(root, b"orphan").unwrap();
    let mut image = vec![0; LEN as usize];
    media.read(0, &mut image).unwrap();
    image
}

/// The same after a crash with a transaction committed but not applied.
fn crashed(image: &[u8]) -> Vec<u8> {
    let recorder = Arc::new(Recorder::new(VecMedia::from_bytes(image)));
    let fs = open(recorder.clone());
    let dir = fs.lookup(fs.root(), b"dir").unwrap().ino();
    let mut image = vec![0; LEN as usize];
    recorder.read(0, &mut image).unwrap();
    recorder.take();
    fs.release(fs.create(dir, b"replayed", FILE).unwrap()).unwrap();
    let events = recorder.take();
    let committed = events.iter().position(|event| event.op == Op::Fence).unwrap();
    for event in &events[..committed] {
        if let Op::Store { at, bytes } = &event.op {
            image[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
        }
    }
    image
}

/// Looks at everything below a directory, to a certain depth.
fn walk(fs: &Fs, dir: Ino, depth: u32, names: &mut Vec<(Ino, Vec<u8>)>) {
    let mut entries = Vec::new();
    let _ = fs.read_dir(dir, 0, &mut |entry| {
        entries.push((entry.name.to_vec(), entry.ino, entry.kind));
        entries.len() < 2000
    });
    for (name, ino, kind) in entries {
        let _ = fs.lookup(dir, &name);
        let _ = fs.read_link(ino);
        if let Ok(inode) = fs.inode(ino) {
            look(fs, &inode);
            let _ = fs.release(inode);
        }
        if kind == FileKind::Directory && depth > 0 && names.len() < 5000 {
            walk(fs, ino, depth - 1, names);
        }
        names.push((dir, name));
    }
}

fn look(fs: &Fs, inode: &limpid_fs::Inode) {
    let _ = inode.attributes();
    for name in fs.list_xattrs(inode).unwrap_or_default() {
        let _ = fs.get_xattr(inode, &name);
    }
    let (mut at, mut steps) = (0, 0);
    while let Ok(Some(data)) = inode.seek_data(at) {
        steps += 1;
        match inode.seek_hole(data) {
            Ok(Some(hole)) if hole > at && steps < 10_000 => at = hole,
            _ => break,
        }
    }
    let all = PageRange::new(0, u64::MAX >> 12);
    let _ = inode.extents(all, &mut |extent| {
        assert!(extent.device + extent.pages.len() * BLOCK <= LEN);
        true
    });
}

/// Uses and removes everything.
fn use_up(fs: &Fs, names: &[(Ino, Vec<u8>)], random: &mut fastrand::Rng) {
    for (dir, name) in names {
        if let Ok(inode) = fs.open_child(*dir, name) {
            let page = random.u64(..1000);
            let pages = PageRange::new(page, page + 5);
            let _ = write(&inode, &**fs.media(), page * BLOCK, &[6; 9000]);
            let _ = match random.u32(..6) {
                0 => inode.punch(pages),
                1 => inode.collapse(pages),
                2 => inode.insert(pages),
                3 => inode.set_size(page * BLOCK),
                4 => inode.make_unwritten(pages, None),
                _ => fs.set_xattr(&inode, b"user.new", &[7; 5000], XattrFlags::empty()),
            };
            let _ = fs.release(inode);
        }
        let _ = fs.create(*dir, format!("new{}", random.u32(..)).as_bytes(), FILE);
        let other = &names[random.usize(..names.len())];
        let flags = if random.bool() { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
        let _ = fs.rename(*dir, name, other.0, &other.1, flags);
    }
    for (dir, name) in names.iter().rev() {
        let _ = fs.unlink(*dir, name);
        let _ = fs.rmdir(*dir, name);
    }
}

#[test]
fn nothing_panics_or_hangs() {
    static ROUND: AtomicU64 = AtomicU64::new(0);
    let first = seed();
    let rounds = if std::env::var_os("LIMPID_NIGHT").is_some() { 30_000 } else { 1500 };
    // Ends the process if one round takes too long.
    std::thread::spawn(move || {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            std::thread::park_timeout(Duration::from_secs(1));
            let round = ROUND.load(Ordering::Relaxed);
            if round != last {
                (last, since) = (round, Instant::now());
            } else if since.elapsed() > Duration::from_secs(60) {
                eprintln!("SEED={round} hangs");
                std::process::abort();
            }
        }
    });
    let sound = populate();
    let images = [crashed(&sound), sound];
    let (mut opened, mut found) = (0, 0);
    for round in 0..rounds {
        let seed = first.wrapping_add(round);
        ROUND.store(seed, Ordering::Relaxed);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut image = images[random.usize(..2)].clone();
        damage(&mut image, &mut random);
        let result = std::panic::catch_unwind(move || {
            let access = if random.u32(..5) == 0 { Access::ReadOnly } else { Access::ReadWrite };
            let Ok((fs, _)) = Fs::open(Arc::new(VecMedia::from_bytes(&image)), access) else {
                return (0, 0);
            };
            let found = u64::from(!fs.check().is_empty());
            let mut names = Vec::new();
            walk(&fs, fs.root(), 5, &mut names);
            if !names.is_empty() {
                use_up(&fs, &names, &mut random);
            }
            fs.check();
            let _ = fs.close();
            (1u64, found)
        });
        let (one, problems) = result.unwrap_or_else(|_| panic!("SEED={seed} panics"));
        opened += one;
        found += problems;
    }
    eprintln!("{opened} of {rounds} damaged pools could be opened, {found} were found damaged");
    assert!(opened > rounds / 4 && found > opened / 2);
}
