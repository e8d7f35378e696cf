//! Changes that the nodes of a cluster agree on: made here, and answered when the shared log has them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::node::{Answer, Cause};
use crate::journal::cluster::record::Record;
use crate::journal::participant::Settling;
use crate::model::command::{Action, Command};
use crate::model::cursor::{Cursor, Position};
use crate::model::event::DelReason;
use crate::model::hold::ConnectionHold;
use crate::model::id::ConnectionId;
use crate::model::info::Info;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::presence::Presence;
use crate::model::refusal::Refusal;
use crate::model::statement::Statement;
use crate::rooms::Rooms;
use crate::rooms::changed::{Changed, Kept};
use crate::rooms::cluster::{ANSWER_WITHIN, Cluster, no_answer};
use crate::runtime::memory::Level;

/// How long a reader waits for the events until a cursor of another node.
const REACHED_WITHIN: Duration = Duration::from_secs(1);

impl Rooms {
    /// Applies all of `commands` to `room`, or none, and announces the change; in a cluster, when the log has them.
    ///
    /// # Errors
    ///
    /// The refusal of the commands, `too_many_rooms` when a new room is needed, or `not_durable` without an answer of the log.
    pub async fn apply(&self, room: &Name, commands: &[Command]) -> Result<Changed, Refusal> {
        let Some(cluster) = self.cluster() else { return self.change(room, commands) };
        self.check_here(room, commands)?;
        let record = Record::Change { room: room.clone(), commands: commands.to_vec() };
        let outcome = match cluster.ask(record).await? {
            Answer::Done(outcome) => outcome,
            Answer::Refused(refusal) => return Err(refusal),
            Answer::Recorded | Answer::Used(_) => Outcome::none(self.read(room, Presence::head)),
            Answer::Unknown => return Err(no_answer()),
        };
        Ok(Changed { outcome, kept: Kept::done() })
    }

    /// What only this process can judge of commands for the log.
    fn check_here(&self, room: &Name, commands: &[Command]) -> Result<(), Refusal> {
        let registers = self.directory.registers();
        registers.check_denylist(room, commands, self.clock().tick())?;
        if commands.iter().any(|command| command.adds().is_some()) {
            registers.index.admits(room)?;
        }
        let level = registers.memory.level();
        let grows = level >= Level::Refuse
            && self.read(room, |presence| {
                presence.would_add(commands) || (level >= Level::Full && presence.would_enlarge(commands))
            });
        if grows { Err(registers.memory.refusal()) } else { Ok(()) }
    }

    /// Waits at most a second until the rooms here have the event at `since`, a cursor that another node may have given.
    pub fn reached(&self, room: &Name, since: Option<Cursor>) -> Kept {
        let Some((cluster, since)) = self.cluster().zip(since) else { return Kept::done() };
        let offset = since.offset;
        if *cluster.shown().borrow() >= Position(offset.0) || self.directory.epoch(room) != since.epoch {
            return Kept::done();
        }
        let mut shown = cluster.shown();
        Kept::agreed(async move {
            // Otherwise the reader gets the set.
            let _ = timeout(REACHED_WITHIN, shown.wait_for(|shown| shown.0 >= offset.0)).await;
            Ok(None)
        })
    }

    /// What `find` finds, in a cluster within the second in which another node may have made it.
    pub async fn found<T>(&self, find: impl Fn() -> Option<T>) -> Option<T> {
        let found = find();
        let Some(cluster) = self.cluster().filter(|_| found.is_none()) else { return found };
        let mut shown = cluster.shown();
        let waits = async {
            loop {
                shown.borrow_and_update();
                match find() {
                    None if shown.changed().await.is_ok() => {}
                    found => return found,
                }
            }
        };
        timeout(REACHED_WITHIN, waits).await.ok().flatten()
    }

    /// A connection holds a user from now on.
    ///
    /// # Errors
    ///
    /// What only this process can judge: the denylist, the memory, the number of rooms; `not_durable` while too many wait.
    pub fn join_in(
        self: &Arc<Self>,
        cluster: &Cluster,
        key: Key,
        hold: ConnectionHold,
        (statement, info): (Option<Statement>, Option<Info>),
    ) -> Result<Changed, Refusal> {
        let join = Action::Join(hold, statement.clone(), info.clone());
        self.check_here(&key.0, &[Command::User(key.1.clone(), join)])?;
        cluster.admits()?;
        let connection = hold.connection;
        let known = cluster.holds(&key, connection);
        let settling = cluster.participant().hold(&key, connection, |node, _| {
            node.join(&key, connection, hold.client, statement, info);
        });
        let late = self.clone();
        let give_up = move |key: &Key| {
            if let Some(cluster) = late.cluster().filter(|_| !known) {
                cluster.participant().with(|node, _| node.leave(key, connection, DelReason::Closed));
            }
        };
        Ok(changed(self, key, settling, give_up))
    }

    /// A connection says something of a user whom it holds.
    ///
    /// # Errors
    ///
    /// `not_joined` if the connection does not hold the user.
    pub fn say_in(
        self: &Arc<Self>,
        cluster: &Cluster,
        key: Key,
        by: ConnectionId,
        statement: Statement,
    ) -> Result<Changed, Refusal> {
        cluster.demand(&key, by)?;
        let settling = cluster.participant().hold(&key, by, |node, _| node.say(&key, by, statement));
        Ok(changed(self, key, settling, |_| {}))
    }

    /// A connection ends its hold of a user.
    ///
    /// # Errors
    ///
    /// `not_joined` if the connection does not hold the user.
    pub fn leave_in(
        self: &Arc<Self>,
        cluster: &Cluster,
        key: Key,
        by: ConnectionId,
        why: DelReason,
    ) -> Result<Changed, Refusal> {
        cluster.demand(&key, by)?;
        let settling = cluster.participant().hold(&key, by, |node, _| node.leave(&key, by, why));
        Ok(changed(self, key, settling, |_| {}))
    }

    /// Tells the other nodes whether this one is short of memory.
    pub fn tell_memory(&self) {
        if let Some(cluster) = self.cluster() {
            let full = self.memory().level() >= Level::Refuse;
            cluster.participant().with(|node, _| node.is_full(full));
        }
    }
}

/// What a connection did, which is known when the log has it.
fn changed(rooms: &Arc<Rooms>, key: Key, settling: Settling, give_up: impl FnOnce(&Key) + Send + 'static) -> Changed {
    let outcome = Outcome::none(rooms.read(&key.0, Presence::head));
    let rooms = rooms.clone();
    let kept = Kept::agreed(async move {
        match timeout(ANSWER_WITHIN, settling).await {
            Ok(Ok(Err(Cause::Refused(refusal)))) => Err(refusal),
            // Whoever ended the hold since then is told of by a message of its own.
            Ok(Ok(Ok(()) | Err(Cause::Replaced | Cause::Left | Cause::SignedOut(_)))) => {
                Ok(Some(rooms.read(&key.0, Presence::head)))
            }
            Ok(Err(_)) => Err(no_answer()),
            Err(_) => {
                give_up(&key);
                Err(no_answer())
            }
        }
    });
    Changed { outcome, kept }
}
