//! Prints what the operations of the file system cost on heap memory, in nanoseconds.
//!
//! `cargo run --release -p limpid-fs --example operations [NAMES]`

use std::sync::Arc;
use std::time::Instant;

use limpid_dax::{Intent, Iomap, PageRange};
use limpid_fs::{Access, BLOCK, FormatOptions, Fs, FsError, Kind, NewNode};
use limpid_pmem::{Media, Persist, VecMedia};

const FILE: NewNode<'static> = NewNode { kind: Kind::File, mode: 0o644, uid: 0, gid: 0 };

fn time(
    what: &str,
    times: u64,
    mut each: impl FnMut(u64) -> Result<(), FsError>,
) -> Result<(), FsError> {
    let start = Instant::now();
    for number in 0..times {
        each(number)?;
    }
    println!("{what:40} {:8} ns", start.elapsed().as_nanos() / u128::from(times.max(1)));
    Ok(())
}

fn append(fs: &Fs, file: &limpid_fs::Inode, page: u64) -> Result<(), FsError> {
    let pages = PageRange::new(page, page + 1);
    let extent = file.begin(pages, Intent::Write)?;
    let media = fs.media();
    file.publish(&[extent], pages.bytes(), true, &mut |range| media.zero(range, Persist::Yes))?;
    Ok(())
}

fn main() -> Result<(), FsError> {
    let names: u64 = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let media: Arc<dyn Media> = Arc::new(VecMedia::new(4 << 30));
    let start = Instant::now();
    Fs::format(&media, &FormatOptions::default())?;
    println!("format: {} us", start.elapsed().as_micros());
    let (fs, _) = Fs::open(media.clone(), Access::ReadWrite)?;
    let root = fs.root();

    let file = fs.create(root, b"file", FILE)?;
    for page in 0..1000 {
        append(&fs, &file, page)?;
    }
    time("append and publish 4 KiB", 100_000, |page| append(&fs, &file, 1000 + page))?;
    let pages = PageRange::new(77, 80);
    time("begin, mapped", 10_000_000, |_| file.begin(pages, Intent::Read).map(|_| ()))?;
    time("begin, mapped, elsewhere each time", 10_000_000, |step| {
        let page = step * 7919 % 100_000;
        file.begin(PageRange::new(page, page + 1), Intent::Read).map(|_| ())
    })?;
    time("begin of a hole, abandoned", 1_000_000, |_| {
        let extent = file.begin(PageRange::new(1 << 30, (1 << 30) + 1), Intent::Write)?;
        file.abandon(&extent);
        Ok(())
    })?;

    let small = fs.create(root, b"dir", NewNode { kind: Kind::Directory, ..FILE })?.ino();
    let mut kept = Vec::new();
    for number in 0..20 {
        kept.push(fs.create(small, format!("kept{number}").as_bytes(), FILE)?);
    }
    time("lookup in a small directory", 1_000_000, |_| fs.lookup(small, b"kept7").map(|_| ()))?;
    time("create and unlink in it, together", 200_000, |_| {
        let inode = fs.create(small, b"name", FILE)?;
        fs.release(inode)?;
        fs.unlink(small, b"name").map(|_| ())
    })?;

    let large = fs.create(root, b"large", NewNode { kind: Kind::Directory, ..FILE })?.ino();
    let name = |number: u64| format!("a name of usual length {number}").into_bytes();
    time("create in a large directory", names, |number| {
        fs.release(fs.create(large, &name(number), FILE)?)
    })?;
    time("lookup in it", names, |number| fs.lookup(large, &name(number)).map(|_| ()))?;
    fs.close()?;
    drop(fs);
    let start = Instant::now();
    let (fs, _) = Fs::open(media.clone(), Access::ReadWrite)?;
    println!("open: {} us", start.elapsed().as_micros());
    let mut listed = 0u64;
    let start = Instant::now();
    fs.read_dir(large, 0, &mut |_| {
        listed += 1;
        true
    })?;
    println!("{:40} {:8} ns", "list, per name", start.elapsed().as_nanos() / u128::from(listed));
    let start = Instant::now();
    let problems = fs.check();
    println!("check: {} ms, {} problems", start.elapsed().as_millis(), problems.len());
    time("unlink in it", names, |number| fs.unlink(large, &name(number)).map(|_| ()))?;
    let used = fs.statfs();
    println!("in use at the end: {} blocks of {BLOCK} bytes", used.blocks - used.free);
    Ok(())
}
