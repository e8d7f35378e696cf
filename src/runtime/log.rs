//! The way of log lines out of the process: a bounded queue, one thread that writes, and no waiting anywhere else.
//!
//! A full disk, a closed pipe or a reader that stops reading costs log lines, and never a connection. Lines that are dropped
//! are counted, and said once writing works again.

mod line;

use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::panic::Location;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::level_filters::LevelFilter;
use tracing::{Level, warn};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder};
use tracing_subscriber::fmt::MakeWriter;

use crate::runtime::log::line::{MAX_LINE, cut, panic_line, sentence_line};
use crate::runtime::repeats::Repeats;

pub use crate::runtime::log::line::panic_text;

/// The lines that wait for the writer. A line takes some 200 bytes, so a full queue takes less than 1 MiB in practice.
const MAX_LINES: usize = 4_096;

/// How long the end of the process waits for the last lines. Beside the gateway's own 4.5 s to stop, less than 5 s.
const LAST_LINES_WITHIN: Duration = Duration::from_millis(400);

/// The pause before the next try where standard error cannot take bytes now and its owner made it non-blocking.
const RETRY: Duration = Duration::from_millis(20);

/// Libraries that tell of each connection at `info`. What an operator should know of it, the gateway says itself.
const CHATTY: [&str; 2] = ["async_nats", "redis"];

/// The log of this process.
static LOG: OnceLock<Log> = OnceLock::new();

/// The number of lines of this process's log that were dropped.
pub fn dropped_lines() -> u64 {
    LOG.get().map_or(0, |log| log.progress.dropped())
}

/// Whether a line may be logged at all, where the operator asked for the directives `asked` (`--log`). Of libraries, lines below
/// `info` are not, since they have whole messages in them, and of the chatty ones lines at `info` only where a directive names
/// the library.
pub fn is_told(asked: &str, target: &str, level: Level) -> bool {
    if target.starts_with("presently") {
        return true;
    }
    let is_of =
        |library: &str| target.strip_prefix(library).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'));
    let is_named = |library| asked.split(',').any(|directive| directive.trim().starts_with(library));
    let chatty = CHATTY.into_iter().find(|library| is_of(library));
    let most = if chatty.is_none_or(is_named) { Level::INFO } else { Level::WARN };
    level <= most
}

/// A log: takes lines from all threads, and writes them on a thread of its own. Clones share the log.
#[derive(Clone, Debug)]
pub struct Log {
    queue: NonBlocking,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Lines given to the log.
    taken: AtomicU64,
    /// Lines that the writer is done with, written or not.
    done: Mutex<u64>,
    advanced: Condvar,
    /// Lines that could not be written.
    failed: AtomicU64,
    /// Lines that found the queue full.
    refused: OnceLock<ErrorCounter>,
    /// Whether lines are JSON objects.
    json: AtomicBool,
}

impl Log {
    /// The log of the process, to standard error.
    ///
    /// # Errors
    ///
    /// Standard error cannot be duplicated.
    pub fn to_stderr() -> io::Result<Self> {
        if let Some(log) = LOG.get() {
            return Ok(log.clone());
        }
        // Not `std::io::stderr`: its lock would be held for as long as a write waits.
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        Ok(LOG.get_or_init(|| Log::to(stderr)).clone())
    }

    fn to(sink: impl Write + Send + 'static) -> Self {
        let progress = Arc::<Progress>::default();
        let output = Output { sink, progress: progress.clone(), works: true, torn: false, said: 0, unsaid: 0 };
        let (queue, guard) =
            NonBlockingBuilder::default().buffered_lines_limit(MAX_LINES).lossy(true).thread_name("log").finish(output);
        // The guard's drop would print to standard output when the queue is full, and may wait there for ever.
        // `finish` does its work.
        std::mem::forget(guard);
        let _ = progress.refused.set(queue.error_counter());
        Log { queue, progress }
    }

    /// Writes a line, which ends in a line feed. Never waits.
    pub fn line(&self, line: &[u8]) {
        self.progress.taken.fetch_add(1, Relaxed);
        // Never fails: a line that finds the queue full is counted.
        let _ = match line.len() <= MAX_LINE {
            true => self.queue.clone().write(line),
            false => self.queue.clone().write(&cut(line, self.is_json())),
        };
    }

    /// Writes why the program ends.
    pub fn last_words(&self, sentence: &str) {
        self.line(sentence_line(sentence, self.is_json()).as_bytes());
    }

    /// Makes each line a JSON object from now on, also the lines that `tracing_subscriber` does not make.
    pub fn be_json(&self) {
        self.progress.json.store(true, Relaxed);
    }

    fn is_json(&self) -> bool {
        self.progress.json.load(Relaxed)
    }

    /// Waits until all lines are written or dropped, for a bounded time; whether they are.
    pub fn finish(&self) -> bool {
        let progress = &self.progress;
        let waits = |done: &mut u64| *done + progress.refused() < progress.taken.load(Relaxed);
        !progress.advanced.wait_while_for(&mut progress.done.lock(), waits, LAST_LINES_WITHIN).timed_out()
    }

    /// Logs panics from now on: one line each, and of many from one place only some. Takes nothing of
    /// a panic but its text and its place, and passes by `tracing`, whose thread-locals may be gone.
    pub fn catch_panics(&self) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            if LevelFilter::current() >= LevelFilter::ERROR
                && let Some(times) = panics_at(panic.location()).again()
            {
                log.line(panic_line(panic.payload(), panic.location(), times, log.is_json()).as_bytes());
            }
        }));
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = &'a Log;

    fn make_writer(&'a self) -> &'a Log {
        self
    }
}

/// For `tracing_subscriber`, which writes each line at once.
impl Write for &Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Progress {
    fn dropped(&self) -> u64 {
        self.failed.load(Relaxed) + self.refused()
    }

    fn refused(&self) -> u64 {
        self.refused.get().map_or(0, |counter| counter.dropped_lines() as u64)
    }
}

/// The writer's side of a log. Its writes never fail, because nobody would hear of it: they count.
struct Output<W> {
    sink: W,
    progress: Arc<Progress>,
    /// Whether the last line was written.
    works: bool,
    /// Whether the sink ends in a part of a line.
    torn: bool,
    /// The number of dropped lines that the log has told.
    said: u64,
    /// Lines since then.
    unsaid: usize,
}

impl<W: Write> Write for Output<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.works = (!self.torn || self.put(b"\n")) && self.put(line);
        if !self.works {
            self.progress.failed.fetch_add(1, Relaxed);
        }
        self.unsaid += 1;
        // A log that is always behind never flushes.
        if self.unsaid >= MAX_LINES {
            self.say_dropped();
        }
        *self.progress.done.lock() += 1;
        self.progress.advanced.notify_all();
        Ok(line.len())
    }

    /// Called whenever the queue is empty.
    fn flush(&mut self) -> io::Result<()> {
        self.say_dropped();
        Ok(())
    }
}

impl<W: Write> Output<W> {
    /// Writes all of `bytes`, as long as it takes; false where the sink refuses.
    fn put(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.sink.write(rest) {
                Ok(0) => break,
                Ok(n) => rest = &rest[n..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(_) => break,
            }
        }
        if rest.len() < bytes.len() {
            self.torn = !rest.is_empty();
        }
        rest.is_empty()
    }

    /// Says how many lines were dropped, through the queue like any other line.
    fn say_dropped(&mut self) {
        let dropped = self.progress.dropped();
        if self.works && dropped > self.said {
            warn!(lines = dropped - self.said, "log lines were dropped");
            self.said = dropped;
        }
        self.unsaid = 0;
    }
}

/// Counts panics by place. Without locks, for the hook; when all are taken, further places share the last.
struct Place {
    key: AtomicU64,
    repeats: Repeats,
}

static PLACES: [Place; 64] = [const { Place { key: AtomicU64::new(0), repeats: Repeats::new() } }; 64];

fn panics_at(location: Option<&Location<'_>>) -> &'static Repeats {
    let mut hasher = DefaultHasher::new();
    location.map(|at| (at.file(), at.line(), at.column())).hash(&mut hasher);
    let key = hasher.finish().max(1);
    let is_mine = |place: &&Place| match place.key.compare_exchange(0, key, Relaxed, Relaxed) {
        Ok(_) => true,
        Err(taken) => taken == key,
    };
    &PLACES.iter().find(is_mine).unwrap_or(&PLACES[PLACES.len() - 1]).repeats
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn libraries_that_tell_of_each_connection_are_heard_only_where_asked_for() {
        for (asked, target, level, wanted) in [
            ("info", "async_nats", Level::INFO, false),
            ("info", "async_nats::connector", Level::INFO, false),
            ("trace", "redis::aio", Level::INFO, false),
            ("info", "async_nats", Level::WARN, true),
            ("info", "redis", Level::ERROR, true),
            ("info,async_nats=info", "async_nats::connector", Level::INFO, true),
            ("info, redis::aio=debug", "redis::aio", Level::INFO, true),
            ("info,async_nats=info", "redis", Level::INFO, false),
            ("async_nats=debug", "async_nats", Level::DEBUG, false),
            ("info", "hyper", Level::INFO, true),
            ("info", "redistribution", Level::INFO, true),
            ("trace", "hyper", Level::DEBUG, false),
            ("trace", "presently::journal", Level::TRACE, true),
        ] {
            assert_eq!(is_told(asked, target, level), wanted, "{asked} {target} {level}");
        }
    }

    /// A disk: refuses bytes while full.
    #[derive(Clone, Default)]
    struct Disk(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Disk {
        fn with_room(room: usize) -> Self {
            Disk(Arc::new(Mutex::new((Vec::new(), room))))
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.lock().0.clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let (written, room) = &mut *self.0.lock();
            let n = bytes.len().min(*room);
            *room -= n;
            written.extend_from_slice(&bytes[..n]);
            if n == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(n) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_refuses_are_counted_and_the_next_line_is_whole() {
        let disk = Disk::with_room(6);
        let log = Log::to(disk.clone());
        ["one\n", "two\n", "three\n"].iter().for_each(|line| log.line(line.as_bytes()));
        while !log.finish() {}
        assert_eq!((disk.text().as_str(), log.progress.dropped()), ("one\ntw", 2));
        disk.0.lock().1 = 100;
        log.line(b"four\n");
        while !log.finish() {}
        assert_eq!((disk.text().as_str(), log.progress.dropped()), ("one\ntw\nfour\n", 2));
    }

    /// A reader that takes a line only when told.
    struct Stalled(mpsc::Receiver<()>, mpsc::Sender<Vec<u8>>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            self.0.recv().map_err(gone)?;
            self.1.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_reading_delays_nobody_and_costs_only_the_lines_beyond_the_queue() {
        let (next, allowed) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let log = Log::to(Stalled(allowed, written));
        for n in 0..3 * MAX_LINES {
            log.line(format!("{n}\n").as_bytes());
        }
        let dropped = log.progress.dropped() as usize;
        // The writer itself has at most one line, beside those of the queue.
        assert!((2 * MAX_LINES - 1..=2 * MAX_LINES).contains(&dropped), "{dropped}");
        assert!(!log.finish(), "the reader stopped");
        (dropped..3 * MAX_LINES).for_each(|_| next.send(()).unwrap());
        assert_eq!(lines.iter().take(2).collect::<Vec<_>>(), [b"0\n", b"1\n"]);
        assert_eq!(lines.iter().take(3 * MAX_LINES - dropped - 2).count(), 3 * MAX_LINES - dropped - 2);
        while !log.finish() {}
        assert_eq!(log.progress.dropped() as usize, dropped);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let disk = Disk::with_room(usize::MAX);
        let log = Log::to(disk.clone());
        log.line(format!("x{}\n", "é".repeat(MAX_LINE)).as_bytes());
        while !log.finish() {}
        let text = disk.text();
        assert!(text.ends_with("é …\n") && text.len() < MAX_LINE + 10, "{}", text.len());
    }

    #[test]
    fn panics_are_counted_by_place() {
        let (here, there) = (Location::caller(), std::panic::Location::caller());
        let logged = |at| (0..10).filter_map(|_| panics_at(Some(at)).again()).collect::<Vec<_>>();
        assert_eq!((logged(here), logged(there)), (vec![1, 2, 4, 8], vec![1, 2, 4, 8]));
    }
}
