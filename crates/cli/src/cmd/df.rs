//! `limpid df`: how full pools are.

use std::path::{Path, PathBuf};

use clap::Args;
use limpid::Statfs;
use serde_json::{Value, json};

use crate::failure::{At, Result};
use crate::output::{self, Output};
use crate::pools::{self, Access};
use crate::size;

/// Bytes in a block of a pool.
const BLOCK: u64 = 4096;

/// Show how full pools are
#[derive(Args)]
pub struct Df {
    /// The pools' files or devices
    #[arg(required = true)]
    pools: Vec<PathBuf>,
    /// Print JSON, sizes in bytes
    #[arg(long)]
    json: bool,
}

impl Df {
    pub fn run(self) -> Result<()> {
        let mut used = Vec::new();
        for path in &self.pools {
            let pool = pools::open(path, Access::Read)?;
            used.push((path, pool.statfs().at(path.display())?));
        }
        let mut output = Output::stdout();
        if self.json {
            output.json(&used.iter().map(|(pool, space)| to_json(pool, space)).collect())?;
        } else {
            let head =
                ["Pool", "Size", "Used", "Free", "Use%", "Files"].map(str::to_owned).to_vec();
            let rows = used.iter().map(|(pool, space)| row(pool, space));
            let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
            output.table(&rows, &[1, 2, 3, 4, 5])?;
        }
        output.finish()
    }
}

fn row(pool: &Path, space: &Statfs) -> Vec<String> {
    let bytes = |blocks: u64| size::human(blocks.saturating_mul(BLOCK));
    let used = space.blocks.saturating_sub(space.free);
    let percent = (used * 100).div_ceil(space.blocks.max(1));
    let size = bytes(space.blocks);
    let free = bytes(space.available);
    let files = space.files.to_string();
    vec![output::shown(pool), size, bytes(used), free, format!("{percent}%"), files]
}

fn to_json(pool: &Path, space: &Statfs) -> Value {
    let bytes = |blocks: u64| blocks.saturating_mul(BLOCK);
    let mut value = json!({
        "size": bytes(space.blocks),
        "used": bytes(space.blocks.saturating_sub(space.free)),
        "free": bytes(space.free),
        "available": bytes(space.available),
        "files": space.files,
    });
    output::put_name(&mut value, "pool", pool);
    value
}
