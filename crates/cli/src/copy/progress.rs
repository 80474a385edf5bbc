//! The progress bar, for those who watch a terminal.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use limpid::FileKind;

use super::place::Place;
use crate::failure::{At, Result};

/// Progress in bytes, shown on a terminal only. Clones are the same bar.
#[derive(Clone)]
pub struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Nothing to show yet.
    pub fn new() -> Progress {
        Progress { bar: None }
    }

    /// Adds up the bytes of the sources and shows a bar, if there is a terminal to show it on.
    pub fn expect<'a>(
        &mut self,
        sources: impl Iterator<Item = &'a Place>,
        recursive: bool,
    ) -> Result<()> {
        if !std::io::stderr().is_terminal() {
            return Ok(());
        }
        let mut total = 0;
        for source in sources {
            total += bytes(source, !recursive)?;
        }
        let bar = ProgressBar::new(total);
        let template = "{bytes} of {total_bytes} {wide_bar} {binary_bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        self.bar = Some(bar);
        Ok(())
    }

    /// More bytes are done.
    pub fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// Takes the bar off the terminal.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The bytes of all files at and below a place; what is not there counts nothing.
fn bytes(place: &Place, follow: bool) -> Result<u64> {
    let Some(node) = place.node(follow)? else { return Ok(0) };
    match node.kind {
        FileKind::File => Ok(node.size),
        FileKind::Directory => {
            let mut total = 0_u64;
            for name in place.tree.names(&place.path).at(place)? {
                total = total.saturating_add(bytes(&place.join(name), false)?);
            }
            Ok(total)
        }
        _ => Ok(0),
    }
}
