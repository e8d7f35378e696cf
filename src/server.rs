//! The listening sockets, and one small task for each accepted connection.

mod takeover;

use std::future::{Future, pending};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::SockRef;
use takeover::Takeover;
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::gateway::{Gateway, engine, keep};
use crate::http::{Door, Entrance, is_trusted};
use crate::model::refusal::Refusal;
use crate::runtime::address::Address;
use crate::runtime::admission::Visit;
use crate::runtime::config::Config;
use crate::runtime::drain::{Return, Stop};
use crate::runtime::exposure;
use crate::runtime::handover::{self, Limits};
use crate::runtime::head_timer::HeadLimits;
use crate::runtime::inherited::Inherited;
use crate::runtime::keys::Keys;
use crate::runtime::listener::{ListenError, Listeners};
use crate::runtime::rates::Source;
use crate::runtime::repeats::Repeats;
use crate::runtime::service;
use crate::runtime::takeover::successor::Successor;
use crate::runtime::tasks::Tasks;

/// The pause after an error of accepting, such as at the limit of open files. Without a pause, the loop would only burn
/// the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The time of a connection that came while all places were taken, for a health check.
const SPARE_WITHIN: Duration = Duration::from_secs(2);

/// The bytes of answers that may wait unsent in the kernel: the part of an answer that is encoded at once.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 32 * 1024;

/// How long requests and the last streams may take to end after the drain. With the default of `--drain`, the gateway ends
/// within 9 s, before Docker (10 s) or Kubernetes (30 s) would kill it.
const STOP_WITHIN: Duration = Duration::from_secs(4);

/// How long everything may take to end after a second request to stop.
const HURRY_WITHIN: Duration = Duration::from_secs(1);

/// How long the connections of operators may take to end, which are cut.
const CUT_WITHIN: Duration = Duration::from_millis(200);

/// The reason why the gateway could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("{error}; choose another with {option}")]
    Listen {
        /// The option that names the address.
        option: &'static str,
        /// The address, and the reason.
        error: ListenError,
    },
    /// Options that are a mistake together, or a key that cannot be used.
    #[error("{0}")]
    Options(String),
    /// The directory of `--data` cannot be used.
    #[error("{0}")]
    Data(String),
    /// The running gateway cannot be taken over from.
    #[error("{0}")]
    Takeover(String),
    /// The users of `--user` break a bound.
    #[error("cannot sign in the users given at start: {}", .0.message)]
    Users(Refusal),
}

/// A listening gateway.
#[derive(Debug)]
pub struct Server {
    public: Listeners,
    operators: Listeners,
    gateway: Arc<Gateway>,
    takeover: Takeover,
}

impl Server {
    /// Listens on the configured addresses. [`Server::run`] then serves.
    ///
    /// # Errors
    ///
    /// Strangers would reach a gateway without keys, a key cannot be used, an address cannot be listened on, or the users of
    /// `--user` are refused.
    pub async fn bind(config: Config) -> Result<Self, StartError> {
        Server::inherit(config, Inherited::default()).await
    }

    /// Listens on the `inherited` sockets, too.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    pub async fn inherit(config: Config, inherited: Inherited) -> Result<Self, StartError> {
        exposure::judge(&config, &inherited.addresses()).await.map_err(StartError::Options)?;
        let keys = Keys::load(&config).map_err(StartError::Options)?;
        engine::judge(&config).map_err(StartError::Options)?;
        let (estate, predecessor) = takeover::take(&config, inherited).await?;
        let public = listen("--listen", estate.public, &config.listen).await?;
        if public.places().next().is_none() {
            return Err(StartError::Options("--listen: there is no address to listen on".to_owned()));
        }
        let operators = listen("--admin", estate.operators, config.admin.as_slice()).await?;
        let opening = engine::opening(&config.cluster).map_err(StartError::Options)?;
        // Behind the listening sockets: who comes meanwhile waits in their backlog.
        let opened = keep::open(&config, opening).await.map_err(StartError::Data)?;
        let takeover = Takeover::new(&config, predecessor);
        let gateway = Gateway::start(config, keys, opened).await.map_err(StartError::Users)?;
        Ok(Server { public, operators, gateway, takeover })
    }

    /// The first IP address that the gateway listens on; port 0 if there is none.
    pub fn local_addr(&self) -> SocketAddr {
        self.public.addresses().next().unwrap_or((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// The first IP address for operators, where they have one of their own.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.operators.addresses().next()
    }

    /// Serves until a request to stop comes, or `stops` closes. Then streams end over `--drain`; a second request ends
    /// everything at once. Operators are served until the end.
    pub async fn run(self, mut stops: Receiver<Stop>) {
        let Server { public, operators, gateway, mut takeover } = self;
        for place in public.places() {
            info!(version = env!("CARGO_PKG_VERSION"), "listening on {place}");
        }
        for place in operators.places() {
            info!("listening for operators on {place}");
        }
        takeover.serve(&gateway).await;
        let door = Arc::new(Door::new(gateway.clone()));
        let (admin, own) = (Desk::new(Entrance::Operators, &door, &gateway), Tasks::default());
        let left = CancellationToken::new();
        let desk = Desk::new(Entrance::Public, &door, &gateway);
        let serving = desk.serve(public, &operators, &left, &takeover, &mut stops);
        tokio::select! {
            () = until(&left, admin.accept(&operators, &own)) => {}
            () = serving => {}
        }
        if left.is_cancelled() {
            operators.leave();
        }
        own.stop().cancel();
        own.ended(CUT_WITHIN).await;
        info!("stopped");
    }
}

/// Why a gateway ends.
enum End {
    Stop(Stop),
    Takeover(Successor),
}

/// Takes the connections of one entrance.
struct Desk {
    entrance: Entrance,
    door: Arc<Door>,
    gateway: Arc<Gateway>,
    limits: Limits,
}

impl Desk {
    fn new(entrance: Entrance, door: &Arc<Door>, gateway: &Arc<Gateway>) -> Self {
        Desk { entrance, door: door.clone(), gateway: gateway.clone(), limits: limits(gateway.config()) }
    }

    /// Serves until the end, by a request to stop or by a takeover. `left` is cancelled when another process takes the
    /// connections of operators, too.
    async fn serve(
        &self,
        public: Listeners,
        operators: &Listeners,
        left: &CancellationToken,
        takeover: &Takeover,
        stops: &mut Receiver<Stop>,
    ) {
        let end = tokio::select! {
            () = self.accept(&public, self.gateway.tasks()) => return,
            stop = stops.recv() => End::Stop(stop.unwrap_or(Stop::Terminate)),
            successor = takeover.asked(&self.gateway) => End::Takeover(successor),
        };
        info!("stopping");
        self.gateway.announce_stop();
        let closing = async {
            match end {
                End::Stop(stop) => {
                    service::stopping(stops_within(self.gateway.config()));
                    self.close(public, stop).await;
                }
                End::Takeover(successor) => {
                    left.cancel();
                    self.hand_over(public, operators, successor).await;
                }
            }
        };
        tokio::select! {
            () = closing => {}
            () = again(stops) => {
                info!("stopping at once");
                self.gateway.stop(HURRY_WITHIN).await;
            }
        }
    }

    /// Accepts connections for ever, each with a task among `tasks`.
    async fn accept(&self, listeners: &Listeners, tasks: &Tasks) {
        let failures = Repeats::new();
        loop {
            match listeners.accept().await {
                // Without a place closed without an answer: an EventSource gives up after an error status, but reconnects
                // after a close.
                Ok((socket, peer)) => {
                    if self.entrance == Entrance::Public {
                        self.gateway.admissions().settled(self.gateway.memory().connections()).await;
                    }
                    if let Some(visit) = self.admit(peer) {
                        self.receive(socket, peer, visit, tasks);
                    }
                }
                // The client was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if let Some(times) = failures.again() {
                        warn!(%error, times, "cannot accept connections");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts connections for as long as balancers take to notice, then ends all streams and requests.
    async fn close(&self, listeners: Listeners, stop: Stop) {
        let delay = self.gateway.config().drain_delay;
        if stop == Stop::Terminate && !delay.is_zero() {
            let _ = timeout(delay, self.accept(&listeners, self.gateway.tasks())).await;
        }
        drop(listeners);
        // The other nodes of a cluster listen.
        let clients = if self.gateway.rooms().cluster().is_some() { Return::AtOnce } else { Return::AfterTheDrain };
        self.gateway.drain(clients).await;
        self.gateway.stop(STOP_WITHIN).await;
    }

    fn admit(&self, peer: IpAddr) -> Option<Visit> {
        let (config, admissions) = (self.gateway.config(), self.gateway.admissions());
        if self.entrance == Entrance::Operators {
            return admissions.enter_reserved();
        }
        // A proxy's streams are counted by the addresses that it reports.
        let address = (!is_trusted(peer, &config.trusted_proxies)).then_some(peer);
        if address.is_some_and(|address| !self.gateway.rates().admits(Source::direct(address.to_canonical()))) {
            return None;
        }
        self.gateway.memory().accepted();
        admissions.enter(address, config.admin.is_none(), self.gateway.memory().connections())
    }

    fn receive(&self, socket: TcpStream, peer: IpAddr, visit: Visit, tasks: &Tasks) {
        // The system ends the connection of a client that acknowledges no bytes for so long. An answer that its client does
        // not read waits here, where the memory is counted, and not in the kernel.
        #[cfg(target_os = "linux")]
        {
            let socket = SockRef::from(&socket);
            let _ = socket.set_tcp_user_timeout(Some(self.gateway.config().send_within));
            let _ = socket.set_tcp_notsent_lowat(UNSENT);
        }
        let is_spare = self.entrance == Entrance::Public && visit.is_reserved();
        let entrance = if is_spare { Entrance::Spare } else { self.entrance };
        let (door, gateway, limits, own) = (self.door.clone(), self.gateway.clone(), self.limits, tasks.clone());
        tasks.spawn(async move {
            let answer = |request, slot| {
                let door = door.clone();
                async move { door.answer(request, slot, peer, entrance).await }
            };
            let served = handover::serve(socket, visit, limits, gateway.memory(), own.stop(), answer);
            let served = match entrance {
                Entrance::Public => served.await,
                Entrance::Spare => timeout(SPARE_WITHIN, served).await.unwrap_or(Ok(())),
                // Operators keep nobody from stopping.
                Entrance::Operators => own.stop().run_until_cancelled(served).await.unwrap_or(Ok(())),
            };
            if let Err(error) = served {
                debug!(%error, "connection ended");
                if entrance == Entrance::Spare {
                    gateway.admissions().turn_away();
                }
            }
        });
    }
}

/// Does `work` until `end` is cancelled, and then nothing for ever.
async fn until(end: &CancellationToken, work: impl Future<Output = ()>) {
    if end.run_until_cancelled(work).await.is_none() {
        pending().await
    }
}

/// Resolves on a further request to stop.
async fn again(stops: &mut Receiver<Stop>) {
    if stops.recv().await.is_none() {
        pending::<()>().await;
    }
}

async fn listen(option: &'static str, inherited: Inherited, addresses: &[Address]) -> Result<Listeners, StartError> {
    Listeners::bind(inherited, addresses).await.map_err(|error| StartError::Listen { option, error })
}

/// The longest time from SIGTERM to the end.
fn stops_within(config: &Config) -> Duration {
    config.drain_delay + config.drain + STOP_WITHIN + HURRY_WITHIN
}

fn limits(config: &Config) -> Limits {
    let head = HeadLimits { within: config.request_within, idle: config.idle_within };
    Limits { max_head: config.max_head as usize, head }
}
