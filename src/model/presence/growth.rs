//! Growth: whether commands would take more memory, so that they are refused while memory is short.

use crate::model::command::{Action, Command, SignIn};
use crate::model::hold::{ConnectionHold, HoldId};
use crate::model::info::Info;
use crate::model::name::Name;
use crate::model::presence::Presence;
use crate::model::statement::Statement;

impl Presence {
    /// Whether the commands would make a new member.
    pub fn would_add(&self, commands: &[Command]) -> bool {
        commands.iter().filter_map(Command::adds).any(|user| self.roster.get(user).is_none())
    }

    /// Whether the commands would make what is said of a member longer, other than by a connection that takes the place of
    /// its client's hold.
    pub fn would_enlarge(&self, commands: &[Command]) -> bool {
        let replaces = |user: &Name, hold: &ConnectionHold| {
            hold.client
                .is_some_and(|client| self.roster.holds(user).is_some_and(|holds| holds.of_client(client).is_some()))
        };
        commands.iter().any(|command| match command {
            Command::User(user, Action::Join(hold, statement, info)) => {
                let id = HoldId::Connection(hold.connection);
                let says_more = self.says_more(user, Some(&id), statement.as_ref());
                (says_more || self.informs_more(user, info.as_ref())) && !replaces(user, hold)
            }
            Command::User(user, Action::SignIn(SignIn { name, statement, info, .. })) => {
                let id = HoldId::SignIn(name.clone());
                self.says_more(user, Some(&id), statement.as_ref()) || self.informs_more(user, info.as_ref())
            }
            Command::User(user, Action::Set(statement, info)) => {
                self.says_more(user, None, statement.as_ref()) || self.informs_more(user, info.as_ref())
            }
            Command::User(user, Action::Update(connection, statement)) => {
                self.says_more(user, Some(&HoldId::Connection(*connection)), Some(statement))
            }
            Command::User(..) | Command::Expire(_) | Command::Begin(_) | Command::Trim(_) | Command::Shorten(..) => {
                false
            }
        })
    }

    /// Whether `statement` is longer than what is said already through a member's hold, or for the member.
    fn says_more(&self, user: &Name, id: Option<&HoldId>, statement: Option<&Statement>) -> bool {
        let Some((statement, holds)) = statement.zip(self.roster.holds(user)) else {
            return false;
        };
        let said = id.map_or(holds.of_member(), |id| holds.get(id).and_then(|hold| hold.said.as_deref()));
        let bytes = said.map_or(0, |said| said.statement.meta.as_str().len());
        !statement.meta.is_empty() && statement.meta.as_str().len() > bytes
    }

    fn informs_more(&self, user: &Name, info: Option<&Info>) -> bool {
        self.roster.get(user).zip(info).is_some_and(|(member, info)| info.len() > member.info.len())
    }
}
