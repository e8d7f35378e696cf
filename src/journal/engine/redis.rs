//! The shared log in Redis or Valkey: a stream for the log, a hash that names it, and lists for snapshots.
//!
//! Positions are counted by a script in the server, so that they have no gaps, and so that no batch gets into a log that was made
//! anew under the same name. Appends, reads and everything else have connections of their own, because some commands wait.
//! Questions from node to node are messages of pub/sub, over one more connection, which is made when it is first needed.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ::redis::cmd;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::journal::engine::appends::{Appending, Appends};
use crate::journal::engine::calls::Calls;
use crate::journal::engine::options::Options;
use crate::journal::engine::reader::Reader;
use crate::journal::engine::redis::ask::{Channels, Line};
use crate::journal::engine::redis::connection::{Fault, Link};
use crate::journal::engine::redis::keys::Keys;
use crate::journal::engine::redis::server::Server;
use crate::journal::engine::seam::{Answer, Engine, Extent, LogId, MOST_BYTES, OpenError, Snapshot, Writing};

pub mod connection;
pub mod keys;
pub mod server;
pub mod write;
pub mod follow;
pub mod snapshots;
pub mod ask;

/// The pause between two attempts to open the log.
const AGAIN: Duration = Duration::from_millis(100);

/// A log in Redis.
pub struct Redis {
    link: Arc<Link>,
    keys: Keys,
    identity: LogId,
    appends: Appends,
    channels: Channels,
    line: OnceLock<Arc<Line>>,
    _writing: AbortOnDropHandle<()>,
}

impl Redis {
    /// Opens the log, and makes it if need be. With sentences of warning.
    ///
    /// # Errors
    ///
    /// The server does not answer in time, or can't keep a log.
    pub async fn open(options: &Options) -> Result<(Redis, Vec<String>), OpenError> {
        let bad = |why: String| OpenError(format!("{}: {why}", options.addresses));
        let link = Arc::new(Link::new(options).map_err(bad)?);
        let keys = Keys::new(&options.name);
        let deadline = Instant::now() + options.patience;
        let mut why = "the server does not answer".to_owned();
        let (identity, warnings) = loop {
            match timeout_at(deadline, attempt(&link, &keys)).await {
                Ok(Ok(opened)) => break opened,
                Ok(Err(Fault::Refused(why))) => return Err(bad(why)),
                Ok(Err(Fault::Away(now))) => why = now,
                Err(_) => return Err(bad(why)),
            }
            sleep(AGAIN).await;
        };
        let (appends, jobs) = Appends::new(options.within);
        let writing = tokio::spawn(write::write(link.clone(), keys.clone(), identity, jobs));
        let channels = Channels::new(&options.name, options.addresses.database);
        let (line, writing) = (OnceLock::new(), AbortOnDropHandle::new(writing));
        Ok((Redis { link, keys, identity, appends, channels, line, _writing: writing }, warnings))
    }

    /// The connection for questions and answers.
    fn line(&self) -> &Arc<Line> {
        self.line.get_or_init(|| Arc::new(Line::start(self.link.clone(), self.channels.clone())))
    }
}

/// Judges the server, and reads the log's name or gives it one.
async fn attempt(link: &Link, keys: &Keys) -> Result<(LogId, Vec<String>), Fault> {
    let info: String = link.ask(&cmd("INFO")).await?;
    let server = Server::read(&info);
    let mut warnings = server.judge().map_err(Fault::Refused)?;
    // Many providers of Redis do not let anybody ask.
    let asked = link.ask::<Vec<String>>(cmd("CONFIG").arg("GET").arg("appendfsync")).await;
    warnings.extend(server.warns_of_power(asked.ok().and_then(|values| values.into_iter().nth(1)).as_deref()));
    let drawn = format!("{:032x}", uuid::Uuid::new_v4().as_u128());
    let (identity, _) = keys.read(link.ask(&keys.open(&drawn)).await?).map_err(Fault::Refused)?;
    Ok((identity, warnings))
}

impl Engine for Redis {
    fn identity(&self) -> LogId {
        self.identity
    }

    fn most_bytes(&self) -> usize {
        MOST_BYTES
    }

    fn append(&self, batch: Bytes) -> Appending {
        self.appends.hand_over(batch, MOST_BYTES)
    }

    fn read(&self, after: u64) -> Reader {
        let following = follow::Following { link: self.link.clone(), keys: self.keys.clone() };
        Reader::start(following, self.identity, after)
    }

    fn extent(&self) -> Answer<'_, Extent> {
        Box::pin(async {
            let said = self.link.ask(&self.keys.look()).await?;
            Ok(self.keys.read(said).map_err(Fault::Refused)?.1)
        })
    }

    fn put_snapshot(&self, at: u64) -> Answer<'_, Box<dyn Writing>> {
        Box::pin(async move {
            let unfinished = snapshots::Unfinished::new(self.link.clone(), self.keys.clone(), at);
            Ok(Box::new(unfinished) as Box<dyn Writing>)
        })
    }

    fn snapshot(&self) -> Answer<'_, Option<Snapshot>> {
        Box::pin(async { Ok(snapshots::newest(&self.link, &self.keys).await?) })
    }

    fn trim(&self, before: u64) -> Answer<'_, ()> {
        Box::pin(async move { Ok(self.link.ask(&self.keys.trim(self.identity, before)).await?) })
    }

    fn serve(&self, name: &str) -> Calls {
        Line::serve(self.line(), name)
    }

    fn call(&self, name: &str, question: Bytes, within: Duration) -> Answer<'_, Option<Bytes>> {
        let name = name.to_owned();
        Box::pin(async move { self.line().call(&name, &question, within).await })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("key", &self.keys.log).field("identity", &self.identity).finish_non_exhaustive()
    }
}
