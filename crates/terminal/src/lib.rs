//! How the commands of Limpid speak: a failure is one line on standard error, and what they were
//! asked for goes to standard output, as text, aligned columns or JSON.
//!
//! A command ends in one of three ways: it did what it was told (exit code 0), it failed and said
//! so in one line (1), or it was not understood (2).
#![forbid(unsafe_code)]

mod failure;
mod output;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;
use std::sync::OnceLock;

pub use failure::{Failure, Result, one_line};
pub use output::Output;

static PROGRAM: OnceLock<&'static str> = OnceLock::new();

/// The name that failures begin with.
pub(crate) fn program() -> &'static str {
    PROGRAM.get().copied().unwrap_or("limpid")
}

/// Runs the command called `program` with these arguments, its own name first, and reports how it
/// ended.
pub fn run<A: clap::Parser>(
    program: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
    command: impl FnOnce(A) -> Result<()>,
) -> ExitCode {
    let _ = PROGRAM.set(program);
    let arguments = match A::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if is_help(&error) => {
            // Who closes the pipe early has seen enough.
            if let Err(failed) = error.print()
                && failed.kind() != ErrorKind::BrokenPipe
            {
                return Failure::from_system(&failed, "standard output").report();
            }
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
        Err(error) => return Failure::from_clap(&error).report(),
    };
    match command(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Help or the version was asked for, or no command was given and help is the answer.
fn is_help(error: &clap::Error) -> bool {
    use clap::error::ErrorKind::*;
    let kind = error.kind();
    matches!(kind, DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand)
}
