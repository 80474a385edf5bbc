//! Goal: damage that the tests seal again gets past the checksums, so that what lies behind them is
//! tested.
//! Method: an undamaged pool with work in its journal. To seal its structures again changes no byte
//! of it; each damaged and sealed again has no wrong checksum, each damaged and not sealed has one.

mod support;

use std::sync::Arc;

use limpid_fs::{Access, DumpOf, Fs, FsError, What};
use limpid_pmem::{Media, VecMedia};
use support::damage::{Sealed, WORDS, seal_word, structures};
use support::{DIR, FILE, MIB, pool, write};

/// A pool with nodes, records of the journal and all else; not closed.
fn image() -> Vec<u8> {
    let fs = pool(4 * MIB);
    let dir = fs.create(fs.root(), b"dir", DIR).unwrap();
    let file = fs.create(dir.ino(), b"file", FILE).unwrap();
    for page in 0..10 {
        write(&file, &**fs.media(), page * 3 * 4096, &[1; 10]).unwrap();
    }
    let mut image = vec![0; 4 << 20];
    fs.media().read(0, &mut image).unwrap();
    image
}

fn magic(image: &[u8], place: &Sealed) -> Vec<u8> {
    let at = if place.crc == 0 { place.at + 4 } else { place.at };
    image[at..at + 4].iter().take(if place.len == 4096 { 2 } else { 4 }).copied().collect()
}

/// What the library says of a place: true if nothing is wrong there.
fn is_sound(image: &[u8], at: usize) -> bool {
    let media: Arc<dyn Media> = Arc::new(VecMedia::from_bytes(image));
    let mut sections = Vec::new();
    for of in [DumpOf::Roots, DumpOf::Journal, DumpOf::Path(b"/dir/file"), DumpOf::Path(b"/dir")] {
        sections.extend(Fs::dump(media.clone(), of).unwrap_or_default());
    }
    let section = sections.iter().find(|section| section.at == at as u64);
    section.is_some_and(|section| section.problem.is_none())
}

#[test]
fn sealing_what_is_sound_changes_nothing() {
    let image = image();
    let all = structures(&image);
    for wanted in [&b"LIMP"[..], b"ITAB", b"ORPH", b"SHRD", b"GRPD", b"INOD", b"LN"] {
        assert!(all.iter().any(|place| magic(&image, place) == wanted), "{wanted:?}");
    }
    let records = all.iter().filter(|place| place.crc == 28).count();
    assert!(records > 1, "{records} records of the journal");
    for place in all {
        let mut again = image.clone();
        place.seal(&mut again);
        assert!(again == image, "{place:?}");
    }
    for at in WORDS {
        let mut again = image.clone();
        let value = u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        seal_word(&mut again, at, value);
        assert!(again == image, "the word at {at}");
    }
}

#[test]
fn what_is_sealed_again_passes_for_sound() {
    let image = image();
    // A record's last byte is the contents of something; its first entry's tag is at 64.
    for place in structures(&image).into_iter().filter(|place| place.crc == 28) {
        let mut damaged = image.clone();
        damaged[place.at + place.len - 1] ^= 1;
        assert!(!is_sound(&damaged, place.at) || !is_sound(&image, place.at), "{place:?}");
        place.seal(&mut damaged);
        assert_eq!(is_sound(&damaged, place.at), is_sound(&image, place.at), "{place:?}");
    }
}

#[test]
fn a_damaged_record_is_looked_at_when_the_pool_is_opened() {
    let image = image();
    let all = structures(&image);
    let last = all.iter().filter(|place| place.crc == 28).max_by_key(|place| {
        u64::from_le_bytes(image[place.at + 8..place.at + 16].try_into().unwrap())
    });
    let place = last.unwrap();
    let mut damaged = image.clone();
    // No entry has this tag.
    damaged[place.at + 64] = 0xff;
    place.seal(&mut damaged);
    let opened = Fs::open(Arc::new(VecMedia::from_bytes(&damaged)), Access::ReadOnly);
    let error = opened.map(|_| ()).unwrap_err();
    assert!(matches!(error, FsError::Corrupt { what: What::Journal, .. }), "{error:?}");
}

/// Numbers of transactions that the floor word cannot hold.
#[test]
fn impossible_numbers_are_refused() {
    let image = image();
    for seq in [1 << 47, (1 << 48) - 1, 1 << 48, u64::MAX] {
        let mut damaged = image.clone();
        let place = structures(&image).into_iter().find(|place| place.crc == 28).unwrap();
        damaged[place.at + 8..place.at + 16].copy_from_slice(&u64::to_le_bytes(seq));
        place.seal(&mut damaged);
        let media = Arc::new(VecMedia::from_bytes(&damaged));
        let error = Fs::open(media.clone(), Access::ReadWrite).map(|_| ()).unwrap_err();
        assert!(matches!(error, FsError::Corrupt { what: What::Journal, .. }), "{error:?}");
        assert_eq!(Fs::fsck(media.clone(), true, &|_| {}).unwrap().left, []);
        assert_eq!(Fs::fsck(media.clone(), false, &|_| {}).unwrap().findings, []);
        Fs::open(media, Access::ReadWrite).unwrap();
    }
    let mut damaged = image;
    seal_word(&mut damaged, WORDS[1], (1 << 48) - 1);
    let opened = Fs::open(Arc::new(VecMedia::from_bytes(&damaged)), Access::ReadWrite);
    let error = opened.map(|_| ()).unwrap_err();
    assert!(matches!(error, FsError::Corrupt { what: What::Anchor, .. }), "{error:?}");
}
