//! Prints what copies cost: `cargo run --release -p limpid-pmem --example copy`.
//!
//! Nanoseconds per call, median of rounds, on memory that is populated. `glibc` is
//! ptr::copy_nonoverlapping; `read` and `write` are a medium's; `through` is a write with
//! Persist::Yes and a fence on a medium that is treated as persistent, `write+flush` an ordinary
//! write, flush and fence there; so the smallest size at which `through` wins shows where
//! non-temporal stores should begin. `hot` repeats one place, `cold` walks over 128 MiB.

use std::hint::black_box;
use std::time::Instant;

use limpid_pmem::{Media, Medium, OpenOptions, Persist};

const SPAN: u64 = 128 << 20;
const SIZES: [usize; 11] =
    [64, 128, 256, 512, 1024, 4096, 16 << 10, 64 << 10, 1 << 20, 8 << 20, 32 << 20];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = OpenOptions { populate: true, ..OpenOptions::default() };
    let plain = Medium::memory(SPAN, &options)?;
    let persistent = Medium::memory(SPAN, &OpenOptions { assume_persistent: true, ..options })?;
    println!("{}", plain.describe());
    let mut buffer = vec![1; *SIZES.last().unwrap_or(&0)];
    for (name, cold) in [("hot", false), ("cold", true)] {
        println!(
            "{name:>9} {:>10} {:>10} {:>10} {:>10} {:>10} {:>11} {:>10} {:>12}",
            "glibc in",
            "read",
            "glibc out",
            "write",
            "zero",
            "write+flush",
            "through",
            "zero through"
        );
        for size in SIZES {
            let walk = Walk { size, cold };
            let base = plain.as_ptr();
            let into = buffer.as_mut_ptr();
            // SAFETY: offsets and size lie in the medium, and the buffer is as long as any size.
            let glibc_in = walk.time(|at| unsafe {
                black_box(base).add(at as usize).copy_to_nonoverlapping(black_box(into), size);
            });
            let read = walk.time(|at| plain.read(at, black_box(&mut buffer[..size])).unwrap_or(()));
            let from = buffer.as_ptr();
            // SAFETY: as above.
            let glibc_out = walk.time(|at| unsafe {
                black_box(base).add(at as usize).copy_from_nonoverlapping(black_box(from), size);
            });
            let bytes = &buffer[..size];
            let write =
                walk.time(|at| plain.write(at, black_box(bytes), Persist::No).unwrap_or(()));
            let zero = walk.time(|at| {
                plain.zero(at..at + size as u64, Persist::No).unwrap_or(());
            });
            let flushed = walk.time(|at| {
                persistent.write(at, black_box(bytes), Persist::No).unwrap_or(());
                persistent.flush(at..at + size as u64);
                persistent.fence();
            });
            let through = walk.time(|at| {
                persistent.write(at, black_box(bytes), Persist::Yes).unwrap_or(());
                persistent.fence();
            });
            let zero_through = walk.time(|at| {
                persistent.zero(at..at + size as u64, Persist::Yes).unwrap_or(());
                persistent.fence();
            });
            println!(
                "{size:>9} {glibc_in:>10.1} {read:>10.1} {glibc_out:>10.1} {write:>10.1} \
                 {zero:>10.1} {flushed:>11.1} {through:>10.1} {zero_through:>12.1}"
            );
        }
    }
    Ok(())
}

/// Where the calls of one measurement go.
struct Walk {
    size: usize,
    cold: bool,
}

impl Walk {
    /// Median over rounds of the nanoseconds one call takes.
    fn time(&self, mut call: impl FnMut(u64)) -> f64 {
        let calls = ((64 << 20) / self.size).clamp(4, 200_000);
        let mut rounds: Vec<f64> = (0..9)
            .map(|_| {
                let start = Instant::now();
                let mut at = 0;
                for _ in 0..calls {
                    call(at);
                    if self.cold {
                        at += self.size as u64;
                        if at + self.size as u64 > SPAN {
                            at = 0;
                        }
                    }
                }
                start.elapsed().as_nanos() as f64 / calls as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        rounds[rounds.len() / 2]
    }
}
