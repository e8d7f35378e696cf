//! How far a node is behind the log, in time, by its own clock alone: the answer to an append names a position that is in the log,
//! and the node is behind for as long as it has not read up to there.
//!
//! While nothing at all comes from the log, nobody knows how far it goes. That is no lag: the node is stale then.

use std::collections::VecDeque;

/// Without any sign of the log for so many milliseconds, the log is away.
const AWAY: u64 = 1_000;

/// The time between two marks, in milliseconds.
const APART: u64 = 100;

/// The most marks.
const MARKS: usize = 64;

/// What is known of the log beyond what was read.
#[derive(Debug, Default)]
pub struct Lag {
    /// The last sign of the log.
    heard: u64,
    /// Positions in the log that were not read yet, each with the time since when that is known.
    ahead: VecDeque<(u64, u64)>,
}

impl Lag {
    /// The log has an entry at `position`, and this node has read up to `read`.
    pub fn appended(&mut self, position: u64, read: u64, now: u64) {
        self.hear(now);
        let is_apart = self.ahead.back().is_none_or(|(last, since)| position > *last && since + APART <= now);
        if position > read && is_apart && self.ahead.len() < MARKS {
            self.ahead.push_back((position, now));
        }
    }

    /// The node has read the entry at `position`.
    pub fn read(&mut self, position: u64, now: u64) {
        self.hear(now);
        while self.ahead.front().is_some_and(|(ahead, _)| *ahead <= position) {
            self.ahead.pop_front();
        }
    }

    /// The log is another one, or is read from another place on.
    pub fn clear(&mut self) {
        self.ahead.clear();
    }

    /// The milliseconds by which the node is behind.
    pub fn at(&self, now: u64) -> u64 {
        let since = self.ahead.front().filter(|_| !self.was_away(now)).map(|(_, since)| now.saturating_sub(*since));
        since.unwrap_or_default()
    }

    /// Whether there was no sign of the log lately.
    pub fn was_away(&self, now: u64) -> bool {
        now.saturating_sub(self.heard) > AWAY
    }

    fn hear(&mut self, now: u64) {
        if self.was_away(now) {
            // Nothing could be read meanwhile.
            self.ahead.iter_mut().for_each(|(_, since)| *since = now);
        }
        self.heard = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_reads_what_it_appends_is_not_behind() {
        let mut lag = Lag::default();
        lag.read(1, 10_000);
        lag.appended(2, 1, 10_500);
        assert_eq!(lag.at(10_505), 5);
        lag.read(2, 10_505);
        lag.appended(3, 3, 10_600);
        assert_eq!(lag.at(11_000), 0);
    }

    #[test]
    fn a_node_is_behind_for_as_long_as_it_lacks_an_entry_that_is_there() {
        let mut lag = Lag::default();
        for n in 0..100 {
            let now = 10_000 + 500 * n;
            lag.appended(1_000 * (n + 1), 0, now);
            // It reads what was there three seconds ago.
            lag.read(1_000 * n.saturating_sub(6), now);
            assert_eq!(lag.at(now), (500 * n).min(3_000), "{n}");
        }
    }

    #[test]
    fn time_in_which_the_log_is_away_is_no_lag() {
        let mut lag = Lag::default();
        lag.appended(2, 1, 10_000);
        assert_eq!((lag.at(11_000), lag.at(11_001)), (1_000, 0), "it may be away");
        lag.appended(5, 1, 60_000);
        assert_eq!((lag.at(60_000), lag.at(60_900)), (0, 900), "it is back");
        lag.read(5, 60_900);
        assert_eq!(lag.at(61_000), 0);
    }

    #[test]
    fn a_bounded_number_of_positions_is_remembered() {
        let mut lag = Lag::default();
        for n in 1..10_000 {
            lag.appended(n, 0, 10_000 + 50 * n);
        }
        assert_eq!((lag.ahead.len(), lag.at(510_000)), (MARKS, 499_950));
    }
}
