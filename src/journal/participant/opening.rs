//! The log as it is opened: with the state of its newest snapshot, where that fits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::{Memory, Unreadable, snapshot};
use crate::journal::engine::seam::{Engine, LogId, Trouble};
use crate::model::identity::Identity;

/// Opens the log, as it is now.
pub type Opening = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Arc<dyn Engine>, String>> + Send>> + Send + Sync>;

/// Opens the log, with the state of its newest snapshot, or of nothing where the log has its first entry.
pub(super) async fn begin(opening: &Opening, memory: Memory) -> Result<(Arc<dyn Engine>, Shared), String> {
    let engine = opening().await?;
    let failed = |trouble: Trouble| trouble.to_string();
    if let Some(mut found) = engine.snapshot().await.map_err(failed)? {
        let mut parts = Vec::new();
        while let Some(part) = found.next().await.map_err(failed)? {
            parts.push(part);
        }
        if fits(&*engine, &parts).await.map_err(|error| error.to_string())? {
            let shared = snapshot::restore(parts.iter().map(|part| &part[..]), memory);
            return shared.map(|shared| (engine, shared)).map_err(|error| error.to_string());
        }
    }
    match engine.extent().await.map_err(failed)?.first {
        1 => {
            let shared = Shared::new(name(engine.identity()), memory);
            Ok((engine, shared))
        }
        first => Err(format!("the log begins at {first}, and no snapshot leads there")),
    }
}

/// Whether a snapshot is one of this very log: of entries that are there.
async fn fits(engine: &dyn Engine, parts: &[Bytes]) -> Result<bool, Unreadable> {
    let Some(first) = parts.first() else { return Ok(false) };
    let mut place = 0;
    snapshot::fits(first, |at| {
        place = at;
        None
    })?;
    let Some(before) = place.checked_sub(1) else { return Ok(false) };
    let entry = engine.read(before).next().await.ok().filter(|(position, _)| *position == place);
    Ok(snapshot::fits(first, |_| entry.map(|(_, bytes)| bytes.to_vec()))?.is_some())
}

/// The log's name in cursors.
fn name(log: LogId) -> Identity {
    Identity { journal: Uuid::from_u128(log.drawn.wrapping_add(u128::from(log.made))), generation: 0 }
}
