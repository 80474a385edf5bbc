//! Goal: recovering a journal whose slots are all full of the largest records takes less than
//! 50 ms.
//!
//! Method: the records are written by hand; a pool cannot be made to leave so many. Each fills
//! blocks of its own, so that all of it is applied. The best of ten openings counts, by the time
//! the thread has a processor.

use std::sync::Arc;
use std::time::Duration;

use limpid_pmem::VecMedia;

use super::*;
use crate::format::FormatOptions;
use crate::fs::{Access, Fs};
use crate::superblock::Superblock;

const LEN: u64 = 16 << 20;
/// Whole blocks that a record holds.
const BLOCKS: u64 = (SLOT_BYTES - HEADER) as u64 / (8 + BLOCK);

/// A pool all of whose slots hold records that nothing has retired.
fn full_journal() -> Vec<u8> {
    let media: Arc<dyn Media> = Arc::new(VecMedia::new(LEN));
    Fs::format(&media, &FormatOptions::default()).unwrap();
    let (superblock, _) = Superblock::read(&*media).unwrap();
    let (geometry, salt) = (superblock.geometry, superblock.salt());
    let mut block = geometry.data_end - LANES * SLOTS * BLOCKS;
    for slot in 0..LANES * SLOTS {
        let mut record = vec![0; HEADER];
        for _ in 0..BLOCKS {
            let bytes = [slot as u8 + 1; BLOCK_LEN];
            Entry::Granules { at: block * BLOCK, bytes: &bytes }.encode(&geometry, &mut record);
            block += 1;
        }
        Header::write(1000 + slot, 1000, &mut record, salt);
        let at = slot_at((slot / SLOTS) as usize, (slot % SLOTS) as usize);
        media.write(at, &record, Persist::Yes).unwrap();
    }
    let mut image = vec![0; LEN as usize];
    media.read(0, &mut image).unwrap();
    image
}

/// Of this thread: how busy the machine is does not matter.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[test]
fn a_full_journal_is_recovered_in_50_ms() {
    let image = full_journal();
    let mut best = Duration::MAX;
    for _ in 0..10 {
        let media: Arc<dyn Media> = Arc::new(VecMedia::from_bytes(&image));
        let begun = processor_time();
        let (fs, report) = Fs::open(media.clone(), Access::ReadWrite).unwrap();
        best = best.min(processor_time() - begun);
        assert_eq!(u64::from(report.recovered), LANES * SLOTS);
        assert_eq!(fs.check(), []);
        let geometry = fs.core.geometry;
        let mut last = [0; BLOCK_LEN];
        media.read((geometry.data_end - 1) * BLOCK, &mut last).unwrap();
        assert_eq!(last, [(LANES * SLOTS) as u8; BLOCK_LEN]);
    }
    eprintln!("{} records of {BLOCKS} blocks: {best:?}", LANES * SLOTS);
    assert!(best < Duration::from_millis(50), "{best:?}");
}
