//! Goal: whatever instant a crash comes at, the pool opens, is sound, and holds each operation
//! wholly or not at all; one that had returned is there.
//! Method: a random workload on a recording medium. Then, for each recorded event, the images a
//! crash could leave there: all stores so far (death of the process), and what was fenced plus a
//! random part, in 8-byte pieces, of what was not (power loss). Each image is opened, checked, and
//! compared with the states before and after the operation under way. Recovery itself is crashed
//! the same way. The canary forgets to flush the journal, which must be noticed.

mod support;

use std::sync::Arc;

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{Access, BLOCK, FileKind, Fs, Ino, Inode, RenameFlags, XattrFlags};
use limpid_pmem::{Event, Media, Op, Recorder, VecMedia};
use support::crash::Crash;
use support::{DIR, FILE, MIB, open, pool, read, seed, write};

/// Everything a user sees of a pool but times, as text.
fn state(fs: &Fs) -> String {
    let mut text = String::new();
    list(fs, fs.root(), "", &mut text);
    text
}

fn list(fs: &Fs, dir: Ino, path: &str, text: &mut String) {
    let mut names = Vec::new();
    fs.read_dir(dir, 0, &mut |entry| {
        names.push((String::from_utf8(entry.name.to_vec()).unwrap(), entry.ino, entry.kind));
        true
    })
    .unwrap();
    names.sort_by(|one, two| one.0.cmp(&two.0));
    for (name, ino, kind) in names {
        let path = format!("{path}/{name}");
        if kind == FileKind::Directory {
            text.push_str(&format!("{path}\n"));
            list(fs, ino, &path, text);
            continue;
        }
        let inode = fs.inode(ino).unwrap();
        let bytes = read(&inode, &**fs.media(), 0, inode.size());
        let nlink = inode.attributes().nlink;
        text.push_str(&format!("{path} {nlink} {} {:x}", inode.size(), hash(&bytes)));
        let mut xattrs = fs.list_xattrs(&inode).unwrap();
        xattrs.sort();
        for name in xattrs {
            let value = fs.get_xattr(&inode, &name).unwrap();
            text.push_str(&format!(" {:x}={:x}", hash(&name), hash(&value)));
        }
        text.push('\n');
        fs.release(inode).unwrap();
    }
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Does one random operation; its result does not matter. Data is only written to whole pages
/// that are holes: a store in place is not atomic.
fn operation(fs: &Fs, random: &mut fastrand::Rng, held: &mut Vec<Arc<Inode>>) {
    let root = fs.root();
    let dir = match fs.lookup(root, format!("d{}", random.u32(..2)).as_bytes()) {
        Ok(dir) if dir.kind() == FileKind::Directory && random.bool() => dir.ino(),
        _ => root,
    };
    let name = format!("f{}", random.u32(..8)).into_bytes();
    let other = format!("f{}", random.u32(..8)).into_bytes();
    let file = fs.open_child(dir, &name).ok().filter(|inode| inode.kind() == FileKind::File);
    let page = random.u64(..100);
    let pages = PageRange::new(page, page + 1 + random.u64(..6));
    match (random.u32(..18), &file) {
        (0, _) => drop(
            fs.create(root, format!("d{}", random.u32(..2)).as_bytes(), DIR)
                .map(|inode| fs.release(inode)),
        ),
        (1, _) => drop(fs.rmdir(root, format!("d{}", random.u32(..2)).as_bytes())),
        (2..5, None) => drop(fs.create(dir, &name, FILE).map(|inode| fs.release(inode))),
        (2, _) => drop(fs.unlink(dir, &name)),
        (3, _) => drop(fs.rename(root, &name, dir, &other, RenameFlags::empty())),
        (4, _) => drop(fs.rename(root, &name, dir, &other, RenameFlags::EXCHANGE)),
        (5..10, Some(inode)) => {
            let holes = (pages.start.0..pages.end.0).all(|page| {
                let pages = PageRange::new(page, page + 1);
                let extent = inode.begin(pages, limpid_dax::Intent::Read).unwrap();
                extent.backing != limpid_dax::Backing::Mapped
            });
            if holes {
                let bytes = vec![random.u8(1..); (pages.len() * BLOCK) as usize];
                let _ = write(inode, &**fs.media(), page * BLOCK, &bytes);
            }
        }
        (10, Some(inode)) => drop(inode.set_size(page * BLOCK)),
        (11, Some(inode)) => drop(inode.punch(pages)),
        (12, Some(inode)) => drop(inode.collapse(pages)),
        (13, Some(inode)) => drop(inode.insert(pages)),
        (14, Some(inode)) => drop(inode.make_unwritten(pages, None)),
        (15, Some(inode)) => drop(inode.allocate(pages, Some(pages.bytes().end))),
        (16, Some(inode)) => {
            let len = [10, 500, 9000][random.usize(..3)];
            let value = vec![random.u8(..); len];
            let _ =
                fs.set_xattr(inode, format!("user.{len}").as_bytes(), &value, XattrFlags::empty());
        }
        (17, Some(inode)) => drop(fs.link(inode.ino(), root, &other)),
        _ => {}
    }
    if let Some(inode) = file {
        // Some files stay open, so that unlinking makes orphans.
        match random.u32(..4) {
            0 => held.push(inode),
            _ => fs.release(inode).unwrap(),
        }
    }
    if held.len() > 3 {
        fs.release(held.swap_remove(0)).unwrap();
    }
}

/// Opens an image and returns what a user sees, or what is wrong; sometimes crashes while it is
/// opened first.
fn recovered(mut image: Vec<u8>, random: &mut fastrand::Rng) -> Result<String, String> {
    if random.u32(..10) == 0 {
        let shown = {
            let media: Arc<dyn Media> = Arc::new(VecMedia::from_bytes(&image));
            sound_state(media, Access::ReadOnly)?
        };
        let recorder = Arc::new(Recorder::new(VecMedia::from_bytes(&image)));
        sound_state(recorder.clone(), Access::ReadWrite)?;
        let events = recorder.take();
        let mut crash = Crash::new(image);
        events[..random.usize(..=events.len())].iter().for_each(|event| crash.event(event));
        image = crash.power_loss(random, 50);
        if recovered(image.clone(), random)? != shown {
            return Err("what is shown read-only and what is recovered differ".into());
        }
    }
    sound_state(Arc::new(VecMedia::from_bytes(&image)), Access::ReadWrite)
}

/// What a user sees of a pool, which must be sound.
fn sound_state(media: Arc<dyn Media>, access: Access) -> Result<String, String> {
    let (fs, _) = Fs::open(media, access).map_err(|error| error.to_string())?;
    match &fs.check()[..] {
        [] => Ok(state(&fs)),
        problems => Err(format!("{problems:?}")),
    }
}

/// Which flushes the model of the medium believes in.
#[derive(Clone, Copy, PartialEq)]
enum Flushes {
    All,
    /// The canary: none of the journal's.
    NotTheJournals,
}

fn run(rounds: u32, flushes: Flushes) -> Result<(), String> {
    let mut random = fastrand::Rng::with_seed(seed());
    for _ in 0..rounds {
        let empty = pool(5 * MIB);
        // A few steps of history first, so that the journal's slots hold old records.
        let mut held = Vec::new();
        (0..60).for_each(|_| operation(&empty, &mut random, &mut held));
        held.drain(..).for_each(|inode| empty.release(inode).unwrap());
        let mut image = vec![0; 5 * MIB as usize];
        empty.media().read(0, &mut image).unwrap();
        workload(image, &mut random, flushes)?;
    }
    Ok(())
}

fn workload(image: Vec<u8>, random: &mut fastrand::Rng, flushes: Flushes) -> Result<(), String> {
    let journal = 2 * BLOCK..482 * BLOCK;
    let recorder = Arc::new(Recorder::new(VecMedia::from_bytes(&image)));
    let fs = open(recorder.clone());
    let mut crash = Crash::new(image);
    recorder.take().iter().for_each(|event| crash.event(event));
    let mut before = state(&fs);
    let mut held = Vec::new();
    let mut images = 0;
    for _ in 0..80 {
        operation(&fs, random, &mut held);
        let events: Vec<Event> = recorder.take();
        let after = state(&fs);
        recorder.take();
        for event in &events {
            match &event.op {
                Op::Flush(range) => {
                    if flushes == Flushes::All || !journal.contains(&range.start) {
                        crash.event(event);
                    }
                    continue;
                }
                _ => crash.event(event),
            }
            let percent = [0, 50, 90, 100][random.usize(..4)];
            for image in [crash.stored.clone(), crash.power_loss(random, percent)] {
                let found = recovered(image, random)?;
                if found != before && found != after {
                    return Err(format!("{found}\nis neither\n{before}\nnor\n{after}"));
                }
                images += 1;
            }
        }
        // What has returned is durable.
        if recovered(crash.power_loss(random, 30), random)? != after {
            return Err(format!("an operation that had returned is lost: {after}"));
        }
        before = after;
    }
    held.drain(..).for_each(|inode| fs.release(inode).unwrap());
    eprintln!("{images} images");
    Ok(())
}

#[test]
fn every_crash_leaves_a_sound_pool() {
    run(4, Flushes::All).unwrap();
}

#[test]
fn canary_a_journal_that_is_not_flushed_is_noticed() {
    run(8, Flushes::NotTheJournals).unwrap_err();
}
