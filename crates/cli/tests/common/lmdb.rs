//! LMDB in its default mode: it writes by calls and reads through a map of the file.

#![allow(unsafe_code)]

use std::path::Path;

use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{Database, Env, EnvOpenOptions};

/// Numbers and their values.
pub type Table = Database<U64<BigEndian>, Bytes>;

/// Opens or makes an environment in a folder, with one table.
pub fn try_open(folder: &Path) -> heed::Result<(Env, Table)> {
    let mut options = EnvOpenOptions::new();
    // SAFETY: the files are only reached through LMDB, by processes that each open them once.
    let env = unsafe { options.map_size(64 << 20).open(folder)? };
    let mut change = env.write_txn()?;
    let table = env.create_database(&mut change, None)?;
    change.commit()?;
    Ok((env, table))
}

/// As [`try_open`]; it has to succeed.
pub fn open(folder: &Path) -> (Env, Table) {
    try_open(folder).unwrap()
}
