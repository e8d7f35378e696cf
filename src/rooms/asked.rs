//! The rooms in which readers ask who is suspect: only there, a shared log keeps account of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::model::name::Name;

/// The most rooms that are asked about: all gateways of a cluster keep the list, some 3 MB with names of the greatest length.
const MOST: usize = 10_000;

/// The least time between two lists: streams that come and go at once are no news to the other gateways.
const EVERY: Duration = Duration::from_millis(100);

/// The rooms whose readers ask who is suspect, with the number of these readers.
#[derive(Debug, Default)]
pub struct Asked {
    readers: Mutex<BTreeMap<Name, usize>>,
    changed: Notify,
}

impl Asked {
    /// A reader of `room` asks from now on.
    pub fn begin(&self, room: &Name) {
        let mut rooms = self.readers.lock();
        *rooms.entry(room.clone()).or_insert_with(|| {
            self.changed.notify_one();
            0
        }) += 1;
    }

    /// A reader of `room` who asked has gone.
    pub fn end(&self, room: &Name) {
        let mut rooms = self.readers.lock();
        if let Some(readers) = rooms.get_mut(room) {
            *readers -= 1;
            if *readers == 0 {
                rooms.remove(room);
                self.changed.notify_one();
            }
        }
    }

    /// Gives the rooms to `tell`, at most [`MOST`], each time that they are others, until it is false.
    pub async fn each(&self, mut tell: impl FnMut(BTreeSet<Name>) -> bool) {
        loop {
            self.changed.notified().await;
            if !tell(self.rooms()) {
                return;
            }
            sleep(EVERY).await;
        }
    }

    fn rooms(&self) -> BTreeSet<Name> {
        self.readers.lock().keys().take(MOST).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
    use tokio::time::timeout;

    use super::*;

    fn name(name: impl ToString) -> Name {
        name.to_string().parse().unwrap()
    }

    fn told(asked: &Arc<Asked>) -> UnboundedReceiver<BTreeSet<Name>> {
        let (sender, told) = unbounded_channel();
        let asked = asked.clone();
        tokio::spawn(async move { asked.each(|rooms| sender.send(rooms).is_ok()).await });
        told
    }

    #[tokio::test(start_paused = true)]
    async fn the_rooms_are_told_when_the_first_reader_asks_and_when_the_last_one_has_gone() {
        let asked = Arc::<Asked>::default();
        let (hall, lobby) = (name("hall"), name("lobby"));
        let mut told = told(&asked);
        asked.begin(&lobby);
        assert_eq!(told.recv().await.unwrap(), [lobby.clone()].into());
        asked.begin(&hall);
        asked.begin(&hall);
        assert_eq!(told.recv().await.unwrap(), [hall.clone(), lobby.clone()].into());
        asked.end(&hall);
        assert!(timeout(EVERY * 10, told.recv()).await.is_err(), "one reader is left");
        asked.end(&hall);
        assert_eq!(told.recv().await.unwrap(), [lobby].into());
    }

    #[tokio::test(start_paused = true)]
    async fn a_bounded_number_is_told_and_not_too_often() {
        let asked = Arc::<Asked>::default();
        let mut told = told(&asked);
        asked.begin(&name("first"));
        assert_eq!(told.recv().await.unwrap().len(), 1);
        (0..2 * MOST).for_each(|room| asked.begin(&name(room)));
        (0..100).for_each(|room| asked.end(&name(room)));
        assert_eq!(told.recv().await.unwrap().len(), MOST, "all in one");
        assert!(timeout(EVERY * 10, told.recv()).await.is_err());
    }
}
