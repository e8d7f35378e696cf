//! The gate: a handler reaches a room only through a permit, and only the gate grants permits.
//!
//! A permit is for one kind of access to one room. [`Gate`] judges a request's sender, the [`Caller`], and grants it. The
//! messages of a WebSocket come without headers, so its handshake is judged once and gives a [`Visitor`], who gets the permits
//! for each message. The requests of a session are judged one by one, and their messages count for the visitor who opened the
//! session.

mod caller;
mod holds;
mod sessions;
mod list;
mod watch;
mod change;
mod visitor;
mod passes;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::yield_now;

use crate::access::pass::Pass;
use crate::access::rights::Admin;
use crate::access::verb::Verb;
use crate::delivery::connection::Options;
use crate::delivery::conversation::Peer;
use crate::gateway::Gateway;
use crate::http::answer::Answer;
use crate::http::forwarded::Forwarded;
use crate::http::origin;
use crate::http::payer::Payer;
use crate::http::request_id;
use crate::journal::cluster::node::survey::{Recency, Survey};
use crate::journal::numbers::Numbers;
use crate::model::hold::Holds as Holding;
use crate::model::id::{ClientId, ConnectionId};
use crate::model::moment::{Moment, Taken};
use crate::model::name::Name;
use crate::model::presence::Presence;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::cluster::Cluster;
use crate::rooms::held::Held;
use crate::runtime::admission::Charge;
use crate::runtime::config::Config;
use crate::runtime::handover::{ClaimSlot, Socket};
use crate::runtime::keys::CHECKS;
use crate::runtime::log;
use crate::runtime::memory::Memory;
use crate::runtime::meter::Meter;
use crate::runtime::rates::{Rates, Work};

pub use caller::{Caller, Ticket};
pub use change::{Change, Join, own_verb};
pub use holds::Holds;
pub use list::List;
pub use sessions::wrong_user;
pub use visitor::{PassWatch, Visitor};
pub use watch::{Count, Watch};

/// The most rooms that are read before other tasks get their turn.
const SLICE: usize = 1_024;

/// The gateway, closed to handlers but for what concerns no room.
#[derive(Clone, Debug)]
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
        self.0.is_stopping()
    }

    /// Whether another process has taken over.
    pub fn is_handed_over(&self) -> bool {
        self.0.is_handed_over()
    }

    /// Whether the keys that verify tokens are there.
    pub fn has_its_keys(&self) -> bool {
        self.0.passes().keys().are_ready()
    }

    /// How recent the rooms are, in a cluster.
    pub fn recency(&self) -> Option<Recency> {
        self.0.rooms().cluster().map(Cluster::recency)
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

    /// Counts a refused request or message.
    pub fn count_refusal(&self, refusal: &Refusal) {
        self.0.meter().refused(refusal.code);
    }

    /// A permit to read and follow `room`.
    ///
    /// # Errors
    ///
    /// `token_missing` or `not_allowed` without `watch`.
    pub fn may_watch<'a>(
        &self,
        request: &Forwarded<'_>,
        caller: &Caller,
        room: &'a Name,
    ) -> Result<Watch<'a>, Refusal> {
        caller.pass().demand(Verb::Watch, room)?;
        Ok(Watch { gate: self.clone(), payer: Payer::Address(request.source()), room })
    }

    /// A permit to read and follow the number of members of `room`.
    ///
    /// # Errors
    ///
    /// `token_missing` or `not_allowed` without `count`.
    pub fn may_count<'a>(
        &self,
        request: &Forwarded<'_>,
        caller: &Caller,
        room: &'a Name,
    ) -> Result<Count<'a>, Refusal> {
        caller.pass().demand(Verb::Count, room)?;
        Ok(Count(Watch { gate: self.clone(), payer: Payer::Address(request.source()), room }))
    }

    /// A permit to list the rooms that the caller may count.
    ///
    /// # Errors
    ///
    /// `token_missing` for a stranger without any rights.
    pub fn may_list(&self, request: &Forwarded<'_>, caller: &Caller) -> Result<List<'static>, Refusal> {
        self.list(Payer::Address(request.source()), caller.pass())
    }

    fn list<'a>(&self, payer: Payer<'a>, pass: &Arc<Pass>) -> Result<List<'a>, Refusal> {
        if pass.lacks_credential() {
            return Err(pass.lacks("count"));
        }
        Ok(List { gate: self.clone(), payer, counted: pass.rights.counted(), pass: pass.clone() })
    }

    /// A permit to change the presence of `user` in `room`, which needs the verb beside it for oneself, or without a user that
    /// of anyone. Each command is judged when it is applied; this refuses at once who may do nothing of the kind.
    ///
    /// # Errors
    ///
    /// `cross_site` for another site's page, and for prefetching; `token_missing` or `not_allowed`.
    pub fn may_change<'a>(
        &self,
        request: &Forwarded<'_>,
        caller: &Caller,
        room: &'a Name,
        user: Option<(&Name, Verb)>,
    ) -> Result<Change<'a>, Refusal> {
        self.judge_origin(request, caller)?;
        let own = user.filter(|(user, _)| caller.pass().is(user));
        caller.pass().demand(own.map_or(Verb::Manage, |(_, verb)| verb), room)?;
        let (id, client) = (request_id::of(request.headers()), request.source());
        Ok(Change { gate: self.clone(), id, client, pass: caller.pass().clone(), room })
    }

    /// Judges the page that sent a change. Behind a cookie there may be any page, so the browser must name it.
    fn judge_origin(&self, request: &Forwarded<'_>, caller: &Caller) -> Result<(), Refusal> {
        origin::may_change(request, self.config())?;
        if caller.is_by_cookie() { origin::is_named(request) } else { Ok(()) }
    }

    /// A permit to read the gateway's numbers.
    ///
    /// # Errors
    ///
    /// `token_missing` or `not_allowed` without `admin`.
    pub fn may_operate(&self, caller: &Caller) -> Result<Operate, Refusal> {
        match caller.pass().rights.admin() {
            Admin::Reads | Admin::Full => Ok(Operate(self.clone())),
            Admin::No => Err(caller.pass().lacks("admin")),
        }
    }

    /// The sender of `request`, who may be present through a connection. Another site's page is refused whatever it asks
    /// for, because a message of its WebSocket could change any room.
    ///
    /// # Errors
    ///
    /// `cross_site` for another site's page, and for prefetching.
    pub fn visitor(&self, request: &Forwarded<'_>, caller: &Caller) -> Result<Visitor, Refusal> {
        self.judge_origin(request, caller)?;
        Ok(Visitor::new(self.clone(), request.source(), caller.pass().clone()))
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
        if let Some(cluster) = self.0.rooms().cluster() {
            return cluster.returns(&(room.clone(), user.clone()), client, id);
        }
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

/// A permit to read the gateway's numbers.
#[derive(Debug)]
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

    /// What the journal counts.
    pub fn journal(&self) -> Numbers {
        self.0.0.rooms().journal_numbers()
    }

    /// What the node of a cluster tells, if the gateway is one.
    pub fn survey(&self) -> Option<Survey> {
        self.0.0.rooms().cluster().map(Cluster::survey)
    }

    /// The number of members that each connection holds, as of at most a second ago. In a cluster, a node is one connection.
    pub async fn held(&self) -> Arc<Held> {
        self.0.0.rooms().held().await
    }

    /// The maximum number of rooms.
    pub fn max_rooms(&self) -> usize {
        self.0.0.rooms().most()
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

    /// The number of tokens whose signature was verified; a token that comes again is not.
    pub fn verifications(&self) -> u64 {
        self.0.0.passes().keys().verifications()
    }

    /// How many tokens failed each of [`CHECKS`].
    pub fn refused_tokens(&self) -> [u64; CHECKS.len()] {
        self.0.0.passes().keys().refused()
    }

    /// The rooms after the name `after` in which `user` is a member, in byte order and at most `limit`, each read by `read`.
    pub async fn holds_of<T>(
        &self,
        user: &Name,
        after: Option<&str>,
        limit: usize,
        read: impl Fn(&Holding) -> T,
    ) -> Vec<(Name, T)> {
        let (rooms, mut found) = (self.0.0.rooms(), Vec::new());
        let names = rooms.names();
        let first = after.map_or(0, |after| names.partition_point(|name| &**name <= after));
        for names in names[first..].chunks(SLICE) {
            for room in names {
                let holds = rooms.read(room, |presence| presence.roster().holds(user));
                found.extend(holds.map(|holds| (room.clone(), read(&holds))));
                if found.len() >= limit {
                    return found;
                }
            }
            yield_now().await;
        }
        found
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
