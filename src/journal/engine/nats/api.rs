//! Requests to JetStream, and their answers.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, Message, Request, Subscriber};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::journal::engine::seam::Trouble;

/// A connection to the servers. Clones share it.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    within: Duration,
}

/// Why there is no answer, or not the wanted one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The server refused the request.
    #[error("{description}")]
    Refused {
        /// A status as in HTTP.
        code: u16,
        /// The number of the error (server/errors.json of nats-server).
        number: u32,
        /// A sentence.
        description: String,
    },
    /// The request may have been done.
    #[error("{0}")]
    Unanswered(String),
}

/// What a server may say instead of an answer.
#[derive(Deserialize)]
struct Outcome {
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Trouble {
        Trouble::Unknown(error.to_string())
    }
}

impl ApiError {
    /// Whether another attempt may succeed: an election is under way, or a server starts.
    pub fn is_temporary(&self) -> bool {
        matches!(self, ApiError::Unanswered(_) | ApiError::Refused { code: 503, .. })
    }

    /// Whether the request was refused for this reason.
    pub fn is(&self, wanted: u32) -> bool {
        matches!(self, ApiError::Refused { number, .. } if *number == wanted)
    }
}

impl Api {
    /// Requests with so much time each.
    pub fn new(client: Client, within: Duration) -> Api {
        Api { client, within }
    }

    /// The same with at most so much time for each request.
    pub fn within(&self, most: Duration) -> Api {
        Api { client: self.client.clone(), within: self.within.min(most) }
    }

    /// The most bytes of a message to the connected server.
    pub fn max_payload(&self) -> usize {
        self.client.max_payload()
    }

    /// Whether the servers form a cluster.
    pub fn is_clustered(&self) -> bool {
        self.client.server_info().cluster.is_some()
    }

    /// Asks JetStream.
    ///
    /// # Errors
    ///
    /// No or another answer.
    pub async fn ask<T: DeserializeOwned>(&self, what: &str, body: &Value) -> Result<T, ApiError> {
        let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        self.request(format!("$JS.API.{what}"), body, Instant::now() + self.within).await
    }

    /// Sends a message that a stream answers, and that fits.
    ///
    /// # Errors
    ///
    /// No or another answer.
    pub async fn request<T: DeserializeOwned>(
        &self,
        subject: String,
        body: Bytes,
        deadline: Instant,
    ) -> Result<T, ApiError> {
        // Otherwise the message would wait for a connection, and arrive long after its time.
        if self.client.connection_state() != State::Connected {
            return Err(ApiError::Unanswered("no server is connected".to_owned()));
        }
        // With an inbox of its own: in the one that requests share, the library keeps each without an answer for ever.
        let request = Request::new().payload(body).inbox(self.client.new_inbox());
        let request = request.timeout(Some(deadline - Instant::now()));
        let answer = timeout_at(deadline, self.client.send_request(subject, request)).await;
        let answer = answer.map_err(|_| ApiError::Unanswered("no answer in time".to_owned()))?;
        read(&answer.map_err(|error| ApiError::Unanswered(error.kind().to_string()))?.payload)
    }

    /// Sends a request whose answers go to a subscription.
    ///
    /// # Errors
    ///
    /// The connection takes nothing in time.
    pub async fn send(&self, what: &str, reply: String, body: &Value) -> Result<(), ApiError> {
        let (subject, body) = (format!("$JS.API.{what}"), body.to_string().into());
        let sent = timeout_at(Instant::now() + self.within, self.client.publish_with_reply(subject, reply, body)).await;
        let sent = sent.map_err(|_| ApiError::Unanswered("the connection is stuck".to_owned()))?;
        sent.map_err(|error| ApiError::Unanswered(error.to_string()))
    }

    /// Subscribes to a subject of this process's own.
    ///
    /// # Errors
    ///
    /// The connection takes nothing in time.
    pub async fn inbox(&self) -> Result<(String, Subscriber), ApiError> {
        let inbox = self.client.new_inbox();
        let subscribed = timeout_at(Instant::now() + self.within, self.client.subscribe(inbox.clone())).await;
        let subscribed = subscribed.map_err(|_| ApiError::Unanswered("the connection is stuck".to_owned()))?;
        Ok((inbox, subscribed.map_err(|error| ApiError::Unanswered(error.to_string()))?))
    }
}

/// Reads an answer.
fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ApiError> {
    let unreadable = |_| ApiError::Unanswered("the answer is not one of JetStream".to_owned());
    let outcome: Outcome = serde_json::from_slice(payload).map_err(unreadable)?;
    match outcome.error {
        Some(Refusal { code, err_code: number, description }) => Err(ApiError::Refused { code, number, description }),
        None => serde_json::from_slice(payload).map_err(unreadable),
    }
}

/// The places of a delivered message, which stand in its reply subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places {
    /// In the stream.
    pub stream: u64,
    /// Among the messages of the consumer.
    pub consumer: u64,
}

impl Places {
    /// Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<stream sequence>.<consumer sequence>.<time>.<pending>`, or the longer form
    /// with a domain and an account before the stream.
    pub fn of(message: &Message) -> Option<Places> {
        let tokens: Vec<_> = message.reply.as_ref()?.split('.').collect();
        let first = match tokens.len() {
            9 => 5,
            11.. => 7,
            _ => return None,
        };
        Some(Places { stream: tokens.get(first)?.parse().ok()?, consumer: tokens.get(first + 1)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(reply: &str) -> Message {
        Message {
            subject: "s".into(),
            reply: Some(reply.into()),
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn places_stand_in_the_reply_subject() {
        let places = |reply| Places::of(&delivered(reply)).map(|places| (places.stream, places.consumer));
        assert_eq!(places("$JS.ACK.log.abc.1.17.3.1700000000.2"), Some((17, 3)));
        assert_eq!(places("$JS.ACK._.hash.log.abc.1.17.3.1700000000.2.rand"), Some((17, 3)));
        assert_eq!(places("$JS.ACK.log.abc.1.x.3.1700000000.2"), None);
        assert_eq!(places("_INBOX.1"), None);
    }

    #[test]
    fn answers_are_what_was_asked_for_or_a_refusal() {
        let refused =
            read::<Value>(br#"{"type":"x","error":{"code":404,"err_code":10059,"description":"stream not found"}}"#);
        let refused = refused.unwrap_err();
        assert!(refused.is(10059) && !refused.is_temporary());
        assert_eq!(refused.to_string(), "stream not found");
        assert_eq!(read::<Value>(br#"{"seq":1}"#).unwrap()["seq"], 1);
        assert!(read::<Value>(b"no").unwrap_err().is_temporary());
    }
}
