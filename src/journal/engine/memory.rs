//! A log in memory, shared by its clones: for tests, and for several gateways within one process.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use crate::journal::engine::appends::Appending;
use crate::journal::engine::asking::Asking;
use crate::journal::engine::calls::{Calls, Intake, is_name};
use crate::journal::engine::reader::{Break, Entry, Feed, Follow, Place, Reader, Stop};
use crate::journal::engine::seam::{Answer, Engine, Extent, LogId, MOST_BYTES, SNAPSHOTS, Snapshot, Trouble, Writing};

/// The entries that are copied under one lock.
const AT_ONCE: usize = 32;

/// A log in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct Memory {
    shared: Arc<Shared>,
    /// The log that was opened; the shared one may be another by now.
    opened: LogId,
    /// The calls of whoever opened it.
    asking: Arc<Asking>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Who takes questions, by name.
    served: Mutex<HashMap<String, Intake>>,
    /// Told of each change.
    news: watch::Sender<()>,
}

#[derive(Clone, Debug)]
struct State {
    identity: LogId,
    first: u64,
    entries: VecDeque<Bytes>,
    /// The newest at the end.
    snapshots: VecDeque<(u64, Vec<Bytes>)>,
}

impl State {
    fn new(identity: LogId) -> State {
        State { identity, first: 1, entries: VecDeque::new(), snapshots: VecDeque::new() }
    }

    fn extent(&self) -> Extent {
        Extent { first: self.first, last: self.first + self.entries.len() as u64 - 1 }
    }

    fn index(&self, position: u64) -> usize {
        usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX).min(self.entries.len())
    }
}

impl Default for Memory {
    fn default() -> Self {
        Memory::named(drawn())
    }
}

fn drawn() -> LogId {
    LogId { drawn: uuid::Uuid::new_v4().as_u128(), made: 0 }
}

impl Memory {
    /// A log with this identity, without entries.
    pub fn named(identity: LogId) -> Memory {
        let (state, news) = (Mutex::new(State::new(identity)), watch::Sender::new(()));
        let shared = Arc::new(Shared { state, served: Mutex::default(), news });
        Memory { shared, opened: identity, asking: Arc::default() }
    }

    /// Opens the log as it is now.
    pub fn open(&self) -> Memory {
        Memory { shared: self.shared.clone(), opened: self.shared.state.lock().identity, asking: Arc::default() }
    }

    /// Forgets the entries after a position, as a server does that lost its end.
    pub fn forget(&self, after: u64) {
        self.change(|state| {
            let left = state.index(after + 1);
            state.entries.truncate(left);
        });
    }

    /// Replaces the log by another one without entries.
    pub fn replace(&self) {
        self.change(|state| *state = State::new(drawn()));
    }

    /// Replaces the log by another one with its entries, as it is now.
    pub fn replace_by(&self, other: &Memory) {
        let theirs = other.shared.state.lock().clone();
        self.change(|state| *state = theirs);
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.shared.state.lock());
        self.shared.news.send_replace(());
        changed
    }

    fn checked(&self, bytes: usize) -> Result<(), Trouble> {
        match bytes > MOST_BYTES {
            true => Err(Trouble::TooLarge { bytes, most: MOST_BYTES }),
            false => Ok(()),
        }
    }
}

impl Engine for Memory {
    fn identity(&self) -> LogId {
        self.opened
    }

    fn most_bytes(&self) -> usize {
        MOST_BYTES
    }

    fn append(&self, batch: Bytes) -> Appending {
        Appending::answered(self.checked(batch.len()).and_then(|()| {
            self.change(|state| match state.identity == self.opened {
                true => {
                    state.entries.push_back(batch);
                    Ok(state.extent().last)
                }
                false => Err(Trouble::Unknown("another log is there".to_owned())),
            })
        }))
    }

    fn read(&self, after: u64) -> Reader {
        Reader::start(Following(self.shared.clone()), self.opened, after)
    }

    fn extent(&self) -> Answer<'_, Extent> {
        Box::pin(async { Ok(self.shared.state.lock().extent()) })
    }

    fn put_snapshot(&self, at: u64) -> Answer<'_, Box<dyn Writing>> {
        Box::pin(
            async move { Ok(Box::new(Unfinished { memory: self.clone(), at, parts: Vec::new() }) as Box<dyn Writing>) },
        )
    }

    fn snapshot(&self) -> Answer<'_, Option<Snapshot>> {
        Box::pin(async {
            let Some((at, parts)) = self.shared.state.lock().snapshots.back().cloned() else { return Ok(None) };
            let (sender, coming) = mpsc::channel(parts.len().max(1));
            let count = parts.len() as u64;
            // There is room for all.
            parts.into_iter().for_each(|part| drop(sender.try_send(Ok(part))));
            Ok(Some(Snapshot::new(at, count, coming)))
        })
    }

    fn trim(&self, before: u64) -> Answer<'_, ()> {
        Box::pin(async move {
            self.change(|state| {
                let gone = state.index(before);
                state.entries.drain(..gone);
                state.first += gone as u64;
            });
            Ok(())
        })
    }

    fn serve(&self, name: &str) -> Calls {
        let (intake, calls) = Intake::new(MOST_BYTES);
        let mut served = self.shared.served.lock();
        served.retain(|_, intake| !intake.is_closed());
        if is_name(name) {
            served.insert(name.to_owned(), intake);
        }
        calls
    }

    fn call(&self, name: &str, question: Bytes, within: Duration) -> Answer<'_, Option<Bytes>> {
        let intake = self.shared.served.lock().get(name).cloned();
        Box::pin(async move {
            let asked = self.asking.begin(question.len(), MOST_BYTES, within)?;
            let Some(intake) = intake else { return Ok(None) };
            let (asking, number) = (self.asking.clone(), asked.number);
            intake.take_in(question, within, move |reply, _room| asking.settle(number, reply));
            asked.reply().await
        })
    }
}

struct Unfinished {
    memory: Memory,
    at: u64,
    parts: Vec<Bytes>,
}

impl Writing for Unfinished {
    fn put(&mut self, part: Bytes) -> Answer<'_, ()> {
        Box::pin(async move {
            self.memory.checked(part.len())?;
            self.parts.push(part);
            Ok(())
        })
    }

    fn finish(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async move {
            let Unfinished { memory, at, parts } = *self;
            memory.change(|state| {
                let place = state.snapshots.partition_point(|(other, _)| *other <= at);
                state.snapshots.insert(place, (at, parts));
                let beyond = state.snapshots.len().saturating_sub(SNAPSHOTS);
                state.snapshots.drain(..beyond);
            });
            Ok(())
        })
    }
}

struct Following(Arc<Shared>);

impl Following {
    /// The next entries, if there are any.
    fn next(&self, place: &mut Place) -> Result<Vec<Entry>, Stop> {
        let state = self.0.state.lock();
        place.check(state.identity, state.extent())?;
        if place.after >= state.first
            && let Some(last) = state.entries.get(state.index(place.after))
        {
            place.check_last(last)?;
        }
        let from = state.index(place.after + 1);
        let entries = state.entries.iter().skip(from).take(AT_ONCE).cloned();
        Ok((place.after + 1..).zip(entries).collect())
    }

    async fn try_follow(&self, place: &mut Place, feed: &Feed) -> Result<Infallible, Stop> {
        let mut news = self.0.news.subscribe();
        loop {
            news.borrow_and_update();
            let entries = self.next(place)?;
            if entries.is_empty() {
                tokio::select! {
                    changed = news.changed() => changed.map_err(|_| Stop::Break(Break::Closed))?,
                    () = feed.dropped() => return Err(Stop::Dropped),
                }
            }
            for entry in entries {
                feed.send(place, entry).await?;
            }
        }
    }
}

impl Follow for Following {
    async fn follow(&self, place: &mut Place, feed: &Feed) -> Stop {
        let Err(stop) = self.try_follow(place, feed).await;
        stop
    }
}
