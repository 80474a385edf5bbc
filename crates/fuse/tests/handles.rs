//! Goal: handles of files (name_to_handle_at(2), NFS servers) go on meaning their file when the
//! kernel has forgotten it, through renames and the next mount; when it is gone they are stale,
//! also if its number is another file's now.
//! Method: handles taken through one mount are opened through the next one of the same pool, whose
//! kernel knows nothing yet. As root only: others may not open by handle.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use common::Mounted;
use common::file_handle::FileHandle;
use limpid_fuse::MountOptions;

const STALE: i32 = libc::ESTALE;

fn content(handle: &FileHandle, mount: &File) -> Result<String, i32> {
    let mut text = String::new();
    let mut file = handle.open(mount).map_err(|error| error.raw_os_error().unwrap())?;
    file.read_to_string(&mut text).unwrap();
    Ok(text)
}

#[test]
fn handles_outlive_what_the_kernel_knows() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may open by handle");
        return;
    }
    let Some(mut mounted) = Mounted::new(MountOptions::default()) else { return };
    fs::create_dir(mounted.path("dir")).unwrap();
    for name in ["dir/kept", "moved", "gone"] {
        fs::write(mounted.path(name), name).unwrap();
    }
    let handle = |name: &str| FileHandle::of(&mounted.path(name)).unwrap();
    let (dir, kept, moved, gone) =
        (handle("dir"), handle("dir/kept"), handle("moved"), handle("gone"));
    let root = File::open(mounted.path("")).unwrap();
    assert_eq!(content(&kept, &root).as_deref(), Ok("dir/kept"));
    drop(root);

    mounted.again();
    let root = File::open(mounted.path("")).unwrap();
    assert_eq!(content(&kept, &root).as_deref(), Ok("dir/kept"));
    let opened = dir.open(&root).unwrap();
    assert!(opened.metadata().unwrap().is_dir());
    fs::rename(mounted.path("moved"), mounted.path("dir/new")).unwrap();
    let number = fs::metadata(mounted.path("gone")).unwrap().ino();
    fs::remove_file(mounted.path("gone")).unwrap();
    drop((opened, root));

    mounted.again();
    // Numbers are used again by the thread that gave them back, so a few files may be needed.
    let used_again = (0..64).any(|_| {
        let _ = fs::rename(mounted.path("newer"), mounted.path("dir/not"));
        fs::write(mounted.path("newer"), "newer").unwrap();
        fs::metadata(mounted.path("newer")).unwrap().ino() == number
    });
    println!("the number was used again: {used_again}");
    mounted.again();
    let root = File::open(mounted.path("")).unwrap();
    assert_eq!(content(&moved, &root).as_deref(), Ok("moved"));
    assert_eq!(content(&gone, &root), Err(STALE));
    // Known to the kernel by now.
    assert_eq!(fs::read_to_string(mounted.path("newer")).unwrap(), "newer");
    assert_eq!(content(&gone, &root), Err(STALE));
    fs::remove_file(mounted.path("newer")).unwrap();
    drop(root);
    mounted.again();
    let root = File::open(mounted.path("")).unwrap();
    assert_eq!(content(&gone, &root), Err(STALE));
    drop(root);
    mounted.finish();
}
