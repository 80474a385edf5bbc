//! Requests about names and attributes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use fuser::{Errno, INodeNo, ReplyDirectory, ReplyDirectoryPlus, Request};
use limpid::{
    File, FileKind, Held, Metadata, NewInode, NewKind, Opening, RenameFlags, SetAttributes,
};
use rustix::fs::FileType;

use crate::attr::file_type;
use crate::handles::Handle;
use crate::privileges::{Change, Changer, SET_GID};
use crate::server::{Served, Server, errno, generation};

/// Cookies of the two names that are not in the tree; the tree's begin at 256.
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

/// Where a listing goes: names alone, or with the attributes of what they stand for.
pub(crate) enum Listing<'a> {
    Names(&'a mut ReplyDirectory),
    Attributes(&'a mut ReplyDirectoryPlus),
}

impl Server {
    /// Creates an inode. The file that is returned keeps it until the kernel was told of it.
    pub fn create(
        &self,
        req: &Request,
        dir: u64,
        name: &[u8],
        kind: NewKind<'_>,
        mode: u32,
    ) -> Served<(Metadata, File)> {
        let new = self.new_inode(req, dir, kind, mode)?;
        let file = self.inodes.create(dir, name, new, Opening::READ).map_err(errno)?;
        Ok((file.metadata().map_err(errno)?, file))
    }

    /// Creates a regular file and opens it; its attributes and the number of the open file.
    pub fn create_open(
        &self,
        req: &Request,
        dir: u64,
        name: &[u8],
        mode: u32,
        flags: i32,
    ) -> Served<(Metadata, u64)> {
        let opening = opening(flags);
        let new = self.new_inode(req, dir, NewKind::File, mode)?;
        let file = self.inodes.create(dir, name, new, opening).map_err(errno)?;
        let metadata = file.metadata().map_err(errno)?;
        let appended = self.appended(metadata.ino, flags)?;
        let (writes, maps) = (opening.write, opening.read && opening.write);
        let handle = Handle { file, ino: metadata.ino, appended, writes, maps };
        Ok((metadata, self.handles.add(handle)))
    }

    /// Creates a node of the type that the mode tells.
    pub fn make_node(
        &self,
        req: &Request,
        dir: u64,
        name: &[u8],
        mode: u32,
        rdev: u32,
    ) -> Served<(Metadata, File)> {
        let kind = match FileType::from_raw_mode(mode) {
            FileType::RegularFile => NewKind::File,
            FileType::Fifo => NewKind::Fifo,
            FileType::Socket => NewKind::Socket,
            FileType::CharacterDevice => NewKind::CharDevice(rdev.into()),
            FileType::BlockDevice => NewKind::BlockDevice(rdev.into()),
            _ => return Err(Errno::EINVAL),
        };
        self.create(req, dir, name, kind, mode)
    }

    /// A new inode belongs to the caller; in a directory with the set-group-id bit to the
    /// directory's group, and a new directory there gets the bit as well.
    fn new_inode<'a>(
        &self,
        req: &Request,
        dir: u64,
        kind: NewKind<'a>,
        mode: u32,
    ) -> Served<NewInode<'a>> {
        let mut new = NewInode { kind, mode: mode & 0o7777, uid: req.uid(), gid: req.gid() };
        let parent = self.inodes.metadata(dir).map_err(errno)?;
        if parent.mode & SET_GID != 0 {
            new.gid = parent.gid;
            if kind == NewKind::Directory {
                new.mode |= SET_GID;
            }
        }
        Ok(new)
    }

    /// An inode that lost its last name lives until the kernel forgets it.
    pub fn keep_gone(&self, gone: limpid::Result<Option<Held>>) -> Served<()> {
        if let Some(held) = gone.map_err(errno)?
            && held.metadata().nlink == 0
        {
            self.known.hold(held);
        }
        Ok(())
    }

    /// What a name stands for. The kernel asks for "." and ".." where it has a number only, from a
    /// handle that a program or an export made before it forgot the inode; the generation in the
    /// answer tells it whether that is the inode still.
    pub fn lookup(&self, dir: u64, name: &[u8]) -> Served<Held> {
        let found = match name {
            b"." => self.inodes.hold(dir),
            b".." => self.inodes.parent(dir),
            _ => return self.inodes.lookup(dir, name).map_err(errno),
        };
        match found {
            Ok(held) if held.metadata().nlink > 0 => Ok(held),
            Ok(_) => Err(Errno::ESTALE),
            Err(error) if error.errno() == Errno::ENOENT.code() => Err(Errno::ESTALE),
            Err(error) => Err(errno(error)),
        }
    }

    /// Renames. Of the flags of renameat2(2) the kernel may send, whiteouts are refused.
    pub fn rename(&self, from: (u64, &[u8]), to: (u64, &[u8]), flags: u32) -> Served<()> {
        let flags = RenameFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        self.keep_gone(self.inodes.rename(from, to, flags))
    }

    /// Changes attributes and the size. The kernel asks to set nothing where that takes the
    /// privileges that running the file would give.
    pub fn set_attributes(
        &self,
        changer: Changer,
        ino: u64,
        set: SetAttributes,
        size: Option<u64>,
    ) -> Served<Metadata> {
        self.stale.no_write(ino);
        let is_nothing = set == SetAttributes::default() && size.is_none();
        let changer = if is_nothing {
            Some(changer.with(Change::Nothing))
        } else if set.uid.is_some() || set.gid.is_some() {
            Some(changer.with(Change::Owner))
        } else {
            size.map(|_| changer)
        };
        if let Some(changer) = changer {
            let metadata = self.inodes.metadata(ino).map_err(errno)?;
            self.take_privileges(&metadata, changer)?;
        }
        if let Some(size) = size {
            let file = self.inodes.open(ino, Opening::WRITE).map_err(errno)?;
            self.mask_junk(ino, &file, size);
            file.set_len(size).map_err(errno)?;
            self.resized(ino);
            self.lost.settle(ino, &(size..u64::MAX));
        }
        if set != SetAttributes::default() {
            self.inodes.set_attributes(ino, &set).map_err(errno)?;
        }
        self.inodes.metadata(ino).map_err(errno)
    }

    /// Lists a directory behind the entry with the cookie `offset`.
    pub fn list(&self, dir: u64, offset: u64, into: &mut Listing<'_>) -> Served<()> {
        for (cookie, name) in [(DOT, "."), (DOT_DOT, "..")] {
            if offset >= cookie {
                continue;
            }
            let held = match cookie {
                DOT => self.inodes.hold(dir),
                // A directory that was removed is in none.
                _ => self.inodes.parent(dir).or_else(|_| self.inodes.hold(dir)),
            };
            if self.add_special(into, &held.map_err(errno)?, cookie, name) {
                return Ok(());
            }
        }
        let from = if offset <= DOT_DOT { 0 } else { offset };
        let listed = match into {
            Listing::Names(reply) => self.inodes.read_dir(dir, from, &mut |entry| {
                let name = OsStr::from_bytes(entry.name);
                !reply.add(INodeNo(entry.ino.0), entry.cookie, file_type(entry.kind), name)
            }),
            Listing::Attributes(reply) => {
                self.inodes.read_dir_held(dir, from, &mut |entry, held| {
                    let name = OsStr::from_bytes(entry.name);
                    // The kernel is told of the inode while it is held.
                    self.known.add(held.ino());
                    let full = self.add_attributes(reply, &held, entry.cookie, name);
                    if full {
                        let ino = held.ino();
                        self.known.forget(ino, 1, || self.pages.forget(ino));
                    }
                    !full
                })
            }
        };
        listed.map_err(errno)
    }

    /// Adds "." or "..", of which the kernel learns nothing; true if there was no room left.
    fn add_special(&self, into: &mut Listing<'_>, held: &Held, cookie: u64, name: &str) -> bool {
        let name = OsStr::new(name);
        match into {
            Listing::Names(reply) => {
                reply.add(INodeNo(held.ino()), cookie, file_type(FileKind::Directory), name)
            }
            Listing::Attributes(reply) => self.add_attributes(reply, held, cookie, name),
        }
    }

    /// Adds an entry with its attributes; true if there was no room left for it.
    fn add_attributes(
        &self,
        reply: &mut ReplyDirectoryPlus,
        held: &Held,
        cookie: u64,
        name: &OsStr,
    ) -> bool {
        let metadata = held.metadata();
        let (attr, ttl) = self.told(&metadata);
        reply.add(INodeNo(metadata.ino), cookie, name, &ttl, &attr, generation(&metadata))
    }
}

/// What an open(2)'s flags allow.
pub(crate) fn opening(flags: i32) -> Opening {
    use rustix::fs::OFlags;
    let flags = OFlags::from_bits_retain(flags as u32);
    match flags & OFlags::RWMODE {
        OFlags::WRONLY => Opening::WRITE,
        OFlags::RDWR => Opening::BOTH,
        _ => Opening::READ,
    }
}
