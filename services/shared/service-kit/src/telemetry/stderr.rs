//! Standard error, to which many lines go in one write.

use mail_net::Clock;
use std::{
    io::{self, Write},
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
    time::Duration,
};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line waits for others. A server that logs a line for each message would make a system call for each.
const GATHERING: Duration = Duration::from_millis(20);
/// How many octets are gathered at most.
const MOST_OCTETS: usize = 64 * 1024;

static WAITING: Lines = Lines { octets: Mutex::new(Vec::new()), some: Condvar::new() };
/// Whether the thread runs that writes what is gathered.
static HAS_WRITER: OnceLock<bool> = OnceLock::new();

struct Lines {
    /// Whole lines that wait to be written. Never empty while the writer gathers.
    octets: Mutex<Vec<u8>>,
    /// There are some.
    some: Condvar,
}

/// Gathers lines for [`GATHERING`]; a warning or an error is written at once, with all that came before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct GatheredStderr;

/// Takes one line.
#[derive(Debug)]
pub(super) struct Line {
    is_urgent: bool,
}

impl<'a> MakeWriter<'a> for GatheredStderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { is_urgent: true }
    }

    fn make_writer_for(&'a self, line: &Metadata<'_>) -> Line {
        Line { is_urgent: *line.level() <= Level::WARN }
    }
}

impl Write for Line {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let has_writer = *HAS_WRITER
            .get_or_init(|| thread::Builder::new().name("log-writer".to_owned()).spawn(write_gathered).is_ok());
        let mut waiting = WAITING.lock();
        let is_first = waiting.is_empty();
        waiting.extend_from_slice(octets);
        if self.is_urgent || !has_writer || waiting.len() >= MOST_OCTETS {
            write_out(&mut waiting);
        } else if is_first {
            WAITING.some.notify_one();
        }
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        flush();
        Ok(())
    }
}

/// Writes what waits. For a program that is about to end.
pub(super) fn flush() {
    write_out(&mut WAITING.lock());
}

fn write_gathered() {
    loop {
        let some = WAITING.some.wait_while(WAITING.lock(), |waiting| waiting.is_empty());
        drop(some.unwrap_or_else(PoisonError::into_inner));
        Clock::system().io.block_for(GATHERING);
        flush();
    }
}

/// A line that cannot be written is lost: there is nowhere to say so.
fn write_out(waiting: &mut Vec<u8>) {
    let _ = io::stderr().lock().write_all(waiting);
    waiting.clear();
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.octets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
