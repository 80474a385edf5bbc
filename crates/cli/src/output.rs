//! How names, kinds, modes and times are shown, as text and as JSON.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use limpid::{FileKind, Metadata, Timespec};
use serde_json::{Value, json};

pub use limpid_terminal::Output;

/// The word for a kind of file.
pub fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::CharDevice => "char device",
        FileKind::BlockDevice => "block device",
    }
}

/// Kind and permissions as `ls -l` shows them.
pub fn mode_text(kind: FileKind, mode: u32) -> String {
    let mut text = String::from(match kind {
        FileKind::File => "-",
        FileKind::Directory => "d",
        FileKind::Symlink => "l",
        FileKind::Fifo => "p",
        FileKind::Socket => "s",
        FileKind::CharDevice => "c",
        FileKind::BlockDevice => "b",
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        let execute = match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        };
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(execute);
    }
    text
}

/// The time in the local zone, to the second.
pub fn local_time(time: Timespec) -> String {
    match timestamp(time) {
        Some(stamp) => stamp.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{}", time.seconds),
    }
}

/// The time in RFC 3339, with nanoseconds; seconds since 1970 where that has no form for it.
pub fn rfc3339(time: Timespec) -> String {
    timestamp(time).map_or_else(|| format!("@{}", time.seconds), |stamp| format!("{stamp:.9}"))
}

fn timestamp(time: Timespec) -> Option<Timestamp> {
    let whole = Timestamp::from_second(time.seconds).ok()?;
    whole.checked_add(jiff::SignedDuration::from_nanos(i64::from(time.nanoseconds))).ok()
}

/// Puts a name or path into a JSON object. What is not UTF-8 has its bytes in hexadecimal beside
/// it, under the same key with `_hex` behind it.
pub fn put_name(object: &mut Value, key: &str, name: impl AsRef<OsStr>) {
    let name = name.as_ref();
    object[key] = json!(name.to_string_lossy());
    if name.to_str().is_none() {
        let hex: String = name.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        object[format!("{key}_hex")] = json!(hex);
    }
}

/// A name for people, from which its bytes can be told: control characters, backslashes, and bytes
/// that are not UTF-8, are escaped.
pub fn shown(name: impl AsRef<OsStr>) -> String {
    let mut text = String::new();
    for chunk in name.as_ref().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                c if c.is_control() => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Attributes as `--json` shows them.
pub fn metadata_json(metadata: &Metadata) -> Value {
    json!({
        "ino": metadata.ino,
        "kind": kind_name(metadata.kind),
        "mode": metadata.mode,
        "uid": metadata.uid,
        "gid": metadata.gid,
        "nlink": metadata.nlink,
        "size": metadata.size,
        "blocks": metadata.blocks,
        "rdev": metadata.rdev,
        "atime": rfc3339(metadata.atime),
        "mtime": rfc3339(metadata.mtime),
        "ctime": rfc3339(metadata.ctime),
        "btime": rfc3339(metadata.btime),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_shown() {
        for (kind, mode, text) in [
            (FileKind::File, 0o644, "-rw-r--r--"),
            (FileKind::Directory, 0o1777, "drwxrwxrwt"),
            (FileKind::File, 0o4755, "-rwsr-xr-x"),
            (FileKind::File, 0o6644, "-rwSr-Sr--"),
            (FileKind::Symlink, 0o777, "lrwxrwxrwx"),
        ] {
            assert_eq!(mode_text(kind, mode), text);
        }
    }

    #[test]
    fn names_are_shown_so_that_their_bytes_can_be_told() {
        for (name, text) in [
            (&b"plain \xc3\xa9"[..], "plain \u{e9}"),
            (b"new\nline", "new\\nline"),
            (b"new\\nline", "new\\\\nline"),
            (b"odd \xff", "odd \\xff"),
        ] {
            assert_eq!(shown(OsStr::from_bytes(name)), text);
        }
    }

    #[test]
    fn times_are_shown() {
        let time = |seconds, nanoseconds| rfc3339(Timespec { seconds, nanoseconds });
        assert_eq!(time(0, 1), "1970-01-01T00:00:00.000000001Z");
        assert_eq!(time(-1, 500_000_000), "1969-12-31T23:59:59.500000000Z");
        assert_eq!(time(i64::MAX, 0), format!("@{}", i64::MAX));
    }
}
