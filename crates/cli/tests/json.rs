//! Goal: the shapes that `--json` promises. Method: each reporting command is asked for JSON, and
//! names and types of its fields are compared with the list here.

mod common;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use common::Sandbox;
use common::mount::{MountPoint, can_mount};
use serde_json::Value;

/// The names of the fields with the types of their values, sorted by name.
fn shape(value: &Value) -> Vec<String> {
    let object = value.as_object().unwrap();
    let kind = |value: &Value| match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let mut fields: Vec<_> =
        object.iter().map(|(name, value)| format!("{name}:{}", kind(value))).collect();
    fields.sort();
    fields
}

const POOL: [&str; 13] = [
    "backup_superblock_used:bool",
    "clean:bool",
    "durability:string",
    "features:object",
    "label:string",
    "maps:string",
    "medium:string",
    "medium_line:string",
    "pool:string",
    "recovered:number",
    "size:number",
    "uuid:string",
    "version:number",
];

const ATTRIBUTES: [&str; 13] = [
    "atime:string",
    "blocks:number",
    "btime:string",
    "ctime:string",
    "gid:number",
    "ino:number",
    "kind:string",
    "mode:number",
    "mtime:string",
    "nlink:number",
    "rdev:number",
    "size:number",
    "uid:number",
];

fn attributes_and(more: &[&str]) -> Vec<String> {
    let mut fields: Vec<String> = ATTRIBUTES.iter().chain(more).map(|f| (*f).to_owned()).collect();
    fields.sort();
    fields
}

#[test]
fn mkfs_and_info() {
    let sandbox = Sandbox::new();
    let made = sandbox.ok(&["mkfs", "p", "--size", "64M", "--label", "blue", "--json"]).json();
    assert_eq!(shape(&made), POOL);
    let info = sandbox.ok(&["info", "p", "--json"]).json();
    assert_eq!(shape(&info), POOL);
    assert_eq!(info["pool"], "p");
    assert_eq!(info["label"], "blue");
    assert_eq!(info["size"], 64 << 20);
    assert_eq!(info["uuid"], made["uuid"]);
    assert_eq!(info["uuid"].as_str().unwrap().len(), 36);
}

#[test]
fn df_lists_every_pool() {
    let sandbox = Sandbox::with_pool();
    sandbox.ok(&["mkfs", "q", "--size", "128M"]);
    let list = sandbox.ok(&["df", "--json", "p", "q"]).json();
    for (index, pool) in ["p", "q"].into_iter().enumerate() {
        let fields = ["available", "files", "free", "size", "used"].map(|f| format!("{f}:number"));
        let mut fields = fields.to_vec();
        fields.push("pool:string".to_owned());
        fields.sort();
        assert_eq!(shape(&list[index]), fields);
        assert_eq!(list[index]["pool"], pool);
    }
    let number = |index: usize, field: &str| list[index][field].as_u64().unwrap();
    assert_eq!(number(0, "used") + number(0, "free"), number(0, "size"));
    assert!(number(1, "size") > number(0, "size"));
}

#[test]
fn ls_lists_entries() {
    let sandbox = Sandbox::with_pool();
    sandbox.ok(&["truncate", "-s", "1M", "p:/f"]);
    sandbox.ok(&["ln", "-s", "f", "p:/l"]);
    let list = sandbox.ok(&["ls", "--json", "p:/"]).json();
    assert_eq!(shape(&list), ["entries:array", "path:string"]);
    let [file, link] = &list["entries"].as_array().unwrap()[..] else { panic!("{list}") };
    assert_eq!(shape(file), attributes_and(&["name:string"]));
    assert_eq!(shape(link), attributes_and(&["name:string", "target:string"]));
    assert_eq!((&file["name"], &file["kind"]), (&"f".into(), &"file".into()));
    assert_eq!((&file["size"], &file["blocks"]), (&(1 << 20).into(), &0.into()));
    assert_eq!((&link["target"], &link["kind"]), (&"f".into(), &"symlink".into()));
}

#[test]
fn stat_describes_one() {
    let sandbox = Sandbox::with_pool();
    let file = sandbox.write("f", "hello");
    let stamp = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    std::fs::File::open(&file).unwrap().set_modified(stamp).unwrap();
    sandbox.ok(&["cp", "f", "p:/f"]);
    let stat = sandbox.ok(&["stat", "--json", "p:/f"]).json();
    assert_eq!(shape(&stat), attributes_and(&["path:string", "xattrs:array"]));
    assert_eq!(stat["path"], "p:/f");
    assert_eq!(stat["size"], 5);
    assert_eq!(stat["mtime"], "2001-09-09T01:46:40.123456789Z");
}

/// The bytes of a name in hexadecimal.
fn hex(name: &OsStr) -> String {
    name.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn names_that_are_no_text_are_not_lost() {
    let sandbox = Sandbox::with_pool();
    let odd = common::odd_name();
    std::fs::create_dir(sandbox.path("d")).unwrap();
    std::fs::write(sandbox.path("d").join(odd), "x").unwrap();
    std::os::unix::fs::symlink(odd, sandbox.path("d/link")).unwrap();
    sandbox.ok(&["cp", "-r", "d", "p:/"]);
    let list = sandbox.ok(&["ls", "--json", "p:/d"]).json();
    let [link, file] = &list["entries"].as_array().unwrap()[..] else { panic!("{list}") };
    assert_eq!((&file["name_hex"], &link["name_hex"]), (&hex(odd).into(), &Value::Null));
    assert_eq!(link["target_hex"], hex(odd));

    let path = [OsStr::new("p:/d/"), odd].into_iter().collect::<OsString>();
    let stat = sandbox.ok(&[OsStr::new("stat"), OsStr::new("--json"), &path]).json();
    assert_eq!(stat["path_hex"], hex(&path));
    let dump = sandbox.ok(&["dump", "--json", "p", "path", "/d"]).text().to_owned();
    assert!(dump.contains(r"odd \\xff name"), "{dump}");
    sandbox.ok(&[OsStr::new("mkfs"), odd, OsStr::new("--size"), OsStr::new("8M")]);
    for command in ["info", "df"] {
        let told = sandbox.ok(&[OsStr::new(command), OsStr::new("--json"), odd]).json();
        let told = told.get(0).unwrap_or(&told);
        assert_eq!(told["pool_hex"], hex(odd), "{command}");
    }
}

#[test]
fn a_listing_tells_a_newline_from_its_escape() {
    let sandbox = Sandbox::with_pool();
    for name in ["a\nb", "a\\nb"] {
        sandbox.ok(&["truncate", "-s", "0", &format!("p:/{name}")]);
    }
    let listing = sandbox.ok(&["ls", "-l", "p:/"]).text().to_owned();
    let names: Vec<_> = listing.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert_eq!(names, [r"a\nb", r"a\\nb"]);
}

#[test]
fn what_a_mount_has_done_is_json() {
    if !can_mount() {
        return;
    }
    let sandbox = Sandbox::with_pool();
    let point = MountPoint::new(&sandbox, "mnt");
    sandbox.ok(&["mount", "p", "mnt"]);
    let told = sandbox.ok(&["stat", "--json", "mnt"]).json();
    assert_eq!(shape(&told), ["metrics:object", "mount:string"]);
    assert!(told["metrics"]["limpid_process_id"].as_u64().is_some(), "{told}");
    sandbox.ok(&["umount", "mnt"]);
    drop(point);
}
