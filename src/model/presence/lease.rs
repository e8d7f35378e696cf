//! Leases, and what a node of a cluster says of them and of its own holds.

use std::sync::Arc;

use uuid::Uuid;

use crate::model::command::{Action, Command, NodeAction, SignIn};
use crate::model::event::DelReason;
use crate::model::hold::{Hold, HoldId, HoldKind, Holds, Lease};
use crate::model::info::Info;
use crate::model::moment::Moment;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::presence::Presence;
use crate::model::statement::Statement;

impl Presence {
    /// Whether `command` renews a lease, and changes nothing else.
    pub fn renews(&self, command: &Command) -> bool {
        let Command::User(user, Action::SignIn(SignIn { name, statement, info, .. })) = command else {
            return false;
        };
        let says = |hold: &Hold, new: &Statement| hold.said.as_ref().is_some_and(|said| said.statement == *new);
        let has = |new: &Info| self.roster.get(user).is_some_and(|member| member.info == *new);
        self.roster.holds(user).is_some_and(|holds| {
            holds.get(&HoldId::SignIn(name.clone())).is_some_and(|hold| {
                (hold.kind.deadline().is_some() || holds.lease(name.as_ref()).is_some())
                    && statement.as_ref().is_none_or(|new| says(hold, new))
                    && info.as_ref().is_none_or(has)
            })
        })
    }

    /// The hold that a sign-in makes: a lease of a shared log belongs to the `node` whose command is applied.
    pub(super) fn sign_in_kind(&self, node: Option<Uuid>, sign_in: &SignIn, now: Moment) -> HoldKind {
        let SignIn { name, ttl, maker, .. } = sign_in;
        let lease = |owner, ttl| Arc::new(Lease { owner, given: self.applied, ttl });
        let (deadline, lease) = match (*ttl, node) {
            (Some(ttl), Some(owner)) => (None, Some(lease(owner, ttl))),
            (ttl, _) => (ttl.map(|ttl| now.tick + ttl), None),
        };
        HoldKind::SignIn { name: name.clone(), deadline, lease, maker: maker.clone() }
    }

    pub(super) fn act_of_node(&mut self, user: &Name, action: &NodeAction, now: Moment, outcome: &mut Outcome) {
        match action {
            NodeAction::End(connection, reason) => {
                self.end(user, &[HoldId::Connection(*connection)], *reason, now, outcome);
            }
            NodeAction::Recall(connection, earlier) => {
                self.edit(user, None, now, outcome, |holds| {
                    holds.recall(&HoldId::Connection(*connection), earlier.clone());
                });
            }
            NodeAction::Silence(connection, is_silent) => {
                self.edit(user, None, now, outcome, |holds| holds.silence(*connection, *is_silent));
            }
            NodeAction::Lapse(name, lease) => {
                let is_same = |holds: Holds| holds.lease(name.as_ref()).is_some_and(|own| own == lease);
                if self.roster.holds(user).is_some_and(is_same) {
                    self.end(user, &[HoldId::SignIn(name.clone())], DelReason::Expired, now, outcome);
                }
            }
            NodeAction::Inherit(name, lease) => {
                self.roster.edit(user, None, |holds| holds.inherit(name.as_ref(), lease));
            }
        }
    }
}
