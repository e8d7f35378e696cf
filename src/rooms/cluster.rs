//! The node of a cluster that this process is, as rooms ask it.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::node::Answer;
use crate::journal::cluster::node::survey::{Recency, Survey};
use crate::journal::cluster::record::Record;
use crate::journal::participant::Participant;
use crate::model::command::{Action, Command};
use crate::model::cursor::Position;
use crate::model::id::{ClientId, ConnectionId};
use crate::model::info::Info;
use crate::model::moment::Tick;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::changed::Kept;

/// How long an answer waits for the log: twice the time in which NATS gets another leader.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// The records that may wait for the log: what 6,000 clients a second ask for within [`ANSWER_WITHIN`], some 20 MB.
const MOST_PENDING: usize = 65_536;

/// The node of this process.
#[derive(Debug)]
pub struct Cluster {
    participant: Participant,
    /// How far rooms here go.
    shown: watch::Receiver<Position>,
}

impl Cluster {
    /// The node that `participant` is, whose rooms go as far as `shown`.
    pub fn new(participant: Participant, shown: watch::Receiver<Position>) -> Self {
        Cluster { participant, shown }
    }

    /// How far rooms here go.
    pub fn shown(&self) -> watch::Receiver<Position> {
        self.shown.clone()
    }

    /// What the node tells its operators.
    pub fn survey(&self) -> Survey {
        self.participant.with(|node, now| node.survey(now))
    }

    /// How recent the node's rooms are.
    pub fn recency(&self) -> Recency {
        self.participant.with(|node, now| node.recency(now))
    }

    /// The node on its log.
    pub fn participant(&self) -> &Participant {
        &self.participant
    }

    /// Asks for a record in the log, from now on, and waits for what comes of it.
    ///
    /// # Errors
    ///
    /// `not_durable` where the log is away for longer.
    pub fn ask(&self, record: Record) -> impl Future<Output = Result<Answer, Refusal>> + Send + use<> {
        let asked = self.admits().map(|()| timeout(ANSWER_WITHIN, self.participant.ask(record)));
        async { asked?.await.map(|(_, answer)| answer).map_err(|_| no_answer()) }
    }

    /// The same for a fact that is never refused.
    pub fn record(&self, record: Record) -> Kept {
        let asked = self.ask(record);
        Kept::agreed(async {
            match asked.await? {
                Answer::Unknown => Err(no_answer()),
                Answer::Done(_) | Answer::Refused(_) | Answer::Recorded | Answer::Used(_) => Ok(None),
            }
        })
    }

    /// Whether the log, if it is away, is not waited for by too many already.
    ///
    /// # Errors
    ///
    /// `not_durable`.
    pub fn admits(&self) -> Result<(), Refusal> {
        match self.participant.look(|node| node.pending()) < MOST_PENDING {
            true => Ok(()),
            false => Err(no_answer()),
        }
    }

    /// When what lasts for so long from now on ends, in the time of the log.
    pub fn end(&self, life: Duration) -> Tick {
        self.participant.look(|node| node.shared().roll.clock) + life
    }

    /// A connection is lost, which was silent for some time before.
    pub fn lose(&self, key: &Key, by: ConnectionId, silent: Duration) {
        let silent = u64::try_from(silent.as_millis()).unwrap_or(u64::MAX);
        self.participant.with(|node, _| node.lose(key, by, silent));
    }

    /// Sets the `info` of a member whom a connection holds.
    pub fn inform(&self, (room, user): &Key, info: &Info) {
        let commands = vec![Command::User(user.clone(), Action::Set(None, Some(info.clone())))];
        // Refused only if the member is gone.
        drop(self.participant.ask(Record::Change { room: room.clone(), commands }));
    }

    /// Whether the log knows the node whose first life has this name, and has not found it lost.
    pub fn has_node(&self, name: &str) -> bool {
        let first = Uuid::try_parse(name).map(Incarnation);
        first.is_ok_and(|first| self.participant.look(|node| node.shared().roll.lives.contains_key(&first)))
    }

    /// Whether a connection holds the user.
    pub fn holds(&self, key: &Key, by: ConnectionId) -> bool {
        self.participant.look(|node| node.attendance().has(key, by))
    }

    /// Whether another connection of `client` than `by` holds the user through this node.
    pub fn returns(&self, key: &Key, client: ClientId, by: Option<ConnectionId>) -> bool {
        self.participant.look(|node| node.attendance().of_client(key, client).is_some_and(|maker| Some(maker) != by))
    }

    /// Demands that a connection holds the user.
    ///
    /// # Errors
    ///
    /// `not_joined`.
    pub fn demand(&self, key: &Key, by: ConnectionId) -> Result<(), Refusal> {
        match self.holds(key, by) {
            true => Ok(()),
            false => {
                let message = format!("this connection does not hold {} in {}", key.1, key.0);
                Err(Refusal::new(Code::NotJoined, message))
            }
        }
    }
}

/// The refusal of what the log has no answer for.
pub fn no_answer() -> Refusal {
    Refusal::new(Code::NotDurable, "the shared log of the cluster does not answer; try again")
}
