//! A medium that stops one thread at one of its fences until others have done their part.

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

use limpid_pmem::{Durability, Media, MediaError, Persist, Recorder};

use super::scratch::Scratch;

/// See the module's documentation.
pub(crate) struct Gate {
    pub recorder: Recorder<Scratch>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody is stopped.
    Open,
    /// The thread stops before this many more of its fences.
    Armed(ThreadId, u32),
    /// It waits.
    Stopped,
}

impl Gate {
    pub fn new(scratch: &Scratch) -> Gate {
        let recorder = Recorder::new(scratch.clone());
        Gate { recorder, state: Mutex::new(State::Open), changed: Condvar::new() }
    }

    /// Runs `stopped` on a thread of its own up to its fence number `fence`, counted from 1, then
    /// `others` on this thread, and then the rest of `stopped`. False if `stopped` has fewer
    /// fences; then it ran wholly before `others`. `others` must not need what `stopped` holds.
    pub fn run(
        self: &Arc<Gate>,
        fence: u32,
        stopped: impl FnOnce() + Send,
        others: impl FnOnce(),
    ) -> bool {
        thread::scope(|scope| {
            let gate = Arc::clone(self);
            let worker = scope.spawn(move || {
                gate.set(State::Armed(thread::current().id(), fence));
                stopped();
                // If it never came to the fence, nobody must wait for that.
                gate.change(|state| {
                    if *state != State::Stopped {
                        *state = State::Open
                    }
                });
            });
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            while *state != State::Stopped && !worker.is_finished() {
                let wait = self.changed.wait_timeout(state, std::time::Duration::from_millis(5));
                state = wait.unwrap_or_else(PoisonError::into_inner).0;
            }
            let came = *state == State::Stopped;
            drop(state);
            others();
            self.set(State::Open);
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
            came
        })
    }

    fn set(&self, to: State) {
        self.change(|state| *state = to);
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    /// Stops the calling thread if this is its fence.
    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Armed(whose, left) if whose == thread::current().id() => {
                *state = if left > 1 { State::Armed(whose, left - 1) } else { State::Stopped };
            }
            _ => return,
        }
        if *state == State::Stopped {
            self.changed.notify_all();
            while *state == State::Stopped {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Media for Gate {
    fn len(&self) -> u64 {
        self.recorder.len()
    }

    fn granularity(&self) -> u64 {
        self.recorder.granularity()
    }

    fn durability(&self) -> Durability {
        self.recorder.durability()
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.recorder.read(at, into)
    }

    fn write(&self, at: u64, from: &[u8], persist: Persist) -> Result<(), MediaError> {
        self.recorder.write(at, from, persist)
    }

    fn zero(&self, range: Range<u64>, persist: Persist) -> Result<(), MediaError> {
        self.recorder.zero(range, persist)
    }

    fn copy(&self, from: u64, to: u64, len: u64, persist: Persist) -> Result<(), MediaError> {
        self.recorder.copy(from, to, len, persist)
    }

    fn load_u64(&self, at: u64) -> Result<u64, MediaError> {
        self.recorder.load_u64(at)
    }

    fn store_u64(&self, at: u64, value: u64) -> Result<(), MediaError> {
        self.recorder.store_u64(at, value)
    }

    fn flush(&self, range: Range<u64>) {
        self.recorder.flush(range);
    }

    fn fence(&self) {
        self.pass();
        self.recorder.fence();
    }

    fn sync(&self, range: Range<u64>) -> Result<(), MediaError> {
        self.recorder.sync(range)
    }
}
