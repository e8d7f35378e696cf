//! Sessions, behind the gate: each request of a session is judged like a change.

use std::sync::Arc;

use crate::delivery::asks::Asks;
use crate::delivery::session::{Inbox, Mailbox, Messages};
use crate::http::forwarded::Forwarded;
use crate::http::gate::Gate;
use crate::http::origin;
use crate::model::refusal::Refusal;
use crate::wire::greeting::Hello;

impl Gate {
    /// Opens a session of a [`Visitor`](super::Visitor), with its first messages. Returns the secret, which only the client
    /// may know.
    pub fn open_session(&self, first: Messages, asks: Arc<Asks>) -> (String, Mailbox) {
        self.0.sessions().open(first, asks)
    }

    /// The session of `secret`, if it is open, for the sender of `request`.
    ///
    /// # Errors
    ///
    /// `cross_site` for another site's page, and for prefetching.
    pub fn session(&self, request: &Forwarded<'_>, secret: &str) -> Result<Option<Arc<Inbox>>, Refusal> {
        origin::may_change(request, self.config())?;
        Ok(self.0.sessions().find(secret))
    }

    /// The questions to a client whose stream begins now, see [`Asks::new`].
    pub fn asks(&self, binding: bool) -> Arc<Asks> {
        Arc::new(Asks::new(self.now().tick, binding))
    }

    /// The gateway's times, for clients that ask.
    pub fn hello(&self) -> Hello {
        let config = self.config();
        let silence = config.keep_alive + config.send_within;
        Hello { grace: config.grace, keep_alive: config.keep_alive, silence }
    }
}
