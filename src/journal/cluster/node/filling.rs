//! Filling the window with batches of what waits.

use std::collections::VecDeque;

use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::batch::{Batch, Load};
use crate::journal::cluster::node::restoring::Next;
use crate::journal::cluster::node::{Item, Node};
use crate::journal::cluster::record::Record;
use crate::journal::cluster::timing::{BEAT, SILENT};
use crate::journal::cluster::window::Own;
use crate::model::hold::{Hold, HoldKind};
use crate::model::id::ClientId;
use crate::model::moment::Moment;

impl Node {
    /// Makes batches while the window has space: of what waits, or empty ones that only say that this node lives.
    pub(super) fn fill(&mut self, now: Moment) {
        while self.window.has_space() {
            let is_due = now.tick.0.saturating_sub(self.beat) >= BEAT;
            let waits = !self.queue.is_empty() || self.restores();
            if !is_due && !waits || !self.load(now, is_due) {
                return;
            }
            self.beat = now.tick.0;
        }
    }

    /// Whether the log is to be told something for its restoration now.
    fn restores(&mut self) -> bool {
        let Some(restoration) = &mut self.restoration else { return false };
        let next = restoration.next(&self.shared.roll, self.id, self.window.first());
        if next == Next::Forget {
            self.restoration = None;
        }
        next == Next::Tell
    }

    /// Whether the log is to be told something for its restoration, now or once another node has left.
    pub fn is_restoring(&mut self) -> bool {
        self.restores() || self.restoration.is_some()
    }

    fn load(&mut self, now: Moment, even_empty: bool) -> bool {
        // After a time without the log, who came is told before who left: they may be the same people.
        let early = now.tick.0 < self.fresh_since + SILENT;
        let number = self.window.next();
        let mut own = Own { number, bytes: [].into(), asks: Vec::new(), keys: Vec::new(), came: Vec::new() };
        let (mut load, mut later) = (Load::default(), VecDeque::new());
        if let Some(Item::Record(up @ Record::Up { .. })) = self.queue.front() {
            load.put(up);
            self.queue.pop_front();
        }
        if self.restores()
            && let Some(restoration) = &mut self.restoration
        {
            restoration.tell(&self.shared.roll, number, &mut load);
        }
        while load.has_space()
            && let Some(item) = self.queue.pop_front()
        {
            match item {
                Item::Ask(ask) => {
                    let index = load.put(&ask.record);
                    own.asks.push((index, ask));
                }
                Item::Key(key) if early && self.attendance.owes_end(&key) => later.push_back(Item::Key(key)),
                Item::Key(key) => self.load_key(key, &mut load, &mut own),
                Item::Came(key, client) => self.load_coming(key, client, &mut load, &mut own),
                Item::Record(record) => drop(load.put(&record)),
            }
        }
        later.append(&mut self.queue);
        self.queue = later;
        if load.is_empty() && !even_empty {
            return false;
        }
        let (incarnation, seen, full) = (self.id, self.shared.roll.seen, self.full);
        let batch = Batch { incarnation, number, moment: now, seen, full, records: Vec::new() };
        own.bytes = batch.encode_with(&load).into();
        self.window.push(own);
        self.figures.batches += 1;
        true
    }

    fn load_key(&mut self, key: Key, load: &mut Load, own: &mut Own) {
        self.queued.remove(&key);
        let commands = self.attendance.owed(&key, self.id.hold(), (own.number, load.count()));
        if commands.is_empty() {
            self.settle(&key);
        } else {
            let index = load.put(&Record::Change { room: key.0.clone(), commands });
            own.keys.push((index, key));
        }
    }

    /// Tells that a client came, if the user is held elsewhere, too.
    fn load_coming(&mut self, key: Key, client: ClientId, load: &mut Load, own: &mut Own) {
        let (room, user) = &key;
        let elsewhere = |hold: &Hold| match &hold.kind {
            HoldKind::Connection(hold) => hold.connection != self.id.hold(),
            HoldKind::SignIn { .. } => false,
        };
        let holds = self.shared.room(room).and_then(|presence| presence.roster().holds(user));
        if holds.is_some_and(|holds| holds.iter().any(elsewhere)) {
            load.put(&Record::Came { room: room.clone(), user: user.clone(), client });
            own.came.push((key, client));
        } else {
            self.attendance.came(&key, client);
        }
    }
}
