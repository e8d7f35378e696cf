//! Hubs: a few tasks that write each room's events to all sockets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::task::yield_now;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::batch::Batch;
use crate::connection::{Connection, Ending};
use crate::room::{Room, Rooms};
use crate::tasks::Tasks;

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

/// Writes to its share of all connections.
#[derive(Debug)]
pub struct Hub {
    tasks: Tasks,
    seats: Mutex<Seats>,
}

#[derive(Debug, Default)]
struct Seats {
    all: Slab<Arc<Connection>>,
    /// By the room's address, which stays its own while a follower keeps the room.
    rooms: HashMap<usize, Followers>,
}

#[derive(Debug)]
struct Followers {
    room: Arc<Room>,
    /// Up to where this hub has written the room's events.
    written: u64,
    /// Until when events gather, to be written together.
    rests: Instant,
    connections: Slab<Arc<Connection>>,
}

fn address(room: &Arc<Room>) -> usize {
    Arc::as_ptr(room).addr()
}

impl Hub {
    /// Starts a hub that listens to the news of `rooms`.
    pub fn start(rooms: &Arc<Rooms>, tasks: &Tasks, keep_alive: Duration) -> Arc<Self> {
        let hub = Arc::new(Hub { tasks: tasks.clone(), seats: Mutex::default() });
        let (this, rooms) = (hub.clone(), rooms.clone());
        tasks.supervise("hub", move || this.clone().run(rooms.news(), keep_alive));
        hub
    }

    /// Gives `connection` a seat, following `room` if it reads one.
    pub fn seat(self: &Arc<Self>, connection: Arc<Connection>, room: Option<Arc<Room>>) -> Seat {
        let mut seats = self.seats.lock();
        let following = room.map(|room| {
            let followers = seats.rooms.entry(address(&room)).or_insert_with(|| Followers {
                written: room.look(|presence| presence.head().offset),
                rests: Instant::now(),
                room: room.clone(),
                connections: Slab::new(),
            });
            (address(&room), followers.connections.insert(connection.clone()))
        });
        let place = seats.all.insert(connection.clone());
        Seat { hub: self.clone(), connection, place, following }
    }

    /// Ends all connections alike.
    pub fn end(&self, how: &Ending) {
        self.seats.lock().all.iter().for_each(|(_, connection)| connection.end(how.clone()));
    }

    async fn run(self: Arc<Self>, mut news: Receiver<Arc<Room>>, keep_alive: Duration) {
        let mut steps = interval(keep_alive / STEPS as u32);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut step = 0;
        // Rooms that have news while they rest, by when they are due.
        let mut due: BTreeMap<(Instant, usize), Arc<Room>> = BTreeMap::new();
        // An earlier run may have failed on its way through a room.
        self.catch_all_up().await;
        loop {
            let next = due.first_key_value().map(|((at, _), _)| *at);
            tokio::select! {
                heard = news.recv() => match heard {
                    Ok(room) => match self.rests(&room) {
                        Some(until) => drop(due.insert((until, address(&room)), room)),
                        None => self.deliver(&room).await,
                    },
                    Err(RecvError::Lagged(_)) => self.catch_all_up().await,
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    if let Some((_, room)) = due.pop_first() {
                        self.deliver(&room).await;
                    }
                }
                _ = steps.tick() => {
                    step = (step + 1) % STEPS;
                    self.keep_alive(step).await;
                }
            }
        }
    }

    /// Until when `room` rests, if it does.
    fn rests(&self, room: &Arc<Room>) -> Option<Instant> {
        let seats = self.seats.lock();
        seats.rooms.get(&address(room)).map(|followers| followers.rests).filter(|until| *until > Instant::now())
    }

    /// Writes what is new in `room` to all who follow it here; then the room rests.
    async fn deliver(&self, room: &Arc<Room>) {
        let Some(batch) = self.batch(room) else {
            return;
        };
        self.tasks.fault("hub");
        let start = Instant::now();
        self.each(
            |seats| seats.rooms.get(&address(room)).map(|followers| &followers.connections),
            |_, connection| connection.deliver(&batch),
        )
        .await;
        let rest = MAX_REST.min(start.elapsed());
        if let Some(followers) = self.seats.lock().rooms.get_mut(&address(room))
            && rest >= MIN_REST
        {
            followers.rests = Instant::now() + rest;
        }
    }

    /// The events of `room` that this hub has not written yet, if anyone here follows it.
    fn batch(&self, room: &Arc<Room>) -> Option<Batch> {
        let mut seats = self.seats.lock();
        let followers = seats.rooms.get_mut(&address(room))?;
        let from = followers.written;
        let (events, head) = followers.room.look(|presence| {
            let events = presence.after(from).map(|events| events.cloned().collect());
            (events, presence.head().offset)
        });
        followers.written = head;
        // Where history does not reach back, a batch of nothing sends everyone to their own cursor.
        (head > from).then(|| events.map_or_else(|| Batch::new(head, Vec::new()), |events| Batch::new(from, events)))
    }

    /// Has every connection look for itself whether there is something to write.
    async fn catch_all_up(&self) {
        self.each(|seats| Some(&seats.all), |_, connection| connection.catch_up()).await;
    }

    async fn keep_alive(&self, step: usize) {
        self.each(
            |seats| Some(&seats.all),
            |place, connection| {
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
                    let sits = |place| Some((place, slab.get(place)?.clone()));
                    ((from..end).filter_map(sits).collect::<Vec<_>>(), end < slab.capacity())
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

/// A connection's seat at its hub, which it leaves when this is dropped, also by a panic.
#[derive(Debug)]
pub struct Seat {
    hub: Arc<Hub>,
    connection: Arc<Connection>,
    place: usize,
    following: Option<(usize, usize)>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connection.abandon();
        let mut seats = self.hub.seats.lock();
        seats.all.remove(self.place);
        let Some((room, place)) = self.following else {
            return;
        };
        let Some(followers) = seats.rooms.get_mut(&room) else {
            return;
        };
        followers.connections.remove(place);
        if followers.connections.is_empty() {
            seats.rooms.remove(&room);
        }
    }
}
