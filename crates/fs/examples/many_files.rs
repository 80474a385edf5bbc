//! Makes a pool with many files, to measure `limpid fsck` with:
//!
//! ```sh
//! cargo run --release -p limpid-fs --example many_files -- pool.limpid 1000000
//! ```
//!
//! 1000 files to a directory, each with one block.

use std::sync::Arc;

use limpid_dax::{Iomap, PageRange};
use limpid_fs::{Access, FormatOptions, Fs, FsError, Kind, NewNode};
use limpid_pmem::{Media, Medium, OpenOptions};

const PER_DIRECTORY: u64 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: many_files POOL COUNT")?;
    let count: u64 = arguments.next().ok_or("usage: many_files POOL COUNT")?.parse()?;
    // A block of data, a 16th of a block for the record, some for names.
    let size = (count * 4096 * 5 / 4 + (64 << 20)).next_multiple_of(1 << 20);
    let options = OpenOptions { reuse: true, ..OpenOptions::default() };
    let medium: Arc<dyn Media> = Arc::new(Medium::create(&path, size, &options)?);
    Fs::format(&medium, &FormatOptions::default())?;
    let (fs, _) = Fs::open(medium, Access::ReadWrite)?;
    let mut made = 0;
    while made < count {
        let name = format!("directory{}", made / PER_DIRECTORY);
        let directory = fs.create(fs.root(), name.as_bytes(), node(Kind::Directory))?;
        for _ in 0..PER_DIRECTORY.min(count - made) {
            let name = format!("a file with the number {made}");
            let file = fs.create(directory.ino(), name.as_bytes(), node(Kind::File))?;
            block(&file)?;
            fs.release(file)?;
            made += 1;
        }
        fs.release(directory)?;
    }
    fs.close()?;
    println!("{path}: {made} files in {} MiB", size >> 20);
    Ok(())
}

fn node(kind: Kind<'_>) -> NewNode<'_> {
    NewNode { kind, mode: 0o644, uid: 0, gid: 0 }
}

/// Gives a file its block, without writing it.
fn block(file: &limpid_fs::Inode) -> Result<(), FsError> {
    file.make_unwritten(PageRange::new(0, 1), Some(4096))
}
