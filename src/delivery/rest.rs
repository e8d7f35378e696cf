//! Rests: how the next events of a busy room gather for one write.

use std::time::Duration;

use tokio::time::Instant;

/// The longest rest for the sake of other rooms. After a delivery the room's next events wait for as long as the delivery took,
/// up to this bound: the hub then has half of its time for the others.
const MAX_TURN: Duration = Duration::from_millis(4);

/// Shorter rests are not worth a timer.
const MIN_TURN: Duration = Duration::from_millis(1);

/// A room with fewer readers is written to event by event. A write to one reader costs about 4 us, so gathering could save
/// less than 80 us for each event here.
const CROWD: usize = 20;

/// The rest of one room after a delivery.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rest {
    /// The earliest next delivery; `None` before the first.
    turn: Option<Instant>,
    /// The end of the pause after which a room is no longer busy.
    busy_until: Option<Instant>,
    /// How long the events of a busy room gather.
    gather: Duration,
    /// The next delivery, once an event waits for it.
    due: Option<Instant>,
}

impl Rest {
    /// The rest of a room with so many `readers` after a delivery that ended at `now` and took so long.
    ///
    /// An event soon after a delivery is taken for one of many: it waits for others as long as `gather`. Soon is within twice
    /// this time, since events that come each on their own after a shorter pause would otherwise never gather.
    pub fn after(now: Instant, took: Duration, readers: usize, gather: Duration) -> Self {
        let turn = (took >= MIN_TURN).then(|| now + took.min(MAX_TURN));
        let gathers = readers >= CROWD && !gather.is_zero();
        Rest { turn, busy_until: gathers.then(|| now + 2 * gather), gather, due: None }
    }

    /// When an event that comes at `now` is written; `None` for at once.
    pub fn until(&mut self, now: Instant) -> Option<Instant> {
        let is_busy = self.busy_until.is_some_and(|until| until > now);
        let due = *self.due.get_or_insert_with(|| {
            let gathered = if is_busy { now + self.gather } else { now };
            self.turn.map_or(gathered, |turn| turn.max(gathered))
        });
        (due > now).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATHER: Duration = Duration::from_millis(10);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_event_after_a_pause_is_written_at_once() {
        let now = Instant::now();
        assert_eq!(Rest::default().until(now), None, "the first of all");
        let rest = || Rest::after(now, Duration::ZERO, CROWD, GATHER);
        assert_eq!(rest().until(now + 20 * MS), None);
        assert!(rest().until(now + 19 * MS).is_some());
    }

    #[test]
    fn the_events_of_a_busy_room_are_written_together_and_none_waits_longer_than_it_may() {
        let now = Instant::now();
        let mut rest = Rest::after(now, Duration::ZERO, CROWD, GATHER);
        for at in [3, 3, 4, 12] {
            assert_eq!(rest.until(now + at * MS), Some(now + 13 * MS), "{at}");
        }
        assert_eq!(rest.until(now + 13 * MS), None, "the delivery is due");
    }

    #[test]
    fn without_gathering_or_a_crowd_a_room_rests_for_as_long_as_its_delivery_took() {
        let now = Instant::now();
        for (readers, gather) in [(CROWD - 1, GATHER), (10_000, Duration::ZERO)] {
            for (took, rest) in [(0, 0), (3, 3), (9, 4)] {
                let until = Rest::after(now, took * MS, readers, gather).until(now);
                assert_eq!(until, (rest > 0).then_some(now + rest * MS), "{readers} readers, {took} ms");
            }
        }
    }

    #[test]
    fn a_delivery_that_took_longer_than_events_gather_still_leaves_the_hub_its_time_for_other_rooms() {
        let now = Instant::now();
        assert_eq!(Rest::after(now, 9 * MS, CROWD, MS).until(now), Some(now + 4 * MS));
    }
}
