//! Tickets, cookies and revocations, behind the gate.

use std::sync::Arc;

use tokio::task::yield_now;

use super::{Caller, Gate};
use crate::access::pass::{Kind, Pass, UnixTime};
use crate::access::revocations::{LONGEST_LIFE, Revoked};
use crate::access::rights::Admin;
use crate::access::verb::{Verb, Verbs};
use crate::delivery::connection::{Connection, Ending};
use crate::gateway::live::LiveEntry;
use crate::http::forwarded::Forwarded;
use crate::http::payer::Payer;
use crate::http::{cookie, origin};
use crate::model::command::{Action, Command};
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::changed::Kept;
use crate::runtime::clock::unix_now;
use crate::runtime::rates::Work;

/// The most members of a room that are changed in one step.
const MAX_AT_ONCE: usize = 1_000;

/// A permit to revoke tokens.
pub struct Revoke(Gate);

impl Gate {
    /// Enters `connection` among those whose pass may end, if it may.
    pub fn enter(&self, pass: &Arc<Pass>, connection: &Arc<Connection>) -> Option<LiveEntry> {
        if !pass.may_end() {
            return None;
        }
        let entry = self.0.passes().live().enter(connection, pass.clone(), unix_now());
        // The pass may have ended since it was judged.
        if let Err(refusal) = self.0.passes().judge(pass) {
            connection.end(Ending::Ours(refusal.code));
        }
        Some(entry)
    }

    /// Makes a ticket for `verbs` in `room`: for the caller, or with an API key for the user `sub`.
    ///
    /// # Errors
    ///
    /// `not_allowed` for verbs that the caller lacks, `wrong_user` for another `sub`, `bad_json` where an API key names none for
    /// `join`, `too_many_passes`, `too_fast` past the rate of changes.
    pub async fn make_ticket(
        &self,
        request: &Forwarded<'_>,
        caller: &Caller,
        room: &Name,
        verbs: Verbs,
        sub: Option<Name>,
    ) -> Result<String, Refusal> {
        Payer::Address(request.source()).pay(self.rates(), Work::Changes, 1)?;
        let pass = caller.pass();
        // Of a verb and those that it includes, the refusal names the verb itself.
        let missing = verbs.iter().filter(|verb| !pass.rights.may(*verb, room)).last();
        missing.map_or(Ok(()), |verb| pass.demand(verb, room))?;
        let sub = match (pass.is_anyone(), sub, &pass.sub) {
            (true, None, _) if verbs.have(Verb::Join) && pass.kind == Kind::ApiKey => {
                let message = "a ticket for join names its user, since an API key is nobody's";
                return Err(Refusal::new(Code::BadJson, message).of("sub"));
            }
            (true, sub, _) => sub,
            (false, Some(sub), own) if own.as_ref() != Some(&sub) => {
                let message = format!("a ticket is its maker's, and not {sub}'s");
                return Err(Refusal::new(Code::WrongUser, message).of("sub"));
            }
            (false, _, own) => own.clone(),
        };
        let rights = pass.rights.narrowed(verbs, room);
        let (ticket, kept) =
            self.0.passes().make_ticket(Pass { sub, rights, ..self.lasting(pass) }, self.now().tick)?;
        kept.await?;
        Ok(ticket)
    }

    /// A copy of `pass` with an end: an API key's lasts as long as a token may.
    fn lasting(&self, pass: &Pass) -> Pass {
        let expires = match pass.kind {
            Kind::ApiKey => Some(unix_now() + LONGEST_LIFE),
            Kind::Open | Kind::Stranger | Kind::Token => pass.expires,
        };
        Pass { expires, ..pass.clone() }
    }

    /// Makes a cookie for the caller. Returns the `Set-Cookie`, or `None` where the caller needs no credential.
    ///
    /// # Errors
    ///
    /// `cross_site`, `token_missing` without a credential, `too_many_passes`, `too_fast` past the rate of changes.
    pub async fn make_cookie(&self, request: &Forwarded<'_>, caller: &Caller) -> Result<Option<String>, Refusal> {
        self.judge_origin(request, caller)?;
        Payer::Address(request.source()).pay(self.rates(), Work::Changes, 1)?;
        if caller.pass().kind == Kind::Open {
            return Ok(None);
        }
        if !caller.is_known() {
            return Err(caller.pass().lacks("a token or API key"));
        }
        let pass = Arc::new(self.lasting(caller.pass()));
        let (id, kept) = self.0.passes().make_cookie(pass, self.now().tick)?;
        let forgotten = self.forget_cookies(request);
        kept.await?;
        forgotten.await?;
        Ok(Some(cookie::set(request, self.config(), &id)))
    }

    /// Ends the cookies that a request brings. Returns the `Set-Cookie` that deletes the gateway's.
    ///
    /// # Errors
    ///
    /// `cross_site`.
    pub async fn end_cookie(&self, request: &Forwarded<'_>) -> Result<String, Refusal> {
        origin::may_change(request, self.config())?;
        origin::is_named(request)?;
        self.forget_cookies(request).await?;
        Ok(self.delete_cookie(request))
    }

    /// The `Set-Cookie` that deletes the gateway's cookie.
    pub fn delete_cookie(&self, request: &Forwarded<'_>) -> String {
        cookie::delete(request, self.config())
    }

    /// Ends the cookies that a request brings.
    fn forget_cookies(&self, request: &Forwarded<'_>) -> Kept {
        let now = self.now().tick;
        let ended = cookie::ids(request, self.config());
        Kept::all(ended.iter().filter_map(|id| self.0.passes().end_cookie(id, now)).collect())
    }

    /// A permit to revoke tokens.
    ///
    /// # Errors
    ///
    /// `cross_site`; `token_missing` or `not_allowed` without `admin`.
    pub fn may_revoke(&self, request: &Forwarded<'_>, caller: &Caller) -> Result<Revoke, Refusal> {
        self.judge_origin(request, caller)?;
        match caller.pass().rights.admin() {
            Admin::Full => Ok(Revoke(self.clone())),
            Admin::No | Admin::Reads => Err(caller.pass().lacks("admin")),
        }
    }

    /// At most `limit` revocations after `after`, in order.
    ///
    /// # Errors
    ///
    /// `token_missing` or `not_allowed` without `admin`.
    pub fn revocations(
        &self,
        caller: &Caller,
        after: Option<&Revoked>,
        limit: usize,
    ) -> Result<Vec<(Revoked, UnixTime)>, Refusal> {
        self.may_operate(caller)?;
        Ok(self.0.passes().revocations(after, limit))
    }
}

impl Revoke {
    /// Revokes tokens issued until `before`: ends the connections with such tokens, and with a subject's the sign-ins.
    ///
    /// # Errors
    ///
    /// `too_many_passes`.
    pub async fn revoke(&self, revoked: Revoked, before: UnixTime) -> Result<(), Refusal> {
        let rooms = self.0.0.rooms();
        let mut kept = self.0.0.passes().revoke(revoked.clone(), before)?;
        let sub = match revoked {
            // The log of a cluster ends the sign-ins by itself.
            Revoked::Subject(sub) if rooms.cluster().is_none() => sub,
            Revoked::Subject(_) | Revoked::Token(_) => return kept.await.map(drop),
        };
        for room in rooms.names() {
            let made = rooms.read(&room, |presence| presence.roster().clone());
            let revoke = |user: &Name| Command::User(user.clone(), Action::Revoke(sub.clone(), before));
            let commands: Vec<_> = made.made_by(&sub, before).map(revoke).collect();
            // Other changes of the room come in between.
            for commands in commands.chunks(MAX_AT_ONCE) {
                kept = rooms.change(&room, commands)?.kept;
                yield_now().await;
            }
            yield_now().await;
        }
        kept.await.map(drop)
    }
}
