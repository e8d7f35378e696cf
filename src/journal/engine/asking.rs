//! Questions to other nodes, as the asker has them: under way until a reply comes or their time is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::journal::engine::calls::Reply;
use crate::journal::engine::values::Trouble;

/// The calls of one engine that are under way: as many as one node takes, so a gateway that asks one node alone is bounded on both
/// sides alike.
pub const UNDER_WAY: usize = 1_024;

/// The calls under way, each with a number.
#[derive(Debug)]
pub(super) struct Asking(Mutex<Table>);

#[derive(Debug)]
struct Table {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Reply>>,
}

/// A call under way, until dropped.
#[derive(Debug)]
pub(super) struct Asked {
    /// The number that the reply has. No other call of this engine had it.
    pub number: u64,
    /// When the call ends, whatever happens.
    pub deadline: Instant,
    coming: oneshot::Receiver<Reply>,
    asking: Arc<Asking>,
}

impl Default for Asking {
    fn default() -> Self {
        // Drawn, so that a reply from before a restart of this process fits no call.
        Asking(Mutex::new(Table { next: fastrand::u64(..), waiting: HashMap::new() }))
    }
}

impl Asking {
    /// Begins a call.
    ///
    /// # Errors
    ///
    /// The question is too large, or too many calls are under way.
    pub fn begin(self: &Arc<Self>, bytes: usize, most: usize, within: Duration) -> Result<Asked, Trouble> {
        if bytes > most {
            return Err(Trouble::TooLarge { bytes, most });
        }
        let (sender, coming) = oneshot::channel();
        let mut table = self.0.lock();
        if table.waiting.len() >= UNDER_WAY {
            return Err(Trouble::Full);
        }
        let number = table.next;
        table.next = number.wrapping_add(1);
        table.waiting.insert(number, sender);
        Ok(Asked { number, deadline: Instant::now() + within, coming, asking: self.clone() })
    }

    /// Hands a reply to its call. Nobody may be waiting any longer.
    pub fn settle(&self, number: u64, reply: Reply) {
        let sender = self.0.lock().waiting.remove(&number);
        if let Some(sender) = sender {
            drop(sender.send(reply));
        }
    }

    /// Ends all calls: replies to them would go to a connection that is lost.
    pub fn lose(&self) {
        self.0.lock().waiting.clear();
    }
}

impl Asked {
    /// The whole milliseconds that are left, one more for what is left of the last.
    pub fn left(&self) -> u32 {
        let left = self.deadline.saturating_duration_since(Instant::now());
        u32::try_from(left.as_millis()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Waits for the reply.
    ///
    /// # Errors
    ///
    /// None comes in time, or it has no answer.
    pub async fn reply(mut self) -> Result<Option<Bytes>, Trouble> {
        let reply = timeout_at(self.deadline, &mut self.coming).await.map_err(|_| too_late())?;
        reply.map_err(|_| Trouble::Unknown("the connection to the server was lost".to_owned()))?.told()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.asking.0.lock().waiting.remove(&self.number);
    }
}

/// Why a call without a reply ends.
pub(super) fn too_late() -> Trouble {
    Trouble::Unknown("the node did not answer in time".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_call_gets_its_own_reply_in_time_or_none() {
        let asking = Arc::new(Asking::default());
        let [one, other, late, lost] = [(); 4].map(|()| asking.begin(1, 1, WITHIN).unwrap());
        asking.settle(other.number, Reply::Gone);
        asking.settle(one.number, Reply::Answer(Bytes::from_static(b"1")));
        asking.settle(one.number, Reply::Gone);
        assert_eq!(one.reply().await, Ok(Some(Bytes::from_static(b"1"))));
        assert_eq!(other.reply().await, Ok(None));
        assert_eq!(late.left(), 10_001);
        assert_eq!(late.reply().await, Err(too_late()));
        asking.lose();
        assert!(matches!(lost.reply().await, Err(Trouble::Unknown(why)) if why.contains("lost")));
        assert!(asking.0.lock().waiting.is_empty(), "nothing is left of calls that ended");
    }

    #[tokio::test]
    async fn calls_are_bounded_in_size_and_number() {
        let asking = Arc::new(Asking::default());
        assert_eq!(asking.begin(2, 1, WITHIN).unwrap_err(), Trouble::TooLarge { bytes: 2, most: 1 });
        let mut under_way: Vec<_> = (0..UNDER_WAY).map(|_| asking.begin(1, 1, WITHIN).unwrap()).collect();
        assert_eq!(asking.begin(1, 1, WITHIN).unwrap_err(), Trouble::Full);
        drop(under_way.pop());
        assert!(asking.begin(1, 1, WITHIN).is_ok(), "whoever gives up makes room");
    }
}
