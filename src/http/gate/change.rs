//! What the permits to change a room allow, over HTTP and through a connection.

use std::sync::Arc;

use warp::http::HeaderValue;

use super::{Gate, Holds};
use crate::access::pass::Pass;
use crate::access::verb::Verb;
use crate::http::audit;
use crate::http::payer::Payer;
use crate::model::command::{Action, Command, SignIn};
use crate::model::event::DelReason;
use crate::model::hold::{Maker, Transport};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::info::Info;
use crate::model::name::Name;
use crate::model::outcome::Outcome;
use crate::model::refusal::{Code, Refusal};
use crate::model::statement::Statement;
use crate::rooms::changed::Changed;
use crate::runtime::rates::{Source, Work};

/// A permit to change one room.
pub struct Change<'a> {
    pub(super) gate: Gate,
    /// The request's id.
    pub(super) id: HeaderValue,
    pub(super) client: Source,
    pub(super) pass: Arc<Pass>,
    pub(super) room: &'a Name,
}

impl Change<'_> {
    /// Does all of `commands`, or none, and waits until they are written.
    ///
    /// # Errors
    ///
    /// `not_durable`, although the commands are done; `not_allowed`, the refusal of the commands, `too_many_rooms` when a new room is needed, or `too_fast` past the rate of
    /// changes or rooms.
    pub async fn apply(&self, mut commands: Vec<Command>) -> Result<Outcome, Refusal> {
        commands.iter().try_for_each(|command| self.judge(command))?;
        self.mark(&mut commands);
        let payer = Payer::Address(self.client);
        if payer.pays() {
            self.pay(payer, &commands)?;
        }
        let Changed { outcome, kept } = self.gate.0.rooms().apply(self.room, &commands).await?;
        audit::changed(&self.id, self.client.address, self.room, &commands, &outcome);
        self.take_back(&commands).await?;
        kept.await?;
        Ok(outcome)
    }

    /// Judges a command by the caller's verbs: what concerns others, or what only others may say of a user, needs `manage`.
    fn judge(&self, command: &Command) -> Result<(), Refusal> {
        let verb = match command {
            Command::User(user, action) if self.pass.is(user) => own_verb(action),
            Command::User(..) | Command::Expire(_) | Command::Begin(_) => Verb::Manage,
            Command::Trim(_) | Command::Shorten(..) => Verb::Manage,
        };
        self.pass.demand(verb, self.room)
    }

    /// Notes the caller's token with the sign-ins that it makes, and shows what it says of its own user.
    fn mark(&self, commands: &mut [Command]) {
        let Some((sub, token)) = self.pass.sub.as_ref().zip(self.pass.token.as_ref()) else {
            return;
        };
        let maker = Arc::new(Maker { sub: sub.clone(), issued: token.issued });
        for command in commands {
            if let Command::User(user, Action::SignIn(sign_in)) = command {
                sign_in.maker = Some(maker.clone());
                if user == sub && sign_in.info.is_none() {
                    sign_in.info = self.pass.info.clone();
                }
            }
        }
    }

    /// Ends what was signed in while the token was being revoked: the revocation may have passed the room before.
    async fn take_back(&self, commands: &[Command]) -> Result<(), Refusal> {
        let Some((sub, token)) = self.pass.sub.as_ref().zip(self.pass.token.as_ref()) else {
            return Ok(());
        };
        let judged = self.gate.0.passes().judge(&self.pass);
        if judged.as_ref().is_err_and(|refusal| refusal.code == Code::Revoked) {
            let revoke = |user: &Name| Command::User(user.clone(), Action::Revoke(sub.clone(), token.issued));
            let users = commands.iter().filter_map(Command::adds).map(revoke);
            self.gate.0.rooms().apply(self.room, &users.collect::<Vec<_>>()).await?;
            return judged;
        }
        Ok(())
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

/// The verb for an action about oneself.
pub fn own_verb(action: &Action) -> Verb {
    match action {
        Action::LeaveClient(_) => Verb::Join,
        Action::SignIn(SignIn { info: None, .. }) | Action::SignOut(DelReason::SignedOut) => Verb::SignIn,
        Action::Release(_) | Action::Set(_, None) => Verb::SignIn,
        Action::SignIn(_) | Action::SignOut(_) | Action::Set(..) | Action::Join(..) => Verb::Manage,
        Action::Update(..) | Action::Leave(_) | Action::Kick(_) | Action::Revoke(..) => Verb::Manage,
        Action::Lose(..) | Action::Node(_) => Verb::Manage,
    }
}

/// A permit to hold one user in one room through a connection.
pub struct Join<'a> {
    pub(super) gate: Gate,
    pub(super) payer: Payer<'a>,
    pub(super) room: &'a Name,
    pub(super) user: Name,
    /// What the token says of the user.
    pub(super) info: Option<Info>,
}

impl Join<'_> {
    /// Holds the user for the connection `id`, and adds the hold to `holds`. Replaces an older hold of `client`; a client that
    /// comes back to its hold is never too fast.
    ///
    /// # Errors
    ///
    /// `too_many_joined` at the connection's bound, `too_fast` past the rate of changes or rooms, or the room's refusal.
    pub fn hold(
        self,
        holds: &mut Holds,
        (id, transport): (ConnectionId, Transport),
        statement: Option<Statement>,
        client: Option<ClientId>,
    ) -> Result<Changed, Refusal> {
        let comes_back = |client| self.gate.returns(self.room, &self.user, client, Some(id));
        let returns = self.payer.pays() && client.is_some_and(comes_back);
        if !returns {
            self.payer.pay(self.gate.rates(), Work::Changes, 1)?;
            self.gate.pay_for_room(self.room, self.payer)?;
        }
        let make = || Box::new(self.gate.0.holds(id, transport));
        let changed =
            holds.0.get_or_insert_with(make).join(self.room.clone(), self.user, statement, self.info, client)?;
        if returns {
            self.payer.returned();
        }
        Ok(changed)
    }
}
