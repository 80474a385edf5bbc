//! What a medium may hold after a crash: a model of stores, flushes and fences.

use std::thread::ThreadId;

use limpid_pmem::{Event, Op};

struct Pending {
    at: u64,
    bytes: Box<[u8]>,
    /// Who flushed it: only that thread's fence makes it durable.
    flushed_by: Option<ThreadId>,
}

/// What a medium may hold after a crash.
pub struct Crash {
    /// All stores.
    pub stored: Vec<u8>,
    /// What was flushed and fenced.
    durable: Vec<u8>,
    /// Stores not yet durable.
    pending: Vec<Pending>,
}

impl Crash {
    pub fn new(image: Vec<u8>) -> Crash {
        Crash { durable: image.clone(), stored: image, pending: Vec::new() }
    }

    pub fn event(&mut self, event: &Event) {
        match &event.op {
            Op::Store { at, bytes } => {
                self.stored[*at as usize..*at as usize + bytes.len()].copy_from_slice(bytes);
                self.pending.push(Pending { at: *at, bytes: bytes.clone(), flushed_by: None });
            }
            Op::Flush(range) => {
                for store in &mut self.pending {
                    let end = store.at + store.bytes.len() as u64;
                    if range.start <= store.at && end <= range.end && store.flushed_by.is_none() {
                        store.flushed_by = Some(event.thread);
                    }
                }
            }
            Op::Fence => {
                let durable = &mut self.durable;
                self.pending.retain(|store| {
                    let fenced = store.flushed_by == Some(event.thread);
                    if fenced {
                        let at = store.at as usize;
                        durable[at..at + store.bytes.len()].copy_from_slice(&store.bytes);
                    }
                    !fenced
                });
            }
            Op::Sync(_) => {}
        }
    }

    /// What is durable, and each 8-byte piece of the rest with a chance of `percent`.
    pub fn power_loss(&self, random: &mut fastrand::Rng, percent: u32) -> Vec<u8> {
        let mut image = self.durable.clone();
        for Pending { at, bytes, .. } in &self.pending {
            let mut start = 0;
            while start < bytes.len() {
                let step = 8 - (*at as usize + start) % 8;
                let end = bytes.len().min(start + step);
                if random.u32(..100) < percent {
                    let place = *at as usize + start;
                    image[place..place + end - start].copy_from_slice(&bytes[start..end]);
                }
                start = end;
            }
        }
        image
    }
}
