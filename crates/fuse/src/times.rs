//! Times that a program sets while the kernel holds stores of programs that are not written yet.
//!
//! A store through a map reaches the pool later, as a write, which is a change of its own and
//! moves the file's times to when it comes. Whoever sets the time of the last change wants it to
//! stay. So what was stored before is written first, aside from the threads that serve requests
//! (`aside.rs`): for this request the kernel holds no page locked, only the inode.

use std::sync::Arc;

use fuser::ReplyAttr;
use limpid::SetAttributes;

use crate::metrics::Op;
use crate::privileges::Changer;
use crate::server::Server;

impl Server {
    /// Serves a request to set attributes or the size.
    pub fn serve_set_attributes(
        self: &Arc<Server>,
        changer: Changer,
        ino: u64,
        set: SetAttributes,
        size: Option<u64>,
        reply: ReplyAttr,
    ) {
        // A new size comes with a time of its own only where all that was stored goes.
        let sets_time = set.mtime.is_some() && size.is_none();
        if !sets_time || self.handles.mappers(ino) == 0 || !self.cached.contains(ino) {
            let result = self.set_attributes(changer, ino, set, size);
            return self.reply_attr(Op::Change, result, reply);
        }
        let server = self.clone();
        self.aside.submit(move || {
            server.drop_pages(ino, &(0..u64::MAX));
            let result = server.set_attributes(changer, ino, set, None);
            let told = server.counted(Op::Change, result).map(|metadata| server.told(&metadata));
            drop(server);
            match told {
                Ok((attr, ttl)) => reply.attr(&ttl, &attr),
                Err(error) => reply.error(error),
            }
        });
    }
}
