//! Callers: who sent a request, judged by the credential that it brings.

use std::sync::Arc;

use warp::http::header;

use crate::access::pass::{Kind, Pass};
use crate::access::rights::Admin;
use crate::access::verb::Verb;
use crate::http::cookie;
use crate::http::forwarded::Forwarded;
use crate::http::gate::Gate;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Caller {
    pass: Arc<Pass>,
    /// Whether the browser itself brought the credential, also for a foreign page's request.
    by_cookie: bool,
}

/// How a request may use a ticket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ticket<'a> {
    /// There is none, or the path takes none.
    None,
    /// It is used up.
    Use(&'a str),
    /// It is only looked at.
    See(&'a str),
}

impl Caller {
    pub(super) fn new(pass: Arc<Pass>) -> Self {
        Caller { pass, by_cookie: false }
    }

    /// The pass.
    pub fn pass(&self) -> &Arc<Pass> {
        &self.pass
    }

    /// Whether only the browser vouches for the caller.
    pub fn is_by_cookie(&self) -> bool {
        self.by_cookie
    }

    /// Whether the caller brought a credential.
    pub fn is_known(&self) -> bool {
        matches!(self.pass.kind, Kind::ApiKey | Kind::Token)
    }

    /// Whether the caller may see the holds of the members of `room`.
    pub fn sees_holds(&self, room: &Name) -> bool {
        self.pass.rights.may(Verb::Manage, room) || self.pass.rights.admin() > Admin::No
    }
}

impl Gate {
    /// The caller without a credential.
    pub fn stranger(&self) -> Caller {
        Caller::new(self.0.passes().anyone().clone())
    }

    /// Judges the credential of a request. One request has at most one; cookies count only without another.
    ///
    /// # Errors
    ///
    /// `token_invalid`, `token_expired` or `revoked`: a bad credential is never taken for none.
    pub async fn identify(&self, request: &Forwarded<'_>, ticket: Ticket<'_>) -> Result<Caller, Refusal> {
        if let Ticket::Use(text) | Ticket::See(text) = ticket {
            return self.by_ticket(request, text, matches!(ticket, Ticket::Use(_))).await;
        }
        if !self.config().has_keys() {
            return Ok(self.stranger());
        }
        if let Some(credential) = bearer(request)? {
            return Ok(Caller::new(self.0.passes().judge_credential(credential).await?));
        }
        match self.by_cookie(request).await? {
            Some(pass) => Ok(Caller { pass, by_cookie: true }),
            None => Ok(self.stranger()),
        }
    }

    async fn by_ticket(&self, request: &Forwarded<'_>, ticket: &str, is_used: bool) -> Result<Caller, Refusal> {
        if request.headers().contains_key(header::AUTHORIZATION) {
            let message = "a request has Authorization or a ticket, not both";
            return Err(Refusal::new(Code::BadRequest, message).of("ticket"));
        }
        let passes = self.0.passes();
        let found = if is_used { passes.use_ticket(ticket).await? } else { passes.see_ticket(ticket).await };
        let unknown = || Refusal::check("ticket", "the ticket is unknown, over or used; ask for a new one");
        let pass = found.ok_or_else(unknown)?;
        passes.judge(&pass)?;
        Ok(Caller::new(pass))
    }

    async fn by_cookie(&self, request: &Forwarded<'_>) -> Result<Option<Arc<Pass>>, Refusal> {
        let passes = self.0.passes();
        let found = passes.find_cookie(&cookie::ids(request, self.config())).await;
        if let Some(pass) = found {
            passes.judge(&pass)?;
            return Ok(Some(pass));
        }
        match cookie::is_own(request, self.config()) {
            true => Err(cookie::ended()),
            false => Ok(None),
        }
    }
}

/// The credential in `Authorization` (RFC 6750, 2.1).
fn bearer<'a>(request: &Forwarded<'a>) -> Result<Option<&'a str>, Refusal> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.to_str().unwrap_or_default(),
        (Some(_), Some(_)) => return Err(Refusal::check("format", "Authorization is given twice").of("Authorization")),
    };
    let credential = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let not_bearer = || Refusal::check("format", "Authorization is not Bearer and a token").of("Authorization");
    credential.map(|(_, credential)| Some(credential.trim())).ok_or_else(not_bearer)
}
