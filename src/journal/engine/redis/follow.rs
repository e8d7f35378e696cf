//! Reading the stream.

use std::convert::Infallible;
use std::sync::Arc;

use ::redis::{Cmd, Value, cmd};
use bytes::Bytes;

use crate::journal::engine::reader::{Entry, Feed, Follow, Place, Stop};
use crate::journal::engine::redis::connection::{Connection, Fault, Link, array, bytes};
use crate::journal::engine::redis::keys::Keys;

/// The entries of one answer.
const AT_ONCE: u32 = 32;

/// The milliseconds for which the server waits for an entry: well below the time of a request. Afterwards the log is looked at.
const BLOCK: u64 = 400;

pub(super) struct Following {
    pub link: Arc<Link>,
    pub keys: Keys,
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Stop {
        Stop::Again(fault.to_string())
    }
}

impl Following {
    async fn try_follow(&self, place: &mut Place, feed: &Feed) -> Result<Infallible, Stop> {
        // Dropped with this call, also in the middle of an answer.
        let mut connection = self.link.connect().await?;
        let block = BLOCK.min(u64::try_from(self.link.within.as_millis() / 2).unwrap_or(BLOCK)).max(1);
        self.look(&mut connection, place).await?;
        if place.last.is_some() {
            let found: Value = connection.ask(&self.range(place.after)).await?;
            for (_, found) in entries(found)? {
                place.check_last(&found)?;
            }
        }
        loop {
            let mut read = cmd("XREAD");
            read.arg("COUNT").arg(AT_ONCE).arg("BLOCK").arg(block).arg("STREAMS");
            read.arg(&self.keys.log).arg(format!("{}-0", place.after));
            let answer: Value = connection.ask(&read).await?;
            let entries = streams(answer)?;
            if entries.is_empty() {
                self.look(&mut connection, place).await?;
            }
            for entry in entries {
                feed.send(place, entry).await?;
            }
            if feed.is_dropped() {
                return Err(Stop::Dropped);
            }
        }
    }

    async fn look(&self, connection: &mut Connection, place: &mut Place) -> Result<(), Stop> {
        let said = connection.ask(&self.keys.look()).await?;
        let (identity, extent) = self.keys.read(said).map_err(Stop::Again)?;
        place.check(identity, extent)
    }

    fn range(&self, position: u64) -> Cmd {
        let mut range = cmd("XRANGE");
        range.arg(&self.keys.log).arg(format!("{position}-0")).arg(format!("{position}-0"));
        range
    }
}

impl Follow for Following {
    async fn follow(&self, place: &mut Place, feed: &Feed) -> Stop {
        let Err(stop) = self.try_follow(place, feed).await;
        stop
    }
}

/// The entries in the answer to a read of one stream: `[[key, [entry, …]]]`, or nothing.
fn streams(answer: Value) -> Result<Vec<Entry>, Stop> {
    if answer == Value::Nil {
        return Ok(Vec::new());
    }
    let stream = array(answer).and_then(|streams| array(streams.into_iter().next()?));
    entries(stream.and_then(|stream| stream.into_iter().nth(1)).ok_or_else(foreign)?)
}

/// Entries: `[[id, [field, value]], …]`.
fn entries(answer: Value) -> Result<Vec<Entry>, Stop> {
    let entries = array(answer).ok_or_else(foreign)?;
    entries.into_iter().map(|entry| entry_of(entry).ok_or_else(foreign)).collect()
}

fn entry_of(entry: Value) -> Option<Entry> {
    let [id, fields] = <[Value; 2]>::try_from(array(entry)?).ok()?;
    let position = std::str::from_utf8(&bytes(id)?).ok()?.strip_suffix("-0")?.parse().ok()?;
    Some((position, Bytes::from(bytes(array(fields)?.into_iter().nth(1)?)?)))
}

fn foreign() -> Stop {
    Stop::Again("the stream has entries of another program".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_entries_or_foreign() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let entry = |id: &str| Value::Array(vec![text(id), Value::Array(vec![text("b"), text("x")])]);
        let answer = |ids: &[&str]| {
            let entries = ids.iter().map(|id| entry(id)).collect();
            Value::Array(vec![Value::Array(vec![text("key"), Value::Array(entries)])])
        };
        assert_eq!(streams(answer(&["7-0", "8-0"])).unwrap(), [(7, Bytes::from("x")), (8, Bytes::from("x"))]);
        assert_eq!(streams(Value::Nil).unwrap(), []);
        for foreign in [answer(&["7-1"]), answer(&["x"]), Value::Okay, Value::Array(vec![text("key")])] {
            assert!(streams(foreign).is_err());
        }
    }
}
