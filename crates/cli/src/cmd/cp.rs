//! `limpid cp`: copy files into, out of and between pools.

use std::ffi::OsString;

use clap::Args;

use crate::copy::{Copier, Transfer};
use crate::failure::Result;

/// Copy files into, out of and between pools
///
/// Modes, times, links, holes and extended attributes are kept, and owners where that is allowed;
/// where it is not, set-user-id, set-group-id and sticky bits go. A file appears under its name
/// when it is complete. A symbolic link as the target is written through if it leads somewhere; a
/// target with several names is replaced, not written. The first failure ends the command; the file
/// at which it happened is as it was before.
#[derive(Args)]
pub struct Cp {
    /// What to copy: POOL:/path, or a path on the host
    #[arg(required = true)]
    sources: Vec<OsString>,
    /// A directory to copy into, or the name of the copy
    destination: OsString,
    /// Copy directories with all that is in them, and links as links
    #[arg(short, short_alias = 'R', long)]
    recursive: bool,
}

impl Cp {
    pub fn run(self) -> Result<()> {
        let transfer = Transfer::copy(&self.sources, &self.destination, !self.recursive)?;
        let mut copier = Copier::new(self.recursive);
        copier.expect(&transfer)?;
        for (source, target) in &transfer.pairs {
            copier.copy(source, target)?;
        }
        copier.finish();
        Ok(())
    }
}
