//! Checking, repairing and showing a pool that nobody has open.

use std::path::Path;
use std::sync::Arc;

use limpid_fs::{DumpOf, Fs, FsError, FsckProgress, FsckReport, Section};
use limpid_pmem::{Media, Medium, OpenOptions};

use crate::error::{Error, Result};

/// Checks the pool at `path`, and repairs it if that is wanted. `watch` is told how far it is.
///
/// Without `repair` the pool is only read; a pool that somebody has open for writing is refused,
/// and with `repair` any that is open. What is damaged is in the report; an error means that the
/// pool could not be checked at all.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("pool");
/// drop(limpid::Pool::create(&path, 16 << 20)?);
/// let report = limpid::fsck(&path, false, &|_| {})?;
/// assert!(report.findings.is_empty());
/// # Ok::<(), limpid::Error>(())
/// ```
pub fn fsck(
    path: impl AsRef<Path>,
    repair: bool,
    watch: &dyn Fn(FsckProgress),
) -> Result<FsckReport> {
    let path = path.as_ref();
    let options = OpenOptions { read_only: !repair, ..OpenOptions::default() };
    let medium: Arc<dyn Media> = Arc::new(Medium::open(path, &options)?);
    let named = |source| Error::Pool { pool: path.to_owned(), source };
    Fs::fsck(medium, repair, watch).map_err(named)
}

/// Shows structures of the pool at `path` field by field, damaged or not. It is only read, not even
/// recovered.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("pool");
/// drop(limpid::Pool::create(&path, 16 << 20)?);
/// let sections = limpid::dump(&path, limpid::DumpOf::Superblock)?;
/// assert_eq!(sections[0].fields[0].value, "\"LIMPIDFS\"");
/// # Ok::<(), limpid::Error>(())
/// ```
pub fn dump(path: impl AsRef<Path>, of: DumpOf<'_>) -> Result<Vec<Section>> {
    let path = path.as_ref();
    let options = OpenOptions { read_only: true, ..OpenOptions::default() };
    let medium: Arc<dyn Media> = Arc::new(Medium::open(path, &options)?);
    Fs::dump(medium, of).map_err(|source| match source {
        FsError::NotFound | FsError::NotDirectory => Error::Fs(source),
        source => Error::Pool { pool: path.to_owned(), source },
    })
}
