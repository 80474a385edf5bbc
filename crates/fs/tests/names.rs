//! Goal: the namespace behaves like a tree of maps, whatever is done to it in which order.
//! Method: random operations on a pool and on a model of it side by side; every so often the pool
//! is compared with the model as a whole, checked, and reopened.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use limpid_fs::{Access, FileKind, Fs, FsError, Ino, Kind, RenameFlags};
use support::{DIR, FILE, MIB, node, pool, seed};

#[derive(Default)]
struct Model {
    /// Directory → name → inode.
    dirs: BTreeMap<u64, BTreeMap<Vec<u8>, u64>>,
    parent: BTreeMap<u64, u64>,
    links: BTreeMap<u64, u32>,
}

impl Model {
    fn is_dir(&self, ino: u64) -> bool {
        self.dirs.contains_key(&ino)
    }

    fn below(&self, mut dir: u64, top: u64) -> bool {
        while dir != top && dir != 1 {
            dir = self.parent[&dir];
        }
        dir == top
    }

    fn drop_link(&mut self, ino: u64) {
        let links = self.links.get_mut(&ino).unwrap();
        *links -= 1;
        if *links == 0 {
            self.links.remove(&ino);
        }
    }

    fn insert(&mut self, dir: u64, name: &[u8], ino: u64) {
        self.dirs.get_mut(&dir).unwrap().insert(name.to_vec(), ino);
        if self.is_dir(ino) {
            self.parent.insert(ino, dir);
        }
    }

    fn create(&mut self, dir: u64, name: &[u8], ino: u64, is_dir: bool) {
        match is_dir {
            true => drop(self.dirs.insert(ino, BTreeMap::new())),
            false => drop(self.links.insert(ino, 1)),
        }
        self.insert(dir, name, ino);
    }

    fn remove(&mut self, dir: u64, name: &[u8], want_dir: bool) -> Result<(), FsError> {
        let ino = *self.dirs[&dir].get(name).ok_or(FsError::NotFound)?;
        match (self.is_dir(ino), want_dir) {
            (true, false) => return Err(FsError::IsDirectory),
            (false, true) => return Err(FsError::NotDirectory),
            (true, true) if !self.dirs[&ino].is_empty() => return Err(FsError::NotEmpty),
            (true, true) => drop(self.dirs.remove(&ino)),
            (false, false) => self.drop_link(ino),
        }
        self.dirs.get_mut(&dir).unwrap().remove(name);
        Ok(())
    }

    fn rename(
        &mut self,
        (from_dir, from): (u64, &[u8]),
        (to_dir, to): (u64, &[u8]),
        flags: RenameFlags,
    ) -> Result<(), FsError> {
        let ino = *self.dirs[&from_dir].get(from).ok_or(FsError::NotFound)?;
        let target = self.dirs[&to_dir].get(to).copied();
        if self.is_dir(ino) && self.below(to_dir, ino) {
            return Err(FsError::Invalid);
        }
        let exchange = flags.contains(RenameFlags::EXCHANGE);
        match target {
            None if exchange => return Err(FsError::NotFound),
            None => {}
            Some(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(FsError::Exists),
            Some(other) => {
                if self.is_dir(other) && from_dir != to_dir && self.below(from_dir, other) {
                    return Err(if exchange { FsError::Invalid } else { FsError::NotEmpty });
                }
                if other == ino {
                    return Ok(());
                }
                if exchange {
                    self.insert(from_dir, from, other);
                    self.insert(to_dir, to, ino);
                    return Ok(());
                }
                match (self.is_dir(ino), self.is_dir(other)) {
                    (true, false) => return Err(FsError::NotDirectory),
                    (false, true) => return Err(FsError::IsDirectory),
                    (is_dir, _) => self.remove(to_dir, to, is_dir)?,
                }
            }
        }
        self.dirs.get_mut(&from_dir).unwrap().remove(from);
        self.insert(to_dir, to, ino);
        Ok(())
    }

    fn compare(&self, fs: &Fs) {
        for (dir, names) in &self.dirs {
            let mut found = BTreeMap::new();
            fs.read_dir(Ino(*dir), 0, &mut |entry| {
                assert_eq!(entry.kind == FileKind::Directory, self.is_dir(entry.ino.0));
                assert!(found.insert(entry.name.to_vec(), entry.ino.0).is_none());
                true
            })
            .unwrap();
            assert_eq!(&found, names, "directory {dir}");
            for (name, ino) in names {
                assert_eq!(fs.lookup(Ino(*dir), name).unwrap().ino(), Ino(*ino));
            }
            if *dir != 1 {
                assert_eq!(fs.parent(Ino(*dir)).unwrap().ino(), Ino(self.parent[dir]));
            }
        }
        for (ino, links) in &self.links {
            let inode = fs.inode(Ino(*ino)).unwrap();
            assert_eq!(inode.attributes().nlink, *links);
            fs.release(inode).unwrap();
        }
        assert_eq!(fs.statfs().files as usize, self.dirs.len() + self.links.len());
        assert_eq!(fs.check(), []);
    }
}

fn reopen(fs: Arc<Fs>) -> Arc<Fs> {
    let media = fs.media().clone();
    drop(fs);
    Fs::open(media, Access::ReadWrite).unwrap().0
}

#[test]
fn a_pool_behaves_like_its_model() {
    let (mut random, mut fs) = (fastrand::Rng::with_seed(seed()), pool(64 * MIB));
    let mut model = Model::default();
    model.dirs.insert(1, BTreeMap::new());
    model.parent.insert(1, 1);
    for step in 0..12_000 {
        let dirs: Vec<u64> = model.dirs.keys().copied().collect();
        let mut dir = || dirs[random.usize(..dirs.len())];
        let (one, two) = (dir(), dir());
        let mut name = || {
            let number = random.u32(..120);
            let long = "x".repeat(if number.is_multiple_of(3) { 200 } else { 3 });
            format!("{number}{long}").into_bytes()
        };
        let (first, second) = (name(), name());
        match random.u32(..100) {
            kind @ 0..45 => {
                let want = if kind < 8 { DIR } else { FILE };
                let expected = model.dirs[&one].contains_key(&first);
                match fs.create(Ino(one), &first, want) {
                    Ok(inode) => {
                        assert!(!expected);
                        model.create(one, &first, inode.ino().0, kind < 8);
                        fs.release(inode).unwrap();
                    }
                    Err(error) => assert!(expected && error == FsError::Exists, "{error:?}"),
                }
            }
            45..52 => {
                let links: Vec<u64> = model.links.keys().copied().collect();
                if links.is_empty() {
                    continue;
                }
                let ino = links[random.usize(..links.len())];
                let result = fs.link(Ino(ino), Ino(one), &first);
                if model.dirs[&one].contains_key(&first) {
                    assert_eq!(result, Err(FsError::Exists));
                } else {
                    result.unwrap();
                    *model.links.get_mut(&ino).unwrap() += 1;
                    model.insert(one, &first, ino);
                }
            }
            52..68 => {
                let result = fs.unlink(Ino(one), &first).map(|_| ());
                assert_eq!(result, model.remove(one, &first, false));
            }
            68..75 => {
                let result = fs.rmdir(Ino(one), &first).map(|_| ());
                assert_eq!(result, model.remove(one, &first, true));
            }
            what => {
                let flags = match what {
                    75..90 => RenameFlags::empty(),
                    90..93 => RenameFlags::NOREPLACE,
                    _ => RenameFlags::EXCHANGE,
                };
                let result = fs.rename(Ino(one), &first, Ino(two), &second, flags);
                let expected = model.rename((one, &first), (two, &second), flags);
                assert_eq!(result, expected, "{one} {first:?} {two} {second:?} {flags:?}");
            }
        }
        if step % 1500 == 1499 {
            model.compare(&fs);
            fs = reopen(fs);
            model.compare(&fs);
        }
    }
}

#[test]
fn listings_go_on_where_they_stopped() {
    let fs = pool(64 * MIB);
    let root = fs.root();
    for number in 0..5000 {
        fs.release(fs.create(root, format!("stays{number}").as_bytes(), FILE).unwrap()).unwrap();
        fs.release(fs.create(root, format!("goes{number}").as_bytes(), FILE).unwrap()).unwrap();
    }
    let (mut cookie, mut seen, mut turn) = (0, BTreeMap::new(), 0);
    loop {
        let mut taken = 0;
        fs.read_dir(root, cookie, &mut |entry| {
            *seen.entry(entry.name.to_vec()).or_insert(0) += 1;
            cookie = entry.cookie;
            assert!(cookie < 1 << 63);
            taken += 1;
            taken < 100
        })
        .unwrap();
        if taken < 100 {
            break;
        }
        for number in turn * 60..turn * 60 + 60 {
            if number < 5000 {
                fs.unlink(root, format!("goes{number}").as_bytes()).unwrap();
            }
            let inode = fs.create(root, format!("comes{number}").as_bytes(), FILE).unwrap();
            fs.release(inode).unwrap();
        }
        turn += 1;
    }
    for number in 0..5000 {
        assert_eq!(seen.get(format!("stays{number}").as_bytes()), Some(&1));
    }
    assert!(seen.values().all(|times| *times == 1));
    assert_eq!(fs.check(), []);
}

#[test]
fn odd_names_and_kinds() {
    let fs = pool(16 * MIB);
    let root = fs.root();
    for name in [&b""[..], b".", b"..", b"a/b", b"a\0b"] {
        assert_eq!(fs.create(root, name, FILE).err(), Some(FsError::InvalidName));
    }
    assert_eq!(fs.create(root, &[b'n'; 256], FILE).err(), Some(FsError::NameTooLong));
    fs.release(fs.create(root, &[b'n'; 255], FILE).unwrap()).unwrap();
    let long = [b't'; 4095];
    for (name, kind) in [
        (&b"fifo"[..], Kind::Fifo),
        (b"socket", Kind::Socket),
        (b"char", Kind::CharDevice(0x103)),
        (b"block", Kind::BlockDevice(0x801)),
        (b"short", Kind::Symlink(b"s")),
        (b"long", Kind::Symlink(&long)),
    ] {
        let inode = fs.create(root, name, node(kind)).unwrap();
        assert_eq!(inode.kind(), kind.file_kind());
        match kind {
            Kind::CharDevice(rdev) | Kind::BlockDevice(rdev) => {
                assert_eq!(inode.attributes().rdev, rdev);
            }
            Kind::Symlink(target) => assert_eq!(fs.read_link(inode.ino()).unwrap(), target),
            _ => {}
        }
        fs.release(inode).unwrap();
    }
    assert_eq!(
        fs.create(root, b"long2", node(Kind::Symlink(&[b't'; 4096]))).err(),
        Some(FsError::NameTooLong)
    );
    let unnamed = fs.create_unnamed(FILE).unwrap();
    assert_eq!(fs.check(), []);
    fs.link(unnamed.ino(), root, b"named").unwrap();
    assert_eq!(unnamed.attributes().nlink, 1);
    fs.release(unnamed).unwrap();
    assert!(fs.lookup(root, b"named").is_ok());
    let files = fs.statfs().files;
    fs.release(fs.create_unnamed(FILE).unwrap()).unwrap();
    assert_eq!(fs.statfs().files, files);
    fs.unlink(root, b"long").unwrap();
    assert_eq!(fs.check(), []);
}
