//! Everything a user can see of a pool: names, attributes, contents.

use std::collections::BTreeMap;
use std::sync::Arc;

use limpid_dax::{Backing, PageRange};
use limpid_fs::{Attributes, FileKind, Fs, FsError, Ino, Inode, Timespec};
use limpid_pmem::Media;

const PAGE: u64 = 4096;

/// All names of a pool with what they stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    pub nodes: BTreeMap<String, Node>,
}

/// What a name stands for. Access times are left out: nothing here is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub attributes: Attributes,
    pub target: Vec<u8>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Pages that are not all zeroes, by number.
    pub pages: BTreeMap<u64, Box<[u8]>>,
}

impl Tree {
    /// Reads a pool.
    pub fn read(fs: &Fs) -> Result<Tree, FsError> {
        let mut tree = Tree::default();
        let root = fs.inode(fs.root())?;
        tree.nodes.insert("/".into(), node(fs, &root)?);
        fs.release(root)?;
        tree.list(fs, fs.root(), "")?;
        Ok(tree)
    }

    fn list(&mut self, fs: &Fs, dir: Ino, path: &str) -> Result<(), FsError> {
        let mut names = Vec::new();
        fs.read_dir(dir, 0, &mut |entry| {
            let name = String::from_utf8_lossy(entry.name).into_owned();
            names.push((name, entry.ino, entry.kind));
            true
        })?;
        for (name, ino, kind) in names {
            let path = format!("{path}/{name}");
            let inode = fs.inode(ino)?;
            let read = node(fs, &inode);
            fs.release(inode)?;
            if kind == FileKind::Directory {
                self.list(fs, ino, &path)?;
            }
            self.nodes.insert(path, read?);
        }
        Ok(())
    }

    /// The same tree without times, which a live pool has in memory first.
    pub fn without_times(mut self) -> Tree {
        for node in self.nodes.values_mut() {
            node.forget_times();
        }
        self
    }

    /// In what two trees differ, in a few words.
    pub fn difference(&self, other: &Tree) -> String {
        let mut text = String::new();
        for path in self.nodes.keys().filter(|path| !other.nodes.contains_key(*path)) {
            text.push_str(&format!("{path} is there; "));
        }
        for (path, theirs) in &other.nodes {
            match self.nodes.get(path) {
                None => text.push_str(&format!("{path} is missing; ")),
                Some(mine) if mine != theirs => {
                    text.push_str(&format!("{path} has {}; ", mine.difference(theirs)));
                }
                Some(_) => {}
            }
        }
        text.truncate(text.trim_end_matches("; ").len());
        text
    }
}

impl Node {
    pub fn forget_times(&mut self) {
        self.attributes.mtime = Timespec::default();
        self.attributes.ctime = Timespec::default();
    }

    /// The aligned 8 bytes of the contents at `at`; zeroes where there are none.
    pub fn word(&self, at: u64) -> [u8; 8] {
        let start = (at % PAGE) as usize;
        match self.pages.get(&(at / PAGE)) {
            Some(page) => page[start..start + 8].try_into().expect("8 bytes"),
            None => [0; 8],
        }
    }

    fn difference(&self, other: &Node) -> String {
        if self.attributes.size != other.attributes.size {
            return format!("{} bytes, not {}", self.attributes.size, other.attributes.size);
        }
        let all = self.pages.keys().chain(other.pages.keys());
        let bad = all.filter(|page| self.pages.get(*page) != other.pages.get(*page)).min();
        if let Some(page) = bad {
            return format!("other bytes in page {page}");
        }
        if self.xattrs != other.xattrs {
            return "other extended attributes".into();
        }
        if self.attributes.nlink != other.attributes.nlink {
            return format!("{} links, not {}", self.attributes.nlink, other.attributes.nlink);
        }
        format!("{:?}, not {:?}", self.attributes, other.attributes)
    }
}

fn node(fs: &Fs, inode: &Arc<Inode>) -> Result<Node, FsError> {
    let mut attributes = inode.attributes();
    attributes.atime = Timespec::default();
    let mut xattrs = Vec::new();
    for name in fs.list_xattrs(inode)? {
        let value = fs.get_xattr(inode, &name)?;
        xattrs.push((name, value));
    }
    let target = match attributes.kind {
        FileKind::Symlink => fs.read_link(inode.ino())?,
        _ => Vec::new(),
    };
    let pages = match attributes.kind {
        FileKind::File => pages(inode, &**fs.media())?,
        _ => BTreeMap::new(),
    };
    Ok(Node { attributes, target, xattrs, pages })
}

fn pages(inode: &Inode, media: &dyn Media) -> Result<BTreeMap<u64, Box<[u8]>>, FsError> {
    let size = inode.size();
    let mut extents = Vec::new();
    inode.extents(PageRange::new(0, size.div_ceil(PAGE)), &mut |extent| {
        extents.push(extent);
        true
    })?;
    let mut pages = BTreeMap::new();
    for extent in extents.into_iter().filter(|extent| extent.backing == Backing::Mapped) {
        for number in extent.pages.start.0..extent.pages.end.0 {
            let mut bytes = vec![0; PAGE as usize].into_boxed_slice();
            media.read(extent.device_at(number * PAGE), &mut bytes)?;
            // What lies behind the end of the file is not to be seen.
            let seen = (size - number * PAGE).min(PAGE) as usize;
            bytes[seen..].fill(0);
            if bytes.iter().any(|byte| *byte != 0) {
                pages.insert(number, bytes);
            }
        }
    }
    Ok(pages)
}
