//! Writes of programs, and what is done about pages of the kernel that may have missed one
//! (`stale.rs`, `direct.rs`).
//!
//! A write is made while reads of its pages wait (`gates.rs`): the kernel then has the pages as
//! they are with it, or none. Where it may have pages that missed the write, they are dropped
//! first and kept out, as for a change of the library, aside from the threads that serve requests
//! (`aside.rs`). To drop them afterwards would not do: a page with stores of a program in it is
//! written back whole, over what was just written.
//!
//! One page may be locked by the kernel for the very write that waits for its dropping: the last
//! one, if the write has a part of it and the kernel had no valid page of it when it copied. Such
//! a page is not stale; but it is noted as read if the kernel has needed its memory for something
//! else since. Requests have numbers in the order in which the kernel sends them: a page that was
//! read after the write was sent is not locked for it. Any other is waited for a moment only. If it
//! is not dropped by then, none of these bytes are written back from it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::channel;

use fuser::ReplyWrite;

use crate::handles::Handle;
use crate::metrics::Op;
use crate::pages::{PAGE, pages_of};
use crate::past_end::LOCKED_MOMENT;
use crate::privileges::Changer;
use crate::server::{Served, Server, errno};

/// How a program writes.
#[derive(Clone, Copy)]
pub(crate) struct Writing {
    /// With which the file is open.
    pub flags: i32,
    /// Past the kernel's cache.
    pub is_direct: bool,
    pub changer: Changer,
    /// The number of the request.
    pub request: u64,
}

/// Pages that the kernel is kept out of until this is dropped.
struct Shut {
    server: Arc<Server>,
    gate: u64,
}

impl Drop for Shut {
    fn drop(&mut self) {
        self.server.gates.open(self.gate);
    }
}

impl Server {
    /// Serves a write of a program: at once, or aside if it has to wait for the kernel.
    pub fn serve_write(
        self: &Arc<Server>,
        number: u64,
        (offset, data): (u64, &[u8]),
        how: Writing,
        reply: ReplyWrite,
    ) {
        let handle = match self.handle(number) {
            Ok(handle) => handle,
            Err(error) => return self.reply_written(Op::Write, Err(error), reply),
        };
        if !how.is_direct {
            self.cached.note(handle.ino);
            #[cfg(feature = "control")]
            if let Some(before) = self.options.before_write {
                before(handle.ino);
            }
        }
        let junk = self.junk(handle.ino, &handle.file, offset);
        if junk.is_none()
            && let Some(written) = self.write_at_once(&handle, offset, data, how)
        {
            return self.reply_written(Op::Write, written, reply);
        }
        let (server, data) = (self.clone(), data.to_vec());
        self.aside.submit(move || {
            if let Some(junk) = junk {
                let is_locked = junk.start / PAGE == offset / PAGE;
                server.drop_junk(handle.ino, junk, is_locked);
            }
            let written = server.write_at_once(&handle, offset, &data, how);
            let written =
                written.unwrap_or_else(|| server.write_apart(&handle, offset, &data, how));
            let written = server.counted(Op::Write, written);
            drop((handle, server));
            match written {
                Ok(len) => reply.written(len as u32),
                Err(error) => reply.error(error),
            }
        });
    }

    /// Writes, for a program; nothing is done if the kernel may have a page that would miss it.
    fn write_at_once(
        &self,
        handle: &Handle,
        offset: u64,
        data: &[u8],
        how: Writing,
    ) -> Option<Served<usize>> {
        if let Err(error) = self.about_to_change(handle, how.changer) {
            return Some(Err(error));
        }
        let (ino, bytes) = (handle.ino, offset..offset.saturating_add(data.len() as u64));
        self.gates.pass(ino, bytes.clone());
        let written = self.gates.hold(ino, &bytes, || {
            // What is read from now on waits, and what was read before is noted.
            let misses = match how.is_direct {
                true => self.cached.contains(ino),
                false => self.stale.last_read(ino, &pages_of(&bytes)).is_some(),
            };
            (!misses).then(|| handle.file.write_at(data, offset).map_err(errno))
        })?;
        let written = written.inspect(|written| {
            self.determined(ino, offset..offset + *written as u64);
        });
        Some(self.finish_write(handle, written, how))
    }

    /// Writes while the kernel is kept out of the pages.
    fn write_apart(
        self: &Arc<Server>,
        handle: &Handle,
        offset: u64,
        data: &[u8],
        how: Writing,
    ) -> Served<usize> {
        let (ino, bytes) = (handle.ino, offset..offset.saturating_add(data.len() as u64));
        let (free, locked) = self.parts(ino, bytes, how);
        let _shut = (!free.is_empty()).then(|| self.shut(ino, free));
        let last = locked.clone().map(|locked| self.shut_locked(ino, locked));
        if let (Some(None), Some(locked)) = (&last, &locked) {
            self.past_end.mask(ino, locked.clone());
        }
        let written = handle.file.write_at(data, offset).map_err(errno);
        let written = written.inspect(|written| {
            let end = offset + *written as u64;
            match (&last, &locked) {
                (Some(None), Some(locked)) => {
                    self.determined(ino, offset..locked.start.min(end));
                    self.stored(ino, &(offset..end));
                }
                _ => self.determined(ino, offset..end),
            }
        });
        self.finish_write(handle, written, how)
    }

    /// What follows a write that is made, before it is answered.
    fn finish_write(&self, handle: &Handle, written: Served<usize>, how: Writing) -> Served<usize> {
        if !how.is_direct {
            self.stale.no_write(handle.ino);
        }
        self.wrote(handle, written?, how.flags)
    }

    /// Of the bytes of a write, those in pages to be dropped: whose page the kernel does not have
    /// locked for it, and whose page it may have.
    fn parts(&self, ino: u64, bytes: Range<u64>, how: Writing) -> (Range<u64>, Option<Range<u64>>) {
        let last = (bytes.end.saturating_sub(1) / PAGE * PAGE).max(bytes.start)..bytes.end;
        let is_whole = last.end - last.start == PAGE;
        if how.is_direct || is_whole {
            return (bytes, None);
        }
        match self.stale.last_read(ino, &pages_of(&last)) {
            None => (bytes.start..last.start, None),
            Some(request) if request > how.request => (bytes, None),
            Some(_) => (bytes.start..last.start, Some(last)),
        }
    }

    /// Keeps the kernel out of pages.
    fn shut(self: &Arc<Server>, ino: u64, bytes: Range<u64>) -> Shut {
        let gate = self.gates.close(ino, bytes.clone(), || self.drop_pages(ino, &bytes));
        Shut { server: self.clone(), gate }
    }

    /// Keeps the kernel out of a page that may be locked for the very write that wants it; none if
    /// that takes longer than a moment. Then it is dropped when it can be.
    fn shut_locked(self: &Arc<Server>, ino: u64, bytes: Range<u64>) -> Option<Shut> {
        let (sender, shut) = channel();
        let server = self.clone();
        self.aside.submit(move || {
            let done = server.shut(ino, bytes);
            drop(server);
            // If nobody waits any more the gate is opened with this.
            let _ = sender.send(done);
        });
        shut.recv_timeout(LOCKED_MOMENT).ok()
    }
}
