//! A path in a tree.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use limpid::FileKind;

use super::tree::{Node, Tree};
use crate::failure::{At, Failure, Result};
use crate::pool_path::last_name;

/// Symbolic links followed until it is given up (as Linux).
const MAX_LINKS: usize = 40;

/// A path in a tree. Shown as the user would write it.
#[derive(Clone)]
pub struct Place {
    /// The tree.
    pub tree: Rc<dyn Tree>,
    /// The path.
    pub path: PathBuf,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.tree.show(&self.path))
    }
}

impl Place {
    /// The same tree with another path.
    pub fn with(&self, path: PathBuf) -> Place {
        Place { tree: self.tree.clone(), path }
    }

    /// A name in this directory.
    pub fn join(&self, name: impl AsRef<Path>) -> Place {
        self.with(self.path.join(name))
    }

    /// The last name of the path, if it has one: not the root, `.` or `..`.
    pub fn name(&self) -> Option<&OsStr> {
        last_name(&self.path)
    }

    /// Whether both are in one tree.
    pub fn shares_tree(&self, other: &Place) -> bool {
        self.tree.number() == other.tree.number()
    }

    /// What is here, if anything.
    pub fn node(&self, follow: bool) -> Result<Option<Node>> {
        self.tree.node(&self.path, follow).at(self)
    }

    /// What the path leads to, links followed, if it leads anywhere.
    pub fn leads_to(&self) -> Option<Node> {
        self.node(true).ok().flatten()
    }

    /// Whether both are one name in one directory.
    pub fn is_same_name(&self, other: &Place) -> bool {
        let folder = |place: &Place| {
            let parent = place.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            place.with(parent.unwrap_or(Path::new(".")).to_owned()).leads_to()
        };
        let (here, there) = (folder(self), folder(other));
        self.name() == other.name()
            && here.is_some_and(|here| there.is_some_and(|there| here.id == there.id))
    }

    /// Whether this is a symbolic link that a slash behind its name has followed.
    pub fn is_followed_link(&self) -> Result<bool> {
        let bytes = self.path.as_os_str().as_bytes();
        let Some(end) = bytes.iter().rposition(|byte| *byte != b'/') else { return Ok(false) };
        let name = self.with(PathBuf::from(OsStr::from_bytes(&bytes[..=end])));
        let is_link = |node: Node| node.kind == FileKind::Symlink;
        Ok(end + 1 < bytes.len() && name.node(false)?.is_some_and(is_link))
    }

    /// What is here; nothing is a failure.
    pub fn require(&self, follow: bool) -> Result<Node> {
        let nothing = || Failure::new("no such file or directory", self, "check the path");
        self.node(follow)?.ok_or_else(nothing)
    }

    /// The place with the symbolic links at its end followed, whether or not they lead somewhere.
    pub fn resolve(&self) -> Result<Place> {
        let mut place = self.clone();
        for _ in 0..MAX_LINKS {
            match place.node(false)? {
                Some(Node { kind: FileKind::Symlink, .. }) => {
                    let target = place.tree.read_link(&place.path).at(&place)?;
                    let folder = place.path.parent().unwrap_or(Path::new(""));
                    place = place.with(folder.join(target));
                }
                _ => return Ok(place),
            }
        }
        Err(Failure::new("too many symbolic links", self, "check where they lead"))
    }

    /// Refuses a directory, which `node` describes, as the source of what lies inside itself.
    pub fn refuse_inside(&self, node: &Node, target: &Place) -> Result<()> {
        if node.kind != FileKind::Directory || !self.shares_tree(target) {
            return Ok(());
        }
        let mut up = target.clone();
        while !up.leads_to().is_some_and(|here| here.kind == FileKind::Directory) {
            let parent = up.path.parent().filter(|parent| !parent.as_os_str().is_empty());
            up = up.with(parent.unwrap_or(Path::new(".")).to_owned());
        }
        loop {
            let here = up.require(true)?;
            if here.id == node.id {
                let advice = "choose a target outside it";
                return Err(Failure::new("a directory cannot go into itself", target, advice));
            }
            up = up.join("..");
            if up.require(true)?.id == here.id {
                return Ok(());
            }
        }
    }
}
