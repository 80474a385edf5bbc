//! `limpid stat`: all that is known of a file, or what a mount has done so far.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;
use limpid::{FileKind, Metadata, Pool};
use limpid_fuse::{MountError, MountState};
use serde_json::{Value, json};

use super::mount;
use crate::failure::{At, Result};
use crate::output::{self, Output};
use crate::pool_path::PoolPath;
use crate::pools::{self, Access};

/// Show the attributes of a file, or what a mount has done so far
#[derive(Args)]
pub struct Stat {
    /// POOL:/path, or the directory of a mounted pool (its metrics are Prometheus text)
    path: OsString,
    /// Show what a symbolic link leads to, not the link
    #[arg(short = 'L', long)]
    follow: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Stat {
    pub fn run(self) -> Result<()> {
        if let Some(metrics) = self.metrics()? {
            let mut output = Output::stdout();
            if self.json {
                output.json(&metrics_json(&self.path, &metrics))?;
            } else {
                output.bytes(metrics.as_bytes())?;
            }
            return output.finish();
        }
        let path = PoolPath::required(&self.path)?;
        let pool = pools::open(&path.pool, Access::Read)?;
        let metadata = if self.follow {
            pool.metadata(&path.path).at(&path)?
        } else {
            pool.symlink_metadata(&path.path).at(&path)?
        };
        let target = match metadata.kind {
            FileKind::Symlink => Some(pool.read_link(&path.path).at(&path)?),
            _ => None,
        };
        let xattrs = self.xattrs(&pool, &path)?;
        let mut output = Output::stdout();
        if self.json {
            output.json(&to_json(&path, &metadata, target, &xattrs))?;
        } else {
            output.fields(&fields(&path, &metadata, target, &xattrs))?;
        }
        output.finish()
    }

    /// The metrics of the mount, if the argument is the directory of one.
    fn metrics(&self) -> Result<Option<String>> {
        let dir = Path::new(&self.path);
        match limpid_fuse::look(dir) {
            Ok(MountState::Pool { .. }) => limpid_fuse::metrics(dir).at(dir.display()).map(Some),
            Ok(MountState::Dead { .. }) => {
                Err(mount::failure(&MountError::Dead { dir: dir.to_owned() }, dir))
            }
            _ => Ok(None),
        }
    }

    fn xattrs(&self, pool: &Pool, path: &PoolPath) -> Result<Vec<OsString>> {
        let mut names = pool.list_xattrs(&path.path, self.follow).at(path)?;
        names.sort();
        Ok(names)
    }
}

/// The metrics of a mount as JSON: each line's name, labels included, with its value.
fn metrics_json(dir: &OsStr, metrics: &str) -> Value {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let values = lines.filter_map(|line| line.rsplit_once(' ')).map(|(name, value)| {
        let number = value.parse::<u64>().map(Value::from);
        let number = number.or_else(|_| value.parse::<f64>().map(Value::from));
        (name.to_owned(), number.unwrap_or_else(|_| value.into()))
    });
    let mut value = json!({ "metrics": values.collect::<serde_json::Map<_, _>>() });
    output::put_name(&mut value, "mount", dir);
    value
}

fn to_json(
    path: &PoolPath,
    metadata: &Metadata,
    target: Option<PathBuf>,
    xattrs: &[OsString],
) -> Value {
    let mut value = output::metadata_json(metadata);
    output::put_name(&mut value, "path", path.written());
    value["xattrs"] = xattrs.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if xattrs.iter().any(|name| name.to_str().is_none()) {
        // All of them, so that the two lists go side by side.
        let hex = |name: &OsString| {
            name.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        };
        value["xattrs_hex"] = xattrs.iter().map(hex).collect();
    }
    if let Some(target) = target {
        output::put_name(&mut value, "target", target);
    }
    value
}

fn fields(
    path: &PoolPath,
    metadata: &Metadata,
    target: Option<PathBuf>,
    xattrs: &[OsString],
) -> Vec<(&'static str, String)> {
    let mode = output::mode_text(metadata.kind, metadata.mode);
    let mut fields = vec![
        ("path", output::shown(path.written())),
        ("kind", output::kind_name(metadata.kind).to_owned()),
        ("inode", metadata.ino.to_string()),
        ("mode", format!("{:04o} {mode}", metadata.mode)),
        ("owner", format!("{}:{}", metadata.uid, metadata.gid)),
        ("links", metadata.nlink.to_string()),
        ("size", format!("{} bytes in {} blocks", metadata.size, metadata.blocks)),
        ("access", output::local_time(metadata.atime)),
        ("modify", output::local_time(metadata.mtime)),
        ("change", output::local_time(metadata.ctime)),
        ("birth", output::local_time(metadata.btime)),
    ];
    if matches!(metadata.kind, FileKind::CharDevice | FileKind::BlockDevice) {
        let (major, minor) = (rustix::fs::major(metadata.rdev), rustix::fs::minor(metadata.rdev));
        fields.push(("device", format!("{major}, {minor}")));
    }
    if let Some(target) = target {
        fields.push(("target", output::shown(target)));
    }
    if !xattrs.is_empty() {
        let names: Vec<String> = xattrs.iter().map(output::shown).collect();
        fields.push(("xattrs", names.join(" ")));
    }
    fields
}
