//! The attendance: who is connected to this node, and what each says. Not in the log: there, one hold stands for all connections of
//! a user, and says what the connection says that was heard last.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::model::command::{Action, Command, NodeAction};
use crate::model::event::DelReason;
use crate::model::hold::{ConnectionHold, Hold, HoldId, Holds, Transport};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::info::Info;
use crate::model::name::Name;
use crate::model::statement::{Order, Said, Statement};

/// A user in a room.
pub type Key = (Name, Name);

/// One connection.
#[derive(Clone, Debug, Default)]
struct Line {
    client: Option<ClientId>,
    said: Option<Spoken>,
    /// When a lost connection's grace is over.
    end: Option<u64>,
}

/// What a connection said last.
#[derive(Clone, Debug)]
struct Spoken {
    statement: Statement,
    /// The place among what was said through this node.
    turn: u64,
    /// The place among all that was said of the member, once that is known.
    order: Option<Order>,
}

/// What the log was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// No hold.
    Nothing,
    /// A hold that says what was said at this turn, or something else at [`UNKNOWN`].
    Held(Option<u64>),
}

/// The turn of what nobody here said: the first turn is 1.
const UNKNOWN: u64 = 0;

/// The connections of a user in a room.
#[derive(Debug)]
struct Seat {
    lines: BTreeMap<ConnectionId, Line>,
    turn: u64,
    info: Option<Info>,
    told: Told,
    /// Batches under way that are about the user.
    flying: u32,
    /// The batch under way that makes the hold, and the record in it.
    joining: Option<(u64, usize)>,
    /// How the last connection ended.
    reason: DelReason,
}

/// Who is connected to one node.
#[derive(Debug, Default)]
pub struct Attendance {
    seats: HashMap<Key, Seat>,
    /// The ends of lost connections' graces.
    ends: BTreeSet<(u64, Key, ConnectionId)>,
    /// Clients whose coming is not in the log yet.
    coming: HashSet<(Key, ClientId)>,
}

impl Seat {
    fn new() -> Self {
        Seat {
            lines: BTreeMap::new(),
            turn: 0,
            info: None,
            told: Told::Nothing,
            flying: 0,
            joining: None,
            reason: DelReason::Closed,
        }
    }

    /// What the member's hold is to say: the last of what was said at the highest rank.
    fn top(&self) -> Option<&Spoken> {
        let said = self.lines.values().filter_map(|line| line.said.as_ref());
        said.max_by_key(|said| (said.statement.rank, said.turn))
    }

    fn meant(&self) -> Told {
        match self.lines.is_empty() {
            true => Told::Nothing,
            false => Told::Held(self.top().map(|said| said.turn)),
        }
    }

    fn say(&mut self, connection: ConnectionId, statement: Statement) {
        self.turn += 1;
        let turn = self.turn;
        if let Some(line) = self.lines.get_mut(&connection)
            && line.said.as_ref().is_none_or(|said| said.statement != statement)
        {
            line.said = Some(Spoken { statement, turn, order: None });
        }
    }
}

impl Attendance {
    /// A connection holds the user from now on, in the place of the same client's older connection.
    pub fn join(
        &mut self,
        key: &Key,
        connection: ConnectionId,
        client: Option<ClientId>,
        statement: Option<Statement>,
        info: Option<Info>,
    ) -> Vec<ConnectionId> {
        let seat = self.seats.entry(key.clone()).or_insert_with(Seat::new);
        let same = |line: &Line| client.is_some() && line.client == client;
        let older: Vec<_> =
            seat.lines.iter().filter(|(id, line)| **id != connection && same(line)).map(|(id, _)| *id).collect();
        let mut said = seat.lines.get(&connection).and_then(|line| line.said.clone());
        for id in &older {
            if let Some(line) = seat.lines.remove(id) {
                forget_end(&mut self.ends, key, *id, &line);
                said = said.or(line.said);
            }
        }
        seat.lines.insert(connection, Line { client, said, end: None });
        seat.info = info.or(seat.info.take());
        statement.into_iter().for_each(|statement| seat.say(connection, statement));
        if let Some(client) = client {
            self.coming.insert((key.clone(), client));
        }
        older
    }

    /// A connection says something.
    pub fn say(&mut self, key: &Key, connection: ConnectionId, statement: Statement) {
        if let Some(seat) = self.seats.get_mut(key) {
            seat.say(connection, statement);
        }
    }

    /// Ends a connection's hold. True if it had one.
    pub fn leave(&mut self, key: &Key, connection: ConnectionId, reason: DelReason) -> bool {
        let Some(seat) = self.seats.get_mut(key) else { return false };
        let Some(line) = seat.lines.remove(&connection) else { return false };
        forget_end(&mut self.ends, key, connection, &line);
        seat.reason = reason;
        self.tidy(key);
        true
    }

    /// A connection is lost: its hold lasts until `end`.
    pub fn lose(&mut self, key: &Key, connection: ConnectionId, end: u64) {
        let line = self.seats.get_mut(key).and_then(|seat| seat.lines.get_mut(&connection));
        if let Some(line) = line.filter(|line| line.end.is_none()) {
            line.end = Some(end);
            self.ends.insert((end, key.clone(), connection));
        }
    }

    /// Ends the holds of connections whose grace is over, and returns whose.
    pub fn expire(&mut self, clock: u64) -> Vec<Key> {
        let mut keys = Vec::new();
        while let Some((_, key, connection)) = self.ends.first().filter(|(end, ..)| *end <= clock).cloned() {
            self.leave(&key, connection, DelReason::Timeout);
            keys.push(key);
        }
        keys
    }

    /// The user was signed out, by the record `at` of an own batch or by another node: ends all connections' holds, unless a hold
    /// under way comes behind the sign-out. Returns the connections and clients.
    pub fn sign_out(&mut self, key: &Key, at: Option<(u64, usize)>) -> Vec<(ConnectionId, Option<ClientId>)> {
        let Some(seat) = self.seats.get_mut(key) else { return Vec::new() };
        let behind = seat.joining.is_some_and(|joining| at.is_none_or(|at| joining > at));
        if behind || seat.told == Told::Nothing {
            return Vec::new();
        }
        self.empty(key)
    }

    /// Whether the hold of the user is under way behind the record `at`.
    pub fn joins_behind(&self, key: &Key, at: (u64, usize)) -> bool {
        self.seats.get(key).and_then(|seat| seat.joining).is_some_and(|joining| joining > at)
    }

    /// Ends all connections' holds. The log has none, or will have none.
    pub fn empty(&mut self, key: &Key) -> Vec<(ConnectionId, Option<ClientId>)> {
        let Some(seat) = self.seats.get_mut(key) else { return Vec::new() };
        seat.told = Told::Nothing;
        let lines = std::mem::take(&mut seat.lines);
        for (id, line) in &lines {
            forget_end(&mut self.ends, key, *id, line);
        }
        self.tidy(key);
        lines.into_iter().map(|(id, line)| (id, line.client)).collect()
    }

    /// A client came to another node: ends its hold here, unless it came here behind that. Returns the connection.
    pub fn went(&mut self, key: &Key, client: ClientId) -> Option<ConnectionId> {
        if self.coming.contains(&(key.clone(), client)) {
            return None;
        }
        let id = self.of_client(key, client)?;
        self.leave(key, id, DelReason::Closed);
        Some(id)
    }

    /// The coming of a client is in the log, or need not be.
    pub fn came(&mut self, key: &Key, client: ClientId) {
        self.coming.remove(&(key.clone(), client));
    }

    /// What the log is to be told of the user, by the record `at`, which is then under way.
    pub fn owed(&mut self, key: &Key, hold: ConnectionId, at: (u64, usize)) -> Vec<Command> {
        let Some(seat) = self.seats.get_mut(key) else { return Vec::new() };
        let meant = seat.meant();
        let mut actions = Vec::new();
        match (seat.told, meant) {
            (Told::Nothing, Told::Held(_)) => {
                let known = seat.top().and_then(|said| said.order);
                let new = seat.top().filter(|_| known.is_none()).map(|said| said.statement.clone());
                let (client, transport, deadline) = (None, Transport::WebSocket, None);
                let hold =
                    ConnectionHold { connection: hold, client, transport, deadline, unclaimed: false, silent: false };
                actions.push(Action::Join(hold, new, seat.info.clone()));
                if known.is_some() {
                    actions.push(recall(hold.connection, seat.top()));
                }
                seat.joining = Some(at);
            }
            (Told::Held(_), Told::Nothing) => actions.push(Action::Node(NodeAction::End(hold, seat.reason))),
            (Told::Held(before), Told::Held(after)) if before != after => match seat.top() {
                Some(Spoken { statement, order: None, .. }) => actions.push(Action::Update(hold, statement.clone())),
                top => actions.push(recall(hold, top)),
            },
            (Told::Held(_), Told::Held(_)) | (Told::Nothing, Told::Nothing) => {}
        }
        if !actions.is_empty() {
            (seat.told, seat.flying) = (meant, seat.flying + 1);
        }
        actions.into_iter().map(|action| Command::User(key.1.clone(), action)).collect()
    }

    /// Whether the log is to be told that the user left.
    pub fn owes_end(&self, key: &Key) -> bool {
        self.seats.get(key).is_some_and(|seat| seat.told != Told::Nothing && seat.lines.is_empty())
    }

    /// A batch about the user came back, after which the member has `holds`.
    pub fn echoed(&mut self, key: &Key, hold: ConnectionId, number: u64, holds: Option<&Holds>) {
        let Some(seat) = self.seats.get_mut(key) else { return };
        seat.flying = seat.flying.saturating_sub(1);
        if seat.joining.is_some_and(|(batch, _)| batch == number) {
            seat.joining = None;
        }
        let said = holds.and_then(|holds| holds.get(&HoldId::Connection(hold))).and_then(|hold| hold.said.as_deref());
        let next = holds.map(Holds::next_order).unwrap_or_default();
        for spoken in seat.lines.values_mut().filter_map(|line| line.said.as_mut()).filter(|s| s.order.is_none()) {
            let is_told = seat.told == Told::Held(Some(spoken.turn));
            match said.filter(|said| is_told && said.statement == spoken.statement) {
                Some(said) => spoken.order = Some(said.order),
                // Said at a lower rank, so that nobody else heard it: now, as far as the log goes.
                None if !is_told => spoken.order = Some(next),
                None => {}
            }
        }
    }

    /// What the log says of the user's hold and what was told become the same: true if the log is to be told more. While
    /// something is under way, nothing is known.
    pub fn reconcile(&mut self, key: &Key, hold: ConnectionId, holds: Option<&Holds>) -> bool {
        let real = holds.and_then(|holds| holds.get(&HoldId::Connection(hold)));
        let Some(seat) = self.seats.get_mut(key) else {
            if let Some(real) = real {
                // A hold that nobody here means: made before a sign-out ended what was meant.
                let seat = self.seats.entry(key.clone()).or_insert_with(Seat::new);
                seat.told = unmeant(real);
            }
            return real.is_some();
        };
        if seat.flying > 0 {
            return false;
        }
        seat.told = match (real, seat.told) {
            (None, _) => Told::Nothing,
            (Some(real), Told::Held(Some(turn))) => {
                let mut spoken = seat.lines.values().filter_map(|line| line.said.as_ref());
                let told = spoken.find(|said| said.turn == turn);
                let same = told.is_none_or(|told| real.said.as_ref().is_some_and(|r| r.statement == told.statement));
                if same { Told::Held(Some(turn)) } else { unmeant(real) }
            }
            (Some(real), Told::Held(None) | Told::Nothing) => unmeant(real),
        };
        let owes = seat.told != seat.meant();
        self.tidy(key);
        owes
    }

    /// Forgets what the log was told, as it was told by an earlier incarnation, and returns all users who are held.
    pub fn untell(&mut self) -> Vec<Key> {
        for seat in self.seats.values_mut() {
            (seat.told, seat.flying, seat.joining) = (Told::Nothing, 0, None);
        }
        self.seats.retain(|_, seat| !seat.lines.is_empty());
        let mut keys: Vec<_> = self.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// All users about whom the log was or is to be told.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.seats.keys()
    }

    /// Whether a connection here holds the user.
    pub fn holds(&self, key: &Key) -> bool {
        self.seats.get(key).is_some_and(|seat| !seat.lines.is_empty())
    }

    /// Whether the log says of the user what it was or is to be told, and nothing about the user is under way.
    pub fn is_settled(&self, key: &Key) -> bool {
        self.seats.get(key).is_none_or(|seat| seat.flying == 0 && seat.told == seat.meant())
    }

    /// Whether a connection of this client holds the user, and which.
    pub fn of_client(&self, key: &Key, client: ClientId) -> Option<ConnectionId> {
        let lines = &self.seats.get(key)?.lines;
        lines.iter().find(|(_, line)| line.client == Some(client)).map(|(id, _)| *id)
    }

    /// Whether this connection holds the user.
    pub fn has(&self, key: &Key, connection: ConnectionId) -> bool {
        self.seats.get(key).is_some_and(|seat| seat.lines.contains_key(&connection))
    }

    fn tidy(&mut self, key: &Key) {
        let idle = |seat: &Seat| seat.lines.is_empty() && seat.told == Told::Nothing && seat.flying == 0;
        if self.seats.get(key).is_some_and(idle) {
            self.seats.remove(key);
        }
    }
}

/// What the log says through a hold, and was not told.
fn unmeant(real: &Hold) -> Told {
    Told::Held(real.said.is_some().then_some(UNKNOWN))
}

fn forget_end(ends: &mut BTreeSet<(u64, Key, ConnectionId)>, key: &Key, connection: ConnectionId, line: &Line) {
    if let Some(end) = line.end {
        ends.remove(&(end, key.clone(), connection));
    }
}

fn recall(hold: ConnectionId, said: Option<&Spoken>) -> Action {
    let earlier = said.map(|said| Said::new(said.statement.clone(), said.order.unwrap_or_default()));
    Action::Node(NodeAction::Recall(hold, earlier))
}
