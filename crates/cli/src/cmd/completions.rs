//! `limpid completions`: a script that completes the command line in a shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Arguments;
use crate::failure::Result;
use crate::output::Output;

/// Print the completion script for a shell
#[derive(Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "limpid", &mut script);
        let mut output = Output::stdout();
        output.bytes(&script)?;
        output.finish()
    }
}
