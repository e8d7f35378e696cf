//! What a node tells its operators.

use crate::journal::cluster::figures::Figures;
use crate::journal::cluster::incarnation::Incarnation;
use crate::journal::cluster::node::{Node, Trouble};
use crate::journal::cluster::roll::{Life, Standing};
use crate::model::moment::Moment;

/// A node that is behind the log by more milliseconds serves an older set than others: nobody should be sent there.
const MOST_LAG: u64 = 1_000;

/// How recent the rooms of a node are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recency {
    /// They are as the log makes them.
    Current,
    /// The log is away, or was until now: nobody has newer ones.
    Stale,
    /// Others have newer ones.
    Behind,
    /// The log turned out to be another one, and is read anew.
    Rereading,
}

/// A node as it is at one moment.
#[derive(Clone, Debug)]
pub struct Survey {
    /// This life.
    pub incarnation: Incarnation,
    /// The last entry that was read.
    pub position: u64,
    /// The milliseconds since an own batch came back.
    pub echo_age: u64,
    /// The same if the node knows nothing of the present, otherwise 0.
    pub stale_for: u64,
    /// The milliseconds by which the node is behind the log.
    pub lag: u64,
    /// Whether readers see an older set for the moment.
    pub is_curtained: bool,
    /// How recent the rooms are.
    pub recency: Recency,
    /// What waits to be appended, or to come back.
    pub pending: usize,
    /// All incarnations of the roll.
    pub nodes: Vec<Peer>,
    /// The counts.
    pub figures: Figures,
}

/// An incarnation of the roll.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Who.
    pub incarnation: Incarnation,
    /// The version of its program.
    pub version: Box<str>,
    /// How it stands.
    pub standing: Standing,
    /// Whether it is short of memory.
    pub full: bool,
    /// The entries by which its last batch was behind, if this node read one.
    pub behind: Option<u64>,
}

impl Node {
    /// What this node tells of itself and of others.
    pub fn survey(&self, now: Moment) -> Survey {
        let peer = |(who, life): (&Incarnation, &Life)| Peer {
            incarnation: *who,
            version: life.version.clone(),
            standing: life.standing,
            full: life.full,
            behind: self.figures.behind(*who),
        };
        let echo_age = now.tick.0.saturating_sub(self.echo);
        Survey {
            incarnation: self.id,
            position: self.shared.roll.seen.position,
            echo_age,
            stale_for: if self.is_stale(now) { echo_age } else { 0 },
            lag: self.lag.at(now.tick.0),
            is_curtained: self.is_curtained(),
            recency: self.recency(now),
            pending: self.pending(),
            nodes: self.shared.roll.lives.iter().map(peer).collect(),
            figures: self.figures.clone(),
        }
    }

    /// How recent the rooms of this node are.
    pub fn recency(&self, now: Moment) -> Recency {
        match self.trouble {
            Some(Trouble::Differs | Trouble::Lost | Trouble::Behind | Trouble::Newer) => Recency::Rereading,
            Some(Trouble::Away) if self.outdated => Recency::Rereading,
            // Nobody is known to have newer ones.
            Some(Trouble::Away) => Recency::Stale,
            None if self.is_silent() && !self.lag.was_away(now.tick.0) => Recency::Behind,
            Some(Trouble::Reaped) | None if self.lag.at(now.tick.0) > MOST_LAG => Recency::Behind,
            Some(Trouble::Reaped) | None if self.is_stale(now) || self.is_curtained() => Recency::Stale,
            Some(Trouble::Reaped) | None => Recency::Current,
        }
    }

    /// The log answered an append: it has an entry at this position.
    pub fn appended(&mut self, position: u64, now: Moment) {
        self.lag.appended(position, self.shared.roll.seen.position, now.tick.0);
    }
}
