//! Requests about extended attributes.
//!
//! The kernel checks who may use `trusted.` and `security.` names. Other names than those and
//! `user.` are refused, as on ext4; also those of access control lists, so that nobody relies on a
//! list that nothing checks.

use fuser::{Errno, ReplyXattr};
use limpid::XattrFlags;

use crate::durability::DURABILITY_XATTR;
use crate::metrics::{Gauges, METRICS_XATTR, Op};
use crate::server::{Served, Server, errno};

/// The capabilities that running a file gives.
const CAPABILITY: &[u8] = b"security.capability";
/// Names only root sees.
const TRUSTED: &[u8] = b"trusted.";
/// How names begin that can be used.
const NAMESPACES: [&[u8]; 3] = [b"user.", TRUSTED, b"security."];
/// Largest list of names the kernel takes, in bytes.
const MAX_LIST: usize = 65_536;

impl Server {
    /// Sends a value or list, or its size if the caller asks for that.
    pub fn reply_xattr(&self, value: Served<Vec<u8>>, size: u32, reply: ReplyXattr) {
        // That an attribute is not there is an answer.
        let absent = matches!(&value, Err(error) if error.code() == Errno::ENODATA.code());
        self.metrics.count(Op::Xattr, value.is_err() && !absent);
        match value {
            Ok(value) if size == 0 => reply.size(value.len() as u32),
            Ok(value) if value.len() <= size as usize => reply.data(&value),
            Ok(_) => reply.error(Errno::ERANGE),
            Err(error) => reply.error(error),
        }
    }

    /// The value of an attribute.
    pub fn get_xattr(&self, ino: u64, name: &[u8]) -> Served<Vec<u8>> {
        if name == METRICS_XATTR.as_bytes() && ino == self.inodes.root() {
            return self.metrics_text();
        }
        check_name(name)?;
        self.inodes.get_xattr(ino, name).map_err(errno)
    }

    /// Sets an attribute.
    pub fn set_xattr(
        &self,
        caller: u32,
        ino: u64,
        name: &[u8],
        value: &[u8],
        flags: i32,
    ) -> Served<()> {
        if name == DURABILITY_XATTR.as_bytes() && ino == self.inodes.root() {
            let owner = rustix::process::geteuid().as_raw();
            return match caller == 0 || caller == owner {
                true => self.durability.set(value),
                false => Err(Errno::EPERM),
            };
        }
        check_name(name)?;
        let flags = XattrFlags::from_bits(flags as u32).ok_or(Errno::EINVAL)?;
        self.inodes.set_xattr(ino, name, value, flags).map_err(errno)
    }

    /// The names of all attributes the caller may see, each ended by a zero byte.
    pub fn list_xattrs(&self, caller: u32, ino: u64) -> Served<Vec<u8>> {
        let mut list = Vec::new();
        for name in self.inodes.list_xattrs(ino).map_err(errno)? {
            let seen = caller == 0 || !name.starts_with(TRUSTED);
            if seen && check_name(&name).is_ok() {
                list.extend_from_slice(&name);
                list.push(0);
            }
        }
        if list.len() > MAX_LIST { Err(Errno::E2BIG) } else { Ok(list) }
    }

    /// Removes an attribute.
    pub fn remove_xattr(&self, ino: u64, name: &[u8]) -> Served<()> {
        check_name(name)?;
        self.inodes.remove_xattr(ino, name).map_err(errno)
    }

    /// Removes the capabilities that running a file gives, if it has any.
    pub fn remove_capabilities(&self, ino: u64) -> Served<()> {
        match self.inodes.get_xattr(ino, CAPABILITY) {
            Err(error) if error.errno() == Errno::ENODATA.code() => Ok(()),
            Err(error) => Err(errno(error)),
            Ok(_) => self.inodes.remove_xattr(ino, CAPABILITY).map_err(errno),
        }
    }

    fn metrics_text(&self) -> Served<Vec<u8>> {
        let space = self.pool.statfs().map_err(errno)?;
        let gauges = Gauges {
            open_files: self.handles.len() as u64,
            known_inodes: self.known.len() as u64,
            gates_met: self.gates.met(),
            pool_bytes: space.blocks.saturating_mul(space.block_size),
            pool_free_bytes: space.available.saturating_mul(space.block_size),
            read_only: self.pool.info().read_only,
            daemon: self.options.exclusive.then(std::process::id),
        };
        Ok(self.metrics.text(&gauges).into_bytes())
    }
}

/// Refuses names as ext4 does: those of no namespace that is known, and those that are nothing but
/// a namespace.
fn check_name(name: &[u8]) -> Served<()> {
    let rest = NAMESPACES.into_iter().find_map(|namespace| name.strip_prefix(namespace));
    match rest {
        None => Err(Errno::EOPNOTSUPP),
        Some(b"") => Err(Errno::EINVAL),
        Some(_) => Ok(()),
    }
}
