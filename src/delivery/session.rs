//! Sessions: event streams whose clients send their messages by requests of their own.
//!
//! Browsers and proxies send a request again when a kept-alive connection closes (RFC 9110, 9.2.2), so each request has a
//! number: what was taken already is not done again.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use dashmap::DashMap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::delivery::asks::Asks;
use crate::model::name::Name;

/// The digits of a node's name, and of a secret behind it.
const NAME: usize = 32;

/// The messages of one request.
pub type Messages = Vec<Box<RawValue>>;

/// The open sessions, by a keyed hash of the secret. The table holds no secrets, and the time of a search tells nothing
/// about them.
#[derive(Default)]
pub struct Sessions {
    inboxes: DashMap<u128, Arc<Inbox>>,
    keys: [RandomState; 2],
    /// The name of this node of a cluster, with which secrets begin.
    node: OnceLock<String>,
}

/// A session's end for requests.
#[derive(Debug)]
pub struct Inbox {
    state: Mutex<State>,
    asks: Arc<Asks>,
    /// The user of the session's token, once known.
    owner: OnceLock<Name>,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last request that was taken.
    last: u64,
    under_way: Option<Request>,
    /// The conversation, which waits for requests.
    reader: Option<Waker>,
    is_closed: bool,
}

/// A request whose messages are not all answered yet.
#[derive(Debug)]
struct Request {
    messages: Messages,
    done: Option<oneshot::Sender<()>>,
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Posted {
    /// The request is taken. The receiver gets a value when all messages are answered, and an error at the session's end.
    Taken(oneshot::Receiver<()>),
    /// The request was taken before, and is not done again.
    Again,
    /// Another request is under way.
    Busy,
    /// The number does not follow that of the last request, which is given.
    OutOfOrder(u64),
    /// The session has ended.
    Ended,
}

/// What a client hears of a request in the end, whichever node has the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// All messages are answered, now or before.
    Done,
    /// Another request is under way, or the node does not answer: the same request may come again.
    Busy,
    /// The number does not follow that of the last request, which is given.
    OutOfOrder(u64),
    /// No such session is open.
    Ended,
    /// The credential is another user's than the session.
    WrongUser,
    /// The request is too large to be handed on.
    TooLarge,
}

/// A session's end for the conversation. A drop ends the session.
pub struct Mailbox {
    sessions: Arc<Sessions>,
    key: u128,
    inbox: Arc<Inbox>,
}

impl Sessions {
    /// Opens a session, with the messages of the request that opens it. Returns the secret, which only the client may know.
    pub fn open(self: &Arc<Self>, first: Messages, asks: Arc<Asks>) -> (String, Mailbox) {
        let secret = format!("{}{}", self.node().unwrap_or_default(), Uuid::new_v4().simple());
        let under_way = (!first.is_empty()).then_some(Request { messages: first, done: None });
        let inbox = Arc::new(Inbox {
            state: Mutex::new(State { under_way, ..State::default() }),
            asks,
            owner: OnceLock::new(),
        });
        let key = self.key(&secret);
        self.inboxes.insert(key, inbox.clone());
        (secret, Mailbox { sessions: self.clone(), key, inbox })
    }

    /// Names this node of a cluster: its secrets say whose they are.
    pub fn name_node(&self, node: Uuid) {
        self.node.get_or_init(|| node.simple().to_string());
    }

    /// The name of this node, in a cluster.
    pub fn node(&self) -> Option<&str> {
        self.node.get().map(String::as_str)
    }

    /// The name of the node that gave `secret`.
    pub fn node_of(secret: &str) -> Option<&str> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (secret.len() == 2 * NAME && secret.bytes().all(is_digit)).then(|| &secret[..NAME])
    }

    /// The session of `secret`, if it is open.
    pub fn find(&self, secret: &str) -> Option<Arc<Inbox>> {
        self.inboxes.get(&self.key(secret)).map(|inbox| inbox.clone())
    }

    fn key(&self, secret: &str) -> u128 {
        let [high, low] = self.keys.each_ref().map(|key| u128::from(key.hash_one(secret)));
        high << 64 | low
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sessions({})", self.inboxes.len())
    }
}

impl Inbox {
    /// The user of the session's token, once known. It stays.
    pub fn owner(&self) -> Option<&Name> {
        self.owner.get()
    }

    /// Notes that the client is alive.
    pub fn heard(&self) {
        self.asks.answered();
    }

    /// Leaves the messages of the request `number`, counted from 1, to the conversation.
    pub fn post(&self, number: u64, messages: Messages) -> Posted {
        let mut state = self.state.lock();
        if state.is_closed {
            return Posted::Ended;
        }
        if state.under_way.is_some() {
            return Posted::Busy;
        }
        if number == state.last {
            return Posted::Again;
        }
        if number.checked_sub(1) != Some(state.last) {
            return Posted::OutOfOrder(state.last);
        }
        let (done, receiver) = oneshot::channel();
        state.last = number;
        state.under_way = Some(Request { messages, done: Some(done) });
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Posted::Taken(receiver)
    }
}

impl Mailbox {
    /// Ready when a request has come. For one task only.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.inbox.state.lock();
        if state.under_way.is_some() {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The messages of a request that has come, to be answered before [`Mailbox::done`].
    pub fn take(&self) -> Messages {
        self.inbox
            .state
            .lock()
            .under_way
            .as_mut()
            .map(|request| std::mem::take(&mut request.messages))
            .unwrap_or_default()
    }

    /// Notes the user of the session's token.
    pub fn own(&self, user: &Name) {
        self.inbox.owner.get_or_init(|| user.clone());
    }

    /// Answers the request.
    pub fn done(&self) {
        let request = self.inbox.state.lock().under_way.take();
        if let Some(done) = request.and_then(|request| request.done) {
            // Nobody receives it once the client has given the request up.
            let _ = done.send(());
        }
    }

    /// Ends the session: later requests find none.
    pub fn close(&self) {
        self.sessions.inboxes.remove(&self.key);
        let mut state = self.inbox.state.lock();
        state.is_closed = true;
        state.under_way = None;
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::moment::Tick;

    fn session() -> (Arc<Sessions>, String, Mailbox) {
        let sessions = Arc::new(Sessions::default());
        let (secret, mailbox) = sessions.open(Vec::new(), Arc::new(Asks::new(Tick(0), true)));
        (sessions, secret, mailbox)
    }

    fn messages(count: usize) -> Messages {
        (0..count).map(|n| RawValue::from_string(n.to_string()).unwrap()).collect()
    }

    #[test]
    fn requests_are_taken_in_order_and_each_once() {
        let (sessions, secret, mailbox) = session();
        let inbox = sessions.find(&secret).unwrap();
        assert!(matches!(inbox.post(2, messages(1)), Posted::OutOfOrder(0)));
        let Posted::Taken(mut done) = inbox.post(1, messages(2)) else { panic!("the first") };
        assert!(matches!(inbox.post(1, messages(1)), Posted::Busy), "not answered yet");
        assert!(matches!(inbox.post(2, messages(1)), Posted::Busy));
        assert_eq!(mailbox.take().len(), 2);
        assert!(done.try_recv().is_err());
        mailbox.done();
        assert!(done.try_recv().is_ok());
        assert!(matches!(inbox.post(1, messages(1)), Posted::Again) && mailbox.take().is_empty());
        assert!(matches!(inbox.post(3, messages(1)), Posted::OutOfOrder(1)));
        assert!(matches!(inbox.post(2, messages(0)), Posted::Taken(_)), "what was refused has used up no number");
    }

    #[test]
    fn a_session_that_has_ended_is_not_found_and_answers_nobody() {
        let (sessions, secret, mailbox) = session();
        let inbox = sessions.find(&secret).unwrap();
        assert!(sessions.find(&secret.to_uppercase()).is_none() && sessions.find("").is_none());
        let Posted::Taken(mut done) = inbox.post(1, messages(1)) else { panic!("the first") };
        drop(mailbox);
        assert!(done.try_recv().is_err() && sessions.find(&secret).is_none());
        assert!(matches!(inbox.post(1, messages(1)), Posted::Ended));
    }
}
