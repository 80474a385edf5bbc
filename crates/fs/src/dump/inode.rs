//! An inode: its record, and the trees that belong to it.

use rustc_hash::FxHashSet;
use zerocopy::FromBytes;

use super::{Section, quoted, tables};
use crate::core::Core;
use crate::dir;
use crate::error::Result;
use crate::extent::Run;
use crate::layout::{BLOCK, BLOCK_LEN, INODE};
use crate::node::{self, Bytes, Expected, View};
use crate::record::{Body, Meta, Raw, Slot};
use crate::tree::TreeRoot;
use crate::xattr::{self, Xattr};

/// What the values of a tree are.
#[derive(Clone, Copy)]
enum Cells {
    Extents,
    Names,
    Attributes,
}

pub(super) fn show(core: &Core, ino: u64, sections: &mut Vec<Section>) -> Result<()> {
    let at = core.inodes.record_at(core, ino)?;
    let mut section = Section::new(format!("inode {ino}"), at);
    let bytes = section.read(&*core.media, INODE as usize, tables::INODE);
    let raw = Raw::read_from_bytes(&bytes).expect("a record has this length");
    section.check(raw.decode(ino, at, &core.geometry));
    // What can be believed of a damaged record is followed too.
    let Some(Slot::Used(meta)) = raw.salvage(ino, at, &core.geometry) else {
        sections.push(section);
        return Ok(());
    };
    body(&meta, &mut section);
    sections.push(section);
    let mut walk = Walk { core, meta: &meta, seen: FxHashSet::default(), sections };
    if let Body::Tree(root) = meta.body {
        let names = meta.kind == crate::attributes::FileKind::Directory;
        walk.tree(ino, root, if names { Cells::Names } else { Cells::Extents });
    }
    walk.tree(xattr::owner(&meta), meta.xattrs, Cells::Attributes);
    Ok(())
}

fn body(meta: &Meta, section: &mut Section) {
    const BODY: u64 = 136;
    match &meta.body {
        Body::Extents { count, list } => {
            for (index, run) in list[..*count].iter().enumerate() {
                section.field(BODY + 24 * index as u64, "extent", extent(run));
            }
        }
        Body::Tree(root) => section.field(BODY, "root of the tree", root.block.to_string()),
        Body::Target(target) => {
            let target = &target[..meta.size as usize];
            section.field(BODY, "target", quoted(target));
        }
        Body::TargetBlock { block, crc } => {
            section.field(BODY, "block of the target", block.to_string());
            section.field(BODY + 8, "checksum of the target", format!("{crc:#x}"));
        }
    }
}

fn extent(run: &Run) -> String {
    let flag = if run.unwritten { ", unwritten" } else { "" };
    format!("{} pages from {}: blocks from {}{flag}", run.len, run.page, run.block)
}

/// The walk over the trees of an inode; no node is shown twice.
struct Walk<'a> {
    core: &'a Core,
    meta: &'a Meta,
    seen: FxHashSet<u64>,
    sections: &'a mut Vec<Section>,
}

impl Walk<'_> {
    fn tree(&mut self, owner: u64, root: TreeRoot, cells: Cells) {
        if !root.is_empty() {
            self.node(Expected { owner, block: root.block, level: root.height - 1 }, cells);
        }
    }

    fn node(&mut self, expected: Expected, cells: Cells) {
        let block = expected.block;
        if !self.core.geometry.is_data(block, 1) || !self.seen.insert(block) {
            return;
        }
        let mut section = Section::new(format!("node, block {block}"), block * BLOCK);
        let bytes = section.read(&*self.core.media, BLOCK_LEN, tables::NODE);
        let bytes: &Bytes = bytes[..].try_into().expect("a block was read");
        section.check(node::verify(bytes, expected));
        let mut children = Vec::new();
        if node::verify_unsealed(bytes, expected).is_ok() {
            let view = View(bytes);
            for index in 0..view.count() {
                let (key, value) = (view.key(index), view.value(index));
                let text = match expected.level {
                    0 => self.cell(cells, key, value),
                    _ => {
                        children.push(view.child(index));
                        format!("child block {}", view.child(index))
                    }
                };
                section.field(32 + 2 * index as u64, format!("key {key:#x}"), text);
            }
        }
        self.sections.push(section);
        for block in children {
            self.node(Expected { block, level: expected.level - 1, ..expected }, cells);
        }
    }

    fn cell(&self, cells: Cells, key: u64, value: &[u8]) -> String {
        let geometry = &self.core.geometry;
        let text = match cells {
            Cells::Extents => Run::decode(key, value, geometry).map(|run| extent(&run)).ok(),
            Cells::Names => dir::decode(self.meta, key, value)
                .ok()
                .map(|(ino, kind, name)| format!("{}: inode {ino}, {kind:?}", quoted(name))),
            Cells::Attributes => Xattr::decode(value, self.meta.at, geometry).ok().map(|xattr| {
                let name = quoted(xattr.name);
                let whole = xattr.value(self.core, self.meta.at).is_ok();
                let state = if whole { "" } else { ", whose checksum does not match" };
                format!("{name}: {} bytes, blocks {:?}{state}", xattr.len(), xattr.blocks())
            }),
        };
        text.unwrap_or_else(|| format!("unreadable: {} bytes", value.len()))
    }
}
