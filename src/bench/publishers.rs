//! The publishers: kept-alive connections that sign users in and out on a schedule.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::bench::error::BenchError;
use crate::bench::http_client::HttpClient;
use crate::bench::room::Room;
use crate::bench::schedule::{Request, Schedule};
use crate::bench::scoreboard::{Change, Scoreboard};

/// The sum of all publishers' work.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    /// The number of events.
    pub(super) events: u64,
    /// The time from the first request to the last answer.
    pub(super) time: Duration,
}

/// Publishes in `room` on a schedule, until the end of the schedule or until `stop`.
///
/// # Errors
///
/// [`BenchError::Gateway`] if the gateway cannot be reached or refuses a request.
pub(super) async fn publish(
    room: &Arc<Room>,
    scoreboard: &Arc<Scoreboard>,
    stop: &CancellationToken,
    schedule: Schedule,
) -> Result<Published, BenchError> {
    let began = Instant::now();
    let requests = Arc::new(AtomicU64::new(0));
    let mut publishers = JoinSet::new();
    for _ in 0..schedule.publishers {
        let client = room.client().await?;
        let publisher = Publisher { client, scoreboard: scoreboard.clone(), room: room.clone(), signed_in: 0..0 };
        let (requests, stop) = (requests.clone(), stop.clone());
        publishers.spawn(async move {
            let mut events = 0;
            let ended = stop.run_until_cancelled(publisher.run(schedule, &requests, began, &mut events)).await;
            ended.unwrap_or(Ok(())).map(|()| events)
        });
    }
    let mut events = 0;
    while let Some(published) = publishers.join_next().await {
        let published = published.map_err(|error| BenchError::gateway(format!("a publisher failed: {error}")))?;
        events += published?;
    }
    Ok(Published { events, time: began.elapsed() })
}

struct Publisher {
    client: HttpClient,
    scoreboard: Arc<Scoreboard>,
    room: Arc<Room>,
    /// The users of the last request; the next one may sign them out.
    signed_in: Range<u64>,
}

impl Publisher {
    /// Sends requests, whose numbers all publishers draw from `requests`, and adds up their events.
    async fn run(
        mut self,
        schedule: Schedule,
        requests: &AtomicU64,
        began: Instant,
        events: &mut u64,
    ) -> Result<(), BenchError> {
        while let Some(due) = schedule.due(requests.fetch_add(1, Relaxed), began.elapsed()) {
            sleep_until(began + due).await;
            *events += self.request(schedule.request).await?;
        }
        Ok(())
    }

    /// Sends one request, and returns the number of its events.
    async fn request(&mut self, request: Request) -> Result<u64, BenchError> {
        match request {
            Request::SignInOrOut if !self.signed_in.is_empty() => {
                let user = std::mem::take(&mut self.signed_in).start;
                self.change("DELETE", user, Change::SignOut).await
            }
            Request::SignInOrOut | Request::SignIn => {
                self.signed_in = self.scoreboard.new_users(1);
                self.change("PUT", self.signed_in.start, Change::SignIn).await
            }
            Request::ReplaceUsers(users) => self.replace(users).await,
        }
    }

    async fn change(&mut self, method: &str, user: u64, change: Change) -> Result<u64, BenchError> {
        let path = self.room.user_path(&format!("u{user}"));
        self.scoreboard.sending(user, change);
        self.client.send(method, &path, "").await.map(|_| 1)
    }

    async fn replace(&mut self, users: u64) -> Result<u64, BenchError> {
        let gone = std::mem::replace(&mut self.signed_in, self.scoreboard.new_users(users));
        let add: Vec<_> = self.signed_in.clone().map(|user| json!({"user": format!("u{user}")})).collect();
        let del: Vec<_> = gone.clone().map(|user| format!("u{user}")).collect();
        let events = (add.len() + del.len()) as u64;
        let body = json!({"add": add, "del": del}).to_string();
        self.signed_in.clone().for_each(|user| self.scoreboard.sending(user, Change::SignIn));
        gone.for_each(|user| self.scoreboard.sending(user, Change::SignOut));
        self.client.send("POST", &self.room.users_path(), &body).await.map(|_| events)
    }
}
