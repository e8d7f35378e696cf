//! A watcher: a reader that comes back with its cursor when its connection ends, and keeps all that it was told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::line::{Line, Transport, some_time};
use super::mirror::{Mirror, offset};
use super::{ROOM, within};

/// What a watcher was told.
pub struct Seen {
    pub mirror: Mirror,
    /// Each event with its cursor's offset, and when it came.
    pub events: BTreeMap<u64, (Value, Instant)>,
    /// From where to where the watcher came by a snapshot or by `changes`; the first begins at 0.
    pub jumps: Vec<(u64, u64)>,
    /// How often it was connected.
    pub connections: usize,
    /// Whether it is connected and stands.
    pub open: bool,
}

impl Seen {
    fn hear(&mut self, frame: Value) {
        let place = |mirror: &Mirror| mirror.cursor.as_deref().map_or(0, offset);
        let before = place(&self.mirror);
        self.mirror.apply(&frame);
        let after = place(&self.mirror);
        self.open |= self.mirror.is_set();
        if ["add", "update", "del"].iter().any(|action| frame["action"] == *action) {
            self.events.insert(after, (frame, Instant::now()));
        } else if after > before {
            self.jumps.push((before, after));
        }
    }

    /// Where the watcher stands.
    pub fn place(&self) -> u64 {
        self.mirror.cursor.as_deref().map_or(0, offset)
    }

    /// The longest time without an event since then.
    pub fn longest_silence(&self, since: Instant) -> Duration {
        let times = self.events.values().map(|(_, at)| *at).filter(|at| *at > since);
        let mut times: Vec<_> = [since].into_iter().chain(times).collect();
        times.sort_unstable();
        times.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default()
    }
}

/// A reader that is always there.
pub struct Watcher {
    pub name: String,
    pub seen: watch::Receiver<Seen>,
    _task: JoinSet<()>,
}

impl Watcher {
    /// Watches from now on, and waits for the first set.
    pub async fn open(http: &Client, to: SocketAddr, transport: Transport, name: &str) -> Self {
        Self::start(http, to, transport, name, "").await
    }

    /// The same for one that asks for suspects.
    pub async fn asking(http: &Client, to: SocketAddr, transport: Transport, name: &str) -> Self {
        Self::start(http, to, transport, name, "suspect=1").await
    }

    async fn start(http: &Client, to: SocketAddr, transport: Transport, name: &str, query: &'static str) -> Self {
        let seen =
            Seen { mirror: Mirror::of(ROOM), events: BTreeMap::new(), jumps: Vec::new(), connections: 0, open: false };
        let (sender, seen) = watch::channel(seen);
        let (mut task, http) = (JoinSet::new(), http.clone());
        task.spawn(async move { live(&http, to, transport, query, &sender).await });
        let mut watcher = Watcher { name: format!("{transport:?} at {name}"), seen, _task: task };
        watcher.until("the first set", |seen| seen.open).await;
        watcher
    }

    /// Waits until what was told is like this.
    pub async fn until(&mut self, what: &str, holds: impl FnMut(&Seen) -> bool) {
        let came = within(&format!("{what} over {}", self.name), self.seen.wait_for(holds)).await.is_ok();
        assert!(came, "{} has ended; a panic above says why", self.name);
    }
}

async fn live(http: &Client, to: SocketAddr, transport: Transport, query: &str, seen: &watch::Sender<Seen>) {
    loop {
        let since = seen.borrow().mirror.cursor.clone().unwrap_or_default();
        let line = match transport {
            Transport::WebSocket => Line::websocket(to, &format!("room={ROOM}&since={since}&{query}")).await,
            Transport::Events => Line::events(http, to, &since, query).await,
        };
        let Some(mut line) = line else {
            sleep(some_time()).await;
            continue;
        };
        seen.send_modify(|seen| {
            seen.mirror = seen.mirror.clone().reconnected();
            seen.connections += 1;
        });
        while let Some(frame) = line.hear().await {
            if frame["action"] == "refused" {
                continue;
            }
            seen.send_modify(|seen| seen.hear(frame));
        }
        seen.send_modify(|seen| seen.open = false);
        sleep(line.wait).await;
    }
}
