//! Hubs: a few tasks that write each room's events to all sockets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::delivery::batch::Batch;
use crate::runtime::clock::{Clock, millis};
use crate::delivery::connection::{self, Connection, Ending};
use crate::runtime::meter::Meter;
use crate::model::moment::Tick;
use crate::delivery::reader::COUNT_EVERY;
use crate::rooms::room::{Room, RoomKey};
use crate::rooms::Rooms;
use crate::runtime::tasks::Tasks;

/// Connections written to before other tasks get their turn: about a millisecond's work.
const SLICE: usize = 128;

/// After events were written to all readers of a room, the next ones gather for as long as that
/// took, but no longer than this: so a room busier than its readers' sockets costs fewer and larger
/// writes, and a hub has half of its time for others. An event that comes later than that, as on a
/// quiet day each does, is written at once.
const MAX_REST: Duration = Duration::from_millis(4);

/// Shorter rests are not worth a timer.
const MIN_REST: Duration = Duration::from_millis(1);

/// A keep-alive period has this many steps, so that not all connections are due at once.
const STEPS: usize = 10;

/// So much of the period is left for what comes late: steps, timers, and the kernel's first retransmission, from
/// which on it counts. With it, silence is found within the sum of both times and not a little later.
const SLACK: usize = 1;

/// Writes to its share of all connections.
#[derive(Debug)]
pub struct Hub {
    tasks: Tasks,
    clock: Arc<Clock>,
    meter: Arc<Meter>,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    all: Slab<Arc<Connection>>,
    rooms: HashMap<RoomKey, Followers>,
}

#[derive(Debug)]
struct Followers {
    room: Arc<Room>,
    /// Up to where this hub has written the room's events.
    written: u64,
    /// Until when events gather, to be written together.
    rests: Instant,
    connections: Slab<Arc<Connection>>,
    /// Those that only read how many there are.
    counters: Slab<Arc<Connection>>,
    /// Whether they will be told soon.
    counts: bool,
}

/// What is to be done in a room at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Deliver,
    Count,
}

/// What is to be done, the next first.
type Agenda = BTreeMap<(Instant, Due, RoomKey), Arc<Room>>;

impl Hub {
    /// Starts a hub that listens to the news of `rooms`.
    pub fn start(rooms: &Arc<Rooms>, tasks: &Tasks, keep_alive: Duration) -> Arc<Self> {
        let (clock, meter) = (rooms.clock().clone(), rooms.meter().clone());
        let hub = Hub { tasks: tasks.clone(), clock, meter, seats: Mutex::default() };
        let hub = Arc::new(hub);
        let (this, rooms) = (hub.clone(), rooms.clone());
        tasks.supervise("hub", move || this.clone().run(rooms.news(), keep_alive));
        hub
    }

    /// Gives `connection` a seat.
    pub fn seat(self: &Arc<Self>, connection: Arc<Connection>) -> Seat {
        let place = self.seats.lock().all.insert(connection.clone());
        Seat { hub: self.clone(), connection, place, following: Vec::new() }
    }

    /// Ends all connections alike.
    pub fn end(&self, how: &Ending) {
        self.seats.lock().all.iter().for_each(|(_, connection)| connection.end(how.clone()));
    }

    async fn run(self: Arc<Self>, mut news: Receiver<Arc<Room>>, keep_alive: Duration) {
        let period = keep_alive / (STEPS + SLACK) as u32;
        let mut steps = interval(period);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut step = 0;
        let mut agenda = Agenda::new();
        // An earlier run may have failed on its way through a room.
        self.catch_all_up(&mut agenda).await;
        loop {
            let next = agenda.first_key_value().map(|((at, ..), _)| *at);
            tokio::select! {
                heard = news.recv() => match heard {
                    Ok(room) => match self.rests(&room) {
                        Some(until) => drop(agenda.insert((until, Due::Deliver, room.key()), room)),
                        None => self.deliver(&room, &mut agenda).await,
                    },
                    Err(RecvError::Lagged(_)) => self.catch_all_up(&mut agenda).await,
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    match agenda.pop_first() {
                        Some(((_, Due::Deliver, _), room)) => self.deliver(&room, &mut agenda).await,
                        Some(((_, Due::Count, _), room)) => self.count(&room, &mut agenda).await,
                        None => {}
                    }
                }
                _ = steps.tick() => {
                    step = (step + 1) % STEPS;
                    self.keep_alive(step, millis(period)).await;
                }
            }
        }
    }

    /// Until when `room` rests, if it does.
    fn rests(&self, room: &Arc<Room>) -> Option<Instant> {
        let seats = self.seats.lock();
        seats.rooms.get(&room.key()).map(|followers| followers.rests).filter(|until| *until > Instant::now())
    }

    /// Writes what is new in `room` to all who follow it here; then the room rests.
    async fn deliver(&self, room: &Arc<Room>, agenda: &mut Agenda) {
        let Some(batch) = self.batch(room) else {
            return;
        };
        self.tasks.fault("hub");
        let start = Instant::now();
        self.each(
            |seats| seats.rooms.get(&room.key()).map(|followers| &followers.connections),
            |_, connection| connection.deliver(&batch),
        )
        .await;
        let took = start.elapsed();
        let rest = MAX_REST.min(took);
        let mut seats = self.seats.lock();
        let Some(followers) = seats.rooms.get_mut(&room.key()) else {
            return;
        };
        self.meter.passed(followers.connections.len() * batch.count(), took);
        if rest >= MIN_REST {
            followers.rests = Instant::now() + rest;
        }
        followers.count_at(Instant::now(), agenda);
    }

    /// The events of `room` that this hub has not written yet, if anyone here follows it.
    fn batch(&self, room: &Arc<Room>) -> Option<Batch> {
        let mut seats = self.seats.lock();
        let followers = seats.rooms.get_mut(&room.key())?;
        let from = followers.written;
        let (events, head) = followers.room.look(|presence| {
            let events = presence.after(from).map(|events| events.cloned().collect());
            (events, presence.head().offset)
        });
        followers.written = head;
        // Where history does not reach back, a batch of nothing sends everyone to their own cursor.
        (head > from).then(|| match events {
            Some(events) => Batch::new(room.key(), from, events),
            None => Batch::new(room.key(), head, Vec::new()),
        })
    }

    /// Tells those who only count how many there are now. Who was told a moment ago is told the next time.
    async fn count(&self, room: &Arc<Room>, agenda: &mut Agenda) {
        if let Some(followers) = self.seats.lock().rooms.get_mut(&room.key()) {
            followers.counts = false;
        }
        let waits = AtomicBool::new(false);
        self.each(
            |seats| seats.rooms.get(&room.key()).map(|followers| &followers.counters),
            |_, connection| {
                waits.fetch_or(connection.count(), Relaxed);
            },
        )
        .await;
        if waits.into_inner()
            && let Some(followers) = self.seats.lock().rooms.get_mut(&room.key())
        {
            followers.count_at(Instant::now() + COUNT_EVERY, agenda);
        }
    }

    /// Has every connection look for itself whether there is something to write.
    async fn catch_all_up(&self, agenda: &mut Agenda) {
        self.each(|seats| Some(&seats.all), |_, connection| connection.catch_up()).await;
        for followers in self.seats.lock().rooms.values_mut() {
            followers.counts = false;
            followers.count_at(Instant::now(), agenda);
        }
    }

    /// One step of a keep-alive period: a tenth of the connections are kept alive, all are judged by what they owe.
    async fn keep_alive(&self, step: usize, period: Tick) {
        let next = self.clock.tick() + period;
        self.each(
            |seats| Some(&seats.all),
            |place, connection| {
                connection.judge(next);
                if place % STEPS == step {
                    connection.keep_alive();
                }
            },
        )
        .await;
    }

    /// Calls `act` for each of some connections, in slices, so that nobody waits for the lock or for
    /// the hub. Who takes a seat meanwhile has its own cursor to begin with.
    async fn each(&self, of: impl Fn(&Seats) -> Option<&Slab<Arc<Connection>>>, act: impl Fn(usize, &Arc<Connection>)) {
        let mut from = 0;
        loop {
            let (slice, more) = match of(&self.seats.lock()) {
                Some(slab) => {
                    let end = slab.capacity().min(from + SLICE);
                    let slice = (from..end).filter_map(|place| Some((place, slab.get(place)?)));
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
            written: room.look(|presence| presence.head().offset),
            rests: Instant::now(),
            room: room.clone(),
            connections: Slab::new(),
            counters: Slab::new(),
            counts: false,
        }
    }

    /// Has those who only count told at some time, if there are any and they are not to be told sooner.
    fn count_at(&mut self, at: Instant, agenda: &mut Agenda) {
        if !self.counters.is_empty() && !self.counts {
            self.counts = true;
            agenda.insert((at, Due::Count, self.room.key()), self.room.clone());
        }
    }
}

/// A connection's seat at its hub, which it leaves when this is dropped, also by a panic.
#[derive(Debug)]
pub struct Seat {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    place: usize,
    following: Vec<Follows>,
}

/// Where a connection stands among a room's followers.
#[derive(Clone, Copy, Debug)]
struct Follows {
    room: RoomKey,
    place: usize,
    counts: bool,
}

impl Seats {
    fn leave(&mut self, Follows { room, place, counts }: Follows) {
        let Some(followers) = self.rooms.get_mut(&room) else {
            return;
        };
        let those = if counts { &mut followers.counters } else { &mut followers.connections };
        those.remove(place);
        if followers.connections.is_empty() && followers.counters.is_empty() {
            self.rooms.remove(&room);
        }
    }
}

impl connection::Seat for Seat {
    fn follow(&mut self, room: &Arc<Room>, counts: bool) {
        let mut seats = self.hub.seats.lock();
        let followers = seats.rooms.entry(room.key()).or_insert_with(|| Followers::new(room));
        let those = if counts { &mut followers.counters } else { &mut followers.connections };
        let place = those.insert(self.connection.clone());
        drop(seats);
        self.following.reserve_exact(1);
        self.following.push(Follows { room: room.key(), place, counts });
    }

    fn unfollow(&mut self, room: RoomKey) {
        if let Some(at) = self.following.iter().position(|follows| follows.room == room) {
            let follows = self.following.swap_remove(at);
            self.hub.seats.lock().leave(follows);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connection.abandon();
        let mut seats = self.hub.seats.lock();
        seats.all.remove(self.place);
        self.following.drain(..).for_each(|follows| seats.leave(follows));
    }
}
