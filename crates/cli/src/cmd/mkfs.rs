//! `limpid mkfs`: make a pool.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use clap::Args;
use limpid::{Error, FsError, OpenError, PoolOptions};

use super::info;
use crate::failure::{self, At, Failure, Result};
use crate::interrupt::{self, Guard};
use crate::output::Output;
use crate::size;

/// Make a pool in a new file, or on a DAX device
#[derive(Args)]
pub struct Mkfs {
    /// The pool's file, or a device like /dev/dax0.0
    pool: PathBuf,
    /// Size of the pool, like 512MiB or 1.5G; a device has its own
    #[arg(long, value_parser = size::parse, allow_hyphen_values = true)]
    size: Option<u64>,
    /// A name for the pool, up to 64 bytes
    #[arg(long, default_value = "")]
    label: String,
    /// Overwrite what the file or device holds
    #[arg(long)]
    force: bool,
    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

/// What stands at the pool's path.
enum Found {
    Nothing,
    File { size: u64 },
    Device,
}

impl Mkfs {
    pub fn run(self) -> Result<()> {
        let found = look(&self.pool)?;
        let size = self.size_for(&found)?;
        let holds_something = match found {
            Found::Nothing => false,
            Found::File { size } => size > 0,
            Found::Device => true,
        };
        if holds_something && !self.force {
            return Err(self.refusal());
        }
        let fresh = matches!(found, Found::Nothing);
        let guard = Guard::new()?;
        let options = PoolOptions::new().label(self.label.as_str()).overwrite(!fresh);
        let pool = options.create(&self.pool, size).map_err(|error| {
            // A medium that could not be created is not there; one that could not be formatted is
            // ours and of no use to anybody.
            if fresh && !matches!(error, Error::Open(_)) {
                let _ = fs::remove_file(&self.pool);
            }
            self.failure(&error)
        })?;
        pool.sync().at(self.pool.display())?;
        drop(guard);
        interrupt::check().inspect_err(|_| {
            // A pool that nobody was told of.
            if fresh {
                let _ = fs::remove_file(&self.pool);
            }
        })?;
        let mut output = Output::stdout();
        if self.json {
            output.json(&info::to_json(&pool.info()))?;
        } else {
            let size = size::human(pool.info().size);
            output.line(format!("{}: a pool of {size}", self.pool.display()))?;
        }
        output.finish()
    }

    /// The size to give the pool: the one asked for, or else the one the medium has.
    fn size_for(&self, found: &Found) -> Result<u64> {
        let size = match (self.size, found) {
            (Some(size), _) => size,
            (None, Found::File { size }) if *size > 0 => *size,
            (None, Found::Device) => return Ok(u64::MAX),
            (None, _) => {
                let place = self.pool.display();
                return Err(Failure::usage("how large is it to be?", place, "give --size"));
            }
        };
        if size < limpid::MIN_POOL_SIZE {
            let what = format!("{size} bytes are too few for a pool");
            let advice = format!("give --size {} or more", limpid::MIN_POOL_SIZE);
            return Err(Failure::new(what, self.pool.display(), &advice));
        }
        Ok(size)
    }

    /// Something is there already; it may be nothing that could hold a pool.
    fn refusal(&self) -> Failure {
        match PoolOptions::new().read_only(true).open(&self.pool) {
            Err(error @ Error::Open(OpenError::NotAMedium { .. })) => self.failure(&error),
            _ => {
                let advice = "--force overwrites it and all it holds";
                Failure::new("exists already", self.pool.display(), advice)
            }
        }
    }

    fn failure(&self, error: &Error) -> Failure {
        match error {
            Error::Pool { source: FsError::NameTooLong, .. } => {
                let what = format!("the label has {} bytes", self.label.len());
                Failure::new(what, self.pool.display(), "labels have up to 64 bytes")
            }
            _ => failure::from_create(error, &self.pool),
        }
    }
}

fn look(path: &Path) -> Result<Found> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Found::File { size: metadata.len() }),
        Ok(metadata) if metadata.file_type().is_char_device() => Ok(Found::Device),
        Ok(_) => {
            let what = "neither a regular file nor a /dev/dax device";
            Err(Failure::new(what, path.display(), "give the path of a new file"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error).at(path.display()),
    }
}
