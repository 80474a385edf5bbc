//! Failures, each told in one line: what, where, what to do.

use std::fmt;
use std::io;
use std::process::ExitCode;

use rustix::io::Errno;
use signal_hook::low_level::emulate_default_handler;

use crate::program;

/// Result of everything a command does.
pub type Result<T> = std::result::Result<T, Failure>;

/// Why a command ends without having done its work.
#[derive(Debug)]
pub enum Failure {
    /// Something to tell the user.
    Told {
        /// What is wrong.
        what: String,
        /// The file, path or argument it is wrong with.
        place: String,
        /// What the user can do.
        advice: String,
        /// The exit code.
        code: u8,
    },
    /// This signal came; what was half done is gone.
    Interrupted(i32),
    /// Nobody reads the output any more; there is nothing to tell.
    OutputClosed,
    /// All was told already, here or by another process; this one ends with this code.
    Ended(u8),
}

impl Failure {
    /// A failure at a place, with advice.
    pub fn new(what: impl Into<String>, place: impl fmt::Display, advice: &str) -> Failure {
        let (what, place) = (what.into(), place.to_string());
        Failure::Told { what, place, advice: advice.to_owned(), code: 1 }
    }

    /// As [`Failure::new`], for a command line that cannot be understood.
    pub fn usage(what: impl Into<String>, place: impl fmt::Display, advice: &str) -> Failure {
        let (what, place) = (what.into(), place.to_string());
        Failure::Told { what, place, advice: advice.to_owned(), code: 2 }
    }

    /// The same failure with another exit code.
    pub fn with_code(self, code: u8) -> Failure {
        match self {
            Failure::Told { what, place, advice, .. } => {
                Failure::Told { what, place, advice, code }
            }
            other => other,
        }
    }

    /// A command line that clap did not understand. Of its message the first paragraph is kept,
    /// on one line, and what it suggests is the advice.
    pub fn from_clap(error: &clap::Error) -> Failure {
        let text = error.render().to_string();
        let message = text.strip_prefix("error: ").unwrap_or(&text);
        let in_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let first = message.split("\n\n").next().unwrap_or(message);
        let tips = message.lines().filter_map(|line| line.trim().strip_prefix("tip: "));
        let tips: Vec<String> = tips.map(in_line).collect();
        let advice =
            if tips.is_empty() { format!("see '{} --help'", program()) } else { tips.join("; ") };
        Failure::usage(in_line(first), "command line", &advice)
    }

    /// A system call that failed, about `place`.
    pub fn from_system(error: &io::Error, place: impl fmt::Display) -> Failure {
        match error.raw_os_error() {
            Some(errno) => Failure::from_errno(errno, error.to_string(), place),
            None => Failure::new(error.to_string(), place, "check the arguments"),
        }
    }

    /// The failures that file systems have in common. Others keep the words they came with.
    pub fn from_errno(errno: i32, text: String, place: impl fmt::Display) -> Failure {
        let (what, advice) = match Errno::from_raw_os_error(errno) {
            Errno::NOENT => ("no such file or directory", "check the path"),
            Errno::EXIST => ("exists already", "choose another name, or remove it first"),
            Errno::NOTDIR => ("not a directory", "check the path"),
            Errno::ISDIR => ("is a directory", "name a file"),
            Errno::NOTEMPTY => ("the directory is not empty", "remove what is in it first"),
            Errno::NOSPC => ("no space left", "remove files there, or give it more space"),
            Errno::DQUOT => ("the quota is used up", "remove files there"),
            Errno::ACCESS | Errno::PERM => ("not permitted", "check the permissions"),
            Errno::ROFS => ("read-only", "choose another place, or make it writable"),
            Errno::NAMETOOLONG => ("the name is too long", "names have up to 255 bytes"),
            Errno::LOOP => ("too many symbolic links", "check where they lead"),
            Errno::MLINK => ("too many links", "copy the file instead"),
            Errno::FBIG => ("the file would be too large", "give a smaller size"),
            Errno::IO => ("the medium failed", "copy out what can be read, and replace it"),
            Errno::NOTCONN | Errno::CONNABORTED => {
                ("the mount there is dead: its process is gone", "clear it with 'limpid umount'")
            }
            Errno::BUSY | Errno::TXTBSY => ("in use", "try again later"),
            Errno::MFILE => ("this process may open no more files", "raise the limit: 'ulimit -n'"),
            Errno::NFILE => {
                ("the system can open no more files", "close some, or raise fs.file-max")
            }
            Errno::NOMEM => {
                ("there is not enough memory", "see 'ulimit -v', or use a smaller pool")
            }
            Errno::AGAIN => {
                ("the system has no room for another thread or process", "see 'ulimit -u'")
            }
            _ => return Failure::new(text, place, "check the arguments"),
        };
        Failure::new(what, place, advice)
    }

    /// Tells the user, and how the process has to end.
    pub fn report(&self) -> ExitCode {
        match self {
            Failure::Told { code, .. } => {
                eprintln!("{self}");
                ExitCode::from(*code)
            }
            Failure::Interrupted(signal) => {
                let _ = emulate_default_handler(*signal);
                // Should the signal not end it after all.
                u8::try_from(128 + signal).map_or(ExitCode::FAILURE, ExitCode::from)
            }
            Failure::OutputClosed => ExitCode::SUCCESS,
            Failure::Ended(code) => ExitCode::from(*code),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Told { what, place, advice, .. } => {
                let [what, place, advice] = [what, place, advice].map(|text| one_line(text));
                write!(out, "{}: {what}: {place}: {advice}", program())
            }
            Failure::Interrupted(signal) => write!(out, "{}: ended by signal {signal}", program()),
            Failure::OutputClosed => write!(out, "{}: the output was closed", program()),
            Failure::Ended(code) => write!(out, "{}: ended with {code}", program()),
        }
    }
}

/// The text with control characters escaped, so that a name cannot forge lines or move the
/// terminal's cursor.
pub fn one_line(text: &str) -> String {
    let escaped = |c: char| c.escape_default().collect::<String>();
    let shown = |c: char| if c.is_control() { escaped(c) } else { c.to_string() };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line() {
        let failure = Failure::new("no such file", "p:/a\nb\u{1b}[31m", "check");
        assert_eq!(failure.to_string(), "limpid: no such file: p:/a\\nb\\u{1b}[31m: check");
    }

    #[test]
    fn the_systems_error_has_advice() {
        let failure = Failure::from_system(&io::Error::from_raw_os_error(28), "/x");
        assert!(failure.to_string().starts_with("limpid: no space left: /x: "), "{failure}");
    }
}
