//! What a mount has done so far, as Prometheus text.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// The extended attribute of the mount's root that holds the metrics. It is not listed.
pub const METRICS_XATTR: &str = "system.limpid.metrics";

/// The metric that names the process of a mount that nobody else serves.
pub(crate) const DAEMON: &str = "limpid_process_id";

/// The metric that is 1 where the pool is open for reading only.
pub(crate) const READ_ONLY: &str = "limpid_read_only";

const GATES_MET: &str = "Requests in the way of which lay several changes at once.";

/// The kinds of requests that are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Op {
    Lookup,
    Attributes,
    Change,
    Open,
    Create,
    Read,
    Write,
    Remove,
    Rename,
    Link,
    List,
    Sync,
    Allocate,
    Copy,
    Xattr,
}

impl Op {
    const ALL: [(Op, &'static str); 15] = [
        (Op::Lookup, "lookup"),
        (Op::Attributes, "getattr"),
        (Op::Change, "setattr"),
        (Op::Open, "open"),
        (Op::Create, "create"),
        (Op::Read, "read"),
        (Op::Write, "write"),
        (Op::Remove, "remove"),
        (Op::Rename, "rename"),
        (Op::Link, "link"),
        (Op::List, "readdir"),
        (Op::Sync, "fsync"),
        (Op::Allocate, "fallocate"),
        (Op::Copy, "copy_file_range"),
        (Op::Xattr, "xattr"),
    ];
}

/// Counters; they only grow.
#[derive(Default)]
pub(crate) struct Metrics {
    requests: [AtomicU64; Op::ALL.len()],
    errors: [AtomicU64; Op::ALL.len()],
    read: AtomicU64,
    written: AtomicU64,
}

/// What is true at the moment.
pub(crate) struct Gauges {
    pub open_files: u64,
    pub known_inodes: u64,
    pub gates_met: u64,
    pub pool_bytes: u64,
    pub pool_free_bytes: u64,
    pub read_only: bool,
    /// The process that does nothing but serve this mount, if there is one.
    pub daemon: Option<u32>,
}

impl Metrics {
    /// Counts a request.
    pub fn count(&self, op: Op, failed: bool) {
        self.requests[op as usize].fetch_add(1, Ordering::Relaxed);
        if failed {
            self.errors[op as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts bytes read.
    pub fn read(&self, bytes: usize) {
        self.read.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes written.
    pub fn written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Everything in Prometheus' text format.
    pub fn text(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        let families = [
            ("limpid_requests_total", "Requests of the kernel.", &self.requests),
            ("limpid_errors_total", "Requests answered with an error.", &self.errors),
        ];
        for (name, help, counters) in families {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter");
            for (op, label) in Op::ALL {
                let count = counters[op as usize].load(Ordering::Relaxed);
                let _ = writeln!(text, "{name}{{operation=\"{label}\"}} {count}");
            }
        }
        let read = self.read.load(Ordering::Relaxed);
        let written = self.written.load(Ordering::Relaxed);
        let rest = [
            ("limpid_read_bytes_total", "counter", "Bytes read.", read),
            ("limpid_written_bytes_total", "counter", "Bytes written.", written),
            ("limpid_gates_met_total", "counter", GATES_MET, gauges.gates_met),
            ("limpid_open_files", "gauge", "Open files.", gauges.open_files),
            ("limpid_known_inodes", "gauge", "Inodes the kernel knows.", gauges.known_inodes),
            ("limpid_pool_bytes", "gauge", "Size of the pool's data.", gauges.pool_bytes),
            ("limpid_pool_free_bytes", "gauge", "Free for files.", gauges.pool_free_bytes),
            (READ_ONLY, "gauge", "The pool is open for reading only.", gauges.read_only.into()),
        ];
        for (name, kind, help, value) in rest {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
        if let Some(pid) = gauges.daemon {
            let _ = writeln!(text, "# HELP {DAEMON} Process that serves the mount.");
            let _ = writeln!(text, "# TYPE {DAEMON} gauge\n{DAEMON} {pid}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_under_its_own_name() {
        for (index, (op, _)) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op as usize, index);
        }
        let metrics = Metrics::default();
        metrics.count(Op::Xattr, true);
        metrics.read(7);
        let gauges = Gauges {
            open_files: 1,
            known_inodes: 2,
            gates_met: 6,
            pool_bytes: 3,
            pool_free_bytes: 4,
            read_only: true,
            daemon: Some(5),
        };
        let text = metrics.text(&gauges);
        assert!(text.contains("limpid_requests_total{operation=\"xattr\"} 1\n"), "{text}");
        assert!(text.contains("limpid_errors_total{operation=\"xattr\"} 1\n"), "{text}");
        assert!(text.contains("limpid_read_bytes_total 7\n"), "{text}");
        assert!(text.contains("limpid_pool_free_bytes 4\n"), "{text}");
        assert!(text.contains("limpid_read_only 1\n"), "{text}");
        assert!(text.ends_with("limpid_process_id 5\n"), "{text}");
    }
}
