//! What several tests share: pools on the heap, and writing through the block map as the DAX layer
//! does.
#![allow(dead_code)]

pub mod crash;
pub mod damage;

use std::sync::Arc;

use limpid_dax::{Backing, Intent, Iomap, PageRange, Published};
use limpid_fs::{Access, FormatOptions, Fs, Inode, Kind, NewNode};
use limpid_pmem::{Media, Persist, VecMedia};

pub const MIB: u64 = 1 << 20;

/// A fresh pool of `len` bytes on the heap.
pub fn pool(len: u64) -> Arc<Fs> {
    let media: Arc<dyn Media> = Arc::new(VecMedia::new(len));
    Fs::format(&media, &FormatOptions::default()).expect("a pool of this size can be made");
    open(media)
}

pub fn open(media: Arc<dyn Media>) -> Arc<Fs> {
    Fs::open(media, Access::ReadWrite).expect("the pool opens").0
}

pub fn node(kind: Kind<'_>) -> NewNode<'_> {
    NewNode { kind, mode: 0o644, uid: 0, gid: 0 }
}

pub const FILE: NewNode<'static> = NewNode { kind: Kind::File, mode: 0o644, uid: 0, gid: 0 };
pub const DIR: NewNode<'static> = NewNode { kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0 };

/// Writes as the DAX layer does: begin, copy, publish.
pub fn write(
    inode: &Inode,
    media: &dyn Media,
    offset: u64,
    bytes: &[u8],
) -> Result<(), limpid_fs::FsError> {
    let end = offset + bytes.len() as u64;
    let mut at = offset;
    let mut batch = Vec::new();
    while at < end {
        let pages = PageRange::covering(&(at..end));
        let extent = match inode.begin(pages, Intent::Write) {
            Ok(extent) => extent,
            Err(error) => {
                batch.iter().for_each(|extent| inode.abandon(extent));
                return Err(error);
            }
        };
        assert!(matches!(extent.backing, Backing::New | Backing::Mapped | Backing::Unwritten));
        assert_eq!(extent.pages.start, pages.start);
        let stop = extent.pages.end.offset().min(end);
        let part = &bytes[(at - offset) as usize..(stop - offset) as usize];
        media.write(extent.device_at(at), part, Persist::Yes)?;
        batch.push(extent);
        at = stop;
    }
    let zero = &mut |range| media.zero(range, Persist::Yes);
    let published = inode.publish(&batch, offset..end, true, zero)?;
    assert_eq!(published, Published::All);
    Ok(())
}

/// Reads as the DAX layer does.
pub fn read(inode: &Inode, media: &dyn Media, offset: u64, len: u64) -> Vec<u8> {
    let end = inode.size().min(offset + len);
    let mut bytes = vec![0; end.saturating_sub(offset) as usize];
    let mut at = offset;
    while at < end {
        let extent = inode
            .begin(PageRange::covering(&(at..end)), Intent::Read)
            .expect("the map can be read");
        let stop = extent.pages.end.offset().min(end);
        if extent.backing == Backing::Mapped {
            let part = &mut bytes[(at - offset) as usize..(stop - offset) as usize];
            media.read(extent.device_at(at), part).expect("the medium can be read");
        }
        at = stop;
    }
    bytes
}

/// A seed for a random test: from the variable SEED, else random; printed.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("SEED={seed}");
    seed
}

/// Does something whose hash keys, UUIDs and times follow from a seed, where they can be set
/// (feature `control`, as in CI).
pub fn repeatable<T>(seed: u64, work: impl FnOnce() -> T) -> T {
    #[cfg(feature = "control")]
    limpid_fs::control::repeat(0, 1_700_000_000 + seed % 1_000_000);
    let done = work();
    #[cfg(feature = "control")]
    limpid_fs::control::repeat(0, 0);
    #[cfg(not(feature = "control"))]
    let _ = seed;
    done
}

/// Prints the seed of a round if the round panics, wherever that happens.
pub struct Round(pub u64);

impl Drop for Round {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in the round of SEED={}", self.0);
        }
    }
}
