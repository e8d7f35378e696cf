//! What an operator sees of a gateway meanwhile.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::machines::{pause, within};

/// What was seen, and how long after the beginning.
pub type Changes = Vec<(String, Duration)>;

/// Looks at a gateway at all times, and keeps each change of what it tells.
pub struct Observer {
    begun: Instant,
    seen: watch::Receiver<Changes>,
    _task: JoinSet<()>,
}

impl Observer {
    /// How an incarnation stands, as another gateway sees it.
    pub fn standing(http: &Client, at: SocketAddr, incarnation: &str) -> Self {
        let incarnation = incarnation.to_owned();
        Self::start(http, at, "/api/gateway", move |_, told| {
            let nodes = told["cluster"]["nodes"].as_array().cloned().unwrap_or_default();
            let node = nodes.iter().find(|node| node["incarnation"] == *incarnation);
            node.map_or("gone", |node| node["standing"].as_str().unwrap_or("?")).to_owned()
        })
    }

    /// Whether a gateway calls itself ready, or ready but stale.
    pub fn readiness(http: &Client, at: SocketAddr) -> Self {
        Self::start(http, at, "/readyz", |status, told| match (status, told["stale"] == true) {
            (200, true) => "stale".to_owned(),
            (200, false) => "ready".to_owned(),
            (status, _) => status.to_string(),
        })
    }

    fn start(
        http: &Client,
        at: SocketAddr,
        path: &str,
        told: impl Fn(u16, &Value) -> String + Send + Sync + 'static,
    ) -> Self {
        let (begun, sender) = (Instant::now(), watch::Sender::new(Changes::new()));
        let (seen, http, url) = (sender.subscribe(), http.clone(), format!("http://{at}{path}"));
        let mut task = JoinSet::new();
        task.spawn(async move {
            loop {
                let now = match http.get(&url).send().await {
                    Ok(answer) => told(answer.status().as_u16(), &answer.json().await.unwrap_or_default()),
                    Err(_) => "no answer".to_owned(),
                };
                sender.send_if_modified(|seen| {
                    let is_new = seen.last().is_none_or(|(last, _)| *last != now);
                    if is_new {
                        seen.push((now, begun.elapsed()));
                    }
                    is_new
                });
                pause().await;
            }
        });
        Observer { begun, seen, _task: task }
    }

    /// Waits until this is seen.
    pub async fn sees(&mut self, what: &str) -> Duration {
        within(what, self.seen.wait_for(|seen| seen.last().is_some_and(|(last, _)| last == what)))
            .await
            .expect("a task");
        self.begun.elapsed()
    }

    pub fn changes(&self) -> Changes {
        self.seen.borrow().clone()
    }

    /// Each change as text.
    pub fn story(&self) -> String {
        let one = |(what, at): &(String, Duration)| format!("{what} {:.1} s", at.as_secs_f64());
        self.seen.borrow().iter().map(one).collect::<Vec<_>>().join(", ")
    }
}
