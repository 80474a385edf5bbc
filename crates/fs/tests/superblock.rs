//! Goal: what is no pool, or not one of ours, is refused with the right reason; one broken
//! superblock does no harm.
//! Method: single changes to the first or last block of a pool.

mod support;

use std::sync::Arc;

use limpid_fs::{Access, BLOCK, FormatOptions, Fs, FsError, Problem, VERSION};
use limpid_pmem::{Media, VecMedia};
use support::{FILE, MIB, pool};

const LEN: u64 = 8 * MIB;

fn image() -> Vec<u8> {
    let fs = pool(LEN);
    fs.release(fs.create(fs.root(), b"file", FILE).unwrap()).unwrap();
    fs.close().unwrap();
    let mut image = vec![0; LEN as usize];
    fs.media().read(0, &mut image).unwrap();
    image
}

fn try_open(image: &[u8], access: Access) -> Result<(Arc<Fs>, limpid_fs::OpenReport), FsError> {
    Fs::open(Arc::new(VecMedia::from_bytes(image)), access)
}

/// The superblock's 512 bytes at `at`, with a change and a right checksum.
fn change(image: &mut [u8], at: u64, offset: usize, bytes: &[u8]) {
    let block = &mut image[at as usize..at as usize + 512];
    block[offset..offset + bytes.len()].copy_from_slice(bytes);
    block[12..16].fill(0);
    let crc = crc32c::crc32c(block);
    block[12..16].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn the_backup_is_used_and_reported() {
    let mut image = image();
    assert!(!try_open(&image, Access::ReadWrite).unwrap().1.backup_superblock_used);
    image[100] ^= 1;
    let (fs, report) = try_open(&image, Access::ReadWrite).unwrap();
    assert!(report.backup_superblock_used);
    assert!(fs.lookup(fs.root(), b"file").is_ok());
    assert!(fs.check().contains(&Problem::Superblocks));
    image[(LEN - BLOCK) as usize + 100] ^= 1;
    assert!(matches!(try_open(&image, Access::ReadWrite), Err(FsError::Corrupt { .. })));
}

#[test]
fn versions_and_features() {
    let good = image();
    let last = LEN - BLOCK;
    let both = |offset, bytes: &[u8]| {
        let mut image = good.clone();
        change(&mut image, 0, offset, bytes);
        change(&mut image, last, offset, bytes);
        image
    };
    let image = both(8, &(VERSION + 1).to_le_bytes());
    assert_eq!(
        try_open(&image, Access::ReadOnly).err(),
        Some(FsError::UnsupportedVersion(VERSION + 1))
    );
    let image = both(16, &4u64.to_le_bytes());
    assert_eq!(try_open(&image, Access::ReadWrite).unwrap().0.info().features[0], 4);
    let image = both(24, &4u64.to_le_bytes());
    assert_eq!(
        try_open(&image, Access::ReadWrite).err(),
        Some(FsError::UnsupportedFeature { bits: 4 })
    );
    let (fs, _) = try_open(&image, Access::ReadOnly).unwrap();
    assert_eq!(fs.create(fs.root(), b"new", FILE).err(), Some(FsError::ReadOnly));
    let image = both(32, &4u64.to_le_bytes());
    assert_eq!(
        try_open(&image, Access::ReadOnly).err(),
        Some(FsError::UnsupportedFeature { bits: 4 })
    );
    // A newer version in the first block is not overruled by an older backup.
    let mut image = good.clone();
    change(&mut image, 0, 8, &(VERSION + 1).to_le_bytes());
    assert!(matches!(try_open(&image, Access::ReadWrite), Err(FsError::UnsupportedVersion(_))));
}

#[test]
fn sizes() {
    let image = image();
    let (size, expected) = (LEN - BLOCK, LEN);
    assert_eq!(
        try_open(&image[..size as usize], Access::ReadWrite).err(),
        Some(FsError::Truncated { size, expected })
    );
    let mut longer = image.clone();
    longer.resize((LEN + MIB) as usize, 0);
    assert_eq!(try_open(&longer, Access::ReadWrite).unwrap().0.info().size, LEN);
    assert_eq!(try_open(&vec![0; LEN as usize], Access::ReadWrite).err(), Some(FsError::NotAPool));
    for len in [0, 1, 4095, 4096, 5000, 4 * MIB - 1] {
        let media: Arc<dyn Media> = Arc::new(VecMedia::new(len));
        let made = Fs::format(&media, &FormatOptions::default());
        assert!(matches!(made, Err(FsError::TooSmall { .. })), "{len}");
        assert!(Fs::open(media, Access::ReadWrite).is_err());
    }
}

#[test]
fn info_tells_what_was_asked_for() {
    let media: Arc<dyn Media> = Arc::new(VecMedia::new(4 * MIB));
    let options = FormatOptions {
        label: "a label".into(),
        uuid: Some([7; 16]),
        root_mode: 0o1777,
        uid: 12,
        gid: 34,
    };
    Fs::format(&media, &options).unwrap();
    // Formatting again leaves nothing of the old pool.
    let fs = support::open(media.clone());
    fs.release(fs.create(fs.root(), b"old", FILE).unwrap()).unwrap();
    drop(fs);
    Fs::format(&media, &options).unwrap();
    let fs = support::open(media);
    assert_eq!(fs.lookup(fs.root(), b"old").map(drop), Err(FsError::NotFound));
    let info = fs.info();
    assert_eq!((info.label.as_str(), info.uuid, info.size), ("a label", [7; 16], 4 * MIB));
    let root = fs.inode(fs.root()).unwrap();
    let attributes = root.attributes();
    assert_eq!((attributes.mode, attributes.uid, attributes.gid), (0o1777, 12, 34));
    assert_eq!(attributes.nlink, 2);
    assert_eq!(fs.check(), []);
}

#[test]
fn a_medium_that_fails_stops_changes_only() {
    let media = Arc::new(VecMedia::from_bytes(&image()));
    let (fs, _) = Fs::open(media.clone(), Access::ReadWrite).unwrap();
    media.poison(2 * BLOCK..482 * BLOCK);
    assert!(matches!(fs.create(fs.root(), b"new", FILE), Err(FsError::Media(_))));
    media.heal();
    let stopped = fs.create(fs.root(), b"new", FILE).err();
    assert!(
        matches!(stopped, Some(FsError::Stopped { at }) if (2 * BLOCK..482 * BLOCK).contains(&at))
    );
    assert_eq!(stopped, fs.info().stopped_at.map(|at| FsError::Stopped { at }));
    assert!(fs.lookup(fs.root(), b"file").is_ok());
    drop(fs);
    let (fs, _) = Fs::open(media, Access::ReadWrite).unwrap();
    assert_eq!(fs.check(), []);
    fs.release(fs.create(fs.root(), b"new", FILE).unwrap()).unwrap();
}
