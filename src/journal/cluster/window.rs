//! The window: own batches under way, and own commands that came back lately.
//!
//! A batch is sent again until it comes back. A log that forgets its last entries may forget commands that were answered, so these
//! are remembered for a while, to be said again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::journal::cluster::attendance::Key;
use crate::journal::cluster::record::Record;
use crate::journal::cluster::timing::{RECENT, RECENT_BYTES, RESEND, WINDOW};
use crate::model::id::ClientId;

/// Names what a caller asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a caller asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The caller who waits for an answer, unless that was given before.
    pub ticket: Option<Ticket>,
    /// The record.
    pub record: Record,
}

/// An own batch.
#[derive(Debug)]
pub struct Own {
    /// Its number.
    pub number: u64,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
    /// What callers asked for, each with the index of its record.
    pub asks: Vec<(usize, Ask)>,
    /// The users about whom it is, each with the index of its record.
    pub keys: Vec<(usize, Key)>,
    /// The clients that came here.
    pub came: Vec<(Key, ClientId)>,
}

/// Own batches and commands.
#[derive(Debug)]
pub struct Window {
    next: u64,
    out: VecDeque<Own>,
    sent: usize,
    /// When a batch came back last, or all were sent again.
    progress: u64,
    /// What came back: when by the clock of the log, in which batch, and the bytes of that batch's share.
    recent: VecDeque<(u64, u64, usize, Ask)>,
    recent_bytes: usize,
}

impl Window {
    /// Nothing under way.
    pub fn new(now: u64) -> Self {
        Window { next: 1, out: VecDeque::new(), sent: 0, progress: now, recent: VecDeque::new(), recent_bytes: 0 }
    }

    /// The number of the next batch.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The number of the first batch that did not come back.
    pub fn first(&self) -> u64 {
        self.out.front().map_or(self.next, |own| own.number)
    }

    /// Whether one more batch may be under way.
    pub fn has_space(&self) -> bool {
        self.out.len() < WINDOW
    }

    /// Whether a batch under way is about users.
    pub fn has_keys(&self) -> bool {
        self.out.iter().any(|own| !own.keys.is_empty())
    }

    /// What callers wait for.
    pub fn asks(&self) -> impl Iterator<Item = &Ask> {
        self.out.iter().flat_map(|own| own.asks.iter().map(|(_, ask)| ask))
    }

    /// Adds the next batch.
    pub fn push(&mut self, own: Own) {
        self.next = own.number + 1;
        self.out.push_back(own);
    }

    /// What is to be appended now.
    pub fn to_send(&mut self, now: u64) -> Vec<Arc<[u8]>> {
        if now.saturating_sub(self.progress) > RESEND && !self.out.is_empty() {
            (self.sent, self.progress) = (0, now);
        }
        let send = self.out.iter().skip(self.sent).map(|own| own.bytes.clone()).collect();
        self.sent = self.out.len();
        send
    }

    /// A batch came back and counted: returns it, and those before it.
    pub fn echoed(&mut self, number: u64, now: u64) -> Vec<Own> {
        self.progress = now;
        let mut owns = Vec::new();
        while self.out.front().is_some_and(|own| own.number <= number) {
            owns.extend(self.out.pop_front());
            self.sent = self.sent.saturating_sub(1);
        }
        owns
    }

    /// A batch came back too early: one before it is missing.
    pub fn missing(&mut self, now: u64) {
        if now.saturating_sub(self.progress) > RESEND / 2 {
            (self.sent, self.progress) = (0, now);
        }
    }

    /// Remembers commands of a batch that came back, when the log's clock was at `clock`: time in which the log is away makes nothing
    /// old, since what it forgets then is found later.
    pub fn remember(&mut self, own: Own, clock: u64) {
        let share = own.bytes.len() / own.asks.len().max(1);
        for (_, ask) in own.asks {
            self.recent_bytes += share;
            self.recent.push_back((clock, own.number, share, Ask { ticket: None, ..ask }));
        }
        let is_old = |(at, ..): &(u64, u64, usize, Ask)| at + RECENT < clock;
        while self.recent.front().is_some_and(|first| is_old(first) || self.recent_bytes > RECENT_BYTES) {
            self.recent_bytes -= self.recent.pop_front().map_or(0, |(_, _, share, _)| share);
        }
    }

    /// Begins anew. Returns what was asked for and is not in the log, of which batches before the one of the number `counted` are;
    /// and the callers of whom nobody knows. Where the number is not known, that are all.
    pub fn restart(&mut self, counted: Option<u64>, clock: u64, now: u64) -> (Vec<Ask>, Vec<Ticket>) {
        let older = std::mem::replace(self, Window::new(now));
        let lacks = |number: u64| counted.is_some_and(|counted| number >= counted);
        let recent = older.recent.into_iter().filter(|(at, number, ..)| lacks(*number) && at + RECENT >= clock);
        let (lost, unknown): (Vec<_>, Vec<_>) = older.out.into_iter().partition(|own| lacks(own.number));
        let lost = lost.into_iter().flat_map(|own| own.asks).map(|(_, ask)| ask);
        let unknown = unknown.into_iter().flat_map(|own| own.asks).filter_map(|(_, ask)| ask.ticket);
        (recent.map(|(.., ask)| ask).chain(lost).collect(), unknown.collect())
    }
}
