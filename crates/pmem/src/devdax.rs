//! What the kernel tells about a /dev/dax device.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Dev, major, minor};

/// Size and alignment of a device, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DaxDevice {
    pub(crate) size: u64,
    /// The unit in which it can be mapped.
    pub(crate) align: u64,
}

/// The folder of a character device in sysfs.
pub(crate) fn sysfs_folder(device: Dev) -> PathBuf {
    PathBuf::from(format!("/sys/dev/char/{}:{}", major(device), minor(device)))
}

/// Whether the folder belongs to a DAX device, as the kernel's own class or bus says.
pub(crate) fn is_dax(folder: &Path) -> bool {
    fs::read_link(folder.join("subsystem"))
        .is_ok_and(|subsystem| subsystem.file_name().is_some_and(|name| name == "dax"))
}

/// Reads size and alignment; `None` if the kernel does not tell them or they make no sense.
pub(crate) fn read(folder: &Path) -> Option<DaxDevice> {
    let size = number(&folder.join("size"))?;
    // Kernels up to 5.9 have the alignment in the parent's folder.
    let align = number(&folder.join("align"))
        .or_else(|| number(&folder.join("device/align")))
        .or_else(|| number(&folder.join("device/dax_region/align")))?;
    (align.is_power_of_two() && align >= 4096 && size >= align)
        .then(|| DaxDevice { size: size - size % align, align })
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        folder
    }

    #[test]
    fn size_is_cut_to_the_alignment() {
        let sysfs = folder(&[("size", "4194305\n"), ("align", "2097152\n")]);
        assert_eq!(read(sysfs.path()), Some(DaxDevice { size: 4 << 20, align: 2 << 20 }));
    }

    #[test]
    fn older_kernels_have_the_alignment_elsewhere() {
        let sysfs = folder(&[("size", "1073741824\n"), ("device/align", "4096\n")]);
        assert_eq!(read(sysfs.path()), Some(DaxDevice { size: 1 << 30, align: 4096 }));
    }

    #[test]
    fn nonsense_is_refused() {
        for files in [
            &[("size", "x"), ("align", "4096")][..],
            &[("size", "8192"), ("align", "0")],
            &[("size", "8192"), ("align", "6000")],
            &[("size", "4096"), ("align", "2097152")],
            &[("size", "4096")],
        ] {
            assert_eq!(read(folder(files).path()), None, "{files:?}");
        }
    }
}
