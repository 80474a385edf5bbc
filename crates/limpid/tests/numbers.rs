//! Goal: a call by path works on the file that the path led to, not on another one that got its
//! number in the meantime.
//! Method: one thread makes and removes two names in turn, so that they use one number; others
//! change, link and look at one of them by path. What only that name may get never shows at the
//! other one.

use std::sync::atomic::{AtomicBool, Ordering};

use limpid::{Pool, SetAttributes, XattrFlags};

/// Times each name is made.
const ROUNDS: u32 = 800;

/// Ends the other threads, also when the first one panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn calls_by_path_keep_to_the_file_of_the_path() {
    let pool = Pool::memory(64 << 20).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (pool, done) = (&pool, &done);
        scope.spawn(move || {
            let _done = Done(done);
            for _ in 0..ROUNDS {
                pool.write("mine", b"m").unwrap();
                pool.remove_file("mine").unwrap();
                pool.write("other", b"other").unwrap();
                std::thread::yield_now();
                let other = pool.metadata("other").unwrap();
                assert_ne!(other.mode, 0o751, "set_attributes reached another file");
                assert_eq!(other.nlink, 1, "hard_link reached another file");
                assert!(pool.list_xattrs("other", false).unwrap().is_empty());
                pool.remove_file("other").unwrap();
            }
        });
        scope.spawn(move || {
            let set = SetAttributes { mode: Some(0o751), ..SetAttributes::default() };
            while !done.load(Ordering::Acquire) {
                let _ = pool.set_attributes("mine", false, &set);
                let _ = pool.set_xattr("mine", false, "user.mine", b"1", XattrFlags::empty());
            }
        });
        scope.spawn(move || {
            while !done.load(Ordering::Acquire) {
                if let Ok(metadata) = pool.metadata("mine") {
                    assert!(metadata.size <= 1, "metadata of another file");
                }
                if pool.hard_link("mine", "link").is_ok() {
                    let linked = pool.metadata("link").unwrap();
                    assert!(linked.size <= 1, "a link to another file");
                    pool.remove_file("link").unwrap();
                }
            }
        });
    });
    assert_eq!(pool.check().unwrap(), Vec::<String>::new());
}
