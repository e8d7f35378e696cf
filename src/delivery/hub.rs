//! Hubs: a few tasks that write the events of all rooms to all connections.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::delivery::batch::Batch;
use crate::delivery::connection::Connection;
use crate::delivery::conversation::Subscriptions;
use crate::delivery::count_reader::CountBatch;
use crate::delivery::outbox::Outbox;
use crate::delivery::rest::Rest;
use crate::delivery::step::COUNT_EVERY;
use crate::model::cursor::Offset;
use crate::rooms::key::RoomKey;
use crate::rooms::room::Room;
use crate::rooms::tally::Round;
use crate::rooms::{News, Rooms};
use crate::runtime::clock::Clock;
use crate::runtime::meter::{HubMeter, Pass};
use crate::runtime::tasks::Tasks;
use crate::wire::dialect::Dialect;

/// Connections written to before other tasks get their turn: about a millisecond's work.
const SLICE: usize = 128;

/// A keep-alive period has this many steps, so that not all connections are due at once.
const STEPS: usize = 12;

/// The steps of a period left for delays: of steps, of timers, and of the kernel's first retransmission, at which its
/// own timeout begins. With them, silence is found within the sum of both times and not later.
const SLACK: usize = 1;

/// The times of a hub.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest silence before a keep-alive.
    pub keep_alive: Duration,
    /// How long events of a busy room gather for one write.
    pub gather: Duration,
    /// When an answer to a ping is due at the end of a fast and of a slow link.
    pub answers: [Duration; 2],
}

impl Pace {
    /// The time between two steps of a keep-alive period.
    fn step(&self) -> Duration {
        self.keep_alive / (STEPS + SLACK) as u32
    }

    /// The steps after its ping at which a connection is looked at: the ping's own, and those at which the answer is overdue. At
    /// the other steps its memory, which is in no cache, is left alone.
    fn looks(&self) -> [usize; 3] {
        let [fast, slow] = self.answers;
        let step = self.step().max(Duration::from_nanos(1));
        let after = |due: Duration| ((due.as_nanos() / step.as_nanos() + 1) % STEPS as u128) as usize;
        [0, after(fast.min(slow)), after(slow.saturating_sub(step))]
    }
}

/// Writes to its share of all connections.
#[derive(Debug)]
pub struct Hub {
    tasks: Tasks,
    clock: Arc<Clock>,
    meter: Arc<HubMeter>,
    /// How long events of a busy room gather for one write.
    gather: Duration,
    roll: Mutex<Roll>,
}

/// The registered connections, all of them and by room.
#[derive(Debug, Default)]
struct Roll {
    all: Slab<Arc<Connection>>,
    rooms: HashMap<RoomKey, Followers>,
    /// The connections that read the counts of many rooms.
    counts: Slab<Arc<Connection>>,
}

#[derive(Debug)]
struct Followers {
    room: Arc<Room>,
    /// The last event that this hub has written.
    written: Offset,
    /// When the first event was announced that this hub has not written.
    since: Option<Instant>,
    /// When the events are written that come next.
    rest: Rest,
    connections: Slab<Arc<Connection>>,
    /// The connections that read only the number of members.
    counters: Slab<Arc<Connection>>,
    /// Whether a count update is scheduled.
    count_scheduled: bool,
}

/// A task of a hub in one room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Deliver,
    Count,
}

/// The tasks ahead, the earliest first.
type Schedule = BTreeMap<(Instant, Due, RoomKey), Arc<Room>>;

impl Hub {
    /// Starts a hub that listens to the news of `rooms`, and sends events and keep-alives in the time of `pace`.
    pub fn start(rooms: &Arc<Rooms>, clock: Arc<Clock>, meter: Arc<HubMeter>, tasks: &Tasks, pace: Pace) -> Arc<Self> {
        let hub = Hub { tasks: tasks.clone(), clock, meter, gather: pace.gather, roll: Mutex::default() };
        let hub = Arc::new(hub);
        let (this, rooms) = (hub.clone(), rooms.clone());
        tasks.supervise("hub", move || this.clone().run(rooms.clone(), pace));
        hub
    }

    /// Adds `connection` for as long as the registration lives.
    pub fn add(self: &Arc<Self>, connection: Arc<Connection>) -> Registration {
        let place = self.roll.lock().all.insert(connection.clone());
        Registration { hub: self.clone(), connection, place, subscriptions: Vec::new() }
    }

    /// All connections. A reference to one of them keeps nothing open.
    pub fn connections(&self) -> Vec<Weak<Connection>> {
        self.roll.lock().all.iter().map(|(_, connection)| Arc::downgrade(connection)).collect()
    }

    async fn run(self: Arc<Self>, rooms: Arc<Rooms>, pace: Pace) {
        let mut news = rooms.news();
        let mut rounds = rooms.count_rounds();
        let settles = || rooms.taken().fresh_for.map(|rest| Instant::now() + Duration::from_millis(rest));
        let mut settle_at = Some(settles().unwrap_or_else(Instant::now));
        let mut steps = interval(pace.step());
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut step = 0;
        let mut schedule = Schedule::new();
        // An earlier run may have failed on its way through a room.
        self.catch_all_up(&mut schedule).await;
        loop {
            let next = schedule.first_key_value().map(|((at, ..), _)| *at);
            tokio::select! {
                heard = news.recv() => match heard {
                    Ok(news) => match self.rests_until(&news) {
                        Some(until) => drop(schedule.insert((until, Due::Deliver, news.room.key()), news.room)),
                        None => self.deliver(&news.room, &mut schedule).await,
                    },
                    Err(RecvError::Lagged(_)) => self.catch_all_up(&mut schedule).await,
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    match schedule.pop_first() {
                        Some(((_, Due::Deliver, _), room)) => self.deliver(&room, &mut schedule).await,
                        Some(((_, Due::Count, _), room)) => self.count(&room, &mut schedule).await,
                        None => {}
                    }
                }
                () = sleep_until(settle_at.unwrap_or_else(Instant::now)), if settle_at.is_some() => {
                    // The gateway's own clock decides, and it may be behind.
                    settle_at = settles();
                    if settle_at.is_none() {
                        self.settle().await;
                    }
                }
                changed = rounds.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let round = rounds.borrow_and_update().clone();
                    self.deliver_counts(&round).await;
                }
                _ = steps.tick() => {
                    step = (step + 1) % STEPS;
                    self.keep_alive(step, pace).await;
                }
            }
        }
    }

    /// When the news is to be written, if not at once.
    fn rests_until(&self, news: &News) -> Option<Instant> {
        let mut roll = self.roll.lock();
        let followers = roll.rooms.get_mut(&news.room.key())?;
        followers.since.get_or_insert(news.at);
        followers.rest.until(Instant::now())
    }

    /// Writes the new events of `room` to all connections that read it here. Then the room rests.
    async fn deliver(&self, room: &Arc<Room>, schedule: &mut Schedule) {
        let Some((batch, since)) = self.batch(room) else {
            return;
        };
        self.tasks.fault("hub");
        let (start, mut sent) = (Instant::now(), [0; 2]);
        self.each(
            |roll| roll.rooms.get(&room.key()).map(|followers| &followers.connections),
            |_, connection| {
                let bytes = connection.deliver(|outbox, format| outbox.take(&batch, format));
                sent[connection.format().framing.transport() as usize] += bytes;
            },
        )
        .await;
        let end = Instant::now();
        let (took, readers) = (end - start, room.readers());
        let mut roll = self.roll.lock();
        let Some(followers) = roll.rooms.get_mut(&room.key()) else {
            return;
        };
        let (deliveries, lag) = (followers.connections.len() * batch.count(), since.map(|since| end - since));
        self.meter.passed(&Pass { deliveries, sent, took, lag });
        followers.rest = Rest::after(end, took, readers, self.gather);
        followers.schedule_count(end, schedule);
    }

    /// The events of `room` that this hub has not written yet, and when the first was announced; `None` without readers here.
    fn batch(&self, room: &Arc<Room>) -> Option<(Batch, Option<Instant>)> {
        let mut roll = self.roll.lock();
        let followers = roll.rooms.get_mut(&room.key())?;
        let (from, since) = (followers.written, followers.since.take());
        let (events, head) = followers.room.read(|presence| {
            let events = presence.after(from).map(|events| events.cloned().collect());
            (events, presence.head().offset)
        });
        followers.written = head;
        // Where the history does not reach back, an empty batch sends each reader to its own cursor.
        (head > from).then(|| {
            let batch = match events {
                Some(events) => Batch::new(room.key(), from, events),
                None => Batch::new(room.key(), head, Vec::new()),
            };
            (batch, since)
        })
    }

    /// Writes the number of members to the connections that count. A connection with too recent a number gets the next.
    async fn count(&self, room: &Arc<Room>, schedule: &mut Schedule) {
        if let Some(followers) = self.roll.lock().rooms.get_mut(&room.key()) {
            followers.count_scheduled = false;
        }
        let mut waits = false;
        self.each(
            |roll| roll.rooms.get(&room.key()).map(|followers| &followers.counters),
            |_, connection| waits |= connection.count(),
        )
        .await;
        if waits && let Some(followers) = self.roll.lock().rooms.get_mut(&room.key()) {
            followers.schedule_count(Instant::now() + COUNT_EVERY, schedule);
        }
    }

    /// Writes the changes of counts that became readable together.
    async fn deliver_counts(&self, round: &Round) {
        if round.changes.is_empty() {
            // The round that this hub was woken for is freed already.
            return self.each(|roll| Some(&roll.counts), |_, connection| connection.catch_up()).await;
        }
        self.tasks.fault("hub");
        let mut sent = [0; 2];
        for batch in CountBatch::several(round.from, &round.changes) {
            self.each(
                |roll| Some(&roll.counts),
                |_, connection| {
                    let bytes = connection.deliver(|outbox, format| outbox.take_counts(&batch, format));
                    sent[connection.format().framing.transport() as usize] += bytes;
                },
            )
            .await;
        }
        self.meter.sent(sent);
    }

    /// Lets each connection catch up from its own cursors.
    async fn catch_all_up(&self, schedule: &mut Schedule) {
        self.each(|roll| Some(&roll.all), |_, connection| connection.catch_up()).await;
        for followers in self.roll.lock().rooms.values_mut() {
            followers.count_scheduled = false;
            followers.schedule_count(Instant::now(), schedule);
        }
    }

    /// Writes the present sets to readers that began early after the gateway's start. The exercise has no word for that.
    async fn settle(&self) {
        self.each(
            |roll| Some(&roll.all),
            |_, connection| {
                if connection.format().dialect != Dialect::Exercise {
                    connection.queue(Outbox::settle);
                    connection.catch_up();
                }
            },
        )
        .await;
    }

    /// One step of a keep-alive period: a keep-alive to a share of the connections, and a look at those with an answer that may be
    /// overdue.
    async fn keep_alive(&self, step: usize, pace: Pace) {
        let (now, looks) = (self.clock.tick(), pace.looks());
        let since_ping = |place: usize| (step + STEPS - place % STEPS) % STEPS;
        self.each_at(
            |roll| Some(&roll.all),
            |place| looks.contains(&since_ping(place)),
            |place, connection| {
                connection.check_answers(now, pace.step());
                if since_ping(place) == 0 {
                    connection.keep_alive();
                }
            },
        )
        .await;
    }

    /// Calls `act` for each of some connections, see [`Hub::each_at`].
    async fn each(
        &self,
        of: impl Fn(&Roll) -> Option<&Slab<Arc<Connection>>>,
        act: impl FnMut(usize, &Arc<Connection>),
    ) {
        self.each_at(of, |_| true, act).await;
    }

    /// Calls `act` for each connection at some places, in slices, so that neither the lock nor the hub is held for long. A
    /// connection that is added meanwhile has its own cursor to begin with.
    async fn each_at(
        &self,
        of: impl Fn(&Roll) -> Option<&Slab<Arc<Connection>>>,
        at: impl Fn(usize) -> bool,
        mut act: impl FnMut(usize, &Arc<Connection>),
    ) {
        let mut from = 0;
        loop {
            let (slice, more) = match of(&self.roll.lock()) {
                Some(slab) => {
                    let end = slab.capacity().min(from + SLICE);
                    let slice = (from..end).filter(|place| at(*place));
                    let slice = slice.filter_map(|place| Some((place, slab.get(place)?)));
                    slice.clone().for_each(|(_, connection)| connection.prefetch());
                    let slice = slice.map(|(place, connection)| (place, connection.clone()));
                    (slice.collect::<Vec<_>>(), end < slab.capacity())
                }
                None => return,
            };
            slice.iter().for_each(|(place, connection)| act(*place, connection));
            if !more {
                return;
            }
            from += SLICE;
            yield_now().await;
        }
    }
}

impl Followers {
    fn new(room: &Arc<Room>) -> Self {
        Followers {
            written: room.read(|presence| presence.head().offset),
            since: None,
            rest: Rest::default(),
            room: room.clone(),
            connections: Slab::new(),
            counters: Slab::new(),
            count_scheduled: false,
        }
    }

    /// Schedules a count update, unless one is already due earlier.
    fn schedule_count(&mut self, at: Instant, schedule: &mut Schedule) {
        if !self.counters.is_empty() && !self.count_scheduled {
            self.count_scheduled = true;
            schedule.insert((at, Due::Count, self.room.key()), self.room.clone());
        }
    }
}

/// A connection's registration in a hub. A drop, also by a panic, ends the registration.
#[derive(Debug)]
pub struct Registration {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    place: usize,
    subscriptions: Vec<Subscription>,
}

/// A connection's place in the roll.
#[derive(Clone, Copy, Debug)]
enum Subscription {
    /// Among a room's followers.
    Room { room: RoomKey, place: usize, counts: bool },
    /// Among the readers of counts.
    Counts { place: usize },
}

impl Roll {
    fn unsubscribe(&mut self, subscription: Subscription) {
        let (room, place, counts) = match subscription {
            Subscription::Room { room, place, counts } => (room, place, counts),
            Subscription::Counts { place } => return drop(self.counts.remove(place)),
        };
        let Some(followers) = self.rooms.get_mut(&room) else {
            return;
        };
        let connections = if counts { &mut followers.counters } else { &mut followers.connections };
        connections.remove(place);
        if followers.connections.is_empty() && followers.counters.is_empty() {
            self.rooms.remove(&room);
        }
    }
}

impl Registration {
    fn push(&mut self, subscription: Subscription) {
        self.subscriptions.reserve_exact(1);
        self.subscriptions.push(subscription);
    }

    /// Ends the first subscription that `is_meant`.
    fn end(&mut self, is_meant: impl FnMut(&Subscription) -> bool) {
        if let Some(at) = self.subscriptions.iter().position(is_meant) {
            let subscription = self.subscriptions.swap_remove(at);
            self.hub.roll.lock().unsubscribe(subscription);
        }
    }
}

impl Subscriptions for Registration {
    fn add(&mut self, room: &Arc<Room>, counts: bool) {
        let mut roll = self.hub.roll.lock();
        let followers = roll.rooms.entry(room.key()).or_insert_with(|| Followers::new(room));
        let connections = if counts { &mut followers.counters } else { &mut followers.connections };
        let place = connections.insert(self.connection.clone());
        drop(roll);
        self.push(Subscription::Room { room: room.key(), place, counts });
    }

    fn remove(&mut self, room: RoomKey) {
        self.end(|subscription| matches!(subscription, Subscription::Room { room: key, .. } if *key == room));
    }

    fn add_counts(&mut self) {
        let place = self.hub.roll.lock().counts.insert(self.connection.clone());
        self.push(Subscription::Counts { place });
    }

    fn remove_counts(&mut self) {
        self.end(|subscription| matches!(subscription, Subscription::Counts { .. }));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connection.abandon();
        let mut roll = self.hub.roll.lock();
        roll.all.remove(self.place);
        self.subscriptions.drain(..).for_each(|subscription| roll.unsubscribe(subscription));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_looked_at_when_an_answer_is_overdue_and_silence_is_found_within_the_sum_of_the_times() {
        let pace = |[keep_alive, fast, slow]: [u64; 3]| Pace {
            keep_alive: Duration::from_millis(keep_alive),
            gather: Duration::ZERO,
            answers: [fast, slow].map(Duration::from_millis),
        };
        assert_eq!(pace([10_000, 6_500, 15_000]).looks(), [0, 9, 7], "6.9 s after the ping, 9.2 and 14.6");
        for times in
            [[10_000, 6_500, 15_000], [10_000, 20_000, 15_000], [200, 700, 60_000], [10, 10, 10], [60_000, 10, 20]]
        {
            let pace = pace(times);
            let (step, [fast, slow]) = (pace.step(), pace.answers);
            for due in [fast.min(slow), slow.saturating_sub(step)] {
                let seen = (1..).find(|after| pace.looks().contains(&(after % STEPS)) && step * *after as u32 > due);
                let within = step * (STEPS + seen.unwrap()) as u32;
                assert!(within <= pace.keep_alive + slow.max(pace.keep_alive), "{times:?}: {within:?}");
            }
        }
    }
}
