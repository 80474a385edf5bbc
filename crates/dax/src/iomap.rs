//! The block map of one file, as the DAX layer asks for it.
//!
//! A block map tells where the pages of a file lie on the medium. Its own locks (lock class 5)
//! are taken and released *inside* each method; none is held between two calls.

use core::ops::Range;

use limpid_pmem::MediaError;

use crate::units::{PageIndex, PageRange};

/// Why the block map is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// To read: nothing is allocated.
    Read,
    /// To write: a hole gets fresh blocks, which nobody can see until they are published, and so
    /// do pages whose blocks are shared.
    Write,
}

/// What lies behind an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backing {
    /// No block: reads as zeroes.
    Hole,
    /// Blocks of this file that were never written: reads as zeroes.
    Unwritten,
    /// Blocks of this file alone, with data.
    Mapped,
    /// Blocks with data that other files, or other pages of this one, have as well. They may be
    /// read, and mapped to be read; nobody writes to them. An answer to [`Intent::Read`] only.
    Shared,
    /// Fresh blocks that belong to nobody yet; to be given to [`Iomap::publish`] or
    /// [`Iomap::abandon`].
    New,
    /// Fresh blocks, as `New`, that are to take the place of shared ones. Whoever publishes them
    /// has copied to them what he does not write himself.
    Copy {
        /// Device offset in bytes (page aligned) of the shared block of the first page; those of
        /// the other pages follow it.
        from: u64,
    },
}

impl Backing {
    /// True for blocks that belong to nobody yet.
    pub const fn is_fresh(self) -> bool {
        matches!(self, Backing::New | Backing::Copy { .. })
    }
}

/// A run of file pages with one kind of backing, contiguous on the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Pages of the file.
    pub pages: PageRange,
    /// Device offset in bytes of the first page (page aligned); 0 for a hole.
    pub device: u64,
    /// What lies there.
    pub backing: Backing,
}

impl Extent {
    /// Device offset of the byte at file offset `offset`, which must lie in the extent.
    pub fn device_at(&self, offset: u64) -> u64 {
        self.device + (offset - self.pages.start.offset())
    }

    /// The part of this extent that lies in `pages`.
    pub fn clip(&self, pages: PageRange) -> Extent {
        let kept = self.pages.intersect(pages);
        let device = match self.backing {
            Backing::Hole => 0,
            _ => self.device_at(kept.start.offset()),
        };
        let backing = match self.backing {
            Backing::Copy { from } => Backing::Copy { from: from + (device - self.device) },
            other => other,
        };
        Extent { pages: kept, device, backing }
    }
}

/// What [`Iomap::publish`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// All pages are published.
    All,
    /// Some page had got a block from somebody else meanwhile, or its block is no longer shared.
    /// All other pages are published; the fresh blocks of the lost pages were given back. The
    /// caller looks those pages up again and finds them mapped.
    Some,
}

/// The block map of one file. See the module's documentation for the locking.
///
/// The mutators (`set_size`, `punch`, `make_unwritten`, `collapse`, `insert`) are called with the
/// inode lock and the invalidate lock held exclusive, after the pages were unmapped everywhere and
/// their entries deleted, so blocks they free may be given out again as soon as they return. A
/// file that gives up a shared block only gives up its share.
///
/// A shared page becomes a mapped one at any time, when the others let go of its block. A mapped
/// page becomes a shared one in [`Share::share`] only.
pub trait Iomap: Send + Sync {
    /// What the file system reports when it fails.
    type Error: From<MediaError> + core::fmt::Debug + Send;

    /// Size of the file in bytes.
    fn size(&self) -> u64;

    /// The extent that holds page `pages.start`, clipped to `pages` (which is not empty).
    ///
    /// With [`Intent::Write`] a hole is answered by [`Backing::New`]: at least one fresh block,
    /// as many contiguous ones as the space allows, aligned to 2 MiB on the medium where `pages`
    /// covers a whole aligned 2 MiB unit of the file and such space is left. Shared pages are
    /// answered by [`Backing::Copy`], with fresh blocks by the same rule for as many of them as are
    /// contiguous. `Unwritten` and `Mapped` are answered as they are.
    fn begin(&self, pages: PageRange, intent: Intent) -> Result<Extent, Self::Error>;

    /// Makes `New`, `Copy` and `Unwritten` extents of one operation visible as `Mapped`, and the
    /// file at least `written.end` bytes long if `extend`, all in one atomic commit. `Mapped`
    /// extents are ignored.
    ///
    /// Conditional, page by page, under the block map's lock: a `New` page is published only if
    /// it is still a hole, an `Unwritten` page only if it is still unwritten, a `Copy` page only if
    /// it still has the block that was copied and that block is still shared; else it is lost
    /// ([`Published::Some`]). For each published page, but for `Copy` ones, that `written` (bytes
    /// of the file) does not cover wholly, `zero` is called, under that lock and before the commit,
    /// with the device
    /// range of each part that was not written. The bytes of the published pages are durable
    /// before the commit is: the implementation fences before it commits. If pages were lost, the
    /// size is not changed. The fresh blocks are the block map's again in any case: those that were
    /// not published, because they were lost or an error or a panic came, were given back.
    fn publish(
        &self,
        extents: &[Extent],
        written: Range<u64>,
        extend: bool,
        zero: &mut dyn FnMut(Range<u64>) -> Result<(), MediaError>,
    ) -> Result<Published, Self::Error>;

    /// Gives the blocks of a `New` or `Copy` extent back, unseen.
    fn abandon(&self, extent: &Extent);

    /// Records that data of the file changed now (mtime, ctime); cheap, made durable later. What
    /// commits (`publish`, the mutators, `allocate`, `Share::share` for `into`) moves the times in
    /// that commit, without being told.
    fn touch(&self);

    /// Sets the size; when it shrinks or stays, blocks wholly past the new end are freed.
    fn set_size(&self, size: u64) -> Result<(), Self::Error>;

    /// Frees the blocks of `pages`: they become a hole.
    fn punch(&self, pages: PageRange) -> Result<(), Self::Error>;

    /// Makes `pages` unwritten: holes and shared pages get blocks of their own, mapped blocks stay
    /// but read as zeroes. The file becomes at least `size` bytes long if given, in the same commit
    /// as the last page.
    fn make_unwritten(&self, pages: PageRange, size: Option<u64>) -> Result<(), Self::Error>;

    /// Gives blocks to the holes in `pages`, unwritten; other pages stay as they are. The file
    /// becomes at least `size` bytes long if given. Needs only the inode lock: it changes nothing
    /// a page table may show.
    fn allocate(&self, pages: PageRange, size: Option<u64>) -> Result<(), Self::Error>;

    /// Frees `pages` and moves all later pages down; the file shrinks by that much.
    fn collapse(&self, pages: PageRange) -> Result<(), Self::Error>;

    /// Moves all pages from `pages.start` on up by `pages.len()`, leaving a hole; the file grows
    /// by that much.
    fn insert(&self, pages: PageRange) -> Result<(), Self::Error>;
}

/// A block map whose files can have blocks in common (reflink).
pub trait Share: Iomap {
    /// Makes the pages of `into` from `at` on have the blocks of `pages` of this file, which are
    /// shared from then on; unwritten pages and holes become holes there. What `into` had there
    /// before is given up, and it becomes at least `size` bytes long if given. All in one atomic
    /// commit.
    ///
    /// `into` may be this file; the ranges do not overlap then. Called with the inode lock and the
    /// invalidate lock of both files held exclusive, after both ranges were unmapped everywhere,
    /// unpinned, and their entries deleted.
    fn share(
        &self,
        pages: PageRange,
        into: &Self,
        at: PageIndex,
        size: Option<u64>,
    ) -> Result<(), Self::Error>;
}
