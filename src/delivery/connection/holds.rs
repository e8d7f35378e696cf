//! What a connection does when others end its holds.

use std::sync::Arc;

use super::{Connection, Ending};
use crate::model::moment::Tick;
use crate::model::outcome::{EndCause, EndedHold};
use crate::model::refusal::Code;
use crate::rooms::hold_registry::HoldListener;
use crate::rooms::key::RoomKey;

impl HoldListener for Connection {
    fn hold_ended(self: Arc<Self>, room: RoomKey, ended: &EndedHold) {
        if let Some(event) = &ended.event {
            let bytes = self.format.events(std::iter::once(&**event));
            self.queue(|outbox| {
                // A connection that reads the room gets this event among the others.
                if !outbox.reads(room) {
                    outbox.send(bytes);
                }
            });
            self.catch_up();
        }
        match ended.cause {
            EndCause::Replaced => self.end(Ending::Ours(Code::Replaced)),
            // Only the hold has ended: the connection may have others.
            EndCause::Left => {}
        }
    }

    fn silent_since(&self) -> Option<Tick> {
        match &*self.ending.lock() {
            Some(Ending::Silent(since, _)) => Some(*since),
            Some(Ending::Lost(_) | Ending::Ours(_) | Ending::Stopping(_)) | None => None,
        }
    }
}
