//! Which threads listen for requests of the kernel.
//!
//! To wake a sleeping thread costs more than most requests do. So while requests follow closely on
//! each other, one thread serves them: after a reply it polls for the next request for a moment
//! before it sleeps. The others stand back meanwhile, since the kernel would wake one of them for
//! what the first is about to take.
//!
//! 1. A thread stands back only while another listens, or is about to.
//! 2. All come back after a [`TICK`] in which no request was taken: there is none, or the thread
//!    that listened takes long to serve one, or it is gone with the mount. So a request that waits
//!    for a disk, for a lock or for the kernel itself holds the others up for two ticks at most.
//! 3. If requests are there already when one is answered, more threads serve, and none polls.
//! 4. Polling is paused where the thread is interrupted: others want the processor.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use limpid_locks::{Class, Condvar, Mutex, MutexGuard, mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The class of their lock.
static LISTENERS: Class = Class::new("fuse: listeners");

/// If no request is taken for so long, no thread that stands back counts on others any more.
const TICK: Duration = Duration::from_millis(1);
/// So long between two looks at the queue means that something else ran on the processor.
const INTERRUPTED: Duration = Duration::from_micros(30);
/// After that nobody polls for so long.
const PAUSE: Duration = Duration::from_millis(10);
/// How many threads serve is decided each time after so many requests: one more if many of them
/// were there already when the thread was done with the one before, one fewer if few were.
const WINDOW: u32 = 32;
const MANY: u32 = 20;
const FEW: u32 = 10;
/// While several threads serve, one request of so many counts.
const SAMPLE: u64 = 8;

struct State {
    /// Threads that sleep in the kernel or poll, or are on their way there.
    listening: usize,
    /// Threads that stand back; and how many of those may come back.
    back: usize,
    let_go: usize,
    /// Whether one of those that stand back looks after those that do not.
    watched: bool,
    /// How many threads are to serve.
    wanted: usize,
    /// Requests since that was last decided, and how many of them were there already.
    seen: u32,
    seen_waiting: u32,
    /// Requests taken so far.
    turns: u64,
    last_reply: Instant,
    /// Mean time from a reply to the next request.
    gap: Duration,
    /// Nobody polls before.
    paused_until: Instant,
}

/// The threads of a mount. The lock is a leaf.
pub(crate) struct Listeners {
    threads: usize,
    /// How many of them serve at most, unless some of them wait for something else.
    most: usize,
    /// How long a thread polls for the next request.
    moment: Duration,
    state: Mutex<State>,
    come_back: Condvar,
}

/// A request that is being served. It has to be answered before this is dropped.
pub(crate) struct Turn<'a>(Option<(&'a Listeners, BorrowedFd<'a>)>);

/// What a look at the kernel's queue shows.
#[derive(PartialEq, Eq)]
enum Queue {
    Empty,
    Request,
    /// The mount is gone.
    Closed,
}

fn look(device: BorrowedFd<'_>) -> Queue {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut devices = [PollFd::new(&device, PollFlags::IN)];
    match poll(&mut devices, Some(&at_once)) {
        Ok(0) => Queue::Empty,
        Ok(_) if devices[0].revents() == PollFlags::IN => Queue::Request,
        _ => Queue::Closed,
    }
}

impl Listeners {
    /// `threads` of them, of which `most` serve when there is much to do. All listen at first; if
    /// `moment` is zero they always will.
    pub fn new(threads: usize, most: usize, moment: Duration) -> Listeners {
        let now = Instant::now();
        let state = State {
            listening: threads,
            back: 0,
            let_go: 0,
            watched: false,
            wanted: 1,
            seen: 0,
            seen_waiting: 0,
            turns: 0,
            last_reply: now,
            gap: Duration::MAX,
            paused_until: now,
        };
        Listeners {
            threads,
            most,
            moment,
            state: mutex(&LISTENERS, state),
            come_back: Condvar::new(),
        }
    }

    /// A thread has taken a request from `device`, and will listen there again.
    pub fn turn<'a>(&'a self, device: Option<BorrowedFd<'a>>) -> Turn<'a> {
        let Some(device) = device.filter(|_| !self.moment.is_zero()) else { return Turn(None) };
        let now = Instant::now();
        let mut state = self.state.lock();
        state.listening -= 1;
        state.turns += 1;
        // One long pause does not hide that requests follow closely.
        let longest = self.moment * 4;
        let gap = now.saturating_duration_since(state.last_reply).min(longest);
        state.gap = (state.gap.min(longest) * 7 + gap) / 8;
        Turn(Some((self, device)))
    }

    /// The thread has answered, and listens again.
    fn listen(&self, device: BorrowedFd<'_>) {
        let start = Instant::now();
        let mut state = self.state.lock();
        state.last_reply = start;
        if state.gap > self.moment {
            state.listening += 1;
            return;
        }
        if state.listening > 0 && self.threads - state.back > state.wanted {
            return self.stand_back(state);
        }
        state.listening += 1;
        // A look is not free; where several serve, now and then is enough.
        if state.wanted > 1 && !state.turns.is_multiple_of(SAMPLE) {
            return;
        }
        drop(state);

        let queue = look(device);
        let mut state = self.state.lock();
        self.adapt(&mut state, queue == Queue::Request);
        // Another that is serving would want the processor as well.
        let polls = self.threads - state.back == 1 && start >= state.paused_until;
        drop(state);
        if queue == Queue::Empty && polls {
            self.poll(device, start);
        }
    }

    /// Looks for the next request for a moment.
    fn poll(&self, device: BorrowedFd<'_>, start: Instant) {
        let mut last = Instant::now();
        while look(device) == Queue::Empty {
            let now = Instant::now();
            if now - last > INTERRUPTED {
                self.state.lock().paused_until = now + PAUSE;
                return;
            }
            if now - start > self.moment {
                return;
            }
            last = now;
        }
    }

    /// More threads serve if requests wait for threads, fewer if threads wait for requests.
    fn adapt(&self, state: &mut State, waiting: bool) {
        state.seen += 1;
        state.seen_waiting += u32::from(waiting);
        if state.seen < WINDOW {
            return;
        }
        if state.seen_waiting >= MANY && state.wanted < self.most {
            state.wanted += 1;
            self.let_go(state, 1);
        } else if state.seen_waiting <= FEW {
            state.wanted = (state.wanted - 1).max(1);
        }
        (state.seen, state.seen_waiting) = (0, 0);
    }

    /// Lets `count` more threads come back, or all there are.
    fn let_go(&self, state: &mut State, count: usize) {
        let let_go = state.back.min(state.let_go + count);
        if let_go > state.let_go {
            state.let_go = let_go;
            self.come_back.notify_all();
        }
    }

    /// Waits until this thread may come back.
    fn stand_back(&self, mut state: MutexGuard<'_, State>) {
        state.back += 1;
        while state.let_go == 0 {
            if state.watched {
                self.come_back.wait(&mut state);
                continue;
            }
            // One watches: without any turn in a tick nobody may be listening.
            state.watched = true;
            let turns = state.turns;
            let tick = self.come_back.wait_for(&mut state, TICK).timed_out();
            state.watched = false;
            if tick && state.turns == turns {
                self.let_go(&mut state, self.threads);
            }
        }
        state.let_go -= 1;
        state.back -= 1;
        state.listening += 1;
        if state.back > 0 {
            // It may have been this one that watched.
            self.come_back.notify_one();
        }
    }
}

impl Turn<'_> {
    /// The request takes long: another thread listens meanwhile.
    pub fn takes_long(&self) {
        if let Some((listeners, _)) = self.0 {
            let mut state = listeners.state.lock();
            if state.listening == 0 {
                listeners.let_go(&mut state, 1);
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some((listeners, device)) = self.0 {
            listeners.listen(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
    use std::os::fd::AsFd;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const THREADS: usize = 4;

    /// What the threads of a mount do, with a pipe for the kernel: each byte is a request. They
    /// end when the pipe is closed, as those of a mount do.
    fn serve(listeners: &Listeners, queue: &PipeReader, serve: impl Fn(u8, &Turn<'_>) + Sync) {
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    let mut request = [0];
                    while (&*queue).read(&mut request).unwrap() > 0 {
                        let turn = listeners.turn(Some(queue.as_fd()));
                        serve(request[0], &turn);
                    }
                });
            }
        });
    }

    /// Serves what `ask` asks for, and returns when all threads have ended.
    fn run(
        listeners: &Listeners,
        ask: impl FnOnce(PipeWriter) + Send,
        answer: impl Fn(u8, &Turn<'_>) + Sync,
    ) {
        let (queue, requests) = pipe().unwrap();
        std::thread::scope(|scope| {
            scope.spawn(move || ask(requests));
            serve(listeners, &queue, answer);
        });
        let state = listeners.state.lock();
        assert_eq!((state.listening, state.back, state.let_go), (THREADS, 0, 0));
    }

    #[test]
    fn every_request_is_served_and_all_threads_end_with_the_mount() {
        for round in 0..200 {
            let listeners = Listeners::new(THREADS, THREADS, Duration::from_micros(100));
            let (asked, answered) = (AtomicU64::new(0), AtomicU64::new(0));
            let ask = |mut requests: PipeWriter| {
                for number in 0..500 {
                    requests.write_all(&[0]).unwrap();
                    asked.fetch_add(1, Ordering::Relaxed);
                    // Some rounds ask one by one, some for many at once, some for both.
                    while number % 64 < round % 65 && answered.load(Ordering::Acquire) <= number {
                        std::hint::spin_loop();
                    }
                }
            };
            run(&listeners, ask, |_, _| {
                answered.fetch_add(1, Ordering::Release);
            });
            assert_eq!(answered.into_inner(), asked.into_inner());
        }
    }

    /// Requests of kind 1 are answered only when as many are being served as there are threads.
    fn meet(kind: u8, all: &Barrier) {
        if kind == 1 {
            all.wait();
        }
    }

    #[test]
    fn requests_that_wait_for_each_other_are_all_taken() {
        let listeners = Listeners::new(THREADS, THREADS, Duration::from_micros(100));
        let all = Barrier::new(THREADS);
        let answered = AtomicU64::new(0);
        let ask = |mut requests: PipeWriter| {
            for round in 1..=50 {
                // One thread serves these, the others stand back.
                for _ in 0..50 {
                    let before = answered.load(Ordering::Acquire);
                    requests.write_all(&[0]).unwrap();
                    while answered.load(Ordering::Acquire) == before {
                        std::hint::spin_loop();
                    }
                }
                requests.write_all(&[1; THREADS]).unwrap();
                while answered.load(Ordering::Acquire) < round * (50 + THREADS as u64) {
                    std::hint::spin_loop();
                }
            }
        };
        run(&listeners, ask, |kind, _| {
            meet(kind, &all);
            answered.fetch_add(1, Ordering::Release);
        });
    }

    #[test]
    fn a_long_request_lets_another_thread_listen() {
        let listeners = Listeners::new(2, 1, Duration::from_micros(100));
        let (queue, _requests) = pipe().unwrap();
        let turn = listeners.turn(Some(queue.as_fd()));
        let another = listeners.turn(Some(queue.as_fd()));
        turn.takes_long();
        assert_eq!(listeners.state.lock().let_go, 0, "nobody stands back yet");
        listeners.state.lock().back = 1;
        turn.takes_long();
        turn.takes_long();
        assert_eq!(listeners.state.lock().let_go, 1);
        std::mem::forget((turn, another));
    }

    #[test]
    fn the_number_of_threads_follows_the_load() {
        let listeners = Listeners::new(THREADS, THREADS, Duration::from_micros(100));
        let wanted_after = |waiting: bool, requests: u32| {
            let mut state = listeners.state.lock();
            (0..requests).for_each(|_| listeners.adapt(&mut state, waiting));
            state.wanted
        };
        assert_eq!(wanted_after(true, WINDOW), 2);
        assert_eq!(wanted_after(true, 100 * WINDOW), THREADS);
        assert_eq!(wanted_after(false, WINDOW), THREADS - 1);
        assert_eq!(wanted_after(false, 100 * WINDOW), 1);
    }
}
