//! Writing to standard output: text, aligned columns, JSON.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use serde_json::Value;

use crate::failure::{Failure, Result};

/// Standard output, buffered. [`Output::finish`] must be called for the last bytes to be seen.
pub struct Output {
    out: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Takes standard output.
    pub fn stdout() -> Output {
        Output { out: BufWriter::with_capacity(1 << 16, io::stdout().lock()) }
    }

    /// Writes bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|error| told(&error))
    }

    /// Writes a line.
    pub fn line(&mut self, line: impl AsRef<str>) -> Result<()> {
        self.bytes(line.as_ref().as_bytes())?;
        self.bytes(b"\n")
    }

    /// Writes rows with their cells aligned; the columns whose index `right` holds, to the right.
    pub fn table(&mut self, rows: &[Vec<String>], right: &[usize]) -> Result<()> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            let cells = rows.iter().filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in rows {
            let mut line = String::new();
            for (at, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[at] - cell.chars().count());
                let gap = if at > 0 { "  " } else { "" };
                let aligned = if right.contains(&at) { pad + cell } else { format!("{cell}{pad}") };
                line.push_str(gap);
                line.push_str(&aligned);
            }
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// Writes names with their values below each other.
    pub fn fields(&mut self, fields: &[(&str, String)]) -> Result<()> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in fields {
            self.line(format!("{name:width$}  {value}"))?;
        }
        Ok(())
    }

    /// Writes a JSON value.
    pub fn json(&mut self, value: &Value) -> Result<()> {
        self.line(format!("{value:#}"))
    }

    /// Hands the last bytes to the system.
    pub fn finish(mut self) -> Result<()> {
        self.out.flush().map_err(|error| told(&error))
    }
}

/// A closed pipe means that the reader has seen enough, which is no failure.
fn told(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::from_system(error, "standard output"),
    }
}
