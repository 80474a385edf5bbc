//! Goal: damage to one inode is nobody else's: all other files of an open pool hold what they held.
//! Method: one record or tree node of a pool with something of everything is damaged, mostly with a
//! right checksum. All is used that the damage is in; then every other file is read by its number.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{Access, BLOCK, FileKind, Fs, Ino, XattrFlags};
use limpid_pmem::VecMedia;
use support::damage::{damage_one, structures};
use support::{DIR, FILE, MIB, pool, read, seed, write};

const FILES: u64 = 60;

/// A closed pool, and what each of its files holds.
fn populate(random: &mut fastrand::Rng) -> (Vec<u8>, BTreeMap<u64, Vec<u8>>) {
    let fs = pool(6 * MIB);
    let media = fs.media().clone();
    let dir = fs.create(fs.root(), b"dir", DIR).unwrap();
    let mut all = BTreeMap::new();
    for number in 0..FILES {
        let parent = if number % 2 == 0 { fs.root() } else { dir.ino() };
        let file = fs.create(parent, format!("file{number}").as_bytes(), FILE).unwrap();
        for piece in 0..if number % 5 == 0 { 30 } else { 2 } {
            let mut bytes = vec![0; random.usize(1..5000)];
            random.fill(&mut bytes);
            write(&file, &*media, piece * 3 * BLOCK, &bytes).unwrap();
        }
        fs.set_xattr(&file, b"user.a", &[1; 3000], XattrFlags::empty()).unwrap();
        all.insert(file.ino().0, read(&file, &*media, 0, u64::MAX >> 1));
        fs.release(file).unwrap();
    }
    fs.close().unwrap();
    let mut image = vec![0; (6 * MIB) as usize];
    media.read(0, &mut image).unwrap();
    (image, all)
}

/// Reads, changes and removes what an inode is.
fn use_up(fs: &Fs, ino: u64, random: &mut fastrand::Rng) {
    let Ok(inode) = fs.inode(Ino(ino)) else { return };
    let _ = fs.read_dir(Ino(ino), 0, &mut |_| true);
    for name in fs.list_xattrs(&inode).unwrap_or_default() {
        let _ = fs.get_xattr(&inode, &name);
    }
    if inode.kind() == FileKind::File {
        let page = random.u64(..80);
        let _ = write(&inode, &**fs.media(), page * BLOCK, &[7; 9000]);
        let _ = inode.punch(PageRange::new(page + 3, page + 9));
        let _ = inode.set_size(page * BLOCK);
    }
    let _ = fs.remove_xattr(&inode, b"user.a");
    let _ = fs.release(inode);
}

#[test]
fn what_was_not_damaged_is_as_it_was() {
    let mut random = fastrand::Rng::with_seed(seed());
    let (sound, all) = populate(&mut random);
    let word = |image: &[u8], at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
    // Records and nodes: both say at byte 8 whose they are; attributes' nodes with the top bit.
    let owned: Vec<_> = structures(&sound)
        .into_iter()
        .filter(|place| place.crc == 0 && (place.len == 256 || place.len == 4096))
        .map(|place| (place, word(&sound, place.at + 8) & !(1 << 63)))
        .filter(|(_, ino)| *ino > 1 && *ino < 1 << 32)
        .collect();
    let rounds = if std::env::var_os("LIMPID_NIGHT").is_some() { 5000 } else { 60 };
    let mut opened = 0;
    for _ in 0..rounds {
        let (place, owner) = owned[random.usize(..owned.len())];
        let mut image = sound.clone();
        damage_one(&mut image, place, &mut random);
        let media = Arc::new(VecMedia::from_bytes(&image));
        let Ok((fs, _)) = Fs::open(media, Access::ReadWrite) else { continue };
        opened += 1;
        // Blocks that the damage gives to two files are in fact shared by them: what is written
        // to one is then in both. So such pools are only read.
        if fs.check().is_empty() {
            use_up(&fs, owner, &mut random);
        }
        for (ino, bytes) in all.iter().filter(|(ino, _)| **ino != owner) {
            let file = fs.inode(Ino(*ino)).unwrap();
            let now = read(&file, &**fs.media(), 0, u64::MAX >> 1);
            assert!(now == *bytes, "file {ino} after damage to {owner} in {place:?}");
            fs.release(file).unwrap();
        }
    }
    assert!(opened > rounds / 2);
}
