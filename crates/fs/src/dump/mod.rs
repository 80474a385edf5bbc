//! What lies on a medium, field by field, for people who debug.
//!
//! Nothing is trusted and nothing is changed, not even by recovery: bytes are shown as they are,
//! with a word on what they should be. Names, offsets and order are those of docs/format.md.

mod inode;
mod journal;
mod tables;

use std::sync::Arc;

use limpid_pmem::Media;

use crate::anchor::{FLOOR_AT, INODE_TABLE_AT, ORPHANS_AT, SHARDS, STATE_AT, shard_at};
use crate::core::Core;
use crate::dir;
use crate::error::{FsError, Result};
use crate::fs::{Fs, ROOT};
use crate::fsck::Patient;
use crate::layout::{BLOCK, GRANULE};
use crate::seal;
use crate::superblock::Superblock;

use tables::{Form, Spec};

/// A structure, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// What it is.
    pub title: String,
    /// Device offset of its first byte.
    pub at: u64,
    /// What is wrong with it, if anything.
    pub problem: Option<String>,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// A field, or a line about one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Offset in bytes from the start of its structure.
    pub offset: u64,
    /// Its name in docs/format.md.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpOf<'a> {
    /// Both superblocks and the anchor.
    Roots,
    /// Both superblocks.
    Superblock,
    /// The journal: its words and all slots.
    Journal,
    /// An inode with all that belongs to it.
    Inode(u64),
    /// The inode at a path from the root; symbolic links are not followed.
    Path(&'a [u8]),
}

impl Section {
    fn new(title: impl Into<String>, at: u64) -> Section {
        Section { title: title.into(), at, ..Section::default() }
    }

    fn field(&mut self, offset: u64, name: impl Into<String>, value: impl Into<String>) {
        self.fields.push(Field { offset, name: name.into(), value: value.into() });
    }

    /// Reads `len` bytes and shows them by a table; a problem if the medium fails.
    fn read(&mut self, media: &dyn Media, len: usize, specs: &[Spec]) -> Vec<u8> {
        let mut bytes = vec![0; len];
        if let Err(error) = media.read(self.at, &mut bytes) {
            self.problem = Some(error.to_string());
            return bytes;
        }
        for spec in specs {
            let part = &bytes[spec.offset..spec.offset + spec.len];
            self.field(spec.offset as u64, spec.name, spec.form.show(part));
        }
        bytes
    }

    /// Notes what a check of the same place says.
    fn check<T>(&mut self, result: Result<T>) {
        if let (Err(error), None) = (result, &self.problem) {
            self.problem = Some(error.to_string());
        }
    }
}

impl Fs {
    /// Shows structures of the pool on a medium, damaged or not. The medium is only read.
    ///
    /// An error means that what was asked for cannot be found, not that it is damaged.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use limpid_fs::{DumpOf, FormatOptions, Fs};
    /// use limpid_pmem::{Media, VecMedia};
    ///
    /// let media: Arc<dyn Media> = Arc::new(VecMedia::new(4 << 20));
    /// Fs::format(&media, &FormatOptions::default())?;
    /// let sections = Fs::dump(media, DumpOf::Inode(1))?;
    /// assert!(sections[0].fields.iter().any(|field| field.name == "kind"));
    /// # Ok::<(), limpid_fs::FsError>(())
    /// ```
    pub fn dump(media: Arc<dyn Media>, of: DumpOf<'_>) -> Result<Vec<Section>> {
        let mut sections = Vec::new();
        if matches!(of, DumpOf::Superblock | DumpOf::Roots) {
            superblocks(&*media, &mut sections);
        }
        if of == DumpOf::Superblock {
            return Ok(sections);
        }
        let superblock = match Superblock::read(&*media) {
            Ok((superblock, _)) => superblock,
            // The superblocks themselves are shown all the same.
            Err(_) if of == DumpOf::Roots => return Ok(sections),
            Err(error) => return Err(error),
        };
        let salt = superblock.salt();
        let geometry = superblock.geometry;
        match of {
            DumpOf::Roots => anchor(&*media, salt, &mut sections),
            DumpOf::Journal => journal::show(&*media, &geometry, salt, &mut sections),
            DumpOf::Inode(ino) => inode::show(&core(media, superblock)?, ino, &mut sections)?,
            DumpOf::Path(path) => {
                let core = core(media, superblock)?;
                inode::show(&core, resolve(&core, path)?, &mut sections)?;
            }
            DumpOf::Superblock => {}
        }
        Ok(sections)
    }
}

/// The roots as the medium has them.
fn core(media: Arc<dyn Media>, superblock: Superblock) -> Result<Core> {
    Ok(Patient { media, superblock, next: 1 }.open(true)?.0)
}

/// The inode at a path from the root.
fn resolve(core: &Core, path: &[u8]) -> Result<u64> {
    let mut at = ROOT;
    for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let meta = core.inodes.load(core, at)?;
        if meta.kind != crate::attributes::FileKind::Directory {
            return Err(FsError::NotDirectory);
        }
        at = dir::get(core, &meta, name)?.ino;
    }
    Ok(at)
}

fn superblocks(media: &dyn Media, sections: &mut Vec<Section>) {
    let last = (media.len() / BLOCK).saturating_sub(1) * BLOCK;
    for (title, at) in [("superblock", 0), ("backup superblock", last)] {
        let mut section = Section::new(title, at);
        section.read(media, 512, tables::SUPERBLOCK);
        section.check(Superblock::read_at(media, at));
        sections.push(section);
    }
}

fn anchor(media: &dyn Media, salt: u32, sections: &mut Vec<Section>) {
    sections.push(words(media, salt));
    let roots =
        [("inode table", INODE_TABLE_AT, tables::TABLE), ("orphans", ORPHANS_AT, tables::ORPHANS)];
    let shards =
        (0..SHARDS).map(|shard| (format!("shard {shard}"), shard_at(shard), tables::SHARD));
    for (title, at, specs) in
        roots.map(|(t, at, s)| (t.to_owned(), at, s)).into_iter().chain(shards)
    {
        let mut section = Section::new(title, at);
        let bytes = section.read(media, GRANULE, specs);
        if !seal::sealed(&bytes, 0) {
            section.problem.get_or_insert_with(|| "its checksum does not match".to_owned());
        }
        sections.push(section);
    }
}

/// The state and the floor of the journal.
fn words(media: &dyn Media, salt: u32) -> Section {
    let mut section = Section::new("words", STATE_AT);
    for (name, at) in [("state", STATE_AT), ("floor", FLOOR_AT)] {
        let value = match media.load_u64(at) {
            Err(error) => error.to_string(),
            Ok(word) => match seal::open_word(word, salt) {
                Some(value) => value.to_string(),
                None => format!("{word:#x}, whose check does not match"),
            },
        };
        section.field(at - STATE_AT, name, value);
    }
    section
}

impl Form {
    /// A field's bytes as text.
    fn show(self, bytes: &[u8]) -> String {
        let mut wide = [0; 8];
        let len = bytes.len().min(8);
        wide[..len].copy_from_slice(&bytes[..len]);
        let number = u64::from_le_bytes(wide);
        match self {
            Form::Number => number.to_string(),
            Form::Signed => (number as i64).to_string(),
            Form::Hex => format!("{number:#x}"),
            Form::Octal => format!("{number:#o}"),
            Form::Bytes => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            Form::Text => {
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                quoted(&bytes[..end])
            }
        }
    }
}

/// A name in quotes, as Rust writes text; bytes that are not UTF-8 are `\xNN`: none is lost.
fn quoted(name: &[u8]) -> String {
    let mut text = String::from('"');
    for chunk in name.utf8_chunks() {
        text.extend(chunk.valid().escape_debug());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text.push('"');
    text
}
