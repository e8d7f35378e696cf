//! Reading the log anew, while the node goes on with what it has.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use crate::journal::cluster::Memory;
use crate::journal::cluster::node::Trouble;
use crate::journal::cluster::reread::Reread;
use crate::journal::engine::reader::Reader;
use crate::journal::engine::seam::Engine;
use crate::journal::participant::desk::Desk;
use crate::journal::participant::opening::{Fit, Opening, Place, Unread, begin, fit, read};

/// The pause before another attempt to read the log anew.
const AGAIN: Duration = Duration::from_millis(200);

/// The pause once that has failed for long: reading takes work.
const LATER: Duration = Duration::from_secs(5);

/// The attempts until then: some 10 s.
const AT_FIRST: u32 = 50;

/// A log that was opened anew.
pub(super) struct Anew {
    pub engine: Arc<dyn Engine>,
    pub reader: Reader,
    pub found: Found,
}

/// What was found in a log that was opened anew.
pub(super) enum Found {
    /// The entries up to this position, behind those that the node has read.
    Same(u64),
    /// Another state, perhaps.
    Read(Box<Reread>),
}

/// Reads the log anew, until that succeeds.
pub(super) async fn reread(desk: Arc<Desk>, opening: Arc<Opening>, memory: Memory) -> Anew {
    for attempt in 0_u32.. {
        match try_reread(&desk, &opening, memory).await {
            Ok(anew) => return anew,
            Err(why) => {
                if attempt == 0 {
                    warn!(%why, "the shared log can't be read anew yet");
                }
                if matches!(why, Unread::Newer) {
                    desk.inner.lock().node.is_outdated();
                }
            }
        }
        sleep(if attempt < AT_FIRST { AGAIN } else { LATER }).await;
    }
    std::future::pending().await
}

async fn try_reread(desk: &Desk, opening: &Opening, memory: Memory) -> Result<Anew, Unread> {
    let engine = opening().await?;
    let (is_away, place) = desk.look(|node| (node.trouble() == Some(Trouble::Away), Place::of(node.shared())));
    // Only a node that was never there asks: others have a sign that the log is not what they read.
    let fit = if is_away { fit(&*engine, place).await? } else { Fit::Trimmed };
    if let Fit::Fits(end) = fit {
        let reader = engine.read(place.position());
        return Ok(Anew { engine, reader, found: Found::Same(end) });
    }
    let shared = begin(&*engine, memory).await?;
    let mut reread = desk.look(|node| node.reread(shared));
    reread.lacks(fit == Fit::Lacks);
    let after = reread.position();
    let each = |position, bytes: &[u8]| {
        reread.entry(position, bytes);
        reread.is_newer()
    };
    let reader = read(&*engine, after, each).await?;
    Ok(Anew { engine, reader, found: Found::Read(Box::new(reread)) })
}
