//! Batches on their way into a log: handed over in order, bounded in number and time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::journal::engine::values::Trouble;

/// The batches that are sent before the first of them is answered: with one alone, each waits for the slowest server.
pub const IN_FLIGHT: usize = 4;

/// The batches that wait to be sent.
const QUEUED: usize = 12;

/// The answer to a batch: its position.
#[derive(Debug)]
pub struct Appending(oneshot::Receiver<Result<u64, Trouble>>);

/// A batch to send.
#[derive(Debug)]
pub struct Job {
    /// The bytes.
    pub batch: Bytes,
    /// When the caller gets an answer, whatever it is.
    pub deadline: Instant,
    answer: oneshot::Sender<Result<u64, Trouble>>,
}

/// Where batches are handed over.
#[derive(Clone, Debug)]
pub struct Appends {
    jobs: mpsc::Sender<Job>,
    within: Duration,
}

impl Appends {
    /// A queue of batches, each with so much time, and its end.
    pub fn new(within: Duration) -> (Appends, mpsc::Receiver<Job>) {
        let (jobs, coming) = mpsc::channel(QUEUED);
        (Appends { jobs, within }, coming)
    }

    /// Hands a batch over.
    pub fn hand_over(&self, batch: Bytes, most: usize) -> Appending {
        let bytes = batch.len();
        if bytes > most {
            return Appending::answered(Err(Trouble::TooLarge { bytes, most }));
        }
        let (answer, appending) = oneshot::channel();
        match self.jobs.try_send(Job { batch, deadline: Instant::now() + self.within, answer }) {
            Ok(()) => Appending(appending),
            Err(mpsc::error::TrySendError::Full(_)) => Appending::answered(Err(Trouble::Full)),
            Err(mpsc::error::TrySendError::Closed(_)) => Appending::answered(Err(ended())),
        }
    }
}

impl Appending {
    /// An answer that is there.
    pub fn answered(answer: Result<u64, Trouble>) -> Appending {
        let (sender, appending) = oneshot::channel();
        // Never refused: the receiver is there.
        drop(sender.send(answer));
        Appending(appending)
    }
}

impl Job {
    /// Answers the batch. Nobody may be waiting any longer.
    pub fn answer(self, answer: Result<u64, Trouble>) {
        drop(self.answer.send(answer));
    }
}

impl Future for Appending {
    type Output = Result<u64, Trouble>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or_else(|_| Err(ended())))
    }
}

fn ended() -> Trouble {
    Trouble::Unknown("the log was closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn batches_are_bounded_in_size_and_number_and_each_gets_an_answer() {
        let (appends, mut coming) = Appends::new(Duration::from_secs(1));
        let appending = appends.hand_over(Bytes::from_static(b"12345"), 4);
        assert_eq!(appending.await, Err(Trouble::TooLarge { bytes: 5, most: 4 }));
        let waiting: Vec<_> = (0..QUEUED).map(|_| appends.hand_over(Bytes::new(), 4)).collect();
        assert_eq!(appends.hand_over(Bytes::new(), 4).await, Err(Trouble::Full));
        coming.recv().await.unwrap().answer(Ok(7));
        drop(coming);
        let mut waiting = waiting.into_iter();
        assert_eq!(waiting.next().unwrap().await, Ok(7));
        for appending in waiting {
            assert_eq!(appending.await, Err(ended()));
        }
        assert_eq!(appends.hand_over(Bytes::new(), 4).await, Err(ended()));
    }
}
