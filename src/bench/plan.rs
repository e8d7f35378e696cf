//! Plans: what publishers do, at which rate and for how long.

use std::time::Duration;

/// What is to be published.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What one request does.
    pub turn: Turn,
    /// Events a second by all publishers together; 0 is as fast as they go.
    pub rate: u32,
    /// Events at most.
    pub events: Option<u64>,
    /// When to end.
    pub time: Duration,
    /// How many publish.
    pub publishers: u32,
}

/// What one request does, and how many events it makes.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// Signs a new user in, and at the next turn out again, so that the room stays small: one event.
    InAndOut,
    /// Signs a new user in: one event.
    In,
    /// Signs so many new users in and those of the last turn out: twice as many events, but for the first.
    Batch(u64),
}

impl Plan {
    /// Turns in all; as many as go where nothing bounds them but time.
    pub fn turns(&self) -> u64 {
        let by_rate = if self.rate == 0 { u64::MAX } else { (f64::from(self.rate) * self.time.as_secs_f64()) as u64 };
        by_rate.min(self.events.unwrap_or(u64::MAX)).max(1).div_ceil(self.turn.events())
    }

    /// Events in all, as far as that can be known before.
    pub fn events_expected(&self) -> u64 {
        match (self.rate, self.events) {
            (0, events) => events.unwrap_or(0),
            _ => self.turns() * self.turn.events(),
        }
    }

    /// When a turn is due, after the beginning.
    pub fn due(&self, turn: u64) -> Duration {
        match self.rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64((turn * self.turn.events()) as f64 / f64::from(rate)),
        }
    }
}

impl Turn {
    /// The events of one turn.
    pub fn events(self) -> u64 {
        match self {
            Turn::InAndOut | Turn::In => 1,
            Turn::Batch(users) => 2 * users,
        }
    }
}
