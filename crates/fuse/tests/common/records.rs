//! Records that tell whose they are, so that a file of them can be checked byte by byte.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

/// The record of a writer: its writer, its number, its length (all of 8 bytes), and bytes that
/// follow from them; from 24 bytes to more than two pages.
pub fn record(writer: u64, number: u64) -> Vec<u8> {
    let len = 24 + (number * 7919 + writer * 131) % 9000;
    let head = [writer, number, len].into_iter().flat_map(u64::to_ne_bytes);
    head.chain((24..len).map(|at| byte(writer, number, at))).collect()
}

fn byte(writer: u64, number: u64, at: u64) -> u8 {
    (at * 7 + number * 3 + writer) as u8 | 1
}

/// What a program does: appends `count` records to a file, and reads it meanwhile, so that the
/// kernel has pages of it. How many it has appended.
pub fn append(path: &str, writer: u64, count: u64) -> u64 {
    let mut file = OpenOptions::new().append(true).open(path).unwrap();
    for number in 0..count {
        let record = record(writer, number);
        assert_eq!(file.write(&record).unwrap(), record.len());
        if number % 16 == 0 {
            // A read that races with an append may see zeroes where its bytes are to be.
            let bytes = std::fs::read(path).unwrap();
            assert!(bytes.len() >= record.len());
        }
    }
    count
}

/// How many records each writer has in these bytes, which are nothing but whole records, each of
/// them once and those of a writer in their order; the last may be cut off.
pub fn check(mut bytes: &[u8]) -> BTreeMap<u64, u64> {
    let mut next = BTreeMap::new();
    let mut offset = 0;
    while bytes.len() >= 24 {
        let word =
            |index: usize| u64::from_ne_bytes(bytes[8 * index..8 * index + 8].try_into().unwrap());
        let (writer, number, len) = (word(0), word(1), word(2) as usize);
        let expected = next.entry(writer).or_default();
        assert_eq!(number, *expected, "the record of writer {writer} at byte {offset}");
        let whole = record(writer, number);
        assert_eq!(len, whole.len(), "the length of record {number} of writer {writer}");
        let found = len.min(bytes.len());
        assert!(bytes[..found] == whole[..found], "record {number} of writer {writer}, {offset}");
        if found < len {
            break;
        }
        *expected += 1;
        (bytes, offset) = (&bytes[len..], offset + len);
    }
    next
}
