//! The end of the gateway, in steps: when streams end, and when their clients had better return.

use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A request to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// After `--drain-delay`, as orchestrators ask (SIGTERM).
    Terminate,
    /// Without delay, as somebody at a terminal asks (SIGINT).
    Interrupt,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Everything is served.
    #[default]
    Serving,
    /// The end is announced to balancers and clients. Connections are still accepted.
    Announced,
    /// The open streams end, spread over time. New streams end at once.
    Draining,
    /// Whatever is left ends.
    Over,
}

/// When the clients of ended streams return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// The next process listens then.
    AfterTheDrain,
    /// Another process listens already.
    AtOnce,
}

/// The way to the end, shared by all who serve.
#[derive(Debug, Default)]
pub struct Drain {
    phase: AtomicU8,
    returns: Mutex<Option<Returns>>,
}

/// The time in which the clients of ended streams return, spread evenly.
#[derive(Clone, Copy, Debug)]
struct Returns {
    from: Instant,
    spread: Duration,
}

impl Drain {
    /// The present phase.
    pub fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Serving,
            1 => Phase::Announced,
            2 => Phase::Draining,
            _ => Phase::Over,
        }
    }

    /// Announces the end.
    pub fn announce(&self) {
        self.reach(Phase::Announced);
    }

    /// Begins to end streams, which takes `spread`. Their clients return in as much time afterwards, when the next process
    /// listens: earlier, and all at once, they would fill its queue.
    pub fn begin(&self, now: Instant, spread: Duration, clients: Return) {
        *self.returns.lock() = Some(match clients {
            Return::AfterTheDrain => Returns { from: now + spread, spread },
            Return::AtOnce => Returns { from: now, spread: Duration::ZERO },
        });
        self.reach(Phase::Draining);
    }

    /// Ends the drain. After an early end, the clients that are left return in the `spread` from now on.
    pub fn finish(&self, now: Instant, spread: Duration) {
        let mut returns = self.returns.lock();
        if returns.is_none_or(|returns| returns.from > now) {
            *returns = Some(Returns { from: now, spread });
        }
        drop(returns);
        self.reach(Phase::Over);
    }

    /// The milliseconds after which a client had better return whose stream ends now, the one at `place` of `many`.
    pub fn wait(&self, now: Instant, place: usize, many: usize) -> u32 {
        let Some(Returns { from, spread }) = *self.returns.lock() else {
            return 0;
        };
        let at = from + spread.mul_f64(place as f64 / many.max(1) as f64);
        u32::try_from(at.saturating_duration_since(now).as_millis()).unwrap_or(u32::MAX)
    }

    /// The same for a stream that comes alone.
    pub fn any_wait(&self, now: Instant) -> u32 {
        self.wait(now, fastrand::usize(..MANY), MANY)
    }

    /// The phases have an order, and none comes back.
    fn reach(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, SeqCst);
    }
}

/// The places of streams that come one by one.
const MANY: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Duration = Duration::from_secs(4);

    #[test]
    fn clients_return_after_the_drain_and_within_as_much_time() {
        let (drain, start) = (Drain::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!((drain.phase(), drain.wait(start, 0, 1)), (Phase::Serving, 0));
        drain.announce();
        drain.begin(start, SPREAD, Return::AfterTheDrain);
        assert_eq!([0, 1, 3].map(|place| drain.wait(start, place, 4)), [4_000, 5_000, 7_000]);
        assert!((4_000..8_000).contains(&drain.any_wait(start)));
        assert_eq!(drain.wait(at(3), 3, 4), 4_000, "streams that end in their turn have the same wait");
        assert_eq!(drain.wait(at(5), 0, 4), 0, "late");
        drain.finish(at(5), SPREAD);
        assert_eq!((drain.phase(), drain.wait(at(5), 3, 4)), (Phase::Over, 2_000), "the times of the drain stay");
    }

    #[test]
    fn where_another_process_listens_clients_return_at_once() {
        let (drain, start) = (Drain::default(), Instant::now());
        drain.begin(start, SPREAD, Return::AtOnce);
        assert_eq!((drain.phase(), drain.wait(start, 3, 4), drain.any_wait(start)), (Phase::Draining, 0, 0));
        drain.finish(start + SPREAD, SPREAD);
        assert_eq!(drain.wait(start + SPREAD, 3, 4), 0);
    }

    #[test]
    fn after_an_early_end_clients_return_from_then_on() {
        let (drain, start) = (Drain::default(), Instant::now());
        drain.begin(start, SPREAD, Return::AfterTheDrain);
        let early = start + Duration::from_secs(1);
        drain.finish(early, SPREAD);
        assert_eq!([0, 1].map(|place| drain.wait(early, place, 2)), [0, 2_000]);
        drain.announce();
        assert_eq!(drain.phase(), Phase::Over, "no phase comes back");
    }
}
