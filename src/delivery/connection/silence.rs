//! Keep-alives, and the judgement of clients that leave them unanswered.

use std::sync::Arc;
use std::time::Duration;

use super::{Connection, Ending};
use crate::delivery::pings::Terms;
use crate::model::moment::Tick;
use crate::wire::framing::Framing;
use crate::wire::greeting;

impl Connection {
    /// Ends the connection when the answer to a ping or to an ask is overdue at `now`, or will be too late at the next check,
    /// a `step` later.
    pub fn check_answers(&self, now: Tick, step: Duration) {
        let shared = &self.shared;
        let terms = Terms { least: shared.pong_within, most: shared.send_within.saturating_sub(step) };
        let asks = self.asks.as_ref().filter(|_| self.alive);
        let (since, what) = match (self.pings.overdue(now, terms), asks) {
            (Some(since), _) => (Some(since), "no answer to pings"),
            (None, Some(asks)) => (asks.overdue(now + step, shared.alive_within), "no answer to asks"),
            (None, None) => (None, ""),
        };
        if let Some(since) = since
            // Otherwise an answer may have arrived while the process was stopped.
            && self.enforces_deadlines()
        {
            self.end(Ending::Silent(since, what));
        }
    }

    /// Writes a keep-alive: a comment, or a ping, which the client has to answer.
    pub fn keep_alive(self: &Arc<Self>) {
        let mut output = self.output.lock();
        // The backlog of a slow connection does as well as a comment, and the socket shows whether the client takes
        // bytes. A ping that was never sent must not count as unanswered.
        if output.catching_up || output.outbox.is_closing() {
            return;
        }
        if self.format.framing == Framing::WebSocket {
            self.pings.send(self.shared.clock.tick(), &mut output.link, self.shared.millis());
        }
        // Behind the backlog, which may still have the response's head.
        if self.asks_now() {
            output.outbox.send(self.format.framing.keep_alive(false));
            output.outbox.send(self.format.answer(greeting::ASK));
        } else {
            output.outbox.send(self.format.framing.keep_alive(self.alive));
        }
        self.drive(output);
    }

    /// Whether the client is to be asked now. Nobody is asked whose answers the gateway itself does not read.
    fn asks_now(&self) -> bool {
        let asks = self.asks.as_ref().filter(|_| self.pings.are_read());
        asks.is_some_and(|asks| asks.ask(self.shared.clock.tick(), self.shared.alive_every))
    }

    /// Notes whether answers to pings and asks are read from now on. A vanished client is found all the same, by the
    /// system: it acknowledges no bytes.
    pub fn reads_answers(&self, reads: bool) {
        if let Some(asks) = &self.asks {
            asks.answered();
        }
        self.pings.reads(reads);
    }
}
