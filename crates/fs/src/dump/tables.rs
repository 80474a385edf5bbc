//! The fields of fixed structures: the tables of docs/format.md.

/// How a field is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Number,
    Signed,
    Hex,
    Octal,
    Bytes,
    Text,
}

/// A field of a structure.
pub(super) struct Spec {
    pub offset: usize,
    pub len: usize,
    pub name: &'static str,
    pub form: Form,
}

const fn spec(offset: usize, len: usize, name: &'static str, form: Form) -> Spec {
    Spec { offset, len, name, form }
}

use Form::{Bytes, Hex, Number, Octal, Signed, Text};

pub(super) const SUPERBLOCK: &[Spec] = &[
    spec(0, 8, "magic", Text),
    spec(8, 4, "version", Number),
    spec(12, 4, "checksum", Hex),
    spec(16, 8, "compatible features", Hex),
    spec(24, 8, "read-only compatible features", Hex),
    spec(32, 8, "incompatible features", Hex),
    spec(40, 16, "UUID", Bytes),
    spec(56, 64, "label", Text),
    spec(120, 16, "key of the name hash", Bytes),
    spec(136, 8, "made, seconds", Signed),
    spec(144, 4, "made, nanoseconds", Number),
    spec(148, 4, "block size", Number),
    spec(152, 8, "total blocks", Number),
    spec(160, 4, "lanes", Number),
    spec(164, 4, "blocks of a slot", Number),
    spec(168, 8, "first block of the group descriptors", Number),
    spec(176, 8, "first block of the bitmaps", Number),
    spec(184, 8, "number of groups", Number),
    spec(192, 8, "first block of the data area", Number),
    spec(200, 8, "block after the data area", Number),
];

pub(super) const TABLE: &[Spec] = &[
    spec(0, 4, "checksum", Hex),
    spec(4, 4, "magic", Text),
    spec(8, 8, "root node", Number),
    spec(16, 4, "height", Number),
    spec(24, 8, "inode blocks", Number),
];

pub(super) const ORPHANS: &[Spec] = &[
    spec(0, 4, "checksum", Hex),
    spec(4, 4, "magic", Text),
    spec(8, 8, "root node", Number),
    spec(16, 4, "height", Number),
];

pub(super) const SHARD: &[Spec] = &[
    spec(0, 4, "checksum", Hex),
    spec(4, 4, "magic", Text),
    spec(8, 8, "first free inode", Number),
    spec(16, 8, "first inode never used", Number),
    spec(24, 8, "end of those", Number),
    spec(32, 8, "inodes taken less given back", Signed),
];

pub(super) const RECORD: &[Spec] = &[
    spec(0, 8, "magic", Text),
    spec(8, 8, "number", Number),
    spec(16, 8, "floor", Number),
    spec(24, 4, "bytes of entries", Number),
    spec(28, 4, "checksum", Hex),
];

pub(super) const REPAIR: &[Spec] = &[
    spec(0, 8, "magic", Text),
    spec(8, 4, "checksum", Hex),
    spec(16, 8, "changed blocks", Number),
    spec(24, 4, "checksum of the index", Hex),
    spec(32, 8, "runs", Number),
];

pub(super) const INODE: &[Spec] = &[
    spec(0, 4, "checksum", Hex),
    spec(4, 4, "magic", Text),
    spec(8, 8, "number", Number),
    spec(16, 4, "generation", Number),
    spec(20, 1, "kind", Number),
    spec(22, 2, "permission bits", Octal),
    spec(24, 4, "uid", Number),
    spec(28, 4, "gid", Number),
    spec(32, 4, "links", Number),
    spec(36, 4, "atime, nanoseconds", Number),
    spec(40, 4, "mtime, nanoseconds", Number),
    spec(44, 4, "ctime, nanoseconds", Number),
    spec(48, 4, "btime, nanoseconds", Number),
    spec(52, 1, "body", Number),
    spec(53, 1, "extents or height", Number),
    spec(54, 1, "height of the attributes", Number),
    spec(56, 8, "size", Number),
    spec(64, 8, "blocks in use", Number),
    spec(72, 8, "device, parent or next free", Number),
    spec(80, 8, "atime, seconds", Signed),
    spec(88, 8, "mtime, seconds", Signed),
    spec(96, 8, "ctime, seconds", Signed),
    spec(104, 8, "btime, seconds", Signed),
    spec(112, 8, "root of the attributes", Number),
];

pub(super) const NODE: &[Spec] = &[
    spec(0, 4, "checksum", Hex),
    spec(4, 2, "magic", Text),
    spec(6, 1, "level", Number),
    spec(8, 8, "owner", Number),
    spec(16, 8, "own block", Number),
    spec(24, 2, "cells", Number),
    spec(26, 2, "lowest cell", Number),
    spec(28, 2, "bytes of cells", Number),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the tables under a heading of docs/format.md: first byte and length.
    fn rows(heading: &str) -> Vec<(usize, usize)> {
        let text = include_str!("../../../../docs/format.md");
        let (_, section) = text.split_once(heading).expect("the heading is there");
        let section = section.split("\n## ").next().expect("a text has a first part");
        let row = |line: &str| {
            let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
            Some((cells.next()?.parse().ok()?, cells.next()?.parse().ok()?))
        };
        section.lines().filter_map(row).collect()
    }

    fn is_written(spec: &Spec, rows: &[(usize, usize)]) -> bool {
        let end = spec.offset + spec.len;
        rows.iter().any(|(first, len)| *first <= spec.offset && end <= first + len)
    }

    #[test]
    fn what_is_dumped_lies_where_the_format_says() {
        let tables = [
            ("\n## Superblock", SUPERBLOCK),
            ("\n## Journal", RECORD),
            ("\n## Tree node", NODE),
            ("\n## Inode record", INODE),
        ];
        for (heading, table) in tables {
            let rows = rows(heading);
            for spec in table {
                assert!(is_written(spec, &rows), "{heading}: {} at {}", spec.name, spec.offset);
            }
            let canary = Spec { offset: table[0].offset + 2, len: 4096, ..table[0] };
            assert!(!is_written(&canary, &rows));
        }
    }
}
