//! Holds: the reasons why a member is present, and what is said through each.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use smallvec::{SmallVec, smallvec};
use uuid::Uuid;

use crate::model::cursor::Position;
use crate::model::id::{ClientId, ConnectionId};
use crate::model::meta::Meta;
use crate::model::moment::Tick;
use crate::model::name::{HoldName, Name};
use crate::model::statement::{Order, Said, Statement};

/// The most named sign-ins of one member. Each takes some 100 bytes, and each change of the member looks at all of them.
pub const MAX_NAMED: usize = 100;

/// Identifies one hold among those of a user in a room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldId {
    /// The sign-in of this name; without one, the unnamed sign-in.
    SignIn(Option<HoldName>),
    /// The hold of this connection.
    Connection(ConnectionId),
}

/// One reason why a member is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// How the hold was made.
    pub kind: HoldKind,
    /// What was said last through the hold, if anything.
    pub said: Option<Arc<Said>>,
}

/// How a hold was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldKind {
    /// Made over HTTP. Ends with a sign-out; a lease also ends at its deadline.
    SignIn {
        /// The name, given by whoever made the hold.
        name: Option<HoldName>,
        /// The deadline of a lease.
        deadline: Option<Tick>,
        /// The lease of a shared log, which has no deadline.
        lease: Option<Arc<Lease>>,
        /// The token that made the sign-in last. A revocation of the token ends the sign-in.
        maker: Option<Arc<Maker>>,
    },
    /// Made by a connection.
    Connection(ConnectionHold),
}

/// A token that made a sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    /// The token's subject.
    pub sub: Name,
    /// When the token was issued: seconds since 1970, 0 if unknown.
    pub issued: u64,
}

/// A lease of a shared log: no fold compares the clocks of two nodes, so a command of the owner ends the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The incarnation of the node that measures the term.
    pub owner: Uuid,
    /// The position at which the owner got the lease. A command to end an earlier lease does nothing.
    pub given: Position,
    /// The term.
    pub ttl: Duration,
}

/// The hold of a connection that is open, or was lost within the grace period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionHold {
    /// The connection.
    pub connection: ConnectionId,
    /// The client that opened the connection, if the client named itself.
    pub client: Option<ClientId>,
    /// The connection's transport.
    pub transport: Transport,
    /// The end of the grace period, once the connection is lost.
    pub deadline: Option<Tick>,
    /// Whether the connection was one of an earlier process, and its client has not come back since.
    pub unclaimed: bool,
    /// Whether the hold stands for the connections to a node of a cluster that is silent, and may be lost.
    pub silent: bool,
}

/// A connection's transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Server-sent events.
    Sse,
    /// WebSocket.
    WebSocket,
}

impl HoldKind {
    /// The unnamed sign-in without a deadline.
    const PERMANENT: HoldKind = HoldKind::SignIn { name: None, deadline: None, lease: None, maker: None };

    /// The id, unique among the user's holds in the room.
    pub fn id(&self) -> HoldId {
        match self {
            HoldKind::SignIn { name, .. } => HoldId::SignIn(name.clone()),
            HoldKind::Connection(hold) => HoldId::Connection(hold.connection),
        }
    }

    fn has(&self, id: &HoldId) -> bool {
        match (self, id) {
            (HoldKind::SignIn { name, .. }, HoldId::SignIn(id)) => name == id,
            (HoldKind::Connection(hold), HoldId::Connection(id)) => hold.connection == *id,
            (HoldKind::SignIn { .. }, HoldId::Connection(_)) | (HoldKind::Connection(_), HoldId::SignIn(_)) => false,
        }
    }

    /// The deadline; `None` for a hold that does not end by itself.
    pub fn deadline(&self) -> Option<Tick> {
        match self {
            HoldKind::SignIn { deadline, .. } | HoldKind::Connection(ConnectionHold { deadline, .. }) => *deadline,
        }
    }
}

/// The holds of one member, who stays while a hold is left, and what was said for the member as a whole. Holds are stored
/// beside the member and not in it, since readers never see them.
///
/// Copies share one list until one of them is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holds(Arc<List>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    holds: SmallVec<[Hold; 1]>,
    /// What was said for the member and through no hold, until something of the same or a higher rank is said.
    of_member: Option<Arc<Said>>,
}

impl Holds {
    /// A member's first hold, through which `statement` is said.
    pub fn of(kind: HoldKind, statement: Option<Statement>) -> Self {
        let said = statement.map(|statement| Said::new(statement, Order::default()));
        Holds(Arc::new(List { holds: smallvec![Hold { kind, said }], of_member: None }))
    }

    /// The holds of a member whose holds are as [`Holds::are_plain`] says, and whose `meta` is this.
    pub fn plain(meta: &Meta) -> Self {
        let statement = || Statement { meta: meta.clone(), ..Statement::default() };
        Holds::of(HoldKind::PERMANENT, (!meta.is_empty()).then(statement))
    }

    /// Holds that were kept, in their order, and what was said for the member; `None` without a hold, since nobody is a
    /// member then.
    pub fn kept(holds: impl IntoIterator<Item = Hold>, of_member: Option<Arc<Said>>) -> Option<Self> {
        let holds: SmallVec<_> = holds.into_iter().collect();
        (!holds.is_empty()).then(|| Holds(Arc::new(List { holds, of_member })))
    }

    /// Whether the member's `meta` tells the holds: one permanent sign-in without a name, which said the `meta` at rank 0,
    /// or nothing if the `meta` is `{}`. Most members of a large room have such holds, which need not be stored.
    pub fn are_plain(&self) -> bool {
        let is_plain =
            |said: &Said| said.statement.rank == Statement::default().rank && !said.statement.meta.is_empty();
        match &self.0.holds[..] {
            [Hold { kind: HoldKind::PERMANENT, said }] => {
                self.0.of_member.is_none() && said.as_deref().is_none_or(is_plain)
            }
            _ => false,
        }
    }

    /// Adds a hold, which replaces the hold with the same id and the hold `replaced`, and keeps what the two said last.
    /// What `statement` says is said anew, unless the hold says just that already. Returns the two that are gone.
    pub fn put(
        &mut self,
        kind: HoldKind,
        replaced: Option<&HoldId>,
        statement: Option<Statement>,
    ) -> [Option<Hold>; 2] {
        let id = kind.id();
        let gone = [self.take(&id), replaced.and_then(|id| self.take(id))];
        let said = gone.iter().flatten().filter_map(|hold| hold.said.clone()).max_by_key(|said| said.order);
        let news = statement.filter(|statement| said.as_ref().is_none_or(|said| said.statement != *statement));
        self.edit().holds.push(Hold { kind, said });
        if let Some(statement) = news {
            self.say(&id, statement);
        }
        gone
    }

    /// Removes and returns a hold.
    pub fn take(&mut self, id: &HoldId) -> Option<Hold> {
        let at = self.iter().position(|hold| hold.kind.has(id))?;
        Some(self.edit().holds.swap_remove(at))
    }

    /// Says something through a hold.
    pub fn say(&mut self, id: &HoldId, statement: Statement) {
        let order = self.next_order();
        let list = self.edit();
        if list.of_member.as_ref().is_some_and(|said| said.statement.rank <= statement.rank) {
            list.of_member = None;
        }
        if let Some(hold) = list.holds.iter_mut().find(|hold| hold.kind.has(id)) {
            hold.said = Some(Said::new(statement, order));
        }
    }

    /// Says something for the member as a whole.
    pub fn say_for_member(&mut self, statement: Statement) {
        let order = self.next_order();
        self.edit().of_member = Some(Said::new(statement, order));
    }

    /// Lets a hold say what was said earlier, at the place of that.
    pub fn recall(&mut self, id: &HoldId, earlier: Option<Arc<Said>>) {
        if let Some(hold) = self.edit().holds.iter_mut().find(|hold| hold.kind.has(id)) {
            hold.said = earlier;
        }
    }

    /// Gives the lease of this name to another owner.
    pub fn inherit(&mut self, name: Option<&HoldName>, to: &Arc<Lease>) {
        for hold in &mut self.edit().holds {
            if let HoldKind::SignIn { name: own, lease: Some(lease), .. } = &mut hold.kind
                && own.as_ref() == name
            {
                *lease = to.clone();
            }
        }
    }

    /// The lease of this name.
    pub fn lease(&self, name: Option<&HoldName>) -> Option<&Arc<Lease>> {
        self.leases().find(|(own, _)| *own == name).map(|(_, lease)| lease)
    }

    /// All leases of a shared log.
    pub fn leases(&self) -> impl Iterator<Item = (Option<&HoldName>, &Arc<Lease>)> {
        self.iter().filter_map(|hold| match &hold.kind {
            HoldKind::SignIn { name, lease: Some(lease), .. } => Some((name.as_ref(), lease)),
            HoldKind::SignIn { lease: None, .. } | HoldKind::Connection(_) => None,
        })
    }

    /// Starts the grace period of a connection's hold.
    pub fn lose(&mut self, connection: ConnectionId, deadline: Tick) {
        for hold in &mut self.edit().holds {
            if let HoldKind::Connection(hold) = &mut hold.kind
                && hold.connection == connection
            {
                hold.deadline = Some(deadline);
            }
        }
    }

    /// Notes that the node of a hold is silent, or no longer.
    pub fn silence(&mut self, node: ConnectionId, is_silent: bool) {
        for hold in &mut self.edit().holds {
            if let HoldKind::Connection(hold) = &mut hold.kind
                && hold.connection == node
            {
                hold.silent = is_silent;
            }
        }
    }

    /// Whether the member is suspect: held through silent nodes only.
    pub fn are_silent(&self) -> bool {
        let is_silent = |hold: &Hold| matches!(&hold.kind, HoldKind::Connection(hold) if hold.silent);
        !self.is_empty() && self.iter().all(is_silent)
    }

    /// Starts the grace period of the connections' holds, unless nobody has claimed the hold since an earlier beginning.
    /// Calls `changed` with each id, the deadline before and the new one.
    pub fn begin(&mut self, deadline: Tick, mut changed: impl FnMut(HoldId, Option<Tick>, Tick)) {
        let begins = |hold: &Hold| matches!(&hold.kind, HoldKind::Connection(hold) if !hold.unclaimed);
        if !self.iter().any(begins) {
            return;
        }
        for hold in &mut self.edit().holds {
            if let HoldKind::Connection(hold) = &mut hold.kind
                && !hold.unclaimed
            {
                changed(HoldId::Connection(hold.connection), hold.deadline, deadline);
                (hold.deadline, hold.unclaimed) = (Some(deadline), true);
            }
        }
    }

    /// The `meta` that readers see: what was said last at the highest rank, `{}` if nothing was said.
    pub fn shown(&self) -> Meta {
        self.said().max_by_key(|said| said.weight()).map(|said| said.statement.meta.clone()).unwrap_or_default()
    }

    /// What was said for the member as a whole.
    pub fn of_member(&self) -> Option<&Said> {
        self.0.of_member.as_deref()
    }

    fn said(&self) -> impl Iterator<Item = &Said> {
        self.iter().filter_map(|hold| hold.said.as_deref()).chain(self.of_member())
    }

    /// The order of the next statement.
    pub fn next_order(&self) -> Order {
        self.said().map(|said| said.order).max().unwrap_or_default().next()
    }

    /// The hold with this id.
    pub fn get(&self, id: &HoldId) -> Option<&Hold> {
        self.iter().find(|hold| hold.kind.has(id))
    }

    /// The holds of connections.
    pub fn connections(&self) -> impl Iterator<Item = &ConnectionHold> {
        self.iter().filter_map(|hold| match &hold.kind {
            HoldKind::Connection(hold) => Some(hold),
            HoldKind::SignIn { .. } => None,
        })
    }

    /// The connection hold of this client.
    pub fn of_client(&self, client: ClientId) -> Option<&ConnectionHold> {
        self.connections().find(|hold| hold.client == Some(client))
    }

    /// The sign-ins that were made with tokens of `sub`, issued until `before`.
    pub fn made_by(&self, sub: &Name, before: u64) -> impl Iterator<Item = HoldId> {
        let made = move |hold: &&Hold| match &hold.kind {
            HoldKind::SignIn { maker: Some(maker), .. } => maker.sub == *sub && maker.issued <= before,
            HoldKind::SignIn { maker: None, .. } | HoldKind::Connection(_) => false,
        };
        self.iter().filter(made).map(|hold| hold.kind.id())
    }

    /// The number of named sign-ins.
    pub fn named(&self) -> usize {
        self.iter().filter(|hold| matches!(hold.kind, HoldKind::SignIn { name: Some(_), .. })).count()
    }

    /// Whether no hold is left.
    pub fn is_empty(&self) -> bool {
        self.0.holds.is_empty()
    }

    /// All holds.
    pub fn iter(&self) -> std::slice::Iter<'_, Hold> {
        self.0.holds.iter()
    }

    fn edit(&mut self) -> &mut List {
        Arc::make_mut(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::statement::Rank;

    fn id(n: u128) -> HoldId {
        HoldId::Connection(ConnectionId(Uuid::from_u128(n)))
    }

    fn connection(n: u128, client: Option<u128>) -> HoldKind {
        let (connection, client) = (ConnectionId(Uuid::from_u128(n)), client.map(|n| ClientId(Uuid::from_u128(n))));
        HoldKind::Connection(ConnectionHold {
            connection,
            client,
            transport: Transport::Sse,
            deadline: None,
            unclaimed: false,
            silent: false,
        })
    }

    fn statement(n: u32, rank: &str) -> Statement {
        Statement { meta: Meta::read(&format!(r#"{{"n":{n}}}"#)).unwrap(), rank: Rank::read(rank).unwrap() }
    }

    fn shown(holds: &Holds) -> String {
        holds.shown().as_str().to_owned()
    }

    #[test]
    fn plain_holds_are_told_by_the_members_meta() {
        let sign_in = |statement| Holds::of(HoldKind::PERMANENT, statement);
        for plain in [sign_in(None), sign_in(Some(statement(1, "0")))] {
            assert!(plain.are_plain());
            assert_eq!(Holds::plain(&plain.shown()), plain);
        }
        // A `{}` that was said hides what others say; a hold that said nothing hides nothing.
        for other in [
            sign_in(Some(Statement::default())),
            sign_in(Some(statement(1, "1"))),
            Holds::of(HoldKind::SignIn { name: None, deadline: Some(Tick(7)), lease: None, maker: None }, None),
            Holds::of(connection(1, None), None),
        ] {
            assert!(!other.are_plain());
        }
        let mut two = sign_in(None);
        two.put(connection(1, None), None, None);
        assert!(!two.are_plain());
        two.take(&id(1));
        assert!(two.are_plain());
        two.say_for_member(statement(1, "0"));
        assert!(!two.are_plain());
    }

    #[test]
    fn each_connection_holds_once_and_is_found_by_its_client() {
        let mut holds = Holds::of(connection(1, Some(10)), None);
        assert_eq!(holds.put(connection(2, Some(20)), None, None), [None, None]);
        let [old, _] = holds.put(connection(2, Some(30)), None, None);
        assert_eq!(old.map(|hold| hold.kind), Some(connection(2, Some(20))));
        let found = |client| holds.of_client(ClientId(Uuid::from_u128(client))).map(|hold| hold.connection.0.as_u128());
        assert_eq!([found(10), found(20), found(30)], [Some(1), None, Some(2)]);
    }

    #[test]
    fn the_last_statement_of_the_highest_rank_is_shown() {
        let mut holds = Holds::of(connection(1, None), Some(statement(1, "0")));
        holds.put(connection(2, None), None, Some(statement(2, "-1")));
        assert_eq!(shown(&holds), r#"{"n":1}"#);
        holds.say(&id(2), statement(3, "0"));
        assert_eq!(shown(&holds), r#"{"n":3}"#);
        holds.say_for_member(statement(4, "1"));
        holds.say(&id(1), statement(5, "0"));
        assert_eq!(shown(&holds), r#"{"n":4}"#, "a lower rank does not end what was said for the member");
        holds.say(&id(1), statement(6, "1"));
        assert_eq!((shown(&holds), holds.of_member()), (r#"{"n":6}"#.into(), None));
        holds.take(&id(1));
        assert_eq!(shown(&holds), r#"{"n":3}"#, "back to what was said before");
        holds.take(&id(2));
        assert_eq!((shown(&holds), holds.is_empty()), ("{}".into(), true));
    }

    #[test]
    fn a_hold_that_takes_anothers_place_takes_over_its_statement_and_the_place_of_that() {
        let mut holds = Holds::of(connection(1, Some(10)), Some(statement(1, "0")));
        holds.put(connection(2, None), None, Some(statement(2, "0")));
        for silent in [None, Some(statement(1, "0"))] {
            holds.put(connection(3, Some(10)), Some(&id(1)), silent);
            assert_eq!((shown(&holds), holds.iter().len()), (r#"{"n":2}"#.into(), 2));
            holds.put(connection(1, Some(10)), Some(&id(3)), None);
        }
        holds.put(connection(3, Some(10)), Some(&id(1)), Some(statement(1, "1")));
        assert_eq!(shown(&holds), r#"{"n":1}"#, "another rank is another statement");
    }

    #[test]
    fn a_members_holds_take_no_more_than_one_small_allocation() {
        assert_eq!((size_of::<Option<Holds>>(), size_of::<Hold>()), (8, 64));
        assert!(size_of::<List>() + 2 * size_of::<usize>() <= 96);
    }
}
