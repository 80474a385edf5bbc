//! Work that waits for the kernel, done aside from the threads that serve its requests.
//!
//! The kernel drops a page when the requests under way for that page are served, and has what was
//! stored in it written first. Were that asked for by the threads that serve requests, all of them
//! might come to wait for each other. So such work is done here, each on a thread that has
//! nothing else to do; threads come as they are needed and go when they are not.
//!
//! A request answered from here lets go of the server before it is answered: with the answer the
//! program may close the file, and the mount may go away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use limpid_locks::{Class, Condvar, Mutex, mutex};

/// The class of their lock.
static ASIDE: Class = Class::new("fuse: work aside");

/// How long a thread stays that has nothing to do.
const IDLE: Duration = Duration::from_secs(1);

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job.
    idle: usize,
}

struct Shared {
    state: Mutex<State>,
    come: Condvar,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared { state: mutex(&ASIDE, State::default()), come: Condvar::new() }
    }
}

/// The threads aside. The lock is a leaf; no job runs under it.
#[derive(Default)]
pub(crate) struct Aside(Arc<Shared>);

impl Aside {
    /// Has a job done by another thread, which no other job keeps waiting.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.0.state.lock();
        state.jobs.push_back(Box::new(job));
        if state.jobs.len() <= state.idle {
            self.0.come.notify_one();
            return;
        }
        drop(state);
        let shared = self.0.clone();
        let thread = std::thread::Builder::new().name("limpid-aside".to_owned());
        if thread.spawn(move || shared.work()).is_err() {
            // No thread can be had. Another may take the job, else it is done here, which goes
            // well as long as other threads serve requests.
            let job = self.0.state.lock().jobs.pop_front();
            if let Some(job) = job {
                job();
            }
        }
    }
}

impl Shared {
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            while let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.state.lock();
            }
            state.idle += 1;
            let late = self.come.wait_for(&mut state, IDLE).timed_out();
            state.idle -= 1;
            if late && state.jobs.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn no_job_waits_for_another() {
        let aside = Aside::default();
        let deadline = Duration::from_secs(60);
        for _ in 0..20 {
            // Each job waits for the next one.
            let (ended, end) = channel();
            let mut go = ended;
            for _ in 0..5 {
                let (sender, receiver) = channel();
                let before = std::mem::replace(&mut go, sender);
                aside.submit(move || {
                    receiver.recv_timeout(deadline).unwrap();
                    before.send(()).unwrap();
                });
            }
            go.send(()).unwrap();
            end.recv_timeout(deadline).unwrap();
        }
    }
}
