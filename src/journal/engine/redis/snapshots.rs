//! Snapshots: a list of parts for each, and an ordered set of those that are whole.

use std::sync::Arc;
use std::time::Duration;

use ::redis::{Pipeline, Value, cmd};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::journal::engine::redis::connection::{Fault, Link, bytes};
use crate::journal::engine::redis::keys::Keys;
use crate::journal::engine::seam::{Answer, MOST_BYTES, Snapshot, Trouble, Writing};

/// The server removes a snapshot whose writer is silent for this long.
const ABANDONED: Duration = Duration::from_secs(600);

/// The parts that are read ahead.
const AHEAD: usize = 4;

/// A snapshot while it is written.
pub struct Unfinished {
    link: Arc<Link>,
    keys: Keys,
    name: String,
    at: u64,
    parts: u64,
}

impl Unfinished {
    /// Begins a snapshot.
    pub fn new(link: Arc<Link>, keys: Keys, at: u64) -> Unfinished {
        Unfinished { link, keys, name: format!("{at:020}-{}", uuid::Uuid::new_v4().simple()), at, parts: 0 }
    }

    async fn add(&mut self, part: Bytes) -> Result<(), Trouble> {
        let most = MOST_BYTES;
        if part.len() > most {
            return Err(Trouble::TooLarge { bytes: part.len(), most });
        }
        let key = format!("{}{}", self.keys.parts, self.name);
        let mut commands = Pipeline::new();
        commands.add_command(cmd("RPUSH").arg(&key).arg(&part[..]).clone());
        commands.add_command(cmd("EXPIRE").arg(&key).arg(ABANDONED.as_secs()).clone());
        let answers = self.link.ask_all(&commands).await?;
        match answers.first() {
            Some(Value::Int(parts)) if *parts == i64::try_from(self.parts + 1).unwrap_or(i64::MAX) => {
                self.parts += 1;
                Ok(())
            }
            Some(Value::ServerError(error)) => Err(Trouble::Unknown(error.to_string())),
            _ => Err(Trouble::Unknown("parts of the snapshot are missing".to_owned())),
        }
    }

    async fn complete(self) -> Result<(), Trouble> {
        Ok(self.link.ask(&self.keys.finish(&self.name, self.at, self.parts)).await?)
    }
}

impl Writing for Unfinished {
    fn put(&mut self, part: Bytes) -> Answer<'_, ()> {
        Box::pin(self.add(part))
    }

    fn finish(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(self.complete())
    }
}

/// The newest whole snapshot.
///
/// # Errors
///
/// No answer, or a refusal.
pub async fn newest(link: &Arc<Link>, keys: &Keys) -> Result<Option<Snapshot>, Fault> {
    let newest: Vec<String> = link.ask(cmd("ZREVRANGE").arg(&keys.snapshots).arg(0).arg(0)).await?;
    let Some(name) = newest.into_iter().next() else { return Ok(None) };
    let at = name.split('-').next().and_then(|at| at.parse().ok());
    let at = at.ok_or_else(|| Fault::Refused(format!("the key {} is not that of a log", keys.snapshots)))?;
    let key = format!("{}{name}", keys.parts);
    let parts: u64 = link.ask(cmd("LLEN").arg(&key)).await?;
    let (sender, coming) = mpsc::channel(AHEAD);
    let link = link.clone();
    tokio::spawn(async move {
        for place in 0..parts {
            let part = part(&link, &key, place).await;
            let ended = part.is_err();
            if sender.send(part).await.is_err() || ended {
                break;
            }
        }
    });
    Ok(Some(Snapshot::new(at, parts, coming)))
}

async fn part(link: &Link, key: &str, place: u64) -> Result<Bytes, Trouble> {
    let part = bytes(link.ask(cmd("LINDEX").arg(key).arg(place)).await?);
    let gone = || Trouble::Unknown("a part of the snapshot is gone: a newer one may be there".to_owned());
    part.map(Bytes::from).ok_or_else(gone)
}
