//! The commands, one file each.

mod cat;
mod completions;
mod cp;
mod df;
mod dump;
mod fsck;
mod info;
mod ln;
mod ls;
mod mkdir;
mod mkfs;
mod mount;
mod mount_options;
mod mv;
mod rm;
mod stat;
mod truncate;
mod umount;

use clap::Subcommand;

use limpid::FileKind;

use crate::failure::{Failure, Result};
use crate::pool_path::PoolPath;
use crate::{bench, tour};

#[derive(Subcommand)]
pub enum Command {
    Mkfs(mkfs::Mkfs),
    Info(info::Info),
    Mount(mount::Mount),
    Umount(umount::Umount),
    Fsck(fsck::Fsck),
    Dump(dump::Dump),
    Df(df::Df),
    Ls(ls::Ls),
    Stat(stat::Stat),
    Cat(cat::Cat),
    Cp(cp::Cp),
    Mv(mv::Mv),
    Rm(rm::Rm),
    Mkdir(mkdir::Mkdir),
    Ln(ln::Ln),
    Truncate(truncate::Truncate),
    Tour(tour::Tour),
    Bench(bench::Bench),
    Completions(completions::Completions),
}

impl Command {
    /// Does what the command line says.
    pub fn run(self) -> Result<()> {
        match self {
            Command::Mkfs(command) => command.run(),
            Command::Info(command) => command.run(),
            Command::Mount(command) => command.run(),
            Command::Umount(command) => command.run(),
            Command::Fsck(command) => command.run(),
            Command::Dump(command) => command.run(),
            Command::Df(command) => command.run(),
            Command::Ls(command) => command.run(),
            Command::Stat(command) => command.run(),
            Command::Cat(command) => command.run(),
            Command::Cp(command) => command.run(),
            Command::Mv(command) => command.run(),
            Command::Rm(command) => command.run(),
            Command::Mkdir(command) => command.run(),
            Command::Ln(command) => command.run(),
            Command::Truncate(command) => command.run(),
            Command::Tour(command) => command.run(),
            Command::Bench(command) => command.run(),
            Command::Completions(command) => command.run(),
        }
    }
}

/// Refuses what has no bytes of its own.
fn expect_file(kind: FileKind, path: &PoolPath) -> Result<()> {
    match kind {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(Failure::new("is a directory", path, "name a file")),
        _ => Err(Failure::new("not a regular file", path, "name a regular file")),
    }
}
