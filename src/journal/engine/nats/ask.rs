//! Questions from node to node: requests outside of JetStream.
//!
//! A question goes to `<cluster>.call.<node>.<milliseconds that the asker still waits>`, so that a question of the most bytes fits. The reply
//! goes to the asker's inbox, where the last token is the number of the call; a header has the kind of a reply without an answer. A server
//! that knows no such node says so at once. The requests of the client library are not used: it keeps each without a reply for ever.

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, HeaderMap, Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::{OnceCell, mpsc};
use tokio::time::timeout_at;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::journal::engine::asking::{Asked, Asking, too_late};
use crate::journal::engine::calls::{Calls, Intake, Outgoing, Reply, is_name, outgoing};
use crate::journal::engine::seam::Trouble;

/// The header with the letter of a reply without an answer.
const HEADER: &str = "Presently-Reply";

/// The queue group of all who serve a name: a question goes to one of them.
const GROUP: &str = "node";

/// The questions and answers of one connection.
pub(super) struct Line {
    client: Client,
    /// What stands before the name of a node.
    subjects: String,
    most: usize,
    asking: Arc<Asking>,
    /// Made by the first call.
    inbox: OnceCell<Inbox>,
}

/// Where replies come.
struct Inbox {
    subject: String,
    _reading: AbortOnDropHandle<()>,
}

impl Line {
    /// Questions of at most so many bytes.
    pub fn new(client: Client, subjects: String, most: usize) -> Line {
        Line { client, subjects, most, asking: Arc::default(), inbox: OnceCell::new() }
    }

    fn most(&self) -> usize {
        // Another server of the cluster may take less.
        self.most.min(self.client.max_payload())
    }

    /// Takes the questions to a node.
    pub fn serve(&self, name: &str) -> Calls {
        let (intake, calls) = Intake::new(self.most());
        if is_name(name) {
            let (replies, sending) = outgoing();
            // The first ends with the calls, the second when all that were taken have a reply.
            tokio::spawn(listen(self.client.clone(), format!("{}{name}.*", self.subjects), intake, replies));
            tokio::spawn(reply(self.client.clone(), sending));
        }
        calls
    }

    /// Asks a node.
    pub async fn call(&self, name: &str, question: Bytes, within: Duration) -> Result<Option<Bytes>, Trouble> {
        let asked = self.asking.begin(question.len(), self.most(), within)?;
        if !is_name(name) {
            return Ok(None);
        }
        // Otherwise the question would wait for a connection, and arrive long after its time.
        if self.client.connection_state() != State::Connected {
            return Err(Trouble::Unknown("no server is connected".to_owned()));
        }
        timeout_at(asked.deadline, self.send(name, &asked, question)).await.map_err(|_| too_late())??;
        asked.reply().await
    }

    async fn send(&self, name: &str, asked: &Asked, question: Bytes) -> Result<(), Trouble> {
        let inbox = &self.inbox.get_or_try_init(|| self.listen_for_replies()).await?.subject;
        let (subject, to) = (format!("{}{name}.{}", self.subjects, asked.left()), format!("{inbox}.{}", asked.number));
        let sent = self.client.publish_with_reply(subject, to, question).await;
        sent.map_err(|error| Trouble::Unknown(error.to_string()))
    }

    async fn listen_for_replies(&self) -> Result<Inbox, Trouble> {
        let subject = self.client.new_inbox();
        let coming = self.client.subscribe(format!("{subject}.*")).await;
        let coming = coming.map_err(|error| Trouble::Unknown(error.to_string()))?;
        let reading = AbortOnDropHandle::new(tokio::spawn(settle(coming, self.asking.clone())));
        Ok(Inbox { subject, _reading: reading })
    }
}

/// Hands replies to their calls.
async fn settle(mut coming: Subscriber, asking: Arc<Asking>) {
    while let Some(message) = coming.next().await {
        if let Some(number) = last(&message.subject) {
            asking.settle(number, read(message));
        }
    }
}

/// What a message says: of the server, or of a node.
fn read(message: Message) -> Reply {
    let letter = message.headers.as_ref().and_then(|headers| headers.get(HEADER));
    match message.status {
        Some(StatusCode::NO_RESPONDERS) => Reply::Gone,
        _ => Reply::read(letter.map_or(b"a", |letter| letter.as_ref()), message.payload),
    }
}

/// Takes questions in, until nobody takes them any longer.
async fn listen(client: Client, subject: String, intake: Intake, replies: mpsc::Sender<Outgoing<Subject>>) {
    let mut coming = match client.queue_subscribe(subject, GROUP.to_owned()).await {
        Ok(coming) => coming,
        Err(error) => return warn!(%error, "questions of other nodes will not come"),
    };
    loop {
        let message = tokio::select! {
            message = coming.next() => message,
            () = intake.closed() => break,
        };
        match message {
            Some(message) => take_in(&intake, message, &replies),
            None => return,
        }
    }
    // Those that came meanwhile hear that nobody serves the name.
    if coming.unsubscribe().await.is_ok() {
        while let Some(message) = coming.next().await {
            take_in(&intake, message, &replies);
        }
    }
}

fn take_in(intake: &Intake, message: Message, replies: &mpsc::Sender<Outgoing<Subject>>) {
    let within = last(&message.subject).and_then(|within| u32::try_from(within).ok());
    // Others are no questions of a node.
    if let (Some(within), Some(to)) = (within, message.reply) {
        let replies = replies.clone();
        intake.take_in(message.payload, Duration::from_millis(within.into()), move |reply, room| {
            drop(replies.try_send((to, reply, room)));
        });
    }
}

/// Sends the replies of one name, until there can be none.
async fn reply(client: Client, mut sending: mpsc::Receiver<Outgoing<Subject>>) {
    while let Some((to, reply, _room)) = sending.recv().await {
        let letter = reply.letter();
        // What can't be sent is an answer that does not come. The connection says why there is none.
        drop(match reply {
            Reply::Answer(bytes) => client.publish(to, bytes).await,
            Reply::Busy | Reply::Gone | Reply::Unanswered | Reply::TooLarge => {
                client.publish_with_headers(to, header(letter), Bytes::new()).await
            }
        });
    }
}

fn header(letter: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HEADER, letter);
    headers
}

/// The number in the last token of a subject.
fn last(subject: &str) -> Option<u64> {
    subject.rsplit_once('.')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(status: Option<StatusCode>, headers: Option<HeaderMap>) -> Message {
        let (subject, payload) = ("i.7".into(), Bytes::from_static(b"x"));
        Message { subject, reply: None, payload, headers, status, description: None, length: 0 }
    }

    #[test]
    fn replies_are_those_of_the_server_or_of_a_node() {
        assert_eq!(read(message(Some(StatusCode::NO_RESPONDERS), None)), Reply::Gone);
        assert_eq!(read(message(None, None)), Reply::Answer(Bytes::from_static(b"x")));
        assert_eq!(read(message(None, Some(HeaderMap::new()))), Reply::Answer(Bytes::from_static(b"x")));
        for reply in [Reply::Busy, Reply::Gone, Reply::Unanswered, Reply::TooLarge] {
            assert_eq!(read(message(None, Some(header(reply.letter())))), reply);
        }
    }

    #[test]
    fn numbers_are_last_tokens() {
        assert_eq!(last("_INBOX.x.17"), Some(17));
        assert_eq!((last("17"), last("a.b"), last("a.-1")), (None, None, None));
    }
}
