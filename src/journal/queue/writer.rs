//! The thread that writes what is queued.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::journal::log::Appended;
use crate::journal::queue::options::SyncMode;
use crate::journal::queue::shared::Shared;
use crate::journal::queue::state::Batch;

/// From so many entries a millisecond on, entries gather before they are written: to be woken for each costs more than the
/// write.
const BUSY: u64 = 20;

/// For how long they gather.
const GATHER: Duration = Duration::from_micros(100);

pub(super) fn run(shared: &Shared) {
    let mut batch = Batch::default();
    let mut last = Instant::now();
    while shared.take(&mut batch) {
        let entries = write(shared, &mut batch);
        batch.clear();
        let gathers = shared.options.sync != SyncMode::Always;
        let now = Instant::now();
        let took = u64::try_from((now - last).as_micros()).unwrap_or(u64::MAX);
        if gathers && entries.saturating_mul(1_000) >= took.saturating_mul(BUSY) {
            thread::sleep(GATHER);
        }
        last = now;
    }
}

/// Writes a batch and keeps its promises; the number of its entries.
fn write(shared: &Shared, batch: &mut Batch) -> u64 {
    match append(shared, batch) {
        Ok(appended) => {
            if shared.wrote(appended) {
                batch.promises.drain(..).for_each(|promise| promise.keep());
            }
            appended.entries
        }
        Err(error) => {
            shared.fail(error.to_string());
            shared.idle();
            0
        }
    }
}

fn append(shared: &Shared, batch: &mut Batch) -> io::Result<Appended> {
    let from = crate::model::cursor::Position(batch.from);
    let appended = shared.log.append(from, &mut batch.bytes)?;
    if shared.options.sync == SyncMode::Always && appended.entries > 0 {
        shared.flush()?;
        if shared.log.has_note() {
            shared.lock().is_poked = true;
        }
    }
    Ok(appended)
}
