//! Turns: how many tokens are verified at once.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::available_parallelism;

use tokio::sync::{Semaphore, SemaphorePermit};

/// The most tokens that wait for their turn: half a second of verifications. All clients of a gateway that was started anew
/// come back with tokens that it does not know.
const MOST_WAITING: usize = 8_192;

/// Verifications that go on at once: on half of the processors. A flood of forged tokens leaves the other half to others.
pub struct Turns {
    free: Semaphore,
    waiting: AtomicUsize,
}

/// One waiting token, counted until dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Turns {
    /// Turns for this machine.
    pub fn new() -> Self {
        let processors = available_parallelism().map_or(1, |n| n.get());
        Turns { free: Semaphore::new((processors / 2).max(1)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for a turn, which ends when dropped. `None` where too many wait.
    pub async fn take(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.free.try_acquire() {
            return Some(turn);
        }
        let waiting = Waiting::of(&self.waiting);
        if waiting.0.load(Relaxed) > MOST_WAITING {
            return None;
        }
        // Never closed.
        self.free.acquire().await.ok()
    }
}

impl<'a> Waiting<'a> {
    fn of(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn one_waiting_token_too_many_is_turned_away() {
        let turns = Turns { free: Semaphore::new(1), waiting: AtomicUsize::new(0) };
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(first)) = pin!(turns.take()).poll(&mut context) else { panic!("a free turn") };
        let mut others: Vec<_> = (0..MOST_WAITING).map(|_| Box::pin(turns.take())).collect();
        assert!(others.iter_mut().all(|other| other.as_mut().poll(&mut context).is_pending()));
        assert!(matches!(pin!(turns.take()).poll(&mut context), Poll::Ready(None)));
        drop(first);
        assert!(matches!(others[0].as_mut().poll(&mut context), Poll::Ready(Some(_))));
        drop(others);
        assert_eq!(turns.waiting.load(Relaxed), 0);
    }
}
