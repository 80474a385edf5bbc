//! Changing attributes and extended attributes, by path and by handle.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

pub use limpid_fs::{SetAttributes, Timespec, XattrFlags};

use crate::error::{Error, Result};
use crate::file::File;
use crate::names::name_bytes;
use crate::node::Node;
use crate::pool::Pool;

impl Pool {
    fn node(&self, path: &Path, follow: bool) -> Result<Arc<Node>> {
        let held = self.find(path, follow)?;
        self.inner.nodes.open(held.ino()).map_err(Error::at(path))
    }

    /// Changes attributes; a symbolic link at the end is followed if `follow`.
    pub fn set_attributes(
        &self,
        path: impl AsRef<Path>,
        follow: bool,
        set: &SetAttributes,
    ) -> Result<()> {
        let path = path.as_ref();
        let node = self.node(path, follow)?;
        self.inner.before_attributes(node.inode().ino().0, set);
        self.inner.fs.set_attributes(node.inode(), set).map_err(Error::at(path))?;
        self.inner.tell_attributes(node.inode().ino().0);
        Ok(())
    }

    /// The value of an extended attribute.
    pub fn get_xattr(
        &self,
        path: impl AsRef<Path>,
        follow: bool,
        name: impl AsRef<OsStr>,
    ) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let node = self.node(path, follow)?;
        let name = name_bytes(name.as_ref());
        self.inner.fs.get_xattr(node.inode(), name).map_err(Error::at(path))
    }

    /// Sets an extended attribute (values up to 64 KiB).
    pub fn set_xattr(
        &self,
        path: impl AsRef<Path>,
        follow: bool,
        name: impl AsRef<OsStr>,
        value: &[u8],
        flags: XattrFlags,
    ) -> Result<()> {
        let path = path.as_ref();
        let node = self.node(path, follow)?;
        let name = name_bytes(name.as_ref());
        self.inner.fs.set_xattr(node.inode(), name, value, flags).map_err(Error::at(path))?;
        self.inner.tell_attributes(node.inode().ino().0);
        Ok(())
    }

    /// The names of all extended attributes.
    pub fn list_xattrs(&self, path: impl AsRef<Path>, follow: bool) -> Result<Vec<OsString>> {
        let path = path.as_ref();
        let node = self.node(path, follow)?;
        let names = self.inner.fs.list_xattrs(node.inode()).map_err(Error::at(path))?;
        Ok(names.into_iter().map(OsString::from_vec).collect())
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(
        &self,
        path: impl AsRef<Path>,
        follow: bool,
        name: impl AsRef<OsStr>,
    ) -> Result<()> {
        let path = path.as_ref();
        let node = self.node(path, follow)?;
        let name = name_bytes(name.as_ref());
        self.inner.fs.remove_xattr(node.inode(), name).map_err(Error::at(path))?;
        self.inner.tell_attributes(node.inode().ino().0);
        Ok(())
    }
}

impl File {
    /// Changes attributes.
    pub fn set_attributes(&self, set: &SetAttributes) -> Result<()> {
        self.pool.here()?;
        if !self.is_outside {
            self.pool.before_attributes(self.ino(), set);
        }
        self.pool.fs.set_attributes(self.node.inode(), set)?;
        if !self.is_outside {
            self.pool.tell_attributes(self.ino());
        }
        Ok(())
    }
}
