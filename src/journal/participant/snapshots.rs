//! The snapshots that a node writes into the engine, one at a time.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::journal::cluster::snapshot::Snapshot;
use crate::journal::engine::seam::{Engine, Trouble};

/// The snapshots that this node writes, one at a time.
#[derive(Default)]
pub(super) struct Snapshots {
    writing: Option<AbortOnDropHandle<()>>,
    /// The position of the last one that is whole.
    last: Arc<Mutex<Option<u64>>>,
}

impl Snapshots {
    /// Whether none is being written.
    pub fn are_idle(&self) -> bool {
        self.writing.as_ref().is_none_or(AbortOnDropHandle::is_finished)
    }

    /// Writes a snapshot.
    pub fn write(&mut self, engine: Arc<dyn Engine>, snapshot: Snapshot) {
        let last = self.last.clone();
        let writing = async move {
            let at = snapshot.position();
            let before = *last.lock();
            match write(&*engine, snapshot, before).await {
                Ok(()) => *last.lock() = Some(at),
                // Another one is due soon.
                Err(trouble) => warn!(%trouble, "a snapshot of the shared log could not be written"),
            }
        };
        self.writing = Some(AbortOnDropHandle::new(tokio::spawn(writing)));
    }
}

/// Writes a snapshot, and trims the log below the one `before` it.
async fn write(engine: &dyn Engine, snapshot: Snapshot, before: Option<u64>) -> Result<(), Trouble> {
    let mut writing = engine.put_snapshot(snapshot.position()).await?;
    for part in snapshot.parts() {
        writing.put(part.into()).await?;
    }
    writing.finish().await?;
    match before {
        // Its last entry stays, by which a reader knows that it fits.
        Some(position) => engine.trim(position).await,
        None => Ok(()),
    }
}
