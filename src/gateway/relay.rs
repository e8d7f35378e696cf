//! Requests of sessions that another node of the cluster has: handed on to that node, beside the log, and its answer back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use crate::delivery::session::{Messages, Posted, Reply, Sessions};
use crate::journal::engine::calls::Call;
use crate::journal::engine::seam::Trouble;
use crate::rooms::Rooms;
use crate::rooms::cluster::Cluster;
use crate::runtime::tasks::Tasks;

/// How long the other node may take: a message waits at most 10 s for the log.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// The same for the other node itself, which says so in time.
const DONE_WITHIN: Duration = Duration::from_secs(12);

/// How long a node that nobody finds is looked for: it may have lost its connection just now.
const FOUND_WITHIN: Duration = Duration::from_secs(2);

/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A request of a session. Has its secret, so it is shown nowhere.
#[derive(Serialize, Deserialize)]
pub struct Request {
    /// The session's secret.
    pub secret: String,
    /// The request's number.
    pub number: u64,
    /// The user of a credential that came along.
    pub sub: Option<String>,
    /// The messages.
    pub messages: Messages,
}

/// Hands a request on to the node that its secret names, and waits for what becomes of it.
pub async fn hand_on(cluster: &Cluster, request: &Request) -> Reply {
    let Some(node) = Sessions::node_of(&request.secret) else { return Reply::Ended };
    let Ok(question) = serde_json::to_vec(request).map(Bytes::from) else { return Reply::Ended };
    let end = Instant::now() + FOUND_WITHIN;
    loop {
        match cluster.participant().call(node, question.clone(), ANSWER_WITHIN).await {
            Ok(Some(answer)) => return serde_json::from_slice(&answer).unwrap_or(Reply::Busy),
            Ok(None) if Instant::now() < end => sleep(LOOK_EVERY).await,
            // Its servers may be away, too. Only the log says that a node is gone.
            Ok(None) if cluster.has_node(node) => return Reply::Busy,
            Ok(None) => return Reply::Ended,
            Err(Trouble::TooLarge { .. }) => return Reply::TooLarge,
            Err(_) => return Reply::Busy,
        }
    }
}

/// Takes the requests that other nodes hand on, for as long as the node lives.
pub async fn take(rooms: Arc<Rooms>, sessions: Arc<Sessions>, tasks: Tasks) {
    let Some((cluster, node)) = rooms.cluster().zip(sessions.node()) else { return std::future::pending().await };
    let mut engines = cluster.participant().engines();
    loop {
        let mut calls = engines.borrow_and_update().serve(node);
        loop {
            tokio::select! {
                call = calls.next() => match call {
                    Some(call) => tasks.spawn(answer(sessions.clone(), call)),
                    None => break sleep(LOOK_EVERY).await,
                },
                changed = engines.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return std::future::pending().await,
                },
            }
        }
    }
}

async fn answer(sessions: Arc<Sessions>, call: Call) {
    let Ok(request) = serde_json::from_slice::<Request>(&call.question) else { return };
    let reply = post(&sessions, request).await;
    if let Ok(bytes) = serde_json::to_vec(&reply) {
        call.answer(bytes.into());
    }
}

/// Leaves a request to its session here.
async fn post(sessions: &Sessions, Request { secret, number, sub, messages }: Request) -> Reply {
    let Some(inbox) = sessions.find(&secret) else { return Reply::Ended };
    if sub.as_deref().zip(inbox.owner()).is_some_and(|(sub, owner)| sub != &**owner) {
        return Reply::WrongUser;
    }
    inbox.heard();
    match inbox.post(number, messages) {
        Posted::Taken(done) => match timeout_at(Instant::now() + DONE_WITHIN, done).await {
            Ok(Ok(())) => Reply::Done,
            Ok(Err(_)) => Reply::Ended,
            Err(_) => Reply::Busy,
        },
        Posted::Again => Reply::Done,
        Posted::Busy => Reply::Busy,
        Posted::OutOfOrder(last) => Reply::OutOfOrder(last),
        Posted::Ended => Reply::Ended,
    }
}
