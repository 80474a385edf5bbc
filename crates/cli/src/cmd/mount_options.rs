//! The options of `limpid mount -o`, named as mount(8) names them.

use std::time::Duration;

use limpid_fuse::{AccessTimes, MAX_THREADS, MountOptions};

use crate::failure::{Failure, Result};

/// What mount(8) and /etc/fstab put among the options that is not for the file system, or that is
/// so in any case: times wait in memory for the next change as with `lazytime`, and nothing is
/// said with `silent`.
const NOT_OURS: [&str; 28] = [
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "nousers",
    "owner",
    "noowner",
    "group",
    "nogroup",
    "_netdev",
    "nofail",
    "fail",
    "default_permissions",
    "subtype=limpid",
    "lazytime",
    "nolazytime",
    "norelatime",
    "nostrictatime",
    "iversion",
    "noiversion",
    "mand",
    "nomand",
    "silent",
    "loud",
    "rw",
    "remount",
];

/// Beginnings of words that are for other programs.
const FOR_OTHERS: [&str; 4] = ["x-", "X-", "comment=", "user="];

fn is_foreign(word: &str) -> bool {
    NOT_OURS.contains(&word) || FOR_OTHERS.iter().any(|start| word.starts_with(start))
}

/// The options of a command line, over those that hold without them; unknown ones are refused
/// unless it is `sloppy`.
pub fn parse(words: &[String], without: MountOptions, sloppy: bool) -> Result<MountOptions> {
    let mut options = without;
    for word in words.iter().filter(|word| !word.is_empty()) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), None),
        };
        let known = match value {
            None => flag(&mut options, name),
            Some(value) => assign(&mut options, name, value)?,
        };
        if !known && !is_foreign(word) && !sloppy {
            let advice = "see 'limpid mount --help'";
            return Err(Failure::usage("unknown mount option", word, advice));
        }
    }
    Ok(options)
}

/// What holds for a helper of mount(8) without options. mount(8) tells its helpers nothing of what
/// is usual, so what they are not told is as usual, also `suid` and `dev`.
pub fn of_helper() -> MountOptions {
    MountOptions { suid: true, dev: true, ..MountOptions::default() }
}

/// What mount(8) repeats of the kernel's own options when it mounts anew what is mounted.
const OF_THE_KERNEL: [&str; 6] =
    ["user_id", "group_id", "default_permissions", "allow_other", "max_read", "blksize"];

/// What can change while it is mounted, or can be given as it is, which is looked at later.
const CAN_BE_GIVEN: [&str; 16] = [
    "ro",
    "rw",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "exec",
    "noexec",
    "sync",
    "async",
    "dirsync",
    "symfollow",
    "nosymfollow",
    "noatime",
    "nodiratime",
    "relatime",
];

/// Whether what is mounted is to be mounted anew.
pub fn is_remount(words: &[String]) -> bool {
    words.iter().any(|word| word == "remount")
}

/// The options with which what is mounted is to be mounted anew, over those that hold without
/// them: only what the kernel sees to can change.
pub fn parse_remount(words: &[String], without: MountOptions) -> Result<MountOptions> {
    let mut options = without;
    for word in words.iter().filter(|word| !word.is_empty()) {
        let name = word.split('=').next().unwrap_or_default();
        if CAN_BE_GIVEN.contains(&word.as_str()) {
            // That the times are as usual is no reason to change them.
            if word != "relatime" {
                flag(&mut options, word);
            }
        } else if !OF_THE_KERNEL.contains(&name) && !is_foreign(word) {
            let advice = "unmount it and mount it with that option";
            return Err(Failure::usage("cannot be changed while mounted", word, advice));
        }
    }
    Ok(options)
}

/// Sets an option without a value; whether there is such a one.
fn flag(options: &mut MountOptions, name: &str) -> bool {
    match name {
        "ro" => options.read_only = true,
        "rw" => options.read_only = false,
        "noatime" => options.access_times = AccessTimes::Never,
        "relatime" | "atime" => options.access_times = AccessTimes::Relative,
        "strictatime" => options.access_times = AccessTimes::Always,
        "nodiratime" => options.directory_access_times = false,
        "diratime" => options.directory_access_times = true,
        "allow_other" => options.allow_other = Some(true),
        "noallow_other" => options.allow_other = Some(false),
        "suid" => options.suid = true,
        "nosuid" => options.suid = false,
        "dev" => options.dev = true,
        "nodev" => options.dev = false,
        "exec" => options.exec = true,
        "noexec" => options.exec = false,
        "sync" => options.sync = true,
        "async" => (options.sync, options.dirsync) = (false, false),
        "dirsync" => options.dirsync = true,
        "symfollow" => options.follow_symlinks = true,
        "nosymfollow" => options.follow_symlinks = false,
        _ => return false,
    }
    true
}

/// Sets an option with a value; whether there is such a one.
fn assign(options: &mut MountOptions, name: &str, value: &str) -> Result<bool> {
    let bad = |what: &str| Failure::usage(what, format!("{name}={value}"), "give a number");
    match name {
        // The largest stands for nobody in system calls.
        "uid" | "gid" => {
            let id = value.parse().ok().filter(|id| *id != u32::MAX);
            let whose = if name == "uid" { "user" } else { "group" };
            let id = Some(id.ok_or_else(|| bad(&format!("not a {whose}'s number")))?);
            if name == "uid" { options.uid = id } else { options.gid = id }
        }
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
        "threads" => {
            let threads = value.parse().ok().filter(|threads| (1..=MAX_THREADS).contains(threads));
            let bad = bad(&format!("not a number of threads from 1 to {MAX_THREADS}"));
            options.threads = Some(threads.ok_or(bad)?);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(',').map(str::to_owned).collect()
    }

    fn parsed(text: &str, sloppy: bool) -> Result<MountOptions> {
        parse(&words(text), MountOptions::default(), sloppy)
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
    fn ordinary_options_are_taken() {
        let text = "nodiratime,dirsync,lazytime,nosymfollow,norelatime,silent,x-a.b=1,X-c,nofail,\
                    _netdev,noauto,nouser,users,user=me,group,loud,comment=why,defaults,rw";
        let options = parsed(text, false).unwrap();
        assert!(options.dirsync && !options.sync && !options.read_only);
        assert!(!options.directory_access_times && !options.follow_symlinks);
        assert!(!parsed("dirsync,async", false).unwrap().dirsync);
        assert!(!parsed("ro,rw", false).unwrap().read_only, "the last one counts");
    }

    #[test]
    fn a_helper_is_not_told_of_what_is_usual() {
        let options = parse(&words("rw,noexec"), of_helper(), false).unwrap();
        assert!(options.suid && options.dev && !options.exec);
        let options = parse(&words("rw,nosuid,nodev"), of_helper(), false).unwrap();
        assert!(!options.suid && !options.dev);
    }

    #[test]
    fn mounting_anew_changes_what_the_kernel_sees_to_and_nothing_else() {
        let has = MountOptions { suid: true, dirsync: true, ..MountOptions::default() };
        let parsed = |text: &str| parse_remount(&words(text), has.clone());
        assert!(!is_remount(&words("ro,uid=7")) && is_remount(&words("ro,remount")));
        let options = parsed("rw,nosuid,relatime,user_id=0,default_permissions,remount,ro");
        let options = options.unwrap();
        assert!(options.read_only && !options.suid && options.exec && !options.sync);
        let options = parsed("remount,sync").unwrap();
        assert!(options.sync && options.dirsync && options.suid, "the rest is as it was");
        assert!(!parsed("ro,remount,rw").unwrap().read_only);
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
