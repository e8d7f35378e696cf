//! Messages of a stream in order, pulled through a consumer that lives as long as this connection to it.

use std::time::Duration;

use async_nats::{StatusCode, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::journal::engine::nats::api::{Api, ApiError, Places};

/// The messages of one request: what a reader may have to keep at once.
const AT_ONCE: u64 = 32;

/// The time for which a request waits for messages.
const WAITS: Duration = Duration::from_secs(5);

/// The server says this often that it is there.
const HEARTBEAT: Duration = Duration::from_millis(250);

/// The heartbeats without a message after which the stream had better be looked at.
const IDLE: u32 = 4;

/// The silence after which the server is not there.
const SILENCE: Duration = Duration::from_millis(900);

/// The time after which the server forgets a consumer that is not used.
const UNUSED: Duration = Duration::from_secs(30);

/// A consumer of a stream.
pub struct Pull {
    api: Api,
    inbox: String,
    coming: Subscriber,
    stream: String,
    consumer: String,
    /// Messages that the request under way may still bring.
    open: u64,
    /// The messages that came, as the consumer counts them.
    came: u64,
    /// The messages that were there when the consumer was made.
    pub pending: u64,
}

/// A message.
pub struct Delivered {
    /// Its place in the stream.
    pub place: u64,
    /// Its bytes.
    pub payload: Bytes,
}

#[derive(Deserialize)]
struct Created {
    name: String,
    #[serde(default)]
    num_pending: u64,
}

impl Pull {
    /// Makes a consumer of the messages from a place on, of one subject if it is named.
    ///
    /// # Errors
    ///
    /// No or another answer.
    pub async fn start(api: &Api, stream: &str, subject: Option<&str>, from: u64) -> Result<Pull, ApiError> {
        let (inbox, coming) = api.inbox().await?;
        let mut config = json!({
            "deliver_policy": "by_start_sequence",
            "opt_start_seq": from.max(1),
            "ack_policy": "none",
            "replay_policy": "instant",
            "inactive_threshold": nanoseconds(UNUSED),
            "num_replicas": 1,
            "mem_storage": true,
        });
        if let Some(subject) = subject {
            config["filter_subject"] = json!(subject);
        }
        let body = json!({ "stream_name": stream, "config": config });
        let created: Created = api.ask(&format!("CONSUMER.CREATE.{stream}"), &body).await?;
        let (stream, consumer, pending) = (stream.to_owned(), created.name, created.num_pending);
        Ok(Pull { api: api.clone(), inbox, coming, stream, consumer, open: 0, came: 0, pending })
    }

    /// Waits for the next message of those that are there.
    ///
    /// # Errors
    ///
    /// The server is silent, or a message was lost on its way.
    pub async fn next(&mut self) -> Result<Delivered, ApiError> {
        loop {
            if let Some(message) = self.next_or_idle().await? {
                return Ok(message);
            }
        }
    }

    /// Waits for the next message, about a second. Errors end the consumer.
    ///
    /// # Errors
    ///
    /// The server is silent, or a message was lost on its way.
    pub async fn next_or_idle(&mut self) -> Result<Option<Delivered>, ApiError> {
        let mut idle = 0;
        while idle < IDLE {
            if self.open == 0 {
                self.ask().await?;
            }
            let Ok(message) = timeout(SILENCE, self.coming.next()).await else {
                return Err(lost("the server is silent"));
            };
            let message = message.ok_or_else(|| lost("the connection was closed"))?;
            match message.status {
                None => {
                    let places = Places::of(&message).ok_or_else(|| lost("a message has no place"))?;
                    self.came += 1;
                    if places.consumer != self.came {
                        return Err(lost("a message was lost"));
                    }
                    self.open = self.open.saturating_sub(1);
                    return Ok(Some(Delivered { place: places.stream, payload: message.payload }));
                }
                Some(StatusCode::IDLE_HEARTBEAT) => idle += 1,
                // The request brings no more.
                Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => self.open = 0,
                Some(_) => return Err(lost(message.description.as_deref().unwrap_or("the consumer is gone"))),
            }
        }
        Ok(None)
    }

    async fn ask(&mut self) -> Result<(), ApiError> {
        let what = format!("CONSUMER.MSG.NEXT.{}.{}", self.stream, self.consumer);
        let body = json!({
            "batch": AT_ONCE, "expires": nanoseconds(WAITS), "idle_heartbeat": nanoseconds(HEARTBEAT),
        });
        self.api.send(&what, self.inbox.clone(), &body).await?;
        self.open = AT_ONCE;
        Ok(())
    }

    /// Removes the consumer from the server, which would forget it soon.
    pub async fn end(self) {
        let what = format!("CONSUMER.DELETE.{}.{}", self.stream, self.consumer);
        drop(self.api.ask::<Value>(&what, &Value::Null).await);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn lost(why: &str) -> ApiError {
    ApiError::Unanswered(why.to_owned())
}
