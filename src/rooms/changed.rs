//! What a change did, and what its answer waits for.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::journal::ticket::Ticket;
use crate::model::cursor::Cursor;
use crate::model::outcome::Outcome;
use crate::model::refusal::Refusal;

/// The effect of commands on a room, and what an answer about it waits for.
#[derive(Debug)]
pub struct Changed {
    /// The effect, as far as it is known before the wait.
    pub outcome: Outcome,
    /// Ready when the answer may be given.
    pub kept: Kept,
}

/// Ready when a change is kept as promised, or can't be: with the room's place where only the wait tells it.
#[derive(Debug)]
pub struct Kept(Waits);

enum Waits {
    /// For the journal of this process.
    Written(Ticket),
    /// For the log of a cluster.
    Agreed(Pin<Box<dyn Future<Output = Result<Option<Cursor>, Refusal>> + Send>>),
}

impl Kept {
    /// Nothing is to be waited for.
    pub fn done() -> Kept {
        Kept(Waits::Written(Ticket::done()))
    }

    /// Waits for what a cluster agrees on.
    pub fn agreed(wait: impl Future<Output = Result<Option<Cursor>, Refusal>> + Send + 'static) -> Kept {
        Kept(Waits::Agreed(Box::pin(wait)))
    }

    /// Whether nothing is to be waited for.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            Waits::Written(ticket) => ticket.is_done(),
            Waits::Agreed(_) => false,
        }
    }

    /// Waits for all of `several`. The place is that of the last.
    pub fn all(several: Vec<Kept>) -> Kept {
        match several.len() {
            0 => Kept::done(),
            1 => several.into_iter().next().unwrap_or_else(Kept::done),
            _ => Kept::agreed(async {
                let mut last = None;
                for kept in several {
                    last = kept.await?;
                }
                Ok(last)
            }),
        }
    }
}

impl From<Ticket> for Kept {
    fn from(ticket: Ticket) -> Kept {
        Kept(Waits::Written(ticket))
    }
}

impl Future for Kept {
    type Output = Result<Option<Cursor>, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Waits::Written(ticket) => {
                Pin::new(ticket).poll(context).map(|kept| kept.map(|()| None).map_err(Refusal::from))
            }
            Waits::Agreed(agreed) => agreed.as_mut().poll(context),
        }
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Waits::Written(ticket) => ticket.fmt(f),
            Waits::Agreed(_) => f.write_str("Agreed"),
        }
    }
}
