//! Asks: questions to a client whether it is alive.
//!
//! The system of a frozen client still acknowledges bytes, and a browser answers pings for a frozen page. Only a message
//! proves that the client's own code runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::model::moment::Tick;

/// The questions to one client.
#[derive(Debug)]
pub struct Asks {
    /// When the client was asked last, or else when the stream began, as a [`Tick`].
    asked: AtomicU64,
    /// When the first ask without an answer was sent, as a [`Tick`]; 0 when all are answered.
    owed: AtomicU64,
    /// Whether a client without an answer is lost.
    binding: AtomicBool,
}

impl Asks {
    /// The questions to a client whose stream begins at `now`. `binding` for a client that has to answer.
    pub fn new(now: Tick, binding: bool) -> Self {
        Asks { asked: AtomicU64::new(now.0), owed: AtomicU64::new(0), binding: AtomicBool::new(binding) }
    }

    /// Whether to ask at `now`, because the last question was `every` or longer ago. The question then counts as asked.
    pub fn ask(&self, now: Tick, every: Duration) -> bool {
        let is_due = now >= Tick(self.asked.load(Relaxed)) + every;
        if is_due {
            self.asked.store(now.0, Relaxed);
            // Fails when an earlier question has no answer: then that one counts.
            let _ = self.owed.compare_exchange(0, now.0.max(1), Relaxed, Relaxed);
        }
        is_due
    }

    /// Notes a message, which answers all questions.
    pub fn answered(&self) {
        self.owed.store(0, Relaxed);
    }

    /// Notes that the client knows the questions, so that an answer may be demanded from now on.
    pub fn bind(&self) {
        self.binding.store(true, Relaxed);
    }

    /// When the client was asked, if it owes an answer since longer than `within` at `now`.
    pub fn overdue(&self, now: Tick, within: Duration) -> Option<Tick> {
        let owed = self.owed.load(Relaxed);
        (owed != 0 && self.binding.load(Relaxed) && now > Tick(owed) + within).then_some(Tick(owed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_millis(100);
    const WITHIN: Duration = Duration::from_millis(200);

    #[test]
    fn the_first_question_without_an_answer_decides() {
        let asks = Asks::new(Tick(1_000), true);
        assert!(!asks.ask(Tick(1_099), EVERY) && asks.overdue(Tick(9_999), WITHIN).is_none());
        assert!(asks.ask(Tick(1_100), EVERY) && !asks.ask(Tick(1_199), EVERY) && asks.ask(Tick(1_200), EVERY));
        assert!(asks.overdue(Tick(1_300), WITHIN).is_none() && asks.overdue(Tick(1_301), WITHIN).is_some());
        asks.answered();
        assert!(asks.overdue(Tick(9_999), WITHIN).is_none());
        assert!(asks.ask(Tick(1_300), EVERY) && asks.overdue(Tick(1_501), WITHIN).is_some());
    }

    #[test]
    fn a_client_that_need_not_answer_is_never_overdue() {
        let asks = Asks::new(Tick(0), false);
        assert!(asks.ask(Tick(100), EVERY) && asks.overdue(Tick(9_999), WITHIN).is_none());
        asks.bind();
        assert!(asks.overdue(Tick(9_999), WITHIN).is_some());
    }
}
