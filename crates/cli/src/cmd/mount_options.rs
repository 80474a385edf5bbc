//! The options of `limpid mount -o`, named as mount(8) names them.

use std::time::Duration;

use limpid_fuse::{AccessTimes, MountOptions};

use crate::failure::{Failure, Result};

/// What mount(8) and /etc/fstab put among the options that is not for the file system.
const NOT_OURS: [&str; 13] = [
    "defaults",
    "auto",
    "noauto",
    "user",
    "users",
    "nouser",
    "owner",
    "group",
    "_netdev",
    "nofail",
    "default_permissions",
    "subtype=limpid",
    "rw",
];

/// The options of a command line; unknown ones are refused unless it is `sloppy`.
pub fn parse(words: &[String], sloppy: bool) -> Result<MountOptions> {
    let mut options = MountOptions::default();
    for word in words.iter().filter(|word| !word.is_empty()) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        let known = match value {
            None => flag(&mut options, name),
            Some(value) => assign(&mut options, name, value)?,
        };
        let foreign = NOT_OURS.contains(&word.as_str()) || word.starts_with("x-");
        if !known && !foreign && !sloppy {
            let advice = "see 'limpid mount --help'";
            return Err(Failure::usage("unknown mount option", word, advice));
        }
    }
    Ok(options)
}

/// What mount(8) repeats of the kernel's own options when it mounts anew what is mounted.
const OF_THE_KERNEL: [&str; 6] =
    ["user_id", "group_id", "default_permissions", "allow_other", "max_read", "blksize"];

/// The options with which what is mounted is to be mounted anew, if that is asked for: only what
/// the kernel sees to can change.
pub fn parse_remount(words: &[String]) -> Result<Option<MountOptions>> {
    const CAN_CHANGE: [&str; 9] =
        ["ro", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async"];
    if !words.iter().any(|word| word == "remount") {
        return Ok(None);
    }
    let mut options = MountOptions::default();
    for word in words.iter().filter(|word| !word.is_empty() && *word != "remount") {
        let name = word.split('=').next().unwrap_or_default();
        match word.as_str() {
            "rw" => options.read_only = false,
            word if CAN_CHANGE.contains(&word) => drop(flag(&mut options, word)),
            // mount(8) repeats what the mount has. Whether it has this is looked at later.
            "noatime" => options.access_times = AccessTimes::Never,
            "relatime" => {}
            word if OF_THE_KERNEL.contains(&name) || NOT_OURS.contains(&word) => {}
            word if word.starts_with("x-") => {}
            _ => {
                let advice = "unmount it and mount it with that option";
                return Err(Failure::usage("cannot be changed while mounted", word, advice));
            }
        }
    }
    Ok(Some(options))
}

/// Sets an option without a value; whether there is such a one.
fn flag(options: &mut MountOptions, name: &str) -> bool {
    match name {
        "ro" => options.read_only = true,
        "noatime" => options.access_times = AccessTimes::Never,
        "relatime" | "atime" => options.access_times = AccessTimes::Relative,
        "strictatime" => options.access_times = AccessTimes::Always,
        "allow_other" => options.allow_other = Some(true),
        "noallow_other" => options.allow_other = Some(false),
        "suid" => options.suid = true,
        "nosuid" => options.suid = false,
        "dev" => options.dev = true,
        "nodev" => options.dev = false,
        "exec" => options.exec = true,
        "noexec" => options.exec = false,
        "sync" => options.sync = true,
        "async" => options.sync = false,
        _ => return false,
    }
    true
}

/// Sets an option with a value; whether there is such a one.
fn assign(options: &mut MountOptions, name: &str, value: &str) -> Result<bool> {
    let bad = |what: &str| Failure::usage(what, format!("{name}={value}"), "give a number");
    match name {
        "uid" => options.uid = Some(value.parse().map_err(|_| bad("not a user's number"))?),
        "gid" => options.gid = Some(value.parse().map_err(|_| bad("not a group's number"))?),
        "umask" => {
            let mask = u32::from_str_radix(value, 8).ok().filter(|mask| *mask <= 0o777);
            let bad = bad("not an octal number up to 777");
            options.umask = Some(mask.ok_or(bad)?);
        }
        "fsname" => options.source = Some(value.to_owned()),
        "busy_poll" => {
            let micros = value.parse().ok().filter(|micros| *micros <= 10_000);
            let bad = bad("not a number of microseconds up to 10000");
            options.busy_poll = Duration::from_micros(micros.ok_or(bad)?);
        }
        "threads" => options.threads = Some(value.parse().map_err(|_| bad("not a number"))?),
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, sloppy: bool) -> Result<MountOptions> {
        let words: Vec<String> = text.split(',').map(str::to_owned).collect();
        parse(&words, sloppy)
    }

    #[test]
    fn options_are_understood_as_mount_means_them() {
        let options =
            parsed("ro,noatime,umask=027,uid=7,busy_poll=0,nofail,x-systemd.automount", false);
        let options = options.unwrap();
        assert!(options.read_only);
        assert_eq!(options.busy_poll, Duration::ZERO);
        assert_eq!(options.access_times, AccessTimes::Never);
        assert_eq!((options.umask, options.uid, options.gid), (Some(0o27), Some(7), None));
    }

    #[test]
    fn mounting_anew_changes_what_the_kernel_sees_to_and_nothing_else() {
        let parsed = |text: &str| {
            let words: Vec<String> = text.split(',').map(str::to_owned).collect();
            parse_remount(&words)
        };
        assert!(parsed("ro,uid=7").unwrap().is_none());
        let options = parsed("rw,nosuid,relatime,user_id=0,default_permissions,remount,ro");
        let options = options.unwrap().unwrap();
        assert!(options.read_only && !options.suid && options.exec && !options.sync);
        assert!(parsed("remount,sync").unwrap().unwrap().sync);
        assert!(!parsed("ro,remount,rw").unwrap().unwrap().read_only);
        for bad in ["remount,uid=7", "remount,strictatime", "remount,nosuch"] {
            assert!(parsed(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in ["nosuch", "uid=me", "umask=9", "umask=1777", "gid=", "ro=1", "busy_poll=10001"]
        {
            assert!(parsed(bad, false).is_err(), "{bad}");
        }
        assert!(parsed("nosuch", true).is_ok());
    }
}
