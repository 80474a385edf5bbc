//! The privileges that running a file gives: set-user-id and set-group-id bits, and the attribute
//! `security.capability`. A file whose bytes or owner change loses them, as on other file systems.
//!
//! Every request that changes bytes or an owner passes [`Server::take_privileges`] before the
//! change, and the kernel, which remembers permissions, is told at once. That costs one look at
//! the inode unless the file has something to lose.
//!
//! What the kernel tells of the caller (with `FUSE_HANDLE_KILLPRIV_V2`, in Linux 6.18):
//!
//! | change | told |
//! |---|---|
//! | write | whether the bits are to go; before that a request to set nothing, as below |
//! | new size | nothing that `fuser` passes on |
//! | new owner | the owner |
//! | fallocate, copy_file_range | the request to set nothing |
//! | chown that changes nothing | a request to set no attribute at all, if it knows of bits |
//!
//! What is not told is asked of `/proc`. A request to set nothing comes before a change of bytes,
//! which takes the privileges itself, or from a chown, with which the bits go if the caller is the
//! owner or root, even one who might keep them when writing. The two cannot be told apart: bits
//! also go when such a caller writes to a file that has capabilities besides.

use fuser::Request;
use limpid::{FileKind, Metadata, OutsideCache, SetAttributes};

use crate::server::{Served, Server, errno};

pub(crate) const SET_UID: u32 = 0o4000;
pub(crate) const SET_GID: u32 = 0o2000;
const GROUP_EXEC: u32 = 0o010;
/// Bits of a set of capabilities: CAP_FOWNER and CAP_FSETID.
const FOWNER: u64 = 1 << 3;
const FSETID: u64 = 1 << 4;
/// What /proc shows as the first user namespace: capabilities of others do not count.
const FIRST_NAMESPACE: &str = "user:[4026531837]";

/// What is about to change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Bytes. The bits stay if the caller has CAP_FSETID, which the kernel may have told.
    Bytes { has_fsetid: Option<bool> },
    /// The owner.
    Owner,
    /// Nothing, or bytes with the next request.
    Nothing,
}

/// Who changes a file, and what of it.
#[derive(Clone, Copy)]
pub(crate) struct Changer {
    /// The thread, by its number; 0 if it cannot be seen from here.
    thread: u32,
    uid: u32,
    change: Change,
}

/// What a thread may do with the bits of files that are not its own.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rights {
    has_fowner: bool,
    has_fsetid: bool,
    groups: Vec<u32>,
}

impl Changer {
    /// The caller of a request that changes bytes.
    pub fn of_bytes(req: &Request) -> Changer {
        let change = Change::Bytes { has_fsetid: None };
        Changer { thread: req.pid(), uid: req.uid(), change }
    }

    /// The same, where the kernel tells whether the bits are to go.
    pub fn writer(req: &Request, takes_bits: bool) -> Changer {
        let change = Change::Bytes { has_fsetid: Some(!takes_bits) };
        Changer { thread: req.pid(), uid: req.uid(), change }
    }

    /// The same caller, with another change.
    pub fn with(self, change: Change) -> Changer {
        Changer { change, ..self }
    }

    /// The mode without the bits that go, if any do. `uid` and `gid` are whose the file is for the
    /// kernel.
    fn mode_after(self, metadata: &Metadata, uid: u32, gid: u32) -> Option<u32> {
        let mode = metadata.mode;
        if metadata.kind == FileKind::Directory || mode & (SET_UID | SET_GID) == 0 {
            return None;
        }
        // Most writers' rights are told, and most files have no bits: /proc is seldom read.
        let asked = std::cell::LazyCell::new(|| Rights::of(self.thread));
        let stay = match self.change {
            Change::Bytes { has_fsetid } => has_fsetid.unwrap_or_else(|| asked.has_fsetid),
            Change::Owner => false,
            Change::Nothing => self.uid != uid && !asked.has_fowner,
        };
        if stay {
            return None;
        }
        // Without the right of the group to run it, the bit has another meaning.
        let keeps_gid = mode & GROUP_EXEC == 0 && (asked.has_fsetid || asked.groups.contains(&gid));
        let after = if keeps_gid { mode & !SET_UID } else { mode & !(SET_UID | SET_GID) };
        (after != mode).then_some(after)
    }
}

impl Rights {
    /// The rights of a thread; none if they cannot be learned.
    fn of(thread: u32) -> Rights {
        let namespace = std::fs::read_link(format!("/proc/{thread}/ns/user"));
        let is_first = namespace.is_ok_and(|name| name.as_os_str() == FIRST_NAMESPACE);
        let status = std::fs::read_to_string(format!("/proc/{thread}/status"));
        Rights::parse(&status.unwrap_or_default(), is_first)
    }

    /// Parses /proc/PID/status, see proc_pid_status(5).
    fn parse(status: &str, capabilities_count: bool) -> Rights {
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        let effective = field("CapEff:").and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
        let has = |bit| capabilities_count && effective.is_some_and(|set| set & bit != 0);
        // The fourth of the groups is the one that counts for files.
        let group = field("Gid:").and_then(|ids| ids.split_whitespace().nth(3));
        let others = field("Groups:").into_iter().flat_map(str::split_whitespace);
        let groups = others.chain(group).filter_map(|id| id.parse().ok()).collect();
        Rights { has_fowner: has(FOWNER), has_fsetid: has(FSETID), groups }
    }
}

impl Server {
    /// Takes the privileges that running a file gives, before its bytes or its owner change:
    /// `metadata` is what the file has now.
    #[inline]
    pub fn take_privileges(&self, metadata: &Metadata, changer: Changer) -> Served<()> {
        if metadata.mode & (SET_UID | SET_GID) == 0 && !metadata.has_xattrs {
            return Ok(());
        }
        self.take_some(metadata, changer)
    }

    #[cold]
    fn take_some(&self, metadata: &Metadata, changer: Changer) -> Served<()> {
        if metadata.has_xattrs && changer.change != Change::Nothing {
            self.remove_capabilities(metadata.ino)?;
        }
        let uid = self.options.uid.unwrap_or(metadata.uid);
        let gid = self.options.gid.unwrap_or(metadata.gid);
        if let Some(mode) = changer.mode_after(metadata, uid, gid) {
            let set = SetAttributes { mode: Some(mode), ..SetAttributes::default() };
            self.inodes.set_attributes(metadata.ino, &set).map_err(errno)?;
            self.attributes_changed(metadata.ino);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_that_count_for_files() {
        let status = "Name:\tx\nUid:\t0\t1\t2\t3\nGid:\t10\t11\t12\t13\nGroups:\t4 24 \n\
                      CapPrm:\t000001ffffffffff\nCapEff:\t0000000000000010\n";
        let rights = Rights { has_fowner: false, has_fsetid: true, groups: vec![4, 24, 13] };
        assert_eq!(Rights::parse(status, true), rights);
        assert!(!Rights::parse(status, false).has_fsetid, "of another namespace");
        assert_eq!(Rights::parse("", true), Rights::default());
        assert_eq!(Rights::of(0), Rights::default());
    }
}
