//! The schedule of publishers: the effect and the time of each request.

use std::time::Duration;

use crate::bench::options::Options;

/// The requests of all publishers together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// The effect of each request.
    pub(super) request: Request,
    /// Events per second; 0 means as fast as the publishers go.
    rate: u32,
    /// Events at most.
    events: Option<u64>,
    /// The time to publish.
    time: Duration,
    /// The number of publishers.
    pub(super) publishers: u32,
}

/// The effect of one request, and the number of events caused.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    /// Signs a new user in, and with the publisher's next request out again, so that the room stays
    /// small: one event.
    SignInOrOut,
    /// Signs a new user in: one event.
    SignIn,
    /// Signs so many new users in, and those of the publisher's last request out: two events per user,
    /// but one with the first request.
    ReplaceUsers(u64),
}

impl Schedule {
    /// The schedule that the options give for such requests.
    pub(super) fn new(request: Request, options: &Options) -> Self {
        Schedule {
            request,
            rate: options.rate(),
            events: options.events,
            time: options.time(),
            publishers: options.publishers(),
        }
    }

    /// The number of requests; practically unlimited if only the time limits it.
    fn requests(&self) -> u64 {
        let by_rate = if self.rate == 0 { u64::MAX } else { (f64::from(self.rate) * self.time.as_secs_f64()) as u64 };
        by_rate.min(self.events.unwrap_or(u64::MAX)).max(1).div_ceil(self.request.events())
    }

    /// The number of events, or 0 if only the time limits it.
    pub(super) fn expected_events(&self) -> u64 {
        match (self.rate, self.events) {
            (0, events) => events.unwrap_or(0),
            _ => self.requests() * self.request.events(),
        }
    }

    /// The time from the beginning at which request number `request` is due; `None` after the end of the schedule.
    /// `elapsed` is the time since the beginning.
    pub(super) fn due(&self, request: u64, elapsed: Duration) -> Option<Duration> {
        if request >= self.requests() || (self.rate == 0 && elapsed >= self.time) {
            return None;
        }
        Some(match self.rate {
            0 => Duration::ZERO,
            rate => Duration::from_secs_f64((request * self.request.events()) as f64 / f64::from(rate)),
        })
    }
}

impl Request {
    fn events(self) -> u64 {
        match self {
            Request::SignInOrOut | Request::SignIn => 1,
            Request::ReplaceUsers(users) => 2 * users,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(5);

    fn schedule(request: Request, rate: u32, events: Option<u64>) -> Schedule {
        Schedule { request, rate, events, time: TIME, publishers: 1 }
    }

    #[test]
    fn rate_time_and_events_limit_the_number_of_requests() {
        assert_eq!(schedule(Request::SignIn, 20, None).requests(), 100);
        assert_eq!(schedule(Request::SignIn, 20, Some(7)).requests(), 7);
        assert_eq!(schedule(Request::SignIn, 0, Some(7)).requests(), 7);
        assert_eq!(schedule(Request::ReplaceUsers(25), 500, None).requests(), 50);
    }

    #[test]
    fn requests_are_due_at_the_rate_until_the_last_one() {
        let batches = schedule(Request::ReplaceUsers(25), 500, None);
        assert_eq!(batches.due(10, Duration::ZERO), Some(Duration::from_secs(1)));
        assert_eq!(batches.due(50, Duration::ZERO), None);
        let unlimited = schedule(Request::SignIn, 0, None);
        assert_eq!(unlimited.due(1_000_000, Duration::ZERO), Some(Duration::ZERO));
        assert_eq!(unlimited.due(1, TIME), None);
    }
}
