//! The gate: a handler reaches a room only through a permit, and only this file grants permits.
//!
//! A permit is for one kind of access to one room. [`Gate`] judges a request and grants it. The messages of a WebSocket come
//! without headers, so its handshake is judged once and gives a [`Visitor`], who gets the permits for each message.

use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::config::Config;
use crate::delivery::connection::{Connection, Options};
use crate::delivery::conversation::Peer;
use crate::gateway::Gateway;
use crate::http::answer::Answer;
use crate::http::audit;
use crate::http::forwarded::Forwarded;
use crate::http::origin;
use crate::model::command::Command;
use crate::model::hold::Transport;
use crate::model::id::{ClientId, ConnectionId};
use crate::model::meta::Meta;
use crate::model::moment::Moment;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::presence::Presence;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::connection_holds::ConnectionHolds;
use crate::rooms::key::RoomKey;
use crate::rooms::room::Following;
use crate::runtime::admission::Charge;
use crate::runtime::handover::{ClaimSlot, Socket};
use crate::runtime::log;
use crate::runtime::meter::Meter;

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

    /// The number of dropped lines of the log.
    pub fn dropped_log_lines(&self) -> u64 {
        log::dropped_lines()
    }

    /// A permit to read and follow `room`. Everyone gets one.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn may_watch<'a>(&self, room: &'a Name) -> Result<Watch<'a>, Refusal> {
        Ok(Watch { gate: self.clone(), room })
    }

    /// A permit to list the rooms. Everyone gets one.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn may_list(&self) -> Result<List, Refusal> {
        Ok(List(self.clone()))
    }

    /// A permit to change `room`, for the sender of `request`.
    ///
    /// # Errors
    ///
    /// `cross_site` for another site's page, and for prefetching.
    pub fn may_change<'a>(&self, request: &Forwarded<'_>, room: &'a Name) -> Result<Change<'a>, Refusal> {
        origin::may_change(request, self.config())?;
        Ok(Change { gate: self.clone(), client: request.client(), room })
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
        Ok(Visitor { gate: self.clone(), client: request.client() })
    }

    /// Counts a stream for the client's address, where the connection is a trusted proxy's. Other connections were
    /// counted when they were accepted.
    ///
    /// # Errors
    ///
    /// `too_many_connections` at the bound of `--max-per-address`.
    pub fn charge(&self, request: &Forwarded<'_>) -> Result<Charge, Refusal> {
        if !request.is_proxied() {
            return Ok(Charge::default());
        }
        let address = request.client();
        self.0.admissions().charge(address).ok_or_else(|| {
            let most = self.config().max_per_address;
            let message = format!("address {address} has {most} open connections, which is the maximum");
            Refusal::new(Code::TooManyConnections, message)
        })
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

/// A client whose WebSocket handshake was judged.
pub struct Visitor {
    gate: Gate,
    /// The client's address, for the log.
    client: IpAddr,
}

impl Visitor {
    /// A permit to read and follow `room`.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn may_watch<'a>(&self, room: &'a Name) -> Result<Watch<'a>, Refusal> {
        Ok(Watch { gate: self.gate.clone(), room })
    }

    /// A permit to hold users in `room` through the visitor's connection.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn may_join<'a>(&self, room: &'a Name) -> Result<Join<'a>, Refusal> {
        Ok(Join { gate: self.gate.clone(), room })
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
        audit::refused(self.client, connection, refusal);
    }
}

/// A permit to read and follow one room.
pub struct Watch<'a> {
    gate: Gate,
    room: &'a Name,
}

impl Watch<'_> {
    /// Reads the room at one moment; an absent room reads as empty.
    pub fn read<T>(&self, read: impl FnOnce(&Presence) -> T) -> T {
        self.gate.0.rooms().read(self.room, read)
    }

    /// Adds a reader to the room. Watching makes no room exist.
    pub fn follow(&self) -> Following {
        self.gate.0.rooms().follow(self.room)
    }
}

/// A permit to list the rooms.
pub struct List(Gate);

impl List {
    /// At most `limit` rooms after the name `after`, in byte order, with their numbers of members.
    pub fn rooms(&self, after: Option<&str>, limit: usize) -> Vec<(Name, usize)> {
        self.0.0.rooms().list(after, limit)
    }
}

/// A permit to change one room.
pub struct Change<'a> {
    gate: Gate,
    /// The sender's address, for the log.
    client: IpAddr,
    room: &'a Name,
}

impl Change<'_> {
    /// Does all of `commands`, or none.
    ///
    /// # Errors
    ///
    /// The refusal of the commands, or `too_many_rooms` when a new room is needed.
    pub fn apply(&self, commands: &[Command]) -> Result<Outcome, Refusal> {
        let outcome = self.gate.0.rooms().change(self.room, commands)?;
        audit::changed(self.client, self.room, commands, &outcome);
        Ok(outcome)
    }
}

/// A permit to hold users in one room through a connection.
pub struct Join<'a> {
    gate: Gate,
    room: &'a Name,
}

impl Join<'_> {
    /// Holds `user` for the connection `id`, and adds the hold to `holds`. Replaces an older hold of `client`.
    ///
    /// # Errors
    ///
    /// `too_many_joined` at the connection's bound, or the room's refusal.
    pub fn hold(
        self,
        holds: &mut Holds,
        (id, transport): (ConnectionId, Transport),
        user: Name,
        meta: Option<Meta>,
        client: Option<ClientId>,
    ) -> Result<Outcome, Refusal> {
        let make = || Box::new(self.gate.0.holds(id, transport));
        holds.0.get_or_insert_with(make).join(self.room.clone(), user, meta, client)
    }
}

/// The users that one connection holds. Made by [`Join::hold`]; a client may always change and end its own holds. Boxed,
/// because most connections hold nobody.
#[derive(Default)]
pub struct Holds(Option<Box<ConnectionHolds>>);

impl Holds {
    /// Whether the connection has held somebody yet.
    pub fn is_used(&self) -> bool {
        self.0.is_some()
    }

    /// Notifies `connection` when others end a hold, also of the holds that were ended before.
    pub fn notify(&self, connection: &Arc<Connection>) {
        if let Some(holds) = &self.0 {
            holds.notify(connection);
        }
    }

    /// Changes the `meta` of a held user.
    ///
    /// # Errors
    ///
    /// `not_joined` if this connection does not hold `user` in `room`.
    pub fn update(&self, room: &Name, user: Name, meta: Meta) -> Result<Outcome, Refusal> {
        self.0.as_ref().ok_or_else(|| not_joined(room, &user))?.update(room, user, meta)
    }

    /// Ends one hold at once.
    ///
    /// # Errors
    ///
    /// `not_joined` if this connection does not hold `user` in `room`.
    pub fn leave(&mut self, room: &Name, user: Name) -> Result<Outcome, Refusal> {
        self.0.as_mut().ok_or_else(|| not_joined(room, &user))?.leave(room, user)
    }

    /// Ends all holds at once, because the client closed the connection cleanly.
    pub fn leave_all(&mut self) {
        if let Some(holds) = &mut self.0 {
            holds.leave_all();
        }
    }
}

fn not_joined(room: &Name, user: &Name) -> Refusal {
    Refusal::new(Code::NotJoined, format!("this connection does not hold {user} in {room}"))
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

    /// The counters.
    pub fn meter(&self) -> &Meter {
        self.0.0.meter()
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
