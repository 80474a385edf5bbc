//! `limpid mv`: rename in a pool, or move into, out of and between pools.

use std::ffi::OsString;

use clap::Args;

use crate::copy::{self, Copier, Place, Transfer, Way};
use crate::failure::{At, Failure, Result};

/// Rename files in a pool, or move them into, out of and between pools
///
/// In one pool this is one step that cannot be half done. Else the source is removed when all of
/// the copy is complete and on the medium.
#[derive(Args)]
pub struct Mv {
    /// What to move: POOL:/path, or a path on the host
    #[arg(required = true)]
    sources: Vec<OsString>,
    /// A directory to move into, or the new name
    destination: OsString,
}

impl Mv {
    pub fn run(self) -> Result<()> {
        let transfer = Transfer::r#move(&self.sources, &self.destination)?;
        let mut copier = Copier::for_moves();
        for (source, target) in &transfer.pairs {
            refuse_unmovable(source)?;
            if source.shares_tree(target) {
                rename(source, target)?;
            } else {
                copier.copy(source, target)?;
            }
        }
        copier.finish();
        // No source goes before all copies are complete: an inode number that is free again could
        // be taken for one that was copied before.
        for (source, target) in &transfer.pairs {
            if !source.shares_tree(target) {
                target.tree.sync(&target.path).at(target)?;
                source.tree.remove_all(&source.path).at(source)?;
            }
        }
        Ok(())
    }
}

/// What has no name of its own, and what lies behind a link, stays where it is.
fn refuse_unmovable(source: &Place) -> Result<()> {
    if source.name().is_none() {
        let what = "the root, '.' and '..' cannot be moved";
        return Err(Failure::new(what, source, "name a file"));
    }
    if source.is_followed_link()? {
        return Err(Failure::new(
            "not a directory",
            source,
            "leave out the slash to move the link",
        ));
    }
    Ok(())
}

fn rename(source: &Place, target: &Place) -> Result<()> {
    let from = source.require(false)?;
    if copy::is_done_already(source, &from, target, Way::Move)? {
        return Ok(());
    }
    source.refuse_inside(&from, target)?;
    source.tree.rename(&source.path, &target.path).at(target)
}
