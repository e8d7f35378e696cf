//! The gateway: rooms, the hubs that write their events, and the streams that read them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use crate::runtime::admission::Admissions;
use crate::runtime::clock::BEAT;
use crate::model::command::Command;
use crate::config::Config;
use crate::delivery::connection::{Connection, Ending, Manner, Peer, Writing};
use crate::wire::framing::Form;
use crate::runtime::handover::Socket;
use crate::model::hold::Transport;
use crate::rooms::connection_holds::Holding;
use crate::delivery::hub::Hub;
use crate::model::name::Name;
use crate::model::refusal::{Code, Refusal};
use crate::rooms::Rooms;
use crate::runtime::tasks::Tasks;

/// How long streams and requests may take to end, so that all is over within 5 s, before Docker
/// (10 s) or Kubernetes (30 s) would kill.
const STOP_WITHIN: Duration = Duration::from_millis(4_500);

/// How long a snapshot made for one reader is kept for the next, once or twice over: all who come
/// back after a cut do so within two seconds (see `retry:`).
const TICK: Duration = Duration::from_secs(1);

/// Everything that the routes share.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    rooms: Arc<Rooms>,
    hubs: Vec<Arc<Hub>>,
    next: AtomicUsize,
    tasks: Tasks,
    writing: Arc<Writing>,
    admissions: Arc<Admissions>,
    started: SystemTime,
}

impl Gateway {
    /// Starts the hubs and the sweeper, and signs in the users given at start.
    pub fn start(config: Config) -> Result<Arc<Self>, Refusal> {
        let tasks = Tasks::new(config.faults.clone());
        let rooms = Arc::new(Rooms::new(config.max_rooms, config.bounds()));
        let at_start: Vec<_> = config.users.iter().map(|user| Command::sign_in(user.clone(), None)).collect();
        if !at_start.is_empty() {
            rooms.change(&Name::lobby(), &at_start)?;
        }
        // One hub for each thread that could run one.
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let hubs = (0..threads).map(|_| Hub::start(&rooms, &tasks, config.keep_alive)).collect();
        let (swept, limits) = (rooms.clone(), config.history_for);
        let sweeper = tasks.clone();
        tasks.supervise("sweep", move || sweep(swept.clone(), limits, sweeper.clone()));
        let (timed, timer) = (rooms.clone(), tasks.clone());
        tasks.supervise("time", move || keep_time(timed.clone(), timer.clone()));
        let (clock, send_within) = (rooms.clock().clone(), config.send_within);
        let writing = Arc::new(Writing { tasks: tasks.clone(), clock, send_within });
        let admissions = Admissions::new(config.max_connections, config.max_per_address);
        let (next, started) = (AtomicUsize::new(0), SystemTime::now());
        Ok(Arc::new(Gateway { config, rooms, hubs, next, tasks, writing, admissions, started }))
    }

    /// What the operator set.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The rooms.
    pub fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    /// Who may connect.
    pub fn admissions(&self) -> &Arc<Admissions> {
        &self.admissions
    }

    /// When it was started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// The background tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// A holding for the connection `id`.
    pub fn holding(&self, id: Uuid, transport: Transport) -> Holding {
        Holding::new(self.rooms.clone(), id, transport, self.config.max_per_connection)
    }

    /// Goes on with a stream's socket; `peer` says what is read.
    pub fn stream(&self, socket: Socket, manner: Manner, peer: impl Peer + 'static) {
        let transport = if manner.framing.form == Form::WebSocket { Transport::WebSocket } else { Transport::Sse };
        let open = self.rooms.meter().stream(transport);
        let connection = Arc::new(Connection::new(socket, manner, open, self.writing.clone()));
        let hub = &self.hubs[self.next.fetch_add(1, Relaxed) % self.hubs.len()];
        let seat = hub.seat(connection.clone());
        if self.tasks.stop().is_cancelled() {
            connection.end(Ending::Ours(Code::Stopping));
        }
        self.tasks.spawn(connection.converse(peer, seat));
    }

    /// Ends all streams and tasks, within 5 s.
    pub async fn stop(&self) {
        self.tasks.stop().cancel();
        self.hubs.iter().for_each(|hub| hub.end(&Ending::Ours(Code::Stopping)));
        self.tasks.ended(STOP_WITHIN).await;
    }
}

/// Keeps the gateway's clock, and ends the holds whose time is over.
async fn keep_time(rooms: Arc<Rooms>, tasks: Tasks) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        rooms.clock().beat();
        tasks.fault("time");
        while rooms.expire() {
            yield_now().await;
        }
    }
}

/// Forgets old history and empty rooms a few times within the time that history lasts, and snapshots
/// that nobody comes for any more.
async fn sweep(rooms: Arc<Rooms>, history_for: Duration, tasks: Tasks) {
    let period = (history_for / 8).clamp(Duration::from_millis(50), Duration::from_secs(30));
    let (mut sweeps, mut ticks) = (interval(period), interval(TICK));
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = sweeps.tick() => {
                tasks.fault("sweep");
                rooms.sweep(history_for.as_secs());
            }
            _ = ticks.tick() => rooms.tick(),
        }
    }
}
