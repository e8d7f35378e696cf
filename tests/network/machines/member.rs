//! A member: a client that holds its user, comes back when its connection ends, and may say something now and then.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::ROOM;
use super::line::{Line, Transport, some_time};

/// How often a request of a session is sent until another session is opened.
const TRIES: usize = 100;

/// How often a member says something, if it may now.
pub type Says = (Duration, Arc<AtomicBool>);

/// A client; it goes when dropped.
pub struct Member {
    pub user: String,
    returns: Arc<AtomicBool>,
    absence: Arc<AtomicU64>,
    here: watch::Receiver<bool>,
    _task: JoinSet<()>,
}

impl Member {
    /// Holds `user` from now on, and may say something now and then.
    pub fn join(http: &Client, to: SocketAddr, transport: Transport, user: &str, says: Option<Says>) -> Self {
        let (returns, absence) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
        let (sender, here) = watch::channel(false);
        let (says, talks) = says.unwrap_or((Duration::MAX / 4, Arc::default()));
        let person = Person {
            http: http.clone(),
            to,
            transport,
            user: user.to_owned(),
            client: uuid::Uuid::new_v4().to_string(),
            says,
            talks,
            returns: returns.clone(),
            absence: absence.clone(),
            left: Mutex::default(),
        };
        let mut task = JoinSet::new();
        task.spawn(async move { person.live(&sender).await });
        Member { user: user.to_owned(), returns, absence, here, _task: task }
    }

    /// The longest time between the end of a connection and the next hold.
    pub fn absence(&self) -> Duration {
        Duration::from_millis(self.absence.load(Ordering::SeqCst))
    }

    /// Whether its connection holds the user, as far as it knows.
    pub fn is_here(&self) -> bool {
        *self.here.borrow()
    }

    /// Waits until it is here.
    pub async fn comes(&mut self) {
        self.here.wait_for(|here| *here).await.expect("a member");
    }

    /// From now on the end of its connection is its own.
    pub fn stays_away(&self) {
        self.returns.store(false, Ordering::SeqCst);
    }
}

struct Person {
    http: Client,
    to: SocketAddr,
    transport: Transport,
    user: String,
    client: String,
    says: Duration,
    talks: Arc<AtomicBool>,
    returns: Arc<AtomicBool>,
    absence: Arc<AtomicU64>,
    /// When the last connection ended.
    left: Mutex<Option<Instant>>,
}

impl Person {
    async fn live(&self, here: &watch::Sender<bool>) {
        while self.returns.load(Ordering::SeqCst) {
            let wait = match self.transport {
                Transport::WebSocket => self.connection(here).await,
                Transport::Events => self.session(here).await,
            };
            if here.send_replace(false) {
                *self.left.lock().expect("unpoisoned") = Some(Instant::now());
            }
            sleep(wait.unwrap_or_else(some_time)).await;
        }
    }

    fn arrives(&self, here: &watch::Sender<bool>) {
        here.send_replace(true);
        if let Some(left) = self.left.lock().expect("unpoisoned").take() {
            self.absence.fetch_max(u64::try_from(left.elapsed().as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
        }
    }

    fn joins(&self) -> Value {
        json!({ "action": "join", "room": ROOM, "user": self.user, "ref": 1 })
    }

    fn update(&self) -> Value {
        json!({ "action": "update", "room": ROOM, "user": self.user, "meta": { "n": fastrand::u32(..) }, "ref": 2 })
    }

    /// A WebSocket to its end; gives the time until the next one.
    async fn connection(&self, here: &watch::Sender<bool>) -> Option<Duration> {
        let mut line = Line::websocket(self.to, &format!("client={}", self.client)).await?;
        line.say(&self.joins()).await.then_some(())?;
        let mut ticks = interval(self.says);
        ticks.reset_after(self.says.mul_f64(fastrand::f64()));
        loop {
            tokio::select! {
                heard = line.hear() => match heard {
                    Some(frame) if joined(&frame)? => self.arrives(here),
                    Some(_) => {}
                    None => return Some(line.wait),
                },
                _ = ticks.tick() => if self.talks.load(Ordering::SeqCst) { line.say(&self.update()).await.then_some(())? },
            }
        }
    }

    /// A session to its end; gives the time until the next one.
    async fn session(&self, here: &watch::Sender<bool>) -> Option<Duration> {
        let mut line = Line::session(&self.http, self.to, &self.client, &json!([self.joins()])).await?;
        let secret = line.hear().await?["session"].as_str()?.to_owned();
        let (mut ticks, mut number, mut due, mut request) = (interval(self.says), 0, None, None);
        ticks.reset_after(self.says.mul_f64(fastrand::f64()));
        loop {
            if request.is_none()
                && let Some(message) = due.take()
            {
                number += 1;
                request = Some(Box::pin(self.request(&secret, number, message)));
            }
            tokio::select! {
                heard = line.hear() => match heard {
                    Some(frame) if joined(&frame)? => self.arrives(here),
                    Some(frame) if frame["ask"] == true => due = Some(json!({ "action": "alive" })),
                    Some(_) => {}
                    None => return Some(line.wait),
                },
                done = async { request.as_mut().expect("a request").await }, if request.is_some() => {
                    request = None;
                    done.then_some(())?;
                }
                _ = ticks.tick() => if self.talks.load(Ordering::SeqCst) && due.is_none() {
                    due = Some(self.update());
                },
            }
        }
    }

    /// Sends a request of a session, as often as needed; false if the session is over.
    async fn request(&self, secret: &str, number: u64, message: Value) -> bool {
        for _ in 0..TRIES {
            let asked = self.http.post(format!("http://{}/api/stream/messages", self.to));
            let asked =
                asked.header("Presently-Session", secret).header("Presently-Seq", number).json(&json!([message]));
            let Ok(answer) = asked.send().await else { continue };
            let status = answer.status();
            let code = answer.json::<Value>().await.unwrap_or_default();
            if status == StatusCode::NO_CONTENT {
                return true;
            }
            if code["code"] == "no_session" || code["code"] == "out_of_order" {
                return false;
            }
            sleep(some_time()).await;
        }
        false
    }
}

/// Whether a frame says that the user is held; `None` if it says that it is not.
fn joined(frame: &Value) -> Option<bool> {
    (frame["action"] != "refused" || frame["ref"] == 2).then_some(frame["action"] == "ok" && frame["ref"] == 1)
}
