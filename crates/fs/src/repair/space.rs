//! Bitmaps: kept from giving out what is in use during a repair, and written anew at its end.

use limpid_pmem::{Media, Persist};
use zerocopy::{FromZeros, IntoBytes};

use super::lost::Look;
use crate::bits::Bits;
use crate::check::{UsedBlocks, difference, marked};
use crate::core::Core;
use crate::error::Result;
use crate::layout::{BLOCK, BLOCK_LEN, GROUP, Geometry};
use crate::space::Descriptor;

/// Writes the bitmap of a group and its descriptor.
fn put(core: &Core, group: usize, bits: &Bits) -> Result<()> {
    let geometry = &core.geometry;
    core.media.write(geometry.bitmap_at(group), bits.as_bytes(), Persist::No)?;
    let descriptor = Descriptor::of(group, bits);
    core.media.write(geometry.descriptor_at(group), descriptor.as_bytes(), Persist::No)?;
    Ok(())
}

/// Makes all bitmaps readable, and marks in them what is in use. What they mark beyond that stays:
/// it may be what the next stages look for. In the place of a bitmap that cannot be read, blocks
/// that look like metadata are marked too.
pub(super) fn protect(core: &Core, used: &UsedBlocks) -> Result<()> {
    for group in 0..core.geometry.groups as usize {
        let mut needed = used.group(&core.geometry, group);
        match marked(core, group) {
            Ok(bits) => {
                if difference(&needed, &bits).is_empty() {
                    continue;
                }
                for (first, len) in difference(&bits, &needed) {
                    needed.fill(first, len, true);
                }
            }
            Err(_) => {
                let start = core.geometry.group_start(group);
                let mut bytes = [0; BLOCK_LEN];
                for bit in 0..core.geometry.group_len(group) {
                    let readable = core.media.read((start + bit) * BLOCK, &mut bytes).is_ok();
                    if readable && Look::at(&bytes, start + bit) != Look::Nothing {
                        needed.fill(bit, 1, true);
                    }
                }
            }
        }
        put(core, group, &needed)?;
    }
    Ok(())
}

/// Writes the bitmaps that differ from what is in use.
pub(super) fn rewrite(core: &Core, used: &UsedBlocks) -> Result<()> {
    for group in 0..core.geometry.groups as usize {
        let needed = used.group(&core.geometry, group);
        let same = marked(core, group).is_ok_and(|bits| bits.as_bytes() == needed.as_bytes());
        if !same {
            put(core, group, &needed)?;
        }
    }
    Ok(())
}

/// Runs of blocks that are free both by the medium's own bitmaps and after the repair.
pub(super) fn free_runs<'a>(
    media: &'a dyn Media,
    geometry: &'a Geometry,
    used: &'a UsedBlocks,
) -> impl Iterator<Item = (u64, u64)> + 'a {
    (0..geometry.groups as usize).flat_map(move |group| {
        let mut raw = Descriptor::new_zeroed();
        let before = media
            .read(geometry.descriptor_at(group), raw.as_mut_bytes())
            .map_err(Into::into)
            .and_then(|()| raw.check(group, geometry))
            .and_then(|()| raw.bitmap(media, group, geometry));
        let mut runs = Vec::new();
        if let Ok(mut taken) = before {
            for (first, len) in difference(&used.group(geometry, group), &taken) {
                taken.fill(first, len, true);
            }
            let mut at = 0;
            while let Some((first, len)) = taken.free_run(at, GROUP, GROUP) {
                runs.push((geometry.group_start(group) + first, len));
                at = first + len;
            }
        }
        // Few long runs are better than many short ones.
        runs.sort_by_key(|(_, len)| std::cmp::Reverse(*len));
        runs
    })
}
