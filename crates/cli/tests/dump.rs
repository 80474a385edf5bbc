//! Goal: `limpid dump` shows the bytes that lie in a pool under their names in docs/format.md, of a
//! damaged pool too, and changes nothing. Method: its JSON against the bytes of the pool's file.

mod common;

use common::Sandbox;
use serde_json::Value;

fn furnished() -> Sandbox {
    let sandbox = Sandbox::with_pool();
    sandbox.write("f", vec![7; 10_000]);
    sandbox.ok(&["mkdir", "p:/d"]);
    sandbox.ok(&["cp", "f", "p:/d/f"]);
    sandbox.ok(&["ln", "-s", "d/f", "p:/link"]);
    sandbox
}

/// The section whose title begins with `title`.
fn section<'a>(dump: &'a Value, title: &str) -> &'a Value {
    let mut all = dump.as_array().unwrap().iter();
    all.find(|section| section["title"].as_str().unwrap().starts_with(title))
        .unwrap_or_else(|| panic!("no {title} in {dump:#}"))
}

fn field<'a>(section: &'a Value, name: &str) -> &'a Value {
    let mut all = section["fields"].as_array().unwrap().iter();
    all.find(|field| field["name"] == name).unwrap_or_else(|| panic!("no {name} in {section:#}"))
}

#[test]
fn fields_are_the_bytes_at_their_offsets() {
    let sandbox = furnished();
    let image = sandbox.read("p");
    let dump = sandbox.ok(&["dump", "--json", "p"]).json();
    for (title, name, len) in [
        ("superblock", "total blocks", 8),
        ("superblock", "block size", 4),
        ("backup superblock", "block after the data area", 8),
        ("inode table", "root node", 8),
        ("orphans", "height", 4),
        ("shard 0", "end of those", 8),
    ] {
        let section = section(&dump, title);
        let field = field(section, name);
        let at = (section["byte"].as_u64().unwrap() + field["offset"].as_u64().unwrap()) as usize;
        let mut word = [0; 8];
        word[..len].copy_from_slice(&image[at..at + len]);
        assert_eq!(field["value"], u64::from_le_bytes(word).to_string(), "{title}: {name}");
        assert_eq!(section["problem"], Value::Null, "{title}");
    }
    assert!(sandbox.read("p") == image, "a dump changed the pool");
}

#[test]
fn inodes_are_found_by_number_and_path() {
    let sandbox = furnished();
    let stat = sandbox.ok(&["stat", "--json", "p:/d/f"]).json();
    let number = stat["ino"].as_u64().or_else(|| stat[0]["ino"].as_u64());
    let by_path = sandbox.ok(&["dump", "--json", "p", "path", "/d/f"]).json();
    let by_number =
        sandbox.ok(&["dump", "--json", "p", "inode", &number.unwrap().to_string()]).json();
    assert_eq!(by_path, by_number);
    let file = section(&by_path, "inode");
    assert_eq!(field(file, "size")["value"], "10000");
    assert!(field(file, "extent")["value"].as_str().unwrap().starts_with("3 pages from 0: "));
    let root = sandbox.ok(&["dump", "p", "path", "/"]);
    assert!(root.text().contains("\"link\": inode "), "{}", root.text());
    let journal = sandbox.ok(&["dump", "p", "journal"]);
    assert!(journal.text().contains("entry"), "{}", journal.text());
    sandbox.fails(&["dump", "p", "inode", "99999"], "no inode 99999");
    sandbox.fails(&["dump", "p", "path", "/none"], "no such file");
    sandbox.fails(&["dump", "p", "path", "/d/f/x"], "not a directory");
    sandbox.fails(&["dump", "none"], "no such pool");
}

#[test]
fn a_damaged_pool_is_shown_with_what_is_wrong() {
    let sandbox = furnished();
    let at = section(&sandbox.ok(&["dump", "--json", "p", "path", "/d/f"]).json(), "inode")["byte"]
        .as_u64()
        .unwrap() as usize;
    let mut image = sandbox.read("p");
    // A time, and the roots of the inode table's neighbours.
    image[at + 80] ^= 1;
    image[4096 + 128 + 20] ^= 1;
    image[20] ^= 1;
    std::fs::write(sandbox.path("p"), &image).unwrap();
    let dump = sandbox.ok(&["dump", "--json", "p"]).json();
    for title in ["superblock", "orphans"] {
        let problem = section(&dump, title)["problem"].as_str().unwrap().to_owned();
        assert!(problem.contains("checksum"), "{title}: {problem}");
    }
    let number = sandbox.run(&["fsck", "--json", "p"]).json()["problems"]
        .as_array()
        .unwrap()
        .iter()
        .find(|problem| problem["kind"] == "inode-record")
        .unwrap()["ino"]
        .to_string();
    let dump = sandbox.ok(&["dump", "--json", "p", "inode", &number]).json();
    let inode = section(&dump, "inode");
    assert!(inode["problem"].as_str().unwrap().contains("checksum"));
    assert_eq!(field(inode, "size")["value"], "10000");
    assert!(sandbox.read("p") == image, "a dump changed the pool");
}
