//! Snapshots: parts under a subject of the snapshot's own, and a message that makes them whole.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Duration, Instant};

use crate::journal::engine::nats::api::{Api, ApiError};
use crate::journal::engine::nats::publish::store;
use crate::journal::engine::nats::pull::Pull;
use crate::journal::engine::nats::streams::{Info, Names};
use crate::journal::engine::seam::{Answer, SNAPSHOTS, Snapshot, Trouble, Writing};

/// The time for a part, which is large.
const WITHIN: Duration = Duration::from_secs(10);

/// The parts that are read ahead.
const AHEAD: usize = 4;

/// What makes a snapshot whole.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Whole {
    /// The last entry that the snapshot has.
    at: u64,
    /// Its name among the subjects.
    name: String,
    parts: u64,
}

/// A snapshot while it is written.
pub struct Unfinished {
    api: Api,
    names: Names,
    most: usize,
    whole: Whole,
}

impl Unfinished {
    /// Begins a snapshot.
    pub fn new(api: Api, names: Names, at: u64, most: usize) -> Unfinished {
        // The place first: what is older than the snapshots that are kept is told by the name.
        let name = format!("{at:020}-{}", uuid::Uuid::new_v4().simple());
        Unfinished { api, names, most, whole: Whole { at, name, parts: 0 } }
    }

    async fn add(&mut self, part: Bytes) -> Result<(), Trouble> {
        let (bytes, most) = (part.len(), self.most);
        if bytes > most {
            return Err(Trouble::TooLarge { bytes, most });
        }
        let subject = format!("{}{}", self.names.parts, self.whole.name);
        store(&self.api, &subject, &self.names.snapshots, part, Instant::now() + WITHIN).await?;
        self.whole.parts += 1;
        Ok(())
    }

    async fn complete(self) -> Result<(), ApiError> {
        let whole = json!(self.whole).to_string().into();
        let deadline = Instant::now() + WITHIN;
        store(&self.api, &self.names.whole, &self.names.snapshots, whole, deadline).await?;
        tidy(&self.api, &self.names).await
    }
}

impl Writing for Unfinished {
    fn put(&mut self, part: Bytes) -> Answer<'_, ()> {
        Box::pin(self.add(part))
    }

    fn finish(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async { Ok(self.complete().await?) })
    }
}

/// The snapshots that were made whole, the newest first.
async fn all(api: &Api, names: &Names) -> Result<Vec<Whole>, ApiError> {
    let mut pull = Pull::start(api, &names.snapshots, Some(&names.whole), 1).await?;
    let mut all: Vec<Whole> = Vec::new();
    for _ in 0..pull.pending {
        let message = pull.next().await?;
        all.extend(serde_json::from_slice::<Whole>(&message.payload));
    }
    pull.end().await;
    all.sort_by(|one, other| other.cmp(one));
    Ok(all)
}

/// The parts of each snapshot that are there, by their subjects.
async fn parts(api: &Api, names: &Names) -> Result<Vec<(String, u64)>, ApiError> {
    let filter = json!({ "subjects_filter": format!("{}*", names.parts) });
    let info: Info = api.ask(&format!("STREAM.INFO.{}", names.snapshots), &filter).await?;
    Ok(info.state.subjects.unwrap_or_default().into_iter().collect())
}

/// Removes the snapshots beyond those that are kept, and parts that are older than these and were never made whole.
async fn tidy(api: &Api, names: &Names) -> Result<(), ApiError> {
    let all = all(api, names).await?;
    let kept: Vec<_> = all.iter().take(SNAPSHOTS).map(|whole| format!("{}{}", names.parts, whole.name)).collect();
    let Some(oldest) = kept.last().filter(|_| kept.len() == SNAPSHOTS) else { return Ok(()) };
    let what = format!("STREAM.PURGE.{}", names.snapshots);
    for (subject, _) in parts(api, names).await?.iter().filter(|(subject, _)| subject < oldest) {
        api.ask::<Value>(&what, &json!({ "filter": subject })).await?;
    }
    // Those that are whole come in the order of their ends, and the parts of the oldest are gone.
    let keep = json!({ "filter": names.whole, "keep": 2 * SNAPSHOTS });
    api.ask::<Value>(&what, &keep).await.map(drop)
}

/// The newest whole snapshot.
///
/// # Errors
///
/// No or another answer.
pub async fn newest(api: &Api, names: &Names) -> Result<Option<Snapshot>, ApiError> {
    let there = parts(api, names).await?;
    let is_whole = |whole: &Whole| {
        let subject = format!("{}{}", names.parts, whole.name);
        let found = there.iter().find(|(other, _)| *other == subject).map_or(0, |(_, parts)| *parts);
        found == whole.parts
    };
    let Some(whole) = all(api, names).await?.into_iter().find(is_whole) else { return Ok(None) };
    let subject = format!("{}{}", names.parts, whole.name);
    let mut pull = Pull::start(api, &names.snapshots, Some(&subject), 1).await?;
    let (sender, coming) = mpsc::channel(AHEAD);
    tokio::spawn(async move {
        for _ in 0..whole.parts {
            let part = pull.next().await.map(|message| message.payload).map_err(Trouble::from);
            let ended = part.is_err();
            if sender.send(part).await.is_err() || ended {
                break;
            }
        }
        pull.end().await;
    });
    Ok(Some(Snapshot::new(whole.at, whole.parts, coming)))
}
