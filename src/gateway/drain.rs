//! The end of the gateway: streams end one after the other, so that their clients come back to the next one the same way.

use std::sync::Weak;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio::time::sleep;

use crate::delivery::connection::{Connection, Ending};
use crate::gateway::{Gateway, cluster, keep};
use crate::model::command::{Action, Command};
use crate::runtime::drain::{Phase, Return};
use crate::runtime::takeover::Ended;
use crate::wire::dialect::Dialect;

impl Gateway {
    /// Whether the gateway is about to stop.
    pub fn is_stopping(&self) -> bool {
        self.drain.phase() > Phase::Serving
    }

    /// Announces the end. From here on, no hold ends by time or by the loss of its connection.
    pub fn announce_stop(&self) {
        self.drain.announce();
        self.rooms.keep_holds();
    }

    /// Ends all streams, spread over `--drain`. Returns when the last one is told.
    pub async fn drain(&self, clients: Return) {
        let (start, spread) = (Instant::now(), self.config.drain);
        self.drain.begin(start, spread, clients);
        let streams = self.streams();
        for (place, stream) in streams.iter().enumerate() {
            let due = start + spread.mul_f64(place as f64 / streams.len() as f64);
            let early = due.saturating_duration_since(Instant::now());
            if !early.is_zero() {
                sleep(early).await;
            }
            if let Some(stream) = stream.upgrade() {
                stream.end(Ending::Stopping(self.drain.wait(Instant::now(), place, streams.len())));
            }
        }
    }

    /// Whether another process has what this one kept.
    pub fn is_handed_over(&self) -> bool {
        self.rooms.are_handed_over()
    }

    /// Whether the journal cannot be written at the moment.
    pub fn is_failing(&self) -> bool {
        self.journal.is_failing()
    }

    /// Lets go of the journal, with all in it. From here on changes are refused and nothing is published. What clients end comes
    /// through the channel.
    pub async fn hand_over(&self) -> Receiver<Ended> {
        self.journal.stop();
        let ends = self.rooms.hand_over();
        keep::close(self.journal.clone(), self.clock.now()).await;
        ends
    }

    /// Ends a hold that its client has ended in the process from which this one took over.
    pub fn end_elsewhere(&self, Ended { room, user, connection }: Ended) {
        // Refused if the client has come back here.
        let _ = self.rooms.change(&room, &[Command::User(user, Action::Leave(connection))]);
    }

    /// Ends all streams and tasks that are left, within `limit`.
    pub async fn stop(&self, limit: Duration) {
        let now = Instant::now();
        self.drain.finish(now, self.config.drain);
        self.tasks.stop().cancel();
        let left: Vec<_> = self.streams().iter().filter_map(Weak::upgrade).collect();
        for (place, stream) in left.iter().enumerate() {
            stream.end(Ending::Stopping(self.drain.wait(now, place, left.len())));
        }
        drop(left);
        self.tasks.ended(limit).await;
        // Behind the last hold that a client ended here.
        cluster::leave(&self.rooms, limit).await;
        if !self.is_handed_over() {
            keep::close(self.journal.clone(), self.clock.now()).await;
        }
    }

    /// The open streams, sessions first: their requests need new connections, which find no listener.
    fn streams(&self) -> Vec<Weak<Connection>> {
        let all = self.hubs.iter().flat_map(|hub| hub.connections());
        let is_session = |stream: &Weak<Connection>| {
            stream.upgrade().is_some_and(|stream| stream.format().dialect == Dialect::Session)
        };
        let (mut sessions, others): (Vec<_>, Vec<_>) = all.partition(is_session);
        sessions.extend(others);
        sessions
    }
}
