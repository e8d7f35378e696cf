//! What callers of a participant and its task share.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::node::{Answer, Cause, Node, Told};
use crate::journal::cluster::window::Ticket;
use crate::journal::engine::seam::Engine;
use crate::journal::participant::keeper::Keeper;
use crate::model::id::ConnectionId;
use crate::model::moment::Moment;

/// The node's clock.
pub type Now = Box<dyn Fn() -> Moment + Send + Sync>;

/// What tells when the log has what a node was asked to hold, or why it never will.
pub type Settling = oneshot::Receiver<Result<(), Cause>>;

/// The other end of a [`Settling`].
pub(super) type Waits = oneshot::Sender<Result<(), Cause>>;

/// What callers and the task share.
pub(super) struct Desk {
    pub inner: Mutex<Inner>,
    pub news: Notify,
    pub now: Now,
    /// The log as it is open now.
    pub engine: watch::Sender<Arc<dyn Engine>>,
    pub keeper: Option<Arc<Keeper>>,
}

pub(super) struct Inner {
    pub node: Node,
    pub waiting: HashMap<Ticket, oneshot::Sender<(u64, Answer)>>,
    pub settling: HashMap<Key, Vec<(ConnectionId, Waits)>>,
}

impl Desk {
    /// Reads something of the node.
    pub fn look<T>(&self, read: impl FnOnce(&Node) -> T) -> T {
        read(&self.inner.lock().node)
    }
}

impl Inner {
    /// Who waited for what is settled now.
    pub fn settled(&mut self, told: &[Told]) -> Vec<(Waits, Result<(), Cause>)> {
        let mut settled = Vec::new();
        for told in told {
            if let Told::Settled(key) = told {
                let waiting = self.settling.remove(key).into_iter().flatten();
                settled.extend(waiting.map(|(_, waits)| (waits, Ok(()))));
            } else if let Told::Ended(key, connection, cause) = told
                && let Some(waiting) = self.settling.get_mut(key)
            {
                let own = waiting.extract_if(.., |(waits, _)| waits == connection);
                settled.extend(own.map(|(_, waits)| (waits, Err(cause.clone()))));
            }
        }
        settled
    }
}
