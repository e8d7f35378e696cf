//! Writes a checkpoint: a whole file, and the segment that begins with it.

use std::io;
use std::sync::Arc;

use crate::journal::disk::checkpoints::Checkpoints;
use crate::journal::disk::segments::{Begun, Segments};
use crate::journal::disk::whole::Whole;
use crate::journal::frame::{Header, Kind};
use crate::journal::log::{End, Snapshot};
use crate::journal::store;
use crate::model::cursor::Position;

/// A checkpoint while it is written. Its segment may be removed, and must not be missed: what is not finished is removed.
pub struct Writing {
    segments: Arc<Segments>,
    checkpoints: Arc<Checkpoints>,
    whole: Whole,
    begun: Begun,
}

impl Writing {
    /// Begins the checkpoint of all before the segment that is written.
    ///
    /// # Errors
    ///
    /// There is no such segment after a failure, or no place for a file.
    pub fn new(segments: Arc<Segments>, checkpoints: Arc<Checkpoints>) -> io::Result<Writing> {
        let begun = segments.begun()?;
        let (sequence, identity) = (begun.sequence, segments.identity());
        let header = Header { kind: Kind::Checkpoint, seed: fastrand::u32(..), identity, sequence };
        let whole = Whole::begin(checkpoints.shared_store(), header).inspect_err(|error| full(&checkpoints, error))?;
        Ok(Writing { segments, checkpoints, whole, begun })
    }
}

/// The next attempt needs space.
fn full(checkpoints: &Checkpoints, error: &io::Error) {
    if store::is_full(error) {
        checkpoints.give_up_reserve();
    }
}

impl Snapshot for Writing {
    fn at(&self) -> Position {
        self.begun.at
    }

    fn put(&mut self, part: &[u8]) -> io::Result<()> {
        self.whole.put(part).inspect_err(|error| full(&self.checkpoints, error))
    }

    fn finish(mut self: Box<Self>, end: End) -> io::Result<()> {
        let Writing { segments, checkpoints, whole, begun } = &mut *self;
        let sequence = whole.sequence();
        let completed = whole.complete(begun.at, end);
        let published = completed.and_then(|()| segments.publish(sequence, || whole.publish()));
        published.inspect_err(|error| full(checkpoints, error))?;
        segments.settle(*begun);
        checkpoints.finished(sequence, whole.bytes());
        Ok(())
    }
}
