//! Opens a log, whatever the engine.

use std::sync::Arc;

use crate::journal::engine::address::Kind;
use crate::journal::engine::nats::Nats;
use crate::journal::engine::options::Options;
use crate::journal::engine::redis::Redis;
use crate::journal::engine::seam::{Engine, OpenError};

/// A log that was opened.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The log.
    pub engine: Arc<dyn Engine>,
    /// What an operator should know about it, a sentence each.
    pub warnings: Vec<String>,
}

/// Opens the log that the options name, and makes it if there is none.
///
/// # Errors
///
/// A sentence: no server answers, or what is there would lose entries.
pub async fn open(options: &Options) -> Result<Opened, OpenError> {
    let (engine, warnings): (Arc<dyn Engine>, _) = match options.addresses.kind {
        Kind::Nats => {
            let (nats, warnings) = Nats::open(options).await?;
            (Arc::new(nats), warnings)
        }
        Kind::Redis => {
            let (redis, warnings) = Redis::open(options).await?;
            (Arc::new(redis), warnings)
        }
    };
    Ok(Opened { engine, warnings })
}
