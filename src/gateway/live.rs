//! Live connections whose passes may end: by time, by a revocation, or with their key.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::access::pass::{Pass, UnixTime};
use crate::access::revocations::LEEWAY;
use crate::delivery::connection::{Connection, Ending};
use crate::model::id::ConnectionId;
use crate::model::moment::Tick;
use crate::model::refusal::Code;
use crate::wire::dialect::Dialect;
use crate::wire::framing::Framing;
use crate::wire::greeting;

/// How long a connection may be without a pass, where nothing is open to strangers.
pub const AUTH_WITHIN: Duration = Duration::from_secs(5);

/// How long before its end a client is told, in seconds. A shorter life is told at its last third.
const NOTICE: u64 = 30;

/// The live connections.
#[derive(Default)]
pub struct Live(Mutex<State>);

#[derive(Default)]
struct State {
    /// The number of entries so far.
    entered: u64,
    entries: HashMap<ConnectionId, Entry>,
    /// What is due, by wall time: tokens name their end by it.
    due: BTreeSet<(UnixTime, ConnectionId)>,
    /// Connections without a pass, by the gateway's clock.
    waiting: BTreeSet<(Tick, ConnectionId)>,
}

struct Entry {
    /// Tells the entry from earlier ones of the same connection.
    serial: u64,
    connection: Weak<Connection>,
    /// Absent while the connection waits for one.
    pass: Option<Arc<Pass>>,
    due: Option<UnixTime>,
    waits: Option<Tick>,
}

/// The entry of one connection. A drop removes it, unless another entry of the connection has taken its place.
pub struct LiveEntry {
    live: Arc<Live>,
    id: ConnectionId,
    serial: u64,
}

impl Live {
    /// Enters `connection` with `pass`, in place of its former entry. The caller then judges `pass` once more: a revocation
    /// of meanwhile has not seen the entry.
    pub fn enter(self: &Arc<Self>, connection: &Arc<Connection>, pass: Arc<Pass>, now: UnixTime) -> LiveEntry {
        let due = pass.expires.map(|end| end.saturating_sub(notice(end.saturating_sub(now))));
        self.put(connection, Some(pass), due, None)
    }

    /// Enters `connection`, which has no pass yet, and ends it unless it has one by `until`.
    pub fn wait(self: &Arc<Self>, connection: &Arc<Connection>, until: Tick) -> LiveEntry {
        self.put(connection, None, None, Some(until))
    }

    fn put(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        pass: Option<Arc<Pass>>,
        due: Option<UnixTime>,
        waits: Option<Tick>,
    ) -> LiveEntry {
        let id = connection.id();
        let mut state = self.0.lock();
        state.remove(id);
        state.due.extend(due.map(|due| (due, id)));
        state.waiting.extend(waits.map(|until| (until, id)));
        state.entered += 1;
        let serial = state.entered;
        state.entries.insert(id, Entry { serial, connection: Arc::downgrade(connection), pass, due, waits });
        LiveEntry { live: self.clone(), id, serial }
    }

    /// Tells the clients whose pass ends soon, and ends the connections whose pass is over.
    pub fn look(&self, now: UnixTime) {
        let due = self.0.lock().take_due(now);
        for (connection, pass) in due {
            let Some(end) = pass.expires else {
                continue;
            };
            if end + LEEWAY <= now {
                connection.end(Ending::Ours(Code::TokenExpired));
            } else if takes_notice(&connection) && end > now {
                let bytes = connection.format().answer(&greeting::auth_expires(end - now));
                connection.queue(|outbox| outbox.send(bytes));
                connection.catch_up();
            }
        }
    }

    /// Ends the connections that have waited too long for a pass.
    pub fn look_at_waiting(&self, now: Tick) {
        let mut late = Vec::new();
        let mut state = self.0.lock();
        while state.waiting.first().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, id)) = state.waiting.pop_first()
                && let Some(entry) = state.entries.get_mut(&id)
            {
                entry.waits = None;
                late.extend(entry.connection.upgrade());
            }
        }
        drop(state);
        late.iter().for_each(|connection| connection.end(Ending::Ours(Code::TokenMissing)));
    }

    /// Ends the connections with passes that `ends` selects, for the reason `code`.
    pub fn end(&self, code: Code, ends: impl Fn(&Pass) -> bool) {
        let state = self.0.lock();
        let ended = state.entries.values().filter(|entry| entry.pass.as_deref().is_some_and(&ends));
        let ended: Vec<_> = ended.filter_map(|entry| entry.connection.upgrade()).collect();
        drop(state);
        ended.iter().for_each(|connection| connection.end(Ending::Ours(code)));
    }
}

impl State {
    fn remove(&mut self, id: ConnectionId) {
        if let Some(entry) = self.entries.remove(&id) {
            entry.due.map(|due| self.due.remove(&(due, id)));
            entry.waits.map(|until| self.waiting.remove(&(until, id)));
        }
    }

    /// The connections with something due. Each is due again when its pass is over.
    fn take_due(&mut self, now: UnixTime) -> Vec<(Arc<Connection>, Arc<Pass>)> {
        let mut all = Vec::new();
        while self.due.first().is_some_and(|(due, _)| *due <= now) {
            let Some((_, id)) = self.due.pop_first() else {
                break;
            };
            let Some(entry) = self.entries.get_mut(&id) else {
                continue;
            };
            let end = entry.pass.as_ref().and_then(|pass| pass.expires).map(|end| end + LEEWAY);
            entry.due = end.filter(|end| *end > now);
            self.due.extend(entry.due.map(|due| (due, id)));
            all.extend(entry.connection.upgrade().zip(entry.pass.clone()));
        }
        all
    }
}

/// How long before its end a pass with so many seconds left is told of it.
fn notice(left: u64) -> u64 {
    NOTICE.min(left / 3)
}

/// Whether the client can answer: an event stream without messages only ends.
fn takes_notice(connection: &Connection) -> bool {
    let format = connection.format();
    format.framing == Framing::WebSocket || format.dialect == Dialect::Session
}

impl Drop for LiveEntry {
    fn drop(&mut self) {
        let mut state = self.live.0.lock();
        if state.entries.get(&self.id).is_some_and(|entry| entry.serial == self.serial) {
            state.remove(self.id);
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Live({})", self.0.lock().entries.len())
    }
}
