//! `limpid info`: what a pool is, and what it gives on this machine.

use std::path::PathBuf;

use clap::Args;
use limpid::{Durability, PoolInfo};
use serde_json::{Value, json};

use crate::failure::Result;
use crate::output::{self, Output};
use crate::pools::{self, Access};
use crate::size;

/// Show what a pool is, and what it gives on this machine
#[derive(Args)]
pub struct Info {
    /// The pool's file or device
    pool: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Info {
    pub fn run(self) -> Result<()> {
        let info = pools::open(&self.pool, Access::Read)?.info();
        let mut output = Output::stdout();
        if self.json {
            output.json(&to_json(&info))?;
        } else {
            output.fields(&fields(&info))?;
        }
        output.finish()
    }
}

/// The pool's description as `--json` shows it.
pub fn to_json(info: &PoolInfo) -> Value {
    let [compatible, read_only, incompatible] = info.features;
    let mut value = json!({
        "label": info.label,
        "uuid": uuid(&info.uuid),
        "size": info.size,
        "version": info.version,
        "features": {
            "compatible": compatible,
            "read_only_compatible": read_only,
            "incompatible": incompatible,
        },
        "medium": info.medium.to_string(),
        "medium_line": info.medium_line,
        "durability": durability(info.durability),
        "maps": info.maps_line,
        "clean": info.clean,
        "recovered": info.recovered,
        "backup_superblock_used": info.backup_superblock_used,
    });
    output::put_name(&mut value, "pool", &info.path);
    value
}

fn fields(info: &PoolInfo) -> Vec<(&'static str, String)> {
    let opening = match (info.clean, info.recovered) {
        (true, _) => "closed properly".to_owned(),
        (false, 0) => "not closed properly; nothing had to be recovered".to_owned(),
        (false, count) => format!("not closed properly; {count} transactions recovered"),
    };
    let superblock = if info.backup_superblock_used { "backup used" } else { "good" };
    let [compatible, read_only, incompatible] = info.features;
    vec![
        ("pool", output::shown(&info.path)),
        ("label", info.label.clone()),
        ("uuid", uuid(&info.uuid)),
        ("size", format!("{} ({} bytes)", size::human(info.size), info.size)),
        ("version", info.version.to_string()),
        ("features", format!("{compatible:#x} {read_only:#x} {incompatible:#x}")),
        ("medium", info.medium_line.clone()),
        ("durability", durability(info.durability).to_owned()),
        ("maps", info.maps_line.clone()),
        ("last use", opening),
        ("superblock", superblock.to_owned()),
    ]
}

/// What a flushed and fenced store survives.
fn durability(durability: Durability) -> &'static str {
    match durability {
        Durability::None => "none",
        Durability::Process => "process",
        Durability::Power => "power",
    }
}

fn uuid(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if [4, 6, 8, 10].contains(&index) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_their_usual_form() {
        let bytes = std::array::from_fn(|index| index as u8);
        assert_eq!(uuid(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
    }
}
