//! What needs the switches and marks of the DAX layer (feature `canary`). Both belong to the whole
//! process, so one test runs at a time.

mod coverage;
mod crash;
mod planted;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held by the test that runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
