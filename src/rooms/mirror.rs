//! What rooms make of what the node of a cluster tells: they show what the shared log makes.
//!
//! The fold of the log has rooms of its own. A room here shares their members, and has the events for its readers. While the node
//! catches up with a log that was away, rooms here stay as they are, and then go on in one step.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::fold::Shared;
use crate::journal::cluster::node::{Cause, Node, Told};
use crate::journal::cluster::record::Record;
use crate::journal::participant::Audience;
use crate::model::cursor::{Cursor, Position};
use crate::model::denylist::{Denial, Denylist};
use crate::model::event::{Change, DelReason, Event};
use crate::model::id::{ClientId, ConnectionId};
use crate::model::moment::Tick;
use crate::model::name::Name;
use crate::model::outcome::{EndCause, EndedHold, Outcome};
use crate::model::presence::Presence;
use crate::rooms::Rooms;

/// The last events among which the `del` of a user who was signed out just now is looked for.
const NEWEST: usize = 256;

/// What the rooms make of what the node tells.
pub struct Mirror {
    rooms: Weak<Rooms>,
    shown: watch::Sender<Position>,
    facts: Box<dyn Fn(Record, Tick) + Send>,
}

impl Mirror {
    /// Shows the log in `rooms`. What it says of passes goes to `facts`, with the time of the log.
    pub fn new(rooms: &Arc<Rooms>, facts: Box<dyn Fn(Record, Tick) + Send>) -> Self {
        Mirror { rooms: Arc::downgrade(rooms), shown: watch::Sender::default(), facts }
    }

    /// How far the rooms go.
    pub fn shown(&self) -> watch::Receiver<Position> {
        self.shown.subscribe()
    }
}

impl Audience for Mirror {
    fn hear(&mut self, node: &mut Node, told: Vec<Told>) {
        let Some(rooms) = self.rooms.upgrade() else { return };
        let mut events = HashMap::new();
        let mut leaps = false;
        let mut ended = Vec::new();
        for told in told {
            match told {
                Told::Changed(room, outcome) => *events.entry(room).or_insert(0) += outcome.events,
                Told::Lifted(_) | Told::Restarted => leaps = true,
                Told::Ended(key, connection, cause) => ended.push((key, connection, cause)),
                Told::Fact(Record::Denied { room, user, client, reason }) => rooms.deny(&room, &user, client, reason),
                Told::Fact(fact) => (self.facts)(fact, node.shared().roll.clock),
                Told::Answer(..) | Told::Settled(_) | Told::Suspected(..) | Told::Gone(_) => {}
            }
        }
        // Behind the curtain, rooms stay as they are.
        if !node.is_curtained() {
            rooms.goes_on(node.shared());
            match leaps {
                true => rooms.show_all(node),
                false => events.into_iter().for_each(|(room, events)| rooms.show(node, &room, Some(events))),
            }
            self.shown.send_replace(Position(node.shared().roll.next.0.saturating_sub(1)));
        }
        ended.iter().for_each(|(key, connection, cause)| rooms.tell_ended(key, *connection, cause));
    }
}

impl Rooms {
    /// Makes this process a node of a cluster: rooms begin with what the log makes so far.
    pub fn begin_with(&self, shared: &Shared) {
        self.goes_on(shared);
        let now = self.clock().tick();
        shared
            .rooms()
            .filter(|room| !room.is_idle())
            .for_each(|room| self.directory.restore(Presence::copy_of(room, now)));
        let mut denylist = Denylist::default();
        for denial in shared.lists().denylist.all() {
            let deadline = now + denial.deadline.since(shared.roll.clock);
            denylist.put(Denial { deadline, ..denial });
        }
        self.directory.registers().restore_denylist(denylist);
    }

    /// Rooms that begin from here on begin where the log is.
    fn goes_on(&self, shared: &Shared) {
        self.directory.is_of(shared.roll.identity);
        self.directory.registers().journal.goes_on(shared.roll.next);
    }

    /// Shows what the log makes of a room, in which so many events are new, or in one step.
    fn show(&self, node: &mut Node, name: &Name, events: Option<usize>) {
        let now = self.clock().now();
        loop {
            let room = self.directory.find_or_make(name);
            let absent;
            let of = match node.shared().room(name) {
                Some(of) => of,
                None => {
                    absent = Presence::new(name.clone(), node.shared().place(name), self.directory.bounds());
                    &absent
                }
            };
            let Ok(shown) = room.show(of, events, now.tick) else { continue };
            if !shown.exists {
                self.directory.release(&room);
            }
            if shown.has_news {
                self.publish(room);
            }
            break;
        }
        node.forget_events(name);
    }

    /// Shows all rooms as the log makes them, each in one step.
    fn show_all(&self, node: &mut Node) {
        let mut names: Vec<_> = node.shared().rooms().map(|room| room.room().clone()).collect();
        names.extend(self.directory.names().into_iter().filter(|name| node.shared().room(name).is_none()));
        for name in names {
            let same = self.read(&name, |here| match node.shared().room(&name) {
                Some(there) => here.head() == there.head(),
                None => here.roster().is_empty() && here.head().epoch == node.shared().place(&name).epoch,
            });
            if !same {
                self.show(node, &name, None);
            }
        }
    }

    fn deny(&self, room: &Name, user: &Name, client: ClientId, reason: DelReason) {
        let denied = Outcome { denied: vec![(user.clone(), client, reason)], ..Outcome::none(Cursor::default()) };
        self.directory.registers().record_denied(room, &denied, self.clock().tick());
    }

    /// Tells a connection that others ended its hold.
    fn tell_ended(&self, (room, user): &Key, connection: ConnectionId, cause: &Cause) {
        let Some(found) = self.directory.find(room) else { return };
        let (cause, event) = match cause {
            Cause::Replaced => (EndCause::Replaced, None),
            Cause::SignedOut(_) => (EndCause::Left, found.read(|presence| last_del(presence, user))),
            // The member's `del`, if there is to be one, comes when the log has it.
            Cause::Left => (EndCause::Left, None),
            // The answer says so.
            Cause::Refused(_) => return,
        };
        self.hold_registry.notify(found.key(), &EndedHold { connection, cause, event });
    }
}

/// The `del` of a user who was signed out just now.
fn last_del(presence: &Presence, user: &Name) -> Option<Arc<Event>> {
    let (newest, _) = presence.last_events(NEWEST);
    let last = newest.into_iter().find(|event| event.change.user() == user);
    last.filter(|event| matches!(event.change, Change::Del(..)))
}
