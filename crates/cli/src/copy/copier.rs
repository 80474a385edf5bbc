//! Copying files and trees with all that belongs to them.
//!
//! What is not a directory is made under a temporary name beside its target and renamed when it is
//! complete. So a copy that fails or is interrupted leaves no broken half, and what it would have
//! replaced is still there.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use limpid::FileKind;

use super::data::{self, Buffer};
use super::place::Place;
use super::progress::Progress;
use super::target::{self, Way};
use super::transfer::Transfer;
use super::tree::{Id, Node};
use crate::failure::{At, Failure, Result};
use crate::interrupt::{self, Guard};

/// Copies files and trees into one tree.
pub struct Copier {
    /// Directories are entered, and links copied as links; else links are followed.
    recursive: bool,
    /// What is copied is removed afterwards: the target is replaced, not written into.
    moving: bool,
    /// The copies of files with several names.
    links: HashMap<Id, PathBuf>,
    /// Extended attributes the target's tree did not take, and where it first did not.
    lost_xattrs: (u64, Option<String>),
    temporaries: u64,
    buffer: Buffer,
    progress: Progress,
}

impl Copier {
    /// A copier with nothing copied yet.
    pub fn new(recursive: bool) -> Copier {
        Copier {
            recursive,
            moving: false,
            links: HashMap::new(),
            lost_xattrs: (0, None),
            temporaries: 0,
            buffer: Buffer::default(),
            progress: Progress::new(),
        }
    }

    /// A copier for what is removed once it is copied.
    pub fn for_moves() -> Copier {
        let mut copier = Copier::new(true);
        copier.moving = true;
        copier
    }

    /// Shows a progress bar for what is to come, if there is a terminal to show it on.
    pub fn expect(&mut self, transfer: &Transfer) -> Result<()> {
        let sources = transfer.pairs.iter().map(|(source, _)| source);
        self.progress.expect(sources, self.recursive)
    }

    /// Copies `source` to the very name `target`.
    pub fn copy(&mut self, source: &Place, target: &Place) -> Result<()> {
        let node = source.require(!self.recursive)?;
        if target::is_done_already(source, &node, target, self.way())? {
            return Ok(());
        }
        let there = if self.moving { target.node(false)? } else { target.leads_to() };
        if source.tree.medium().is_some_and(|medium| there.is_some_and(|there| there.id == medium))
        {
            return Err(Failure::new("is the pool itself", target, "give another target"));
        }
        source.refuse_inside(&node, target)?;
        let into_stream = !self.moving && there.is_some_and(|there| is_stream(there.kind));
        if into_stream && node.kind == FileKind::File {
            let writer = target.tree.open_stream(&target.path).at(target)?;
            let reader = source.tree.open(&source.path, true).at(source)?;
            let (from, to) = ((source, &*reader), (target, &*writer));
            return data::stream(from, to, &mut self.buffer, &self.progress);
        }
        if !self.recursive && is_stream(node.kind) {
            return self.copy_stream(source, &target::written(target)?);
        }
        let source = if self.recursive { source.clone() } else { source.resolve()? };
        self.copy_node(&source, target, &node)
    }

    /// Tells what could not be kept.
    pub fn finish(&self) {
        self.progress.clear();
        if let (count, Some(first)) = &self.lost_xattrs {
            let what = format!("{count} extended attributes could not be kept, the first at");
            eprintln!("{}", Failure::new(what, first, "the target's file system takes no such"));
        }
    }

    fn way(&self) -> Way {
        match (self.recursive, self.moving) {
            (_, true) => Way::Move,
            (true, false) => Way::CopyLinks,
            (false, false) => Way::FollowLinks,
        }
    }

    fn copy_node(&mut self, source: &Place, target: &Place, node: &Node) -> Result<()> {
        if node.kind == FileKind::Directory {
            return self.copy_directory(source, target, node);
        }
        let behind = (node.kind == FileKind::File && !self.moving)
            .then(|| target::written(target))
            .transpose()?;
        let target = behind.as_ref().unwrap_or(target);
        let may_share = self.recursive && node.nlink > 1;
        if let Some(first) = self.links.get(&node.id).filter(|_| may_share) {
            let first = target.with(first.clone());
            return self.copy_link(&first, target);
        }
        match node.kind {
            FileKind::File => self.copy_file(source, target, node)?,
            FileKind::Symlink => {
                let leads_to = source.tree.read_link(&source.path).at(source)?;
                let make = |at: &Place| at.tree.make_symlink(&leads_to, &at.path).at(target);
                self.make(source, target, node, make)?;
            }
            _ => {
                let make = |at: &Place| at.tree.make_special(node, &at.path).at(target);
                self.make(source, target, node, make)?;
            }
        }
        if may_share {
            self.links.insert(node.id, target.path.clone());
        }
        Ok(())
    }

    fn copy_directory(&mut self, source: &Place, target: &Place, node: &Node) -> Result<()> {
        if !self.recursive {
            return Err(Failure::new("is a directory", source, "use -r to copy it"));
        }
        let fresh = match target.node(false)? {
            None => {
                target.tree.make_dir(&target.path).at(target)?;
                true
            }
            Some(Node { kind: FileKind::Directory, .. }) if self.moving => {
                if !target.tree.names(&target.path).at(target)?.is_empty() {
                    let advice = "remove what is in it first";
                    return Err(Failure::new("the directory is not empty", target, advice));
                }
                true
            }
            Some(Node { kind: FileKind::Directory, .. }) => false,
            Some(_) => {
                let advice = "remove it, or choose another target";
                return Err(Failure::new("exists and is not a directory", target, advice));
            }
        };
        for name in source.tree.names(&source.path).at(source)? {
            interrupt::check()?;
            refuse_bad_name(source, &name)?;
            let (source, target) = (source.join(&name), target.join(&name));
            // A name that has gone meanwhile is no failure.
            if let Some(node) = source.node(false)? {
                self.copy_node(&source, &target, &node)?;
            }
        }
        if fresh {
            self.copy_attributes(source, target, node)?;
        }
        Ok(())
    }

    fn copy_file(&mut self, source: &Place, target: &Place, node: &Node) -> Result<()> {
        if target.tree.medium() == Some(node.id) {
            return Err(Failure::new("is the pool itself", source, "leave it out"));
        }
        let reader = source.tree.open(&source.path, false).at(source)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let progress = self.progress.clone();
        let copied = self.make(source, target, node, |at| {
            let writer = at.tree.create(&at.path).at(target)?;
            let (from, to) = ((source, &*reader), (target, &*writer));
            data::copy(from, to, node.size, &mut buffer, &progress)?;
            writer.publish(&at.path).at(target)
        });
        self.buffer = buffer;
        copied
    }

    /// A regular file from what comes out of a pipe or device; it has the attributes of a new one.
    fn copy_stream(&mut self, source: &Place, target: &Place) -> Result<()> {
        let reader = source.tree.open(&source.path, true).at(source)?;
        let temporary = self.temporary(target)?;
        let _guard = Guard::new()?;
        let made = temporary.tree.create(&temporary.path).at(target).and_then(|writer| {
            let (from, to) = ((source, &*reader), (target, &*writer));
            data::stream(from, to, &mut self.buffer, &self.progress)?;
            writer.publish(&temporary.path).at(target)
        });
        settle(&temporary, target, made)
    }

    fn copy_link(&mut self, first: &Place, target: &Place) -> Result<()> {
        let there = target.node(false)?;
        let original = first.require(false)?;
        if there.is_some_and(|there| there.id == original.id) {
            // Renaming one name of a file over another one does nothing.
            return Ok(());
        }
        let temporary = self.temporary(target)?;
        let _guard = Guard::new()?;
        let made = temporary.tree.hard_link(&first.path, &temporary.path).at(target);
        settle(&temporary, target, made)
    }

    /// Makes a node under a temporary name, gives it the source's attributes, and renames it.
    fn make(
        &mut self,
        source: &Place,
        target: &Place,
        node: &Node,
        make: impl FnOnce(&Place) -> Result<()>,
    ) -> Result<()> {
        let temporary = self.temporary(target)?;
        let _guard = Guard::new()?;
        let made = make(&temporary);
        let made = made.and_then(|()| self.copy_attributes(source, &temporary, node));
        settle(&temporary, target, made)
    }

    /// A name beside the target that nothing has.
    fn temporary(&mut self, target: &Place) -> Result<Place> {
        if target.node(false)?.is_some_and(|there| there.kind == FileKind::Directory) {
            let advice = "remove it, or choose another target";
            return Err(Failure::new("is a directory", target, advice));
        }
        let folder = target.path.parent().unwrap_or(Path::new(""));
        loop {
            self.temporaries += 1;
            let name = format!(".limpid-{}-{}", std::process::id(), self.temporaries);
            let temporary = target.with(folder.join(name));
            if temporary.node(false)?.is_none() {
                return Ok(temporary);
            }
        }
    }

    /// In GNU's order: the owner, whose change takes set-user-id and capabilities away; extended
    /// attributes, which a mode may forbid to set; the mode, and the times last. Set-user-id,
    /// set-group-id and sticky bits go with the owner: another one never said yes to them.
    fn copy_attributes(&mut self, source: &Place, target: &Place, node: &Node) -> Result<()> {
        let owner_kept = target.tree.set_owner(&target.path, node).at(target)?;
        for name in source.tree.xattrs(&source.path).at(source)? {
            let value = source.tree.xattr(&source.path, &name).at(source)?;
            if !target.tree.set_xattr(&target.path, &name, &value).at(target)? {
                self.lost_xattrs.0 += 1;
                self.lost_xattrs.1.get_or_insert_with(|| source.to_string());
            }
        }
        let mode = if owner_kept { node.mode } else { node.mode & 0o777 };
        target.tree.set_mode_and_times(&target.path, &Node { mode, ..*node }).at(target)
    }
}

impl Drop for Copier {
    /// A failure is told below the bar's line otherwise.
    fn drop(&mut self) {
        self.progress.clear();
    }
}

/// Renames what was made, or removes what was not made completely.
fn settle(temporary: &Place, target: &Place, made: Result<()>) -> Result<()> {
    let tree = &target.tree;
    let settled = made.and_then(|()| tree.rename(&temporary.path, &target.path).at(target));
    if settled.is_err() {
        // If it was never there, or cannot be removed, the first failure is still the one to tell.
        let _ = tree.remove_file(&temporary.path);
    }
    settled
}

/// What is read and written without offsets.
fn is_stream(kind: FileKind) -> bool {
    use FileKind::*;
    matches!(kind, Fifo | Socket | CharDevice | BlockDevice)
}

/// A damaged or hostile pool must not write outside the target.
fn refuse_bad_name(directory: &Place, name: &OsStr) -> Result<()> {
    let bytes = name.as_bytes();
    let bad = matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|c| matches!(c, b'/' | 0));
    if bad {
        let what = format!("holds the impossible name '{}'", name.to_string_lossy());
        return Err(Failure::new(what, directory, "leave it out"));
    }
    Ok(())
}
