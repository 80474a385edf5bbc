//! `limpid ls`: the names in a directory.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use clap::Args;
use limpid::{FileKind, Metadata, Pool};
use serde_json::{Value, json};

use crate::failure::{At, Result};
use crate::output::{self, Output};
use crate::pool_path::PoolPath;
use crate::pools::{self, Access};

/// List a directory of a pool, or a single file
#[derive(Args)]
pub struct Ls {
    /// POOL:/path
    path: OsString,
    /// Kind, permissions, links, owner, group, size, time and name of each
    #[arg(short, long)]
    long: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A line of the listing.
struct Entry {
    name: OsString,
    metadata: Metadata,
    target: Option<PathBuf>,
}

impl Ls {
    pub fn run(self) -> Result<()> {
        let path = PoolPath::required(&self.path)?;
        let pool = pools::open(&path.pool, Access::Read)?;
        let mut output = Output::stdout();
        if !self.long && !self.json {
            // Names alone need no look at each inode, which counts in large directories.
            for name in names(&pool, &path, !self.long)? {
                print_name(&mut output, &name)?;
            }
            return output.finish();
        }
        let entries = entries(&pool, &path, !self.long)?;
        if self.json {
            let list: Vec<Value> = entries.iter().map(Entry::to_json).collect();
            let mut value = json!({ "entries": list });
            output::put_name(&mut value, "path", path.written());
            output.json(&value)?;
        } else {
            let rows: Vec<Vec<String>> = entries.iter().map(Entry::row).collect();
            output.table(&rows, &[1, 2, 3, 4])?;
        }
        output.finish()
    }
}

/// The names in the directory, sorted; of what is no directory, the path's own. A symbolic link to
/// a directory is one if it is followed.
fn names(pool: &Pool, path: &PoolPath, follow: bool) -> Result<Vec<OsString>> {
    let own = pool.symlink_metadata(&path.path).at(path)?;
    let followed = follow && own.is_symlink();
    let found = pool.metadata(&path.path).ok().filter(|_| followed).unwrap_or(own);
    if !found.is_dir() {
        return Ok(vec![path.path.as_os_str().to_owned()]);
    }
    let mut names = Vec::new();
    for entry in pool.read_dir(&path.path).at(path)? {
        names.push(entry.at(path)?.name);
    }
    names.sort();
    Ok(names)
}

fn entries(pool: &Pool, path: &PoolPath, follow: bool) -> Result<Vec<Entry>> {
    let names = names(pool, path, follow)?;
    names.into_iter().map(|name| Entry::read(pool, path, name)).collect()
}

/// A name on a line: to a terminal without control characters, else byte by byte as it is.
fn print_name(output: &mut Output, name: &OsStr) -> Result<()> {
    if std::io::stdout().is_terminal() {
        return output.line(output::shown(name));
    }
    output.bytes(name.as_bytes())?;
    output.bytes(b"\n")
}

impl Entry {
    fn read(pool: &Pool, directory: &PoolPath, name: OsString) -> Result<Entry> {
        // A file's own listing has the whole path for its name, which `join` puts in the place of
        // the directory's.
        let path = directory.path.join(&name);
        let at = PoolPath { pool: directory.pool.clone(), path };
        let metadata = pool.symlink_metadata(&at.path).at(&at)?;
        let target = match metadata.kind {
            FileKind::Symlink => Some(pool.read_link(&at.path).at(&at)?),
            _ => None,
        };
        Ok(Entry { name, metadata, target })
    }

    fn row(&self) -> Vec<String> {
        let Metadata { kind, mode, nlink, uid, gid, size, mtime, rdev, .. } = self.metadata;
        let size = match kind {
            FileKind::CharDevice | FileKind::BlockDevice => device_numbers(rdev),
            _ => size.to_string(),
        };
        let mut name = output::shown(&self.name);
        if let Some(target) = &self.target {
            name.push_str(" -> ");
            name.push_str(&output::shown(target));
        }
        let ids = [nlink, uid, gid].map(|number| number.to_string());
        let [nlink, uid, gid] = ids;
        let time = output::local_time(mtime);
        vec![output::mode_text(kind, mode), nlink, uid, gid, size, time, name]
    }

    fn to_json(&self) -> Value {
        let mut value = output::metadata_json(&self.metadata);
        output::put_name(&mut value, "name", &self.name);
        if let Some(target) = &self.target {
            output::put_name(&mut value, "target", target);
        }
        value
    }
}

fn device_numbers(rdev: u64) -> String {
    format!("{}, {}", rustix::fs::major(rdev), rustix::fs::minor(rdev))
}
