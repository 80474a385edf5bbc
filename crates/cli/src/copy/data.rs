//! Copying the bytes of a file.

use super::place::Place;
use super::progress::Progress;
use super::tree::{Reader, Writer};
use crate::failure::{At, Result};
use crate::interrupt;

/// Pieces are this long and aligned to it, so that a pool gives them blocks that a huge page can
/// map.
const PIECE: u64 = 2 << 20;

/// The buffer the bytes go through.
pub struct Buffer(Vec<u8>);

impl Default for Buffer {
    fn default() -> Self {
        Buffer(vec![0; PIECE as usize])
    }
}

/// Copies a file of `size` bytes. Holes stay holes. A source that shrinks meanwhile gives a
/// shorter copy.
pub fn copy(
    (source, reader): (&Place, &dyn Reader),
    (target, writer): (&Place, &dyn Writer),
    size: u64,
    buffer: &mut Buffer,
    progress: &Progress,
) -> Result<()> {
    if size == 0 {
        // Some files of the host say that they are empty and have bytes none the less.
        return stream((source, reader), (target, writer), buffer, progress);
    }
    let mut at = 0;
    while let Some(data) = reader.next_data(at, size).at(source)? {
        progress.advance(data.start - at);
        at = data.start;
        while at < data.end {
            interrupt::check()?;
            let length = (PIECE - at % PIECE).min(data.end - at);
            let piece = &mut buffer.0[..length as usize];
            let read = reader.read_at(piece, at).at(source)?;
            if read == 0 {
                return writer.set_len(at).at(target);
            }
            writer.write_at(&piece[..read], at).at(target)?;
            at += read as u64;
            progress.advance(read as u64);
        }
    }
    progress.advance(size - at);
    writer.set_len(size).at(target)
}

/// Copies what comes until the end, from or into what has no offsets.
pub fn stream(
    (source, reader): (&Place, &dyn Reader),
    (target, writer): (&Place, &dyn Writer),
    buffer: &mut Buffer,
    progress: &Progress,
) -> Result<()> {
    let mut at = 0;
    loop {
        interrupt::check()?;
        let read = reader.read_at(&mut buffer.0, at);
        // A wait that a signal has ended.
        interrupt::check()?;
        let read = read.at(source)?;
        if read == 0 {
            return Ok(());
        }
        writer.write_at(&buffer.0[..read], at).at(target)?;
        at += read as u64;
        progress.advance(read as u64);
    }
}
