//! Reading the log anew, while the node goes on with what it has.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use crate::journal::cluster::Memory;
use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::reread::Reread;
use crate::journal::engine::reader::Reader;
use crate::journal::engine::seam::Engine;
use crate::journal::participant::opening::{Opening, begin};

/// The pause before another attempt to read the log anew.
const AGAIN: Duration = Duration::from_millis(200);

/// The pause once that has failed for long: reading takes work.
const LATER: Duration = Duration::from_secs(5);

/// The attempts until then: some 10 s.
const AT_FIRST: u32 = 50;

/// A log that was read anew.
pub(super) struct Anew {
    pub engine: Arc<dyn Engine>,
    pub reader: Reader,
    pub reread: Reread,
}

/// Reads the log anew, until that succeeds. `begin_reading` begins from the state of a snapshot.
pub(super) async fn reread(begin_reading: impl Fn(Shared) -> Reread, opening: Arc<Opening>, memory: Memory) -> Anew {
    for attempt in 0_u32.. {
        match try_reread(&begin_reading, &opening, memory).await {
            Ok(anew) => return anew,
            Err(why) if attempt == 0 => warn!(why, "the shared log can't be read anew yet"),
            Err(_) => {}
        }
        sleep(if attempt < AT_FIRST { AGAIN } else { LATER }).await;
    }
    std::future::pending().await
}

async fn try_reread(
    begin_reading: impl Fn(Shared) -> Reread,
    opening: &Opening,
    memory: Memory,
) -> Result<Anew, String> {
    let (engine, shared) = begin(opening, memory).await?;
    let mut reread = begin_reading(shared);
    let mut reader = engine.read(reread.position());
    let end = engine.extent().await.map_err(|trouble| trouble.to_string())?.last;
    while reread.position() < end {
        let (position, bytes) = reader.next().await.map_err(|end| format!("reading the log ended: {end:?}"))?;
        reread.entry(position, &bytes);
        if reread.is_newer() {
            return Err(newer());
        }
    }
    Ok(Anew { engine, reader, reread })
}

/// Why entries of a later version end the reading.
pub(super) fn newer() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "a gateway of a later version writes to the shared log what version {version} can't read: update this gateway"
    )
}
