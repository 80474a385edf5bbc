//! Opening files.

use std::path::Path;
use std::sync::Arc;

use limpid_fs::{FileKind, FsError, Kind, NewNode};

use crate::error::{Error, Result};
use crate::file::{File, Mode};
use crate::node::Node;
use crate::path::{Last, Tail, walk};
use crate::pool::Pool;

/// How a file is opened, as `std::fs::OpenOptions`.
///
/// ```
/// use limpid::{OpenOptions, Pool};
/// let pool = Pool::memory(16 << 20)?;
/// let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&pool, "/log")?;
/// log.append(b"line\n")?;
/// # Ok::<(), limpid::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OpenOptions {
    access: Mode,
    truncate: bool,
    create: bool,
    create_new: bool,
    follow: bool,
    mode: u32,
    owner: Option<(u32, u32)>,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OpenOptions {
    /// Nothing is allowed and nothing created; new files get mode 0644 and the caller's ids.
    pub fn new() -> OpenOptions {
        OpenOptions {
            access: Mode::default(),
            truncate: false,
            create: false,
            create_new: false,
            follow: true,
            mode: 0o644,
            owner: None,
        }
    }

    /// Allows reading.
    pub fn read(&mut self, yes: bool) -> &mut Self {
        self.access.read = yes;
        self
    }

    /// Allows writing.
    pub fn write(&mut self, yes: bool) -> &mut Self {
        self.access.write = yes;
        self
    }

    /// Allows writing, at the end of the file only (for `io::Write`).
    pub fn append(&mut self, yes: bool) -> &mut Self {
        self.access.append = yes;
        self.access.write |= yes;
        self
    }

    /// Empties the file.
    pub fn truncate(&mut self, yes: bool) -> &mut Self {
        self.truncate = yes;
        self
    }

    /// Creates the file if it does not exist.
    pub fn create(&mut self, yes: bool) -> &mut Self {
        self.create = yes;
        self
    }

    /// Creates the file; an existing one is an error.
    pub fn create_new(&mut self, yes: bool) -> &mut Self {
        self.create_new = yes;
        self
    }

    /// Whether a symbolic link at the end of the path is followed (the default), or refused.
    pub fn follow(&mut self, yes: bool) -> &mut Self {
        self.follow = yes;
        self
    }

    /// Permission bits of a new file.
    pub fn mode(&mut self, mode: u32) -> &mut Self {
        self.mode = mode;
        self
    }

    /// Owner and group of a new file; the default is the process's.
    pub fn owner(&mut self, uid: u32, gid: u32) -> &mut Self {
        self.owner = Some((uid, gid));
        self
    }

    /// Opens the file. Directories can be opened for reading (their attributes), not for writing.
    pub fn open(&self, pool: &Pool, path: impl AsRef<Path>) -> Result<File> {
        let path = path.as_ref();
        if (self.truncate || self.create || self.create_new) && !self.access.write {
            return Err(Error::NotOpenedFor("writing"));
        }
        let (node, is_new) = self.open_node(pool, path)?;
        let kind = node.inode().kind();
        if kind == FileKind::Directory && self.access.write {
            return Err(Error::at(path)(FsError::IsDirectory));
        }
        let file = File::new(pool.inner.clone(), node, self.access);
        // An empty file may have blocks past its end, which go as well.
        if self.truncate && !is_new && kind == FileKind::File {
            file.set_len(0)?;
        }
        Ok(file)
    }

    /// Creates a regular file without a name. It is gone when it is closed, and after a crash,
    /// unless [`Pool::link_file`] has given it one.
    pub fn open_unnamed(&self, pool: &Pool) -> Result<File> {
        pool.inner.here()?;
        let (uid, gid) = self.owner.unwrap_or_else(process_ids);
        let new = NewNode { kind: Kind::File, mode: self.mode, uid, gid };
        let node = pool.inner.nodes.adopt(pool.inner.fs.create_unnamed(new)?);
        Ok(File::new(pool.inner.clone(), node, self.access))
    }

    /// Finds or creates the inode; whether it is new.
    fn open_node(&self, pool: &Pool, path: &Path) -> Result<(Arc<Node>, bool)> {
        pool.inner.here()?;
        let (fs, nodes) = (&pool.inner.fs, &pool.inner.nodes);
        let at = Error::at(path);
        loop {
            let last = match (self.create_new, self.create, self.follow) {
                (true, _, _) => Last::New,
                (false, true, follow) => Last::File { follow },
                (false, false, true) => Last::Follow,
                (false, false, false) => Last::Stay,
            };
            let place = walk(fs, path, last).map_err(|error| Error::walk(path, error))?;
            match (place.found, &place.tail) {
                (_, Tail::Name(_)) if self.create_new && place.slash => {
                    return Err(at(FsError::IsDirectory));
                }
                (Some(_), _) if self.create_new => return Err(at(FsError::Exists)),
                (Some((_, FileKind::Symlink)), _) => {
                    return Err(Error::Loop { path: path.to_owned() });
                }
                (Some((_, kind)), _) if place.slash && kind != FileKind::Directory => {
                    return Err(at(FsError::NotDirectory));
                }
                (Some((_, FileKind::Directory)), _) if self.access.write => {
                    return Err(at(FsError::IsDirectory));
                }
                // Looked up and opened in one step: in between, the number could have become
                // another file's.
                (Some(_), Tail::Name(name)) => match fs.open_child(place.dir, name) {
                    Ok(inode) => return Ok((nodes.adopt(inode), false)),
                    Err(FsError::NotFound) => {}
                    Err(error) => return Err(at(error)),
                },
                (Some((ino, _)), _) => return Ok((nodes.open(ino).map_err(at)?, false)),
                (None, Tail::Name(name)) if self.create || self.create_new => {
                    let (uid, gid) = self.owner.unwrap_or_else(process_ids);
                    let new = NewNode { kind: Kind::File, mode: self.mode, uid, gid };
                    match fs.create(place.dir, name, new) {
                        Ok(inode) => {
                            let node = nodes.adopt(inode);
                            pool.inner.tell_name(place.dir.0, name, &[]);
                            return Ok((node, true));
                        }
                        Err(FsError::Exists) if !self.create_new => {}
                        Err(error) => return Err(at(error)),
                    }
                }
                (None, _) => return Err(at(FsError::NotFound)),
            }
        }
    }
}

/// Effective user and group of the process.
pub(crate) fn process_ids() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}
