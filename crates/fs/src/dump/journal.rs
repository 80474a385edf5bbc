//! The journal: its slots and what their records say.

use limpid_pmem::Media;

use super::{Section, tables, words};
use crate::anchor::FLOOR_AT;
use crate::entry::{self, Entry};
use crate::journal::{HEADER, Header, SLOT_BYTES, slot_at};
use crate::layout::{BLOCK, GRANULE, Geometry, LANES, SLOTS};
use crate::repair::log;
use crate::seal;

pub(super) fn show(media: &dyn Media, geometry: &Geometry, salt: u32, sections: &mut Vec<Section>) {
    sections.push(words(media, salt));
    let word = media.load_u64(FLOOR_AT).ok().and_then(|word| seal::open_word(word, salt));
    for lane in 0..LANES as usize {
        for slot in 0..SLOTS as usize {
            let mut section = Section::new(format!("lane {lane} slot {slot}"), slot_at(lane, slot));
            let mut bytes = vec![0; SLOT_BYTES];
            if let Err(error) = media.read(section.at, &mut bytes) {
                section.problem = Some(error.to_string());
            } else if (lane, slot) == (0, 0) && bytes.starts_with(log::MAGIC) {
                repair(media, geometry, salt, &mut section);
            } else if Header::looks_like_one(&bytes) {
                record(media, geometry, salt, word.unwrap_or(0), &mut section, &mut bytes);
            } else {
                section.field(0, "magic", "none: the slot is empty");
            }
            sections.push(section);
        }
    }
}

fn repair(media: &dyn Media, geometry: &Geometry, salt: u32, section: &mut Section) {
    section.title = "log of a repair".to_owned();
    section.read(media, HEADER, tables::REPAIR);
    match log::find(media, geometry, salt) {
        Ok(Some(blocks)) => {
            for block in blocks.keys() {
                section.field(0, "changes", format!("block {block}"));
            }
        }
        Ok(None) => section.problem = Some("its checksum does not match".to_owned()),
        Err(error) => section.problem = Some(error.to_string()),
    }
}

fn record(
    media: &dyn Media,
    geometry: &Geometry,
    salt: u32,
    floor: u64,
    section: &mut Section,
    bytes: &mut [u8],
) {
    section.read(media, HEADER, tables::RECORD);
    let Some(header) = Header::read(bytes, salt) else {
        section.problem = Some("its checksum does not match: it was not committed".to_owned());
        return;
    };
    let state = if header.seq < floor { "retired by the floor word" } else { "from the floor on" };
    section.field(8, "state", state);
    let mut lines = Vec::new();
    let entries = &bytes[HEADER..HEADER + header.len];
    let decoded = entry::decode(entries, section.at, geometry, &mut |entry| {
        lines.push(match entry {
            Entry::Granules { at, bytes } => {
                let (block, offset) = (at / BLOCK, at % BLOCK);
                format!(
                    "granules: block {block}, byte {offset}, {} granules",
                    bytes.len() / GRANULE
                )
            }
            Entry::Bits { block, len, set } => {
                format!("bits: {} {len} blocks from {block}", if set { "take" } else { "free" })
            }
            Entry::Revoke { block } => format!("revoke: block {block}"),
        });
        Ok(())
    });
    section.check(decoded);
    for line in lines {
        section.field(HEADER as u64, "entry", line);
    }
}
