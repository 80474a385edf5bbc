//! What this machine gives, for `limpid info` and for messages.

use std::fmt;

/// What maps of this process can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// System calls may touch pages of a map that are not there yet (a `read` into a map). Where
    /// this is false they return EFAULT; loads and stores of the program itself always work.
    pub kernel_faults: bool,
    /// Holes can be shown by the kernel's 2 MiB zero page.
    pub huge_zero: bool,
    /// The kernel can note written pages of shared mappings (WP_ASYNC).
    pub write_tracking: bool,
    /// Limit of kernel mappings per process (`vm.max_map_count`).
    pub max_map_count: usize,
}

impl Capabilities {
    pub(crate) fn find_out(kernel_faults: bool, write_tracking: bool) -> Capabilities {
        let sysfs = |file: &str| {
            std::fs::read_to_string(format!("/sys/kernel/mm/transparent_hugepage/{file}"))
        };
        let enabled = sysfs("enabled").is_ok_and(|text| !text.contains("[never]"));
        let zero_page = sysfs("use_zero_page").is_ok_and(|text| text.trim() == "1");
        let max_map_count = std::fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(65_530);
        Capabilities {
            kernel_faults,
            huge_zero: enabled && zero_page,
            write_tracking,
            max_map_count,
        }
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults = if self.kernel_faults {
            "faults of the program and of system calls"
        } else {
            "faults of the program only: system calls on fresh map pages return EFAULT \
             (allow with vm.unprivileged_userfaultfd=1 or access to /dev/userfaultfd)"
        };
        let zero = if self.huge_zero { "2 MiB zero pages" } else { "4 KiB zero pages only" };
        let track = if self.write_tracking { "written pages noted" } else { "no write tracking" };
        write!(f, "{faults}; {zero}; {track}; {} kernel mappings", self.max_map_count)
    }
}
