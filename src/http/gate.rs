//! The gate: a handler reaches a room only through a permit, and only this file grants permits.
//!
//! A permit is for one kind of access to one room. [`Gate`] judges a request and grants it. The messages of a WebSocket come
//! without headers, so its handshake is judged once and gives a [`Visitor`], who gets the permits for each message. The requests
//! of a session are judged one by one, and their messages count for the visitor who opened the session.

mod holds;
mod sessions;
mod list;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::delivery::connection::Options;
use crate::delivery::conversation::Peer;
use crate::gateway::Gateway;
use crate::http::answer::Answer;
use crate::http::audit;
use crate::http::forwarded::Forwarded;
use crate::http::origin;
use crate::http::payer::{Payer, page_cost};
use crate::model::command::{Action, Command};
use crate::model::cursor::Cursor;
use crate::model::hold::Transport;
use crate::model::id::{ClientId, ConnectionId};
use crate::model::moment::{Moment, Taken};
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::presence::Presence;
use crate::model::refusal::{Code, Refusal};
use crate::model::snapshot::Snapshot;
use crate::model::statement::Statement;
use crate::rooms::key::RoomKey;
use crate::rooms::room::Following;
use crate::runtime::admission::Charge;
use crate::runtime::config::Config;
use crate::runtime::handover::{ClaimSlot, Socket};
use crate::runtime::log;
use crate::runtime::memory::{Level, Memory};
use crate::runtime::meter::Meter;
use crate::runtime::rates::{Pace, Rates, Source, Work};

pub use holds::Holds;

/// The gateway, closed to handlers but for what concerns no room.
#[derive(Clone)]
pub struct Gate(Arc<Gateway>);

impl Gate {
    /// The gate of `gateway`.
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Gate(gateway)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        self.0.config()
    }

    /// The present moment, by the gateway's clock.
    pub fn now(&self) -> Moment {
        self.0.clock().now()
    }

    /// The present moment, for what is read now.
    pub fn taken(&self) -> Taken {
        self.0.rooms().taken()
    }

    /// The number of background tasks that were started again.
    pub fn restarts(&self) -> u64 {
        self.0.tasks().restarts()
    }

    /// The number of open connections.
    pub fn open_connections(&self) -> usize {
        self.0.admissions().open()
    }

    /// The maximum number of open connections.
    pub fn max_connections(&self) -> usize {
        self.0.admissions().most()
    }

    /// Whether the gateway is about to stop.
    pub fn is_stopping(&self) -> bool {
        self.0.tasks().stop().is_cancelled()
    }

    /// The number of refused connections.
    pub fn refused_connections(&self) -> u64 {
        self.0.admissions().refusals()
    }

    /// The memory of the process.
    pub fn memory(&self) -> &Arc<Memory> {
        self.0.memory()
    }

    /// The number of dropped lines of the log.
    pub fn dropped_log_lines(&self) -> u64 {
        log::dropped_lines()
    }

    /// A permit to read and follow `room`. Everyone gets one.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn may_watch<'a>(&self, request: &Forwarded<'_>, room: &'a Name) -> Result<Watch<'a>, Refusal> {
        Ok(Watch { gate: self.clone(), payer: Payer::Address(request.source()), room })
    }

    /// A permit to list the rooms. Everyone gets one.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn may_list(&self, request: &Forwarded<'_>) -> Result<List<'static>, Refusal> {
        Ok(List { gate: self.clone(), payer: Payer::Address(request.source()) })
    }

    /// A permit to change `room`, for the sender of `request`.
    ///
    /// # Errors
    ///
    /// `cross_site` for another site's page, and for prefetching.
    pub fn may_change<'a>(&self, request: &Forwarded<'_>, room: &'a Name) -> Result<Change<'a>, Refusal> {
        origin::may_change(request, self.config())?;
        Ok(Change { gate: self.clone(), client: request.source(), room })
    }

    /// A permit to read the gateway's numbers. Everyone gets one.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn may_operate(&self) -> Result<Operate, Refusal> {
        Ok(Operate(self.clone()))
    }

    /// The sender of `request`, who may be present through a connection. Another site's page is refused whatever it asks
    /// for, because a message of its WebSocket could change any room.
    ///
    /// # Errors
    ///
    /// `cross_site` for another site's page, and for prefetching.
    pub fn visitor(&self, request: &Forwarded<'_>) -> Result<Visitor, Refusal> {
        origin::may_change(request, self.config())?;
        Ok(Visitor { gate: self.clone(), client: request.source(), pace: None })
    }

    /// Counts a stream for the client's address, where the connection is a trusted proxy's. Other connections were
    /// counted when they were accepted.
    ///
    /// # Errors
    ///
    /// `too_fast` past `--rate-connections`, `too_many_connections` at the bound of `--max-per-address`.
    pub fn charge(&self, request: &Forwarded<'_>) -> Result<Charge, Refusal> {
        if !request.is_proxied() {
            return Ok(Charge::default());
        }
        Payer::Address(request.source()).pay(self.rates(), Work::Connections, 1)?;
        let address = request.client();
        self.0.admissions().charge(address).ok_or_else(|| {
            let most = self.config().max_per_address;
            let message = format!("address {address} has {most} open connections, which is the maximum");
            Refusal::new(Code::TooManyConnections, message)
        })
    }

    fn rates(&self) -> &Rates {
        self.0.rates()
    }

    /// Whether `client` would take the place of its own hold, made by another connection than `id`, by holding `user` in
    /// `room`. The older connection may be lost without the gateway's knowledge, so that its grace is still to come.
    fn returns(&self, room: &Name, user: &Name, client: ClientId, id: Option<ConnectionId>) -> bool {
        let maker = |presence: &Presence| Some(presence.roster().holds(user)?.of_client(client)?.connection);
        self.0.rooms().read(room, maker).is_some_and(|maker| Some(maker) != id)
    }

    /// Counts a room for `payer`, if a member of `room` would make it exist.
    fn pay_for_room(&self, room: &Name, payer: Payer<'_>) -> Result<(), Refusal> {
        match payer.pays() && !self.0.rooms().exists(room) {
            true => payer.pay(self.rates(), Work::Rooms, 1),
            false => Ok(()),
        }
    }

    /// Makes the connection of `slot` a stream: `begin` gets the socket once hyper has let go of it. Never resolves,
    /// because the answer to the request is the stream.
    pub async fn stream<P: Peer + 'static>(
        &self,
        slot: &ClaimSlot,
        charge: Charge,
        begin: impl FnOnce(&mut Socket) -> (Options, P) + Send + 'static,
    ) -> Answer {
        let gateway = self.0.clone();
        slot.claim(move |mut socket| {
            if !charge.is_empty() {
                socket.admission.charge = charge;
            }
            let (options, peer) = begin(&mut socket);
            gateway.stream(socket, options, peer);
        });
        pending().await
    }
}

/// A client whose WebSocket handshake, or whose request for a stream, was judged.
pub struct Visitor {
    gate: Gate,
    client: Source,
    /// The rates of the connection, once the client has sent a message. Boxed, because most clients only listen.
    pace: Option<Box<Pace>>,
}

impl Visitor {
    fn payer(&self) -> Payer<'_> {
        self.pace.as_deref().map_or(Payer::Address(self.client), Payer::Connection)
    }

    /// Notes a message, which [`Visitor::pause`] counts.
    pub fn heard(&mut self) {
        if self.client.is_counted {
            let rates = self.gate.0.rates();
            self.pace.get_or_insert_with(|| Box::new(Pace::new(rates, self.client))).heard();
        }
    }

    /// The time to wait before more messages are read, as [`Pace::pause`].
    pub fn pause(&self) -> Option<Duration> {
        self.pace.as_ref()?.pause()
    }

    /// A permit to read and follow `room`.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn may_watch<'a>(&'a self, room: &'a Name) -> Result<Watch<'a>, Refusal> {
        Ok(Watch { gate: self.gate.clone(), payer: self.payer(), room })
    }

    /// A permit to hold users in `room` through the visitor's connection.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn may_join<'a>(&'a self, room: &'a Name) -> Result<Join<'a>, Refusal> {
        Ok(Join { gate: self.gate.clone(), payer: self.payer(), room })
    }

    /// A permit to list the rooms.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn may_list(&self) -> Result<List<'_>, Refusal> {
        Ok(List { gate: self.gate.clone(), payer: self.payer() })
    }

    /// Permits the visitor to say something through a hold.
    ///
    /// # Errors
    ///
    /// `too_fast` past the rate of changes.
    pub fn may_update(&self) -> Result<(), Refusal> {
        self.payer().pay(self.gate.rates(), Work::Changes, 1)
    }

    /// The key of `room`, if there is such a room.
    pub fn key(&self, room: &Name) -> Option<RoomKey> {
        self.gate.0.rooms().key(room)
    }

    /// The maximum number of rooms that the visitor may watch.
    pub fn max_watched(&self) -> usize {
        self.gate.config().max_per_connection
    }

    /// Logs a refusal of what the visitor asked for over `connection`.
    pub fn refused(&self, connection: ConnectionId, refusal: &Refusal) {
        audit::refused(self.client.address, connection, refusal);
    }
}

/// A permit to read and follow one room.
pub struct Watch<'a> {
    gate: Gate,
    payer: Payer<'a>,
    room: &'a Name,
}

impl Watch<'_> {
    /// Reads the room at one moment; an absent room reads as empty.
    pub fn read<T>(&self, read: impl FnOnce(&Presence) -> T) -> T {
        self.gate.0.rooms().read(self.room, read)
    }

    /// The room's present set, of which at most `shown` members are to be shown.
    ///
    /// # Errors
    ///
    /// `too_fast` past the rate of snapshots.
    pub fn snapshot(&self, shown: usize) -> Result<Snapshot, Refusal> {
        let taken = self.gate.taken();
        let snapshot = self.read(|presence| presence.snapshot(taken));
        self.payer.pay(self.gate.rates(), Work::Snapshots, page_cost(shown.min(snapshot.roster.len())))?;
        Ok(snapshot)
    }

    /// Adds a reader to the room, who resumes after `since`. Watching makes no room exist. The connection has `holds`, and
    /// is about to hold `user` for `client`: a reader who comes back is never too fast.
    ///
    /// # Errors
    ///
    /// `too_much_memory`, but not to a connection of somebody who is present. `too_fast` past the rate of snapshots,
    /// unless the reader needs none.
    pub fn follow(
        &self,
        since: Option<Cursor>,
        user: Option<&Name>,
        client: Option<ClientId>,
        holds: &Holds,
    ) -> Result<Following, Refusal> {
        let is_present = |user: &Name| self.read(|presence| presence.roster().get(user).is_some());
        if !holds.hold_somebody() && !user.is_some_and(is_present) {
            self.gate.memory().refuses_at(Level::Refuse)?;
        }
        let resumes = || since.is_some_and(|since| self.read(|presence| presence.place(since).is_some()));
        let holder = user.zip(client);
        let returns = || holder.is_some_and(|(user, client)| self.gate.returns(self.room, user, client, None));
        if self.payer.pays() && !resumes() && !returns() {
            self.payer.pay(self.gate.rates(), Work::Snapshots, 1)?;
        }
        Ok(self.gate.0.rooms().follow(self.room))
    }
}

/// A permit to list the rooms, and to read the counts of all.
pub struct List<'a> {
    gate: Gate,
    payer: Payer<'a>,
}

/// A permit to change one room.
pub struct Change<'a> {
    gate: Gate,
    client: Source,
    room: &'a Name,
}

impl Change<'_> {
    /// Does all of `commands`, or none.
    ///
    /// # Errors
    ///
    /// The refusal of the commands, `too_many_rooms` when a new room is needed, or `too_fast` past the rate of changes or
    /// rooms.
    pub fn apply(&self, commands: &[Command]) -> Result<Outcome, Refusal> {
        let payer = Payer::Address(self.client);
        if payer.pays() {
            self.pay(payer, commands)?;
        }
        let outcome = self.gate.0.rooms().change(self.room, commands)?;
        audit::changed(self.client.address, self.room, commands, &outcome);
        Ok(outcome)
    }

    fn pay(&self, payer: Payer<'_>, commands: &[Command]) -> Result<(), Refusal> {
        // A client that leaves would otherwise stay as a ghost.
        let leaves = |command: &Command| matches!(command, Command::User(_, Action::LeaveClient(_)));
        let changes = commands.iter().filter(|command| !leaves(command)).count();
        // A refused renewal would end a presence.
        if self.gate.0.rooms().read(self.room, |room| commands.iter().all(|command| room.renews(command))) {
            return Ok(());
        }
        payer.pay(self.gate.rates(), Work::Changes, changes)?;
        match commands.iter().any(|command| command.adds().is_some()) {
            true => self.gate.pay_for_room(self.room, payer),
            false => Ok(()),
        }
    }
}

/// A permit to hold users in one room through a connection.
pub struct Join<'a> {
    gate: Gate,
    payer: Payer<'a>,
    room: &'a Name,
}

impl Join<'_> {
    /// Holds `user` for the connection `id`, and adds the hold to `holds`. Replaces an older hold of `client`; a client that
    /// comes back to its hold is never too fast.
    ///
    /// # Errors
    ///
    /// `too_many_joined` at the connection's bound, `too_fast` past the rate of changes or rooms, or the room's refusal.
    pub fn hold(
        self,
        holds: &mut Holds,
        (id, transport): (ConnectionId, Transport),
        user: Name,
        statement: Option<Statement>,
        client: Option<ClientId>,
    ) -> Result<Outcome, Refusal> {
        let comes_back = |client| self.gate.returns(self.room, &user, client, Some(id));
        let returns = self.payer.pays() && client.is_some_and(comes_back);
        if !returns {
            self.payer.pay(self.gate.rates(), Work::Changes, 1)?;
            self.gate.pay_for_room(self.room, self.payer)?;
        }
        let make = || Box::new(self.gate.0.holds(id, transport));
        let outcome = holds.0.get_or_insert_with(make).join(self.room.clone(), user, statement, client)?;
        if returns {
            self.payer.returned();
        }
        Ok(outcome)
    }
}

/// A permit to read the gateway's numbers.
pub struct Operate(Gate);

impl Operate {
    /// The gate itself, for the numbers that concern no room.
    pub fn gate(&self) -> &Gate {
        &self.0
    }

    /// The number of rooms.
    pub fn room_count(&self) -> usize {
        self.0.0.rooms().count()
    }

    /// The number of readers of counts.
    pub fn count_readers(&self) -> usize {
        self.0.0.rooms().count_readers()
    }

    /// The memory of the process.
    pub fn memory(&self) -> &Memory {
        self.0.memory()
    }

    /// The counters.
    pub fn meter(&self) -> &Meter {
        self.0.0.meter()
    }

    /// How often `work` was too fast.
    pub fn too_fast(&self, work: Work) -> u64 {
        self.0.rates().exceeded(work)
    }

    /// When the gateway was started.
    pub fn started(&self) -> SystemTime {
        self.0.0.started()
    }

    /// The time since then.
    pub fn uptime(&self) -> Duration {
        self.0.0.uptime()
    }
}
