//! Signals that end the command while something half done lies about.
//!
//! A signal that finds nothing to clean up ends the process as ever. While a [`Guard`] lives, the
//! first one only asks: what works looks at [`check`] between two pieces and fails, and its own
//! cleaning up after a failure takes away what is not complete. Then [`Failure::Interrupted`] ends
//! the process by that signal. A second signal ends it at once.

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::failure::{At, Failure, Result};

/// What is known of signals.
#[derive(Default)]
struct State {
    /// Somebody else takes care of them.
    given_up: bool,
    guards: usize,
    /// The first that came while a guard lived.
    came: Option<i32>,
}

static STATE: Mutex<State> = Mutex::new(State { given_up: false, guards: 0, came: None });

/// Both ends of a pipe, into which the first signal puts a byte that nobody takes out.
static BELL: OnceLock<(UnixStream, UnixStream)> = OnceLock::new();

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// While it lives, a signal leaves time to clean up.
pub struct Guard(());

impl Guard {
    /// From here on there is something to clean up. Fails if a signal has come already.
    pub fn new() -> Result<Guard> {
        watch()?;
        check()?;
        state().guards += 1;
        Ok(Guard(()))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        state().guards -= 1;
    }
}

/// Fails if a signal has come.
pub fn check() -> Result<()> {
    state().came.map_or(Ok(()), |signal| Err(Failure::Interrupted(signal)))
}

/// Waits until `file` can be read or written, as `flags` say. Fails if a signal comes first.
pub fn wait_for(file: impl AsFd, flags: PollFlags) -> std::io::Result<()> {
    let Some((bell, _)) = BELL.get() else { return Ok(()) };
    let mut both = [PollFd::new(&file, flags), PollFd::new(bell, PollFlags::IN)];
    loop {
        match poll(&mut both, None) {
            Ok(_) if !both[1].revents().is_empty() => {
                return Err(std::io::ErrorKind::Interrupted.into());
            }
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whoever calls this takes care of signals himself.
pub fn give_up() {
    state().given_up = true;
}

/// Starts the thread that signals wake, once.
fn watch() -> Result<()> {
    if BELL.get().is_some() {
        return Ok(());
    }
    let bell = UnixStream::pair().at("limpid")?;
    let ignored = ignored();
    let heard = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| {
        // What nohup, or a shell for what runs in the background, lets be ignored stays so.
        ignored & (1 << (signal - 1)) == 0
    });
    let mut signals = Signals::new(heard).at("limpid")?;
    if BELL.set(bell).is_err() {
        return Ok(());
    }
    let answer = move || {
        for signal in signals.forever() {
            let mut state = state();
            if state.given_up {
                continue;
            }
            if state.guards == 0 || state.came.is_some() {
                let _ = emulate_default_handler(signal);
            }
            state.came = Some(signal);
            if let Some((_, bell)) = BELL.get() {
                let _ = (&*bell).write_all(&[0]);
            }
        }
    };
    let thread = std::thread::Builder::new().name("limpid-interrupt".to_owned());
    thread.spawn(answer).map(drop).at("limpid")
}

/// The signals this process ignores, a bit for each.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
