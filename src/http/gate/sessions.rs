//! Sessions, behind the gate: each request of a session is judged like a change.

use std::sync::Arc;

use crate::delivery::asks::Asks;
use crate::delivery::session::{Inbox, Mailbox, Messages, Reply, Sessions};
use crate::gateway::relay::{self, Request};
use crate::http::forwarded::Forwarded;
use crate::http::gate::{Caller, Gate};
use crate::model::refusal::{Code, Refusal};
use crate::wire::greeting::Hello;

impl Gate {
    /// Opens a session of a [`Visitor`](super::Visitor), with its first messages. Returns the secret, which only the client
    /// may know.
    pub fn open_session(&self, first: Messages, asks: Arc<Asks>) -> (String, Mailbox) {
        self.0.sessions().open(first, asks)
    }

    /// The session of `secret`, if it is open, for the sender of `request`. The secret alone suffices; a credential beside it
    /// must be of the session's user.
    ///
    /// # Errors
    ///
    /// `cross_site` for another site's page, and for prefetching; `wrong_user`.
    pub fn session(
        &self,
        request: &Forwarded<'_>,
        caller: &Caller,
        secret: &str,
    ) -> Result<Option<Arc<Inbox>>, Refusal> {
        self.judge_origin(request, caller)?;
        let inbox = self.0.sessions().find(secret);
        let (sub, owner) = (caller.pass().sub.as_ref(), inbox.as_ref().and_then(|inbox| inbox.owner()));
        if caller.is_known() && owner.is_some() && sub.is_some() && sub != owner {
            return Err(wrong_user());
        }
        Ok(inbox)
    }

    /// Whether another node of the cluster may have the session of `secret`.
    pub fn may_be_elsewhere(&self, secret: &str) -> bool {
        let node = Sessions::node_of(secret).filter(|node| Some(*node) != self.0.sessions().node());
        node.is_some() && self.0.rooms().cluster().is_some()
    }

    /// Hands a request on to the node of the cluster whose session it is of.
    pub async fn post_elsewhere(&self, caller: &Caller, secret: &str, (number, messages): (u64, Messages)) -> Reply {
        let Some(cluster) = self.0.rooms().cluster() else { return Reply::Ended };
        let sub = caller.pass().sub.as_ref().filter(|_| caller.is_known()).map(ToString::to_string);
        relay::hand_on(cluster, &Request { secret: secret.to_owned(), number, sub, messages }).await
    }

    /// The questions to a client whose stream begins now, see [`Asks::new`].
    pub fn asks(&self, binding: bool) -> Arc<Asks> {
        Arc::new(Asks::new(self.now().tick, binding))
    }

    /// The gateway's times, and who `caller` is, for clients that ask.
    pub fn hello(&self, caller: &Caller) -> Hello {
        let config = self.config();
        let silence = config.keep_alive + config.send_within;
        let pass = caller.pass();
        Hello {
            grace: config.grace,
            keep_alive: config.keep_alive,
            silence,
            sub: pass.sub.clone(),
            auth: pass.lacks_credential(),
        }
    }
}

/// The refusal of a credential that is of another user than the session.
pub fn wrong_user() -> Refusal {
    Refusal::new(Code::WrongUser, "the request's credential is another user's than the session").of("Authorization")
}
