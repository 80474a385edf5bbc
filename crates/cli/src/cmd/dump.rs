//! `limpid dump`: what lies in a pool, field by field.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use limpid::{DumpOf, Section};
use serde_json::{Value, json};

use crate::failure::{self, Failure, Result, one_line};
use crate::output::Output;

/// Show the structures of a pool field by field, for people who debug
///
/// The pool is only read, not even recovered, and may be damaged. docs/format.md tells what the
/// fields mean. Without an argument both superblocks and the roots are shown.
#[derive(Args)]
pub struct Dump {
    /// The pool's file or device
    pool: PathBuf,
    #[command(subcommand)]
    of: Option<Of>,
    /// Print as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Of {
    /// Both superblocks
    Superblock,
    /// The journal: its words, its slots, and the entries of its records
    Journal,
    /// An inode with its extents or names and its attributes
    Inode {
        /// The number of the inode
        number: u64,
    },
    /// The inode at a path in the pool
    Path {
        /// The path from the root
        path: OsString,
    },
}

impl Dump {
    pub fn run(self) -> Result<()> {
        let path = match &self.of {
            Some(Of::Path { path }) => path.clone().into_vec(),
            _ => Vec::new(),
        };
        let of = match &self.of {
            None => DumpOf::Roots,
            Some(Of::Superblock) => DumpOf::Superblock,
            Some(Of::Journal) => DumpOf::Journal,
            Some(Of::Inode { number }) => DumpOf::Inode(*number),
            Some(Of::Path { .. }) => DumpOf::Path(&path),
        };
        let sections = limpid::dump(&self.pool, of).map_err(|error| match (&self.of, &error) {
            (Some(Of::Inode { number }), limpid::Error::Fs(limpid::FsError::NotFound)) => {
                let what = format!("no inode {number}");
                Failure::new(what, self.pool.display(), "see 'limpid stat' for numbers in use")
            }
            (Some(Of::Path { path }), limpid::Error::Fs(_)) => {
                let place = format!("{}:{}", self.pool.display(), path.display());
                failure::from_pool(&error, place)
            }
            _ => failure::from_open(&error, &self.pool),
        })?;
        let mut output = Output::stdout();
        if self.json {
            output.json(&Value::Array(sections.iter().map(to_json).collect()))?;
            return output.finish();
        }
        for (index, section) in sections.iter().enumerate() {
            if index > 0 {
                output.line("")?;
            }
            output.line(format!("{} at byte {}", section.title, section.at))?;
            if let Some(problem) = &section.problem {
                output.line(format!("  !  {}", one_line(problem)))?;
            }
            let rows: Vec<Vec<String>> = section.fields.iter().map(row).collect();
            output.table(&rows, &[0])?;
        }
        output.finish()
    }
}

fn row(field: &limpid::DumpField) -> Vec<String> {
    vec![format!("  {}", field.offset), field.name.clone(), one_line(&field.value)]
}

fn to_json(section: &Section) -> Value {
    let fields: Vec<Value> = section
        .fields
        .iter()
        .map(|field| json!({"offset": field.offset, "name": field.name, "value": field.value}))
        .collect();
    json!({
        "title": section.title,
        "byte": section.at,
        "problem": section.problem,
        "fields": fields,
    })
}
