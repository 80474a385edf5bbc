//! Damage to images of pools: fields of structures, with their checksums made right again.

use std::sync::{Arc, OnceLock};

use limpid_fs::{DumpOf, FormatOptions, Fs};
use limpid_pmem::{Media, VecMedia};

/// Where UUID and hash key lie in a superblock, as the library itself reads them.
fn salt_fields() -> [usize; 2] {
    static FIELDS: OnceLock<[usize; 2]> = OnceLock::new();
    *FIELDS.get_or_init(|| {
        let media: Arc<dyn Media> = Arc::new(VecMedia::new(4 << 20));
        Fs::format(&media, &FormatOptions::default()).unwrap();
        let superblock = Fs::dump(media, DumpOf::Superblock).unwrap().remove(0);
        ["UUID", "key of the name hash"].map(|name| {
            let field = superblock.fields.iter().find(|field| field.name == name);
            field.expect("the superblock has it").offset as usize
        })
    })
}

/// The salt of an image's journal.
pub fn salt(image: &[u8]) -> u32 {
    salt_fields().into_iter().fold(0, |crc, at| crc32c::crc32c_append(crc, &image[at..at + 16]))
}

/// A structure with a checksum: where it lies, its length and that of the checksum's place, and
/// what the checksum starts with.
#[derive(Clone, Copy, Debug)]
pub struct Sealed {
    pub at: usize,
    pub len: usize,
    pub crc: usize,
    pub salt: u32,
}

/// All structures with a checksum that an image holds.
pub fn structures(image: &[u8]) -> Vec<Sealed> {
    let salt = salt(image);
    let mut all = vec![Sealed { at: 0, len: 512, crc: 12, salt: 0 }];
    for at in (0..image.len()).step_by(64) {
        let magic = &image[at + 4..at + 8];
        let len = match magic {
            b"ITAB" | b"ORPH" | b"SHRD" | b"GRPD" => 64,
            b"INOD" => 256,
            _ if magic.starts_with(b"LN") && at % 4096 == 0 => 4096,
            _ => 0,
        };
        if len > 0 {
            all.push(Sealed { at, len, crc: 0, salt: 0 });
        }
        if image[at..].starts_with(b"LIMPIDTX") {
            let len = u32::from_le_bytes(image[at + 24..at + 28].try_into().unwrap());
            all.push(Sealed { at, len: 64 + len as usize, crc: 28, salt });
        }
        if image[at..].starts_with(b"LIMPIDRP") {
            all.push(Sealed { at, len: 4096, crc: 8, salt });
        }
    }
    all
}

impl Sealed {
    /// Makes the checksum right again.
    pub fn seal(&self, image: &mut [u8]) {
        let bytes = &mut image[self.at..self.at + self.len];
        bytes[self.crc..self.crc + 4].fill(0);
        let crc = crc32c::crc32c_append(self.salt, bytes);
        bytes[self.crc..self.crc + 4].copy_from_slice(&crc.to_le_bytes());
    }
}

/// The words of block 1 that are stored on their own: whether the pool was closed, and the floor of
/// the journal.
pub const WORDS: [usize; 2] = [4096, 4104];

/// Writes a word with its check.
pub fn seal_word(image: &mut [u8], at: usize, value: u64) {
    let value = value & ((1 << 48) - 1);
    let crc = crc32c::crc32c_append(salt(image), &value.to_le_bytes());
    let word = value | u64::from((crc ^ (crc >> 16)) as u16) << 48;
    image[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

/// Damages one structure in up to three places; mostly its checksum is right afterwards.
pub fn damage_one(image: &mut [u8], place: Sealed, random: &mut fastrand::Rng) {
    let bytes = &mut image[place.at..place.at + place.len];
    for _ in 0..random.usize(1..4) {
        // Mostly near the head, where the fields are.
        let end = if random.bool() { place.len } else { place.len.min(160) };
        let at = random.usize(..end);
        match random.u32(..5) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u32(..8),
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => {
                let word = [0, 1, 512, 600, 1023, u64::MAX, 1 << 63][random.usize(..7)];
                let at = at / 8 * 8;
                let stop = (at + 8).min(place.len);
                bytes[at..stop].copy_from_slice(&word.to_le_bytes()[..stop - at]);
            }
            _ => {
                let from = random.usize(..place.len);
                bytes[at] = bytes[from];
            }
        }
    }
    if random.u32(..8) > 0 {
        place.seal(image);
    }
}

/// Damages up to three structures, and sometimes bytes anywhere.
pub fn damage(image: &mut [u8], random: &mut fastrand::Rng) {
    let all = structures(image);
    for _ in 0..random.usize(1..4) {
        damage_one(image, all[random.usize(..all.len())], random);
    }
    if random.u32(..10) == 0 {
        let value = random.u64(..) >> random.u32(16..64);
        seal_word(image, WORDS[random.usize(..2)], value);
    }
    if random.u32(..4) == 0 {
        for _ in 0..random.usize(1..200) {
            let at = random.usize(..image.len());
            image[at] = random.u8(..);
        }
    }
}
