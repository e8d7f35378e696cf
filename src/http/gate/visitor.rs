//! Visitors: clients of connections, with the pass that they have now.

use std::sync::Arc;
use std::time::Duration;

use super::{Gate, Join, List, Watch};
use crate::access::pass::{Kind, Pass};
use crate::access::verb::Verb;
use crate::delivery::connection::Connection;
use crate::gateway::live::{AUTH_WITHIN, LiveEntry};
use crate::http::audit;
use crate::http::payer::Payer;
use crate::model::id::ConnectionId;
use crate::model::info::Info;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::key::RoomKey;
use crate::runtime::clock::unix_now;
use crate::runtime::rates::{Pace, Source, Work};

/// A client whose WebSocket handshake, or whose request for a stream, was judged.
pub struct Visitor {
    gate: Gate,
    client: Source,
    pass: Arc<Pass>,
    /// The entry of the connection among those whose pass may end.
    live: Option<LiveEntry>,
    /// The rates of the connection, once the client has sent a message. Boxed, because most clients only listen.
    pace: Option<Box<Pace>>,
}

impl Visitor {
    pub(super) fn new(gate: Gate, client: Source, pass: Arc<Pass>) -> Self {
        Visitor { gate, client, pass, live: None, pace: None }
    }

    /// The visitor's user, if the pass names one.
    pub fn sub(&self) -> Option<&Name> {
        self.pass.sub.as_ref()
    }

    /// Whether the visitor has brought a credential, or needs none.
    pub fn is_known(&self) -> bool {
        self.pass.kind != Kind::Stranger
    }

    /// Whether nothing is allowed before `auth`.
    pub fn awaits_auth(&self) -> bool {
        self.pass.lacks_credential()
    }

    /// Begins with the visitor's `connection`: from now on it ends with the pass, or soon without one.
    pub fn begin(&mut self, connection: &Arc<Connection>) {
        self.live = match self.awaits_auth() {
            true => Some(self.gate.0.passes().live().wait(connection, self.gate.now().tick + AUTH_WITHIN)),
            false => self.gate.enter(&self.pass, connection),
        };
    }

    /// Judges a token or API key; `Open` where none is needed.
    pub fn judge(&self, credential: String) -> impl Future<Output = Result<Arc<Pass>, Refusal>> + Send + use<> {
        let (gate, passes) = (self.gate.clone(), self.gate.0.passes().clone());
        async move {
            match gate.config().has_keys() {
                true => passes.judge_credential(&credential).await,
                false => Ok(passes.anyone().clone()),
            }
        }
    }

    /// Gives the client more time, because keys are being fetched.
    pub fn wait_on(&mut self, connection: &Arc<Connection>) {
        if self.awaits_auth() {
            self.begin(connection);
        }
    }

    /// Takes `pass` in place of the present one.
    ///
    /// # Errors
    ///
    /// `wrong_user` for another user's.
    pub fn admit(&mut self, pass: Arc<Pass>, connection: &Arc<Connection>) -> Result<Authed, Refusal> {
        if self.is_known() && self.pass.sub != pass.sub {
            let name = |pass: &Pass| pass.sub.as_ref().map_or("an API key".to_owned(), ToString::to_string);
            let message =
                format!("this connection is of {}, and the token of {}; open another", name(&self.pass), name(&pass));
            return Err(Refusal::new(Code::WrongUser, message).of("token"));
        }
        let info = pass.info.clone().filter(|info| self.pass.info.as_ref() != Some(info));
        self.live = self.gate.enter(&pass, connection);
        self.pass = pass;
        let expires_in = self.pass.expires.map(|end| end.saturating_sub(unix_now()));
        Ok(Authed { sub: self.pass.sub.clone(), expires_in, info })
    }

    /// Whether the visitor may still do what `verb` opens in `room`.
    ///
    /// # Errors
    ///
    /// `not_allowed`.
    pub fn demand(&self, verb: Verb, room: &Name) -> Result<(), Refusal> {
        self.pass.demand(verb, room)
    }

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
    /// `token_missing` or `not_allowed` without `watch`.
    pub fn may_watch<'a>(&'a self, room: &'a Name) -> Result<Watch<'a>, Refusal> {
        self.pass.demand(Verb::Watch, room)?;
        Ok(Watch { gate: self.gate.clone(), payer: self.payer(), room })
    }

    /// A permit to hold `user` in `room` through the visitor's connection.
    ///
    /// # Errors
    ///
    /// `token_missing` or `not_allowed` without `join`; `wrong_user` for another than the visitor.
    pub fn may_join<'a>(&'a self, room: &'a Name, user: Name) -> Result<Join<'a>, Refusal> {
        self.pass.demand(Verb::Join, room)?;
        if !self.pass.is(&user) {
            let sub = self.pass.sub.as_ref().map(ToString::to_string).unwrap_or_default();
            let message = format!("this connection is present only as {sub}, and not as {user}");
            return Err(Refusal::new(Code::WrongUser, message).of("user"));
        }
        Ok(Join { gate: self.gate.clone(), payer: self.payer(), room, user, info: self.pass.info.clone() })
    }

    /// A permit to list the rooms that the visitor may count.
    ///
    /// # Errors
    ///
    /// `token_missing` for a stranger without any rights.
    pub fn may_list(&self) -> Result<List<'_>, Refusal> {
        self.gate.list(self.payer(), &self.pass)
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

    /// Counts and logs a refusal of what the visitor asked for over `connection`.
    pub fn refused(&self, connection: ConnectionId, refusal: &Refusal) {
        self.gate.count_refusal(refusal);
        audit::refused(self.client.address, connection, refusal);
    }
}

/// Watches the pass of a stream without messages: the stream ends with the pass. Boxed, and empty where the pass lasts.
#[derive(Default)]
pub struct PassWatch(Option<Box<Watched>>);

struct Watched {
    gate: Gate,
    pass: Arc<Pass>,
    entry: Option<LiveEntry>,
}

impl PassWatch {
    /// Watches `pass` from [`PassWatch::begin`] on.
    pub fn new(gate: Gate, pass: Arc<Pass>) -> Self {
        PassWatch(pass.may_end().then(|| Box::new(Watched { gate, pass, entry: None })))
    }

    /// Begins with the stream's `connection`.
    pub fn begin(&mut self, connection: &Arc<Connection>) {
        if let Some(Watched { gate, pass, entry }) = self.0.as_deref_mut() {
            *entry = gate.enter(pass, connection);
        }
    }
}

/// What a client is told of the pass that it now has.
pub struct Authed {
    /// The user.
    pub sub: Option<Name>,
    /// The seconds until the end.
    pub expires_in: Option<u64>,
    /// What the token says of the user, if that is new.
    pub info: Option<Info>,
}
