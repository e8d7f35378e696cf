//! The rooms in which readers ask who is suspect: only there, a shared log keeps account of it.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::model::name::Name;

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

    /// The rooms, once they are others than at the last call.
    pub async fn changed(&self) -> BTreeSet<Name> {
        self.changed.notified().await;
        self.readers.lock().keys().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_rooms_are_told_when_the_first_reader_asks_and_when_the_last_one_has_gone() {
        let asked = Asked::default();
        let [hall, lobby]: [Name; 2] = ["hall", "lobby"].map(|name| name.parse().unwrap());
        let told = || asked.changed().now_or_never().map(|rooms| rooms.into_iter().collect::<Vec<_>>());
        assert_eq!(told(), None);
        asked.begin(&lobby);
        asked.begin(&hall);
        assert_eq!((told(), told()), (Some(vec![hall.clone(), lobby.clone()]), None));
        asked.begin(&hall);
        asked.end(&hall);
        assert_eq!(told(), None, "one reader is left");
        asked.end(&hall);
        assert_eq!(told(), Some(vec![lobby]));
    }
}
