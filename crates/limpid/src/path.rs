//! Paths inside a pool: `/`-separated names from the root, resolved as Linux resolves them.
//!
//! This file is the only one that knows what becomes of the last name of a path: whether a symbolic
//! link there is followed ([`Last`]), what a slash behind it demands, and what `.`, `..` and the
//! root are to a call that makes or takes away a name ([`Place`]). Each call gets the errno that it
//! gets from the kernel.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use limpid_fs::{FileKind, Fs, FsError, Held, Ino, RenameFlags};

/// Symbolic links followed in one walk before it is given up (as Linux).
const MAX_LINKS: u32 = 40;
/// Longest path in bytes (as Linux).
const MAX_PATH: usize = 4096;

/// What a path ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tail {
    /// A name in a directory.
    Name(Vec<u8>),
    /// Nothing: the root.
    Root,
    /// `.`
    Dot,
    /// `..`
    DotDot,
}

/// Where a path leads. The numbers in it are not other inodes' as long as it lives.
#[derive(Debug)]
pub(crate) struct Place {
    /// The directory that holds the last name.
    pub dir: Ino,
    /// What the path ends in.
    pub tail: Tail,
    /// A slash follows the last name, so it has to be a directory's.
    pub slash: bool,
    /// What is there, if anything.
    pub found: Option<(Ino, FileKind)>,
    /// What keeps the numbers: the directory, and what is there unless that is the directory.
    held: (Held, Option<Held>),
}

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WalkError {
    #[error(transparent)]
    Fs(#[from] FsError),
    #[error("too many symbolic links")]
    Loop,
}

/// What is done with the last name of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Looked up; a symbolic link is followed.
    Follow,
    /// Looked up; a symbolic link is followed only if a slash stands behind it.
    Stay,
    /// Looked up; a symbolic link is the thing itself, whatever stands behind it.
    Name,
    /// As `Name`, and looked up only if a slash stands behind it: the name is about to be created,
    /// which finds out whether it exists.
    New,
    /// As `Follow` or `Stay`, for a file that is created if there is none: a slash cannot stand
    /// behind its name.
    File {
        /// A symbolic link is followed.
        follow: bool,
    },
}

impl Last {
    fn follows(self, slash: bool) -> bool {
        match self {
            Last::Follow | Last::File { follow: true } => true,
            Last::Stay => slash,
            Last::Name | Last::New | Last::File { follow: false } => false,
        }
    }
}

/// Walks `path`; the last name need not exist.
pub(crate) fn walk(fs: &Fs, path: &Path, last: Last) -> Result<Place, WalkError> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() >= MAX_PATH {
        return Err(FsError::NameTooLong.into());
    }
    if bytes.is_empty() {
        return Err(FsError::NotFound.into());
    }
    let mut walk = Walk { fs, dir: fs.hold(fs.root())?, todo: names(bytes), links: 0 };
    let mut slash = bytes.ends_with(b"/");
    loop {
        walk.walk_to_last_name()?;
        let Some(name) = walk.todo.pop() else { return Ok(walk.here(Tail::Root, slash)) };
        match &name[..] {
            b"." => return Ok(walk.here(Tail::Dot, slash)),
            b".." => {
                let above = fs.parent(walk.dir.ino())?;
                return Ok(walk.place(Tail::DotDot, slash, Some(above)));
            }
            _ if slash && matches!(last, Last::File { .. }) => {
                return Err(FsError::IsDirectory.into());
            }
            _ if last == Last::New && !slash => {
                return Ok(walk.place(Tail::Name(name), slash, None));
            }
            _ => {}
        }
        match walk.look(&name)? {
            Some(link) if link.kind() == FileKind::Symlink && last.follows(slash) => {
                slash |= walk.follow(&link)?;
            }
            found => return Ok(walk.place(Tail::Name(name), slash, found)),
        }
    }
}

/// A walk under way.
struct Walk<'a> {
    fs: &'a Fs,
    /// Where it has come to.
    dir: Held,
    /// The names to come, last first.
    todo: Vec<Vec<u8>>,
    links: u32,
}

impl Walk<'_> {
    /// Ends here, with what was found here.
    fn place(self, tail: Tail, slash: bool, found: Option<Held>) -> Place {
        let number = found.as_ref().map(|found| (found.ino(), found.kind()));
        Place { dir: self.dir.ino(), tail, slash, found: number, held: (self.dir, found) }
    }

    /// Ends here, with this directory itself.
    fn here(self, tail: Tail, slash: bool) -> Place {
        let dir = self.dir.ino();
        let found = Some((dir, FileKind::Directory));
        Place { dir, tail, slash, found, held: (self.dir, None) }
    }

    /// Goes on until only the last name is left.
    fn walk_to_last_name(&mut self) -> Result<(), WalkError> {
        while self.todo.len() > 1
            && let Some(name) = self.todo.pop()
        {
            match &name[..] {
                b"." => {}
                b".." => self.dir = self.fs.parent(self.dir.ino())?,
                _ => {
                    let found = self.look(&name)?.ok_or(FsError::NotFound)?;
                    match found.kind() {
                        FileKind::Directory => self.dir = found,
                        // What stands behind it demands a directory already, slash or not.
                        FileKind::Symlink => drop(self.follow(&found)?),
                        _ => return Err(FsError::NotDirectory.into()),
                    }
                }
            }
        }
        Ok(())
    }

    fn look(&self, name: &[u8]) -> Result<Option<Held>, WalkError> {
        match self.fs.lookup(self.dir.ino(), name) {
            Ok(found) => Ok(Some(found)),
            Err(FsError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts the names of a symbolic link in front of those to come; true if a slash ends them.
    fn follow(&mut self, link: &Held) -> Result<bool, WalkError> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(WalkError::Loop);
        }
        let target = self.fs.read_link(link.ino())?;
        if target.starts_with(b"/") {
            self.dir = self.fs.hold(self.fs.root())?;
        }
        self.todo.extend(names(&target));
        Ok(target.ends_with(b"/"))
    }
}

/// The names of a path, last first.
fn names(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty());
    names.rev().map(<[u8]>::to_vec).collect()
}

impl Place {
    /// What is here, which a slash behind the name demands to be a directory.
    pub fn existing(&self) -> Result<(Ino, FileKind), FsError> {
        match self.found {
            None => Err(FsError::NotFound),
            Some((_, kind)) if self.slash && kind != FileKind::Directory => {
                Err(FsError::NotDirectory)
            }
            Some(found) => Ok(found),
        }
    }

    /// Lets go of what is here, which is about to lose its name: its number is a hint from now on.
    pub fn let_go(&mut self) {
        self.held.1 = None;
    }

    /// As [`existing`](Place::existing); it is held on its own then.
    pub fn into_existing(self) -> Result<Held, FsError> {
        self.existing()?;
        Ok(self.held.1.unwrap_or(self.held.0))
    }

    /// The name of what is about to be made here, a directory or something else.
    pub fn new_name(&self, directory: bool) -> Result<&[u8], FsError> {
        match &self.tail {
            Tail::Name(_) if self.found.is_some() => Err(FsError::Exists),
            Tail::Name(_) if self.slash && !directory => Err(FsError::NotFound),
            Tail::Name(name) => Ok(name),
            Tail::Root | Tail::Dot | Tail::DotDot => Err(FsError::Exists),
        }
    }

    /// The name of what is about to be removed here, and is not a directory.
    pub fn file_name(&self) -> Result<&[u8], FsError> {
        match (&self.tail, self.found) {
            (Tail::Name(name), _) if !self.slash => Ok(name),
            (Tail::Name(_), None) => Err(FsError::NotFound),
            (_, Some((_, FileKind::Directory))) => Err(FsError::IsDirectory),
            _ => Err(FsError::NotDirectory),
        }
    }

    /// The name of the directory that is about to be removed here.
    pub fn directory_name(&self) -> Result<&[u8], FsError> {
        match &self.tail {
            Tail::Name(name) => Ok(name),
            Tail::Root => Err(FsError::Busy),
            Tail::Dot => Err(FsError::Invalid),
            Tail::DotDot => Err(FsError::NotEmpty),
        }
    }

    /// The names of what is about to be renamed from here to `target`.
    pub fn renamed<'a>(
        &'a self,
        target: &'a Place,
        flags: RenameFlags,
    ) -> Result<(&'a [u8], &'a [u8]), FsError> {
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        let no_replace = flags.contains(RenameFlags::NOREPLACE);
        let Tail::Name(from) = &self.tail else { return Err(FsError::Busy) };
        let Tail::Name(to) = &target.tail else {
            return Err(if no_replace { FsError::Exists } else { FsError::Busy });
        };
        let (_, kind) = self.found.ok_or(FsError::NotFound)?;
        let is_directory = |kind| kind == FileKind::Directory;
        match target.found {
            Some(_) if no_replace => return Err(FsError::Exists),
            None if exchange => return Err(FsError::NotFound),
            Some((_, kind)) if exchange && target.slash && !is_directory(kind) => {
                return Err(FsError::NotDirectory);
            }
            _ => {}
        }
        // A slash behind either name says that a directory is to be renamed.
        if !is_directory(kind) && (self.slash || (target.slash && !exchange)) {
            return Err(FsError::NotDirectory);
        }
        Ok((from, to))
    }
}

/// Bytes of a name or link target as a path.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
