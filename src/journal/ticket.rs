//! What an answer waits for.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::sync::oneshot;

use crate::model::cursor::Position;
use crate::model::refusal::{Code, Refusal};

/// A change was made, and may be lost at the next start: it could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change is made, but could not be written to the journal")]
pub struct NotDurable;

/// The reason why no change may be made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Writing fails, or the queue to the disk is full.
    #[error("changes can't be written at the moment")]
    NotDurable,
    /// The journal was handed over, or is to be.
    #[error("the gateway is stopping")]
    Stopping,
}

/// What an appended entry got.
#[derive(Debug)]
pub struct Given {
    /// The entry's position; those after it, up to the number that it takes, are its own too.
    pub position: Position,
    /// Ready when the entry is kept.
    pub ticket: Ticket,
}

/// Ready when an entry is kept as the journal promises, or can't be.
#[derive(Debug)]
pub struct Ticket(State);

#[derive(Debug)]
enum State {
    Done(Result<(), NotDurable>),
    Waits(oneshot::Receiver<Result<(), NotDurable>>),
}

/// The other end of a ticket. Dropped, it says [`NotDurable`].
#[derive(Debug)]
pub(super) struct Promise(oneshot::Sender<Result<(), NotDurable>>);

impl Ticket {
    /// A ticket of an entry that is kept already, or that nobody waits for.
    pub fn done() -> Ticket {
        Ticket(State::Done(Ok(())))
    }

    /// A ticket of an entry that can't be kept.
    pub fn lost() -> Ticket {
        Ticket(State::Done(Err(NotDurable)))
    }

    pub(super) fn promised() -> (Promise, Ticket) {
        let (promise, ticket) = oneshot::channel();
        (Promise(promise), Ticket(State::Waits(ticket)))
    }

    /// Whether the ticket is kept, without waiting.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            State::Done(kept) => kept.is_ok(),
            State::Waits(_) => false,
        }
    }

    /// Blocks the thread until the ticket is ready.
    pub(super) fn wait(self) -> Result<(), NotDurable> {
        let mut ticket = pin!(self);
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match ticket.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(kept) => return kept,
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl Promise {
    pub(super) fn keep(self) {
        // Whoever asked may be gone.
        let _ = self.0.send(Ok(()));
    }
}

impl Future for Ticket {
    type Output = Result<(), NotDurable>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let kept = match &mut self.0 {
            State::Done(kept) => return Poll::Ready(*kept),
            State::Waits(ticket) => match Pin::new(ticket).poll(context) {
                Poll::Ready(told) => told.unwrap_or(Err(NotDurable)),
                Poll::Pending => return Poll::Pending,
            },
        };
        self.0 = State::Done(kept);
        Poll::Ready(kept)
    }
}

impl From<NotDurable> for Refusal {
    fn from(not_durable: NotDurable) -> Self {
        Refusal::new(Code::NotDurable, not_durable.to_string())
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::NotDurable => Code::NotDurable,
            Refused::Stopping => Code::Stopping,
        };
        Refusal::new(code, refused.to_string())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_says_what_was_kept_and_what_was_lost() {
        assert_eq!(Ticket::done().wait(), Ok(()));
        assert_eq!(Ticket::lost().wait(), Err(NotDurable));
        assert!(Ticket::done().is_done() && !Ticket::lost().is_done());
        let (promise, ticket) = Ticket::promised();
        assert!(!ticket.is_done());
        let other = thread::spawn(move || ticket.wait());
        promise.keep();
        assert_eq!(other.join().unwrap(), Ok(()));
        let (promise, ticket) = Ticket::promised();
        drop(promise);
        assert_eq!(ticket.wait(), Err(NotDurable));
    }
}
