//! The gateway: the rooms, the hubs, the background tasks, and what they share.
//!
//! May import: all layers above.

mod drain;
pub mod live;
pub mod passes;
pub mod keep;
mod cluster;
pub mod engine;
pub mod relay;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::delivery::connection::{Connection, Ending, Options, Shared};
use crate::delivery::conversation::{Peer, converse};
use crate::delivery::hub::{Hub, Pace};
use crate::delivery::session::Sessions;
use crate::delivery::step::COUNT_EVERY;
use crate::gateway::keep::{Checkpoints, Marks, Opened};
use crate::gateway::passes::Passes;
use crate::journal::fold::State;
use crate::journal::queue::Journal;
use crate::model::command::Command;
use crate::model::hold::Transport;
use crate::model::id::ConnectionId;
use crate::model::name::Name;
use crate::model::refusal::Refusal;
use crate::rooms::Rooms;
use crate::rooms::connection_holds::ConnectionHolds;
use crate::rooms::directory::Directory;
use crate::rooms::registers::Registers;
use crate::runtime::admission::Admissions;
use crate::runtime::clock::{BEAT, Clock};
use crate::runtime::config::Config;
use crate::runtime::drain::{Drain, Phase};
use crate::runtime::handover::Socket;
use crate::runtime::keys::Keys;
use crate::runtime::memory::{Level, Memory};
use crate::runtime::meter::Meter;
use crate::runtime::process::Statm;
use crate::runtime::rates::Rates;
use crate::runtime::tasks::Tasks;

/// The age of events that a lack of memory does not take from their room: longer than the way of an event to the readers
/// takes on a busy machine.
const SPARED: Duration = Duration::from_secs(2);

/// How long an edition is stored for other readers, once or twice over: after a cut all clients reconnect within two
/// seconds (see `retry:`).
const TICK: Duration = Duration::from_secs(1);

/// The interval of looks at the passes in use. Tokens name their times in whole seconds.
const LOOK: Duration = Duration::from_secs(1);

/// Everything that requests and streams share.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    rooms: Arc<Rooms>,
    clock: Arc<Clock>,
    meter: Arc<Meter>,
    hubs: Vec<Arc<Hub>>,
    next_hub: AtomicUsize,
    tasks: Tasks,
    drain: Drain,
    shared: Arc<Shared>,
    admissions: Arc<Admissions>,
    rates: Arc<Rates>,
    sessions: Arc<Sessions>,
    passes: Arc<Passes>,
    journal: Arc<Journal>,
    /// On the wall clock, and for measuring.
    started: (SystemTime, Instant),
}

impl Gateway {
    /// Puts back what was kept, starts the hubs and the background tasks, and signs in the users given at start.
    ///
    /// # Errors
    ///
    /// The refusal of those users.
    pub async fn start(config: Config, keys: Keys, opened: Opened) -> Result<Arc<Self>, Refusal> {
        let tasks = Tasks::new(config.faults.clone());
        let meter = Arc::<Meter>::default();
        let memory = Memory::new(config.budget(), Box::new(Statm::open()));
        let bounds = config.bounds(memory.budget());
        let Opened { journal, identity, clock, rules, incarnation, state, joining } = opened;
        let is_fresh = state.is_none() && joining.is_none();
        let fresh_for = if is_fresh { config.fresh_for() } else { Duration::ZERO };
        let memory = Arc::new(memory);
        let registers =
            Registers::new(config.max_rooms, memory, clock.clone(), journal.clone(), meter.clone(), fresh_for);
        let rooms = Arc::new(Rooms::new(Directory::new(registers, bounds, identity)));
        let keys = Arc::new(keys);
        let noted = (journal.clone(), clock.clone());
        let passes = Arc::new(Passes::new(&config, keys.clone(), noted, rooms.clone()));
        let sessions = Arc::<Sessions>::default();
        if let Some(joining) = joining {
            sessions.name_node(joining.id().0);
            cluster::join(joining, &rooms, &passes);
            let (taken, own, taker) = (rooms.clone(), sessions.clone(), tasks.clone());
            tasks.supervise("relay", move || relay::take(taken.clone(), own.clone(), taker.clone()));
        }
        if let Some(state) = state {
            let State { rooms: kept, denylist, revocations, cookies, .. } = state;
            rooms.restore(kept.into_values().map(|room| *room), denylist);
            passes.restore(&cookies, revocations);
            rooms.memory().look();
            if rooms.memory().level() >= Level::Refuse {
                warn!(
                    "what was kept takes nearly all of --max-memory; until it is less, only who is present already is let in"
                );
            }
        }
        let at_start: Vec<_> = config.users.iter().map(|user| Command::sign_in(user.clone())).collect();
        if !at_start.is_empty() && !cluster::begins_later(&rooms, &at_start) {
            rooms.apply(&Name::lobby(), &at_start).await?;
        }
        // One hub for each processor.
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let answers = [config.pong_within, config.send_within];
        let pace = Pace { keep_alive: config.keep_alive, gather: config.gather, answers };
        let hub = |_| Hub::start(&rooms, clock.clone(), meter.hub(), &tasks, pace);
        let hubs = (0..processors).map(hub).collect();
        let (swept, limits) = (rooms.clone(), config.history_for);
        let sweeper = tasks.clone();
        tasks.supervise("sweep", move || sweep(swept.clone(), limits, sweeper.clone()));
        let (timed, beaten, timer) = (rooms.clone(), clock.clone(), tasks.clone());
        let (marked, soon) = (journal.clone(), clock.tick() + keep::hold_for(&config));
        let time = move || keep_time(timed.clone(), beaten.clone(), Marks::new(marked.clone(), soon), timer.clone());
        tasks.supervise("time", time);
        let counted = rooms.clone();
        let counter = tasks.clone();
        tasks.supervise("counts", move || keep_counts(counted.clone(), counter.clone()));
        let shared = Arc::new(Shared {
            memory: rooms.memory().clone(),
            tasks: tasks.clone(),
            clock: clock.clone(),
            began: Instant::now(),
            send_within: config.send_within,
            pong_within: config.pong_within,
            message_within: config.request_within,
            alive_every: config.alive_every,
            alive_within: config.alive_within,
        });
        let admissions = Admissions::new(config.max_connections, config.max_per_address);
        let (relieved, shed, reliever) = (rooms.clone(), admissions.clone(), tasks.clone());
        tasks.supervise("memory", move || keep_memory(relieved.clone(), shed.clone(), reliever.clone()));
        let rates = Arc::new(Rates::new(config.rates()));
        tasks.supervise("keys", move || keep_keys(keys.clone()));
        let (kept, keeper) = (passes.clone(), tasks.clone());
        let clocked = clock.clone();
        tasks.supervise("passes", move || keep_passes(kept.clone(), clocked.clone(), keeper.clone()));
        let kept = (journal.clone(), clock.clone());
        let checkpoints = Arc::new(Checkpoints::of(kept, rooms.clone(), passes.clone(), (rules, incarnation)));
        tasks.supervise("journal", move || checkpoints.clone().keep());
        Ok(Arc::new(Gateway {
            config,
            rooms,
            clock,
            meter,
            hubs,
            next_hub: AtomicUsize::new(0),
            tasks,
            drain: Drain::default(),
            shared,
            admissions,
            rates,
            sessions,
            passes,
            journal,
            started: (SystemTime::now(), Instant::now()),
        }))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The rooms.
    pub fn rooms(&self) -> &Arc<Rooms> {
        &self.rooms
    }

    /// The gateway's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The counters.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The memory of the process.
    pub fn memory(&self) -> &Arc<Memory> {
        self.rooms.memory()
    }

    /// The bounds on connections.
    pub fn admissions(&self) -> &Arc<Admissions> {
        &self.admissions
    }

    /// The rates of clients.
    pub fn rates(&self) -> &Arc<Rates> {
        &self.rates
    }

    /// The open sessions.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Who may do what.
    pub fn passes(&self) -> &Arc<Passes> {
        &self.passes
    }

    /// When the gateway was started.
    pub fn started(&self) -> SystemTime {
        self.started.0
    }

    /// The time since the gateway was started, whatever the wall clock did meanwhile.
    pub fn uptime(&self) -> Duration {
        self.started.1.elapsed()
    }

    /// The background tasks.
    pub fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The holds of the connection `id`, none yet.
    pub fn holds(&self, id: ConnectionId, transport: Transport) -> ConnectionHolds {
        ConnectionHolds::new(self.rooms.clone(), id, transport, self.config.max_per_connection)
    }

    /// Starts a stream over `socket`. `peer` gives the client's bytes their meaning.
    pub fn stream(&self, socket: Socket, options: Options, peer: impl Peer + 'static) {
        let open = self.meter.stream(options.format.framing.transport());
        let connection = Arc::new(Connection::new(socket, options, open, self.shared.clone()));
        let hub = &self.hubs[self.next_hub.fetch_add(1, Relaxed) % self.hubs.len()];
        let registration = hub.add(connection.clone());
        // The drain may have passed the hub before.
        if self.drain.phase() >= Phase::Draining {
            connection.end(Ending::Stopping(self.drain.any_wait(Instant::now())));
        }
        self.tasks.spawn(converse(connection, peer, registration));
    }
}

/// Runs the gateway's clock, and ends the holds whose deadline has passed.
async fn keep_time(rooms: Arc<Rooms>, clock: Arc<Clock>, mut marks: Marks, tasks: Tasks) {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        clock.beat();
        tasks.fault("time");
        rooms.tell_memory();
        while rooms.expire() {
            yield_now().await;
        }
        marks.pass(clock.now(), || rooms.have_deadlines());
    }
}

/// Makes changes of counts readable.
async fn keep_counts(rooms: Arc<Rooms>, tasks: Tasks) {
    let mut rounds = interval(COUNT_EVERY);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        tasks.fault("counts");
        rooms.release_counts();
    }
}

/// Keeps the keys as they are outside, and reads them at once on SIGHUP.
async fn keep_keys(keys: Arc<Keys>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        return keys.keep().await;
    };
    let reread = async {
        while hangup.recv().await.is_some() {
            info!("SIGHUP received; the keys are read again");
            keys.reload().await;
        }
        pending::<()>().await;
    };
    tokio::join!(keys.keep(), reread);
}

/// Ends what goes on without a pass.
async fn keep_passes(passes: Arc<Passes>, clock: Arc<Clock>, tasks: Tasks) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        tasks.fault("passes");
        passes.look();
        // Otherwise a token may have arrived while the process was stopped.
        if clock.enforces_deadlines() {
            passes.live().look_at_waiting(clock.tick());
        }
    }
}

/// Keeps the process within its budget.
async fn keep_memory(rooms: Arc<Rooms>, admissions: Arc<Admissions>, tasks: Tasks) {
    loop {
        rooms.memory().next_look().await;
        tasks.fault("memory");
        loop {
            while rooms.relieve(SPARED) {
                yield_now().await;
            }
            let connections = rooms.memory().connections();
            if !admissions.shed(connections) {
                break;
            }
            admissions.settled(connections).await;
        }
        rooms.memory().give_back(&tasks);
    }
}

/// Forgets old events and idle rooms, several times within `history_for`, and editions without new readers.
async fn sweep(rooms: Arc<Rooms>, history_for: Duration, tasks: Tasks) {
    let period = (history_for / 8).clamp(Duration::from_millis(50), Duration::from_secs(30));
    let (mut sweeps, mut ticks) = (interval(period), interval(TICK));
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = sweeps.tick() => {
                tasks.fault("sweep");
                rooms.sweep(history_for);
            }
            _ = ticks.tick() => rooms.tick(),
        }
    }
}
