//! Sizes on the command line and in output.

use std::fmt;

/// Why a text is no size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SizeError {
    /// It does not begin with a number.
    NoNumber,
    /// What follows the number is no unit.
    UnknownUnit(String),
    /// It does not come to a whole number of bytes.
    NotWhole,
    /// It is larger than the largest file that a system call can tell of.
    TooLarge,
}

impl std::error::Error for SizeError {}

impl fmt::Display for SizeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SizeError::NoNumber => write!(out, "no number; write sizes like 512MiB or 1.5G"),
            SizeError::UnknownUnit(unit) => write!(
                out,
                "unknown unit '{unit}'; known are K, M, G, T, P and KiB, MiB, GiB, TiB, PiB"
            ),
            SizeError::NotWhole => write!(out, "not a whole number of bytes"),
            SizeError::TooLarge => write!(out, "larger than any file"),
        }
    }
}

/// Reads a size: a number, perhaps with a fraction, and a unit, perhaps none for bytes.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return Err(SizeError::NoNumber);
    }
    let unit = unit_bytes(unit).ok_or_else(|| SizeError::UnknownUnit(unit.to_owned()))?;
    let whole: u64 = whole.parse().map_err(|_| SizeError::TooLarge)?;
    let bytes = whole.checked_mul(unit).ok_or(SizeError::TooLarge)?;
    let bytes = bytes.checked_add(fraction_of(fraction, unit)?);
    bytes.filter(|bytes| *bytes <= i64::MAX as u64).ok_or(SizeError::TooLarge)
}

/// The bytes that the digits behind the point stand for, rounded down. A byte has no parts.
fn fraction_of(digits: &str, unit: u64) -> Result<u64, SizeError> {
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    // Sixteen digits and the largest unit multiply to less than 2^104.
    if unit == 1 || digits.len() > 16 {
        return Err(SizeError::NotWhole);
    }
    let numerator: u128 = digits.parse().map_err(|_| SizeError::NoNumber)?;
    Ok((numerator * u128::from(unit) / 10_u128.pow(digits.len() as u32)) as u64)
}

fn unit_bytes(unit: &str) -> Option<u64> {
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "p" | "pib" => 50,
        _ => return None,
    };
    Some(1 << shift)
}

/// A size for people: three digits or so, and a unit.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10) as usize;
    let value = bytes as f64 / (1_u64 << (10 * power)) as f64;
    let decimals = if value < 10.0 { 1 } else { 0 };
    format!("{value:.decimals$} {}", UNITS[power - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("1K", 1 << 10),
            ("64KiB", 64 << 10),
            ("3M", 3 << 20),
            ("1GiB", 1 << 30),
            ("1gib", 1 << 30),
            ("1.5G", 3 << 29),
            ("0.25KiB", 256),
            ("2TiB", 2 << 40),
            ("8191PiB", 8191 << 50),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn typos_are_refused() {
        let unit = |unit: &str| SizeError::UnknownUnit(unit.to_owned());
        for (text, error) in [
            ("", SizeError::NoNumber),
            ("-1", SizeError::NoNumber),
            ("G", SizeError::NoNumber),
            (".5G", SizeError::NoNumber),
            ("1.G", SizeError::NoNumber),
            ("1.5.2G", SizeError::NoNumber),
            ("1GiBB", unit("GiBB")),
            ("1 GiB", unit(" GiB")),
            ("1GB", unit("GB")),
            ("1e9", unit("e9")),
            ("0x10", unit("x10")),
            ("١", unit("١")),
            ("1.5", SizeError::NotWhole),
            ("8192PiB", SizeError::TooLarge),
            ("16384PiB", SizeError::TooLarge),
            ("99999999999999999999", SizeError::TooLarge),
        ] {
            let found = parse(text).unwrap_err();
            let same = found == error || text == "١" && found == SizeError::NoNumber;
            assert!(same, "{text}: {found:?}");
        }
    }

    #[test]
    fn sizes_are_shown() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 << 20, "10 MiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }
}
