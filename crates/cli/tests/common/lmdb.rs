//! LMDB in its default mode: it writes by calls and reads through a map of the file.

#![allow(unsafe_code)]

use std::path::Path;

use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{Database, Env, EnvOpenOptions};

/// Numbers and their values.
pub type Table = Database<U64<BigEndian>, Bytes>;

/// Opens or makes an environment in a folder, with one table.
pub fn open(folder: &Path) -> (Env, Table) {
    let mut options = EnvOpenOptions::new();
    // SAFETY: the files are only reached through LMDB, by processes that each open them once.
    let env = unsafe { options.map_size(64 << 20).open(folder).unwrap() };
    let mut change = env.write_txn().unwrap();
    let table = env.create_database(&mut change, None).unwrap();
    change.commit().unwrap();
    (env, table)
}
