//! Appends of programs to files that the library may append to as well.
//!
//! With an append the kernel tells where it takes the end of the file to be, which the library may
//! have moved. So where both use the pool, a file that a program opens to append to goes without
//! the kernel's page cache, which would have the bytes where the kernel takes the end to be; and
//! what is appended is appended as the library does it: behind all there is, while the pages that
//! others have brought into the cache are kept out.
//!
//! Keeping them out waits until the kernel's requests for them are served. So it is not done by
//! the threads that serve requests, which might then all be waiting.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use fuser::{Errno, FopenFlags, ReplyWrite};
use limpid::{File, Opening};
use rustix::fs::OFlags;

use crate::door::guarded;
use crate::handles::Handle;
use crate::metrics::Op;
use crate::names::opening;
use crate::privileges::Changer;
use crate::server::{Served, Server, errno};

/// An append that is to be done and answered.
pub(crate) struct Append {
    pub server: Arc<Server>,
    pub handle: Arc<Handle>,
    pub data: Box<[u8]>,
    pub flags: i32,
    pub changer: Changer,
    pub reply: ReplyWrite,
}

/// Starts the thread that appends. It ends when nobody can send any more.
pub(crate) fn start() -> std::io::Result<Sender<Append>> {
    let (sender, receiver) = channel::<Append>();
    let thread = std::thread::Builder::new().name("limpid-append".to_owned());
    thread.spawn(move || receiver.into_iter().for_each(Append::serve))?;
    Ok(sender)
}

impl Append {
    /// Hands it to the thread that appends.
    pub fn submit(self) {
        let sender = self.server.appends.clone().expect("only where appends are shared");
        // The thread lives as long as there is a sender.
        let _ = sender.send(self);
    }

    fn serve(self) {
        // A panic here would end the thread, and with it all appends to come.
        let result = guarded("append", || self.append()).unwrap_or(Err(Errno::EIO));
        let result = self.server.counted(Op::Write, result);
        let Append { server, handle, reply, .. } = self;
        // With the answer the program may close the file, and the mount may go away.
        drop((handle, server));
        match result {
            Ok(len) => reply.written(len as u32),
            Err(error) => reply.error(error),
        }
    }

    fn append(&self) -> Served<usize> {
        let file = self.handle.appended.as_ref().expect("looked at before it is submitted");
        self.server.about_to_change(&self.handle, self.changer)?;
        let (offset, written) = file.append(&self.data).map_err(errno)?;
        self.server.determined(self.handle.ino, offset..offset + written as u64);
        self.server.wrote(&self.handle, written, self.flags)
    }
}

impl Server {
    /// The file as the library has it, if a program opens it with these flags to append and is not
    /// alone.
    pub fn appended(&self, ino: u64, flags: i32) -> Served<Option<File>> {
        if !self.is_shared_append(flags) {
            return Ok(None);
        }
        self.inodes.open_inside(ino, Opening::WRITE).map(Some).map_err(errno)
    }

    fn is_shared_append(&self, flags: i32) -> bool {
        let flags = OFlags::from_bits_retain(flags as u32);
        self.appends.is_some()
            && flags.contains(OFlags::APPEND)
            && flags & OFlags::RWMODE != OFlags::RDONLY
    }

    /// The open file, if what is written with these flags is to be appended by the library.
    pub fn appending(&self, number: u64, flags: i32) -> Option<Arc<Handle>> {
        let handle = self.handles.get(number).filter(|handle| handle.appended.is_some())?;
        self.is_shared_append(flags).then_some(handle)
    }

    /// How the kernel is to treat an open file. It may keep what it has read: whatever changes the
    /// file without it tells it so.
    pub fn open_flags(&self, flags: i32) -> FopenFlags {
        let mut flags_for_all =
            FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
        // Whoever cannot have stored through a map need not be told when closing what became of
        // such stores.
        let opening = opening(flags);
        if !(opening.read && opening.write) {
            flags_for_all |= FopenFlags::FOPEN_NOFLUSH;
        }
        match self.is_shared_append(flags) {
            true => flags_for_all | FopenFlags::FOPEN_DIRECT_IO,
            false => flags_for_all,
        }
    }
}
