//! The shared log in NATS JetStream: one stream for the log, and one for snapshots. Questions from node to node are requests beside it.
//!
//! The requests of JetStream are written here as they stand on the wire (`api`), because the same requests fit all servers from
//! 2.9 on, and because reading needs a loop of its own (`pull`): after the loss of a leader, a reader must notice within a second.

use std::fmt;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::journal::engine::appends::{Appending, Appends};
use crate::journal::engine::calls::{self, Calls};
use crate::journal::engine::nats::api::Api;
use crate::journal::engine::nats::ask::Line;
use crate::journal::engine::nats::streams::Names;
use crate::journal::engine::options::Options;
use crate::journal::engine::reader::Reader;
use crate::journal::engine::seam::{Answer, Engine, Extent, LogId, MOST_BYTES, OpenError, Snapshot, Writing};
use crate::journal::engine::version::Version;
use crate::runtime::trust;

pub mod api;
pub mod streams;
pub mod publish;
pub mod pull;
pub mod follow;
pub mod snapshots;
pub mod ask;

/// Older servers lack streams that refuse instead of forgetting, and consumers in memory.
const LEAST: Version = Version(2, 9);

/// The time between pings: a server that is cut off is noticed after three of them.
const PING: Duration = Duration::from_secs(1);

/// The time for one connection to one server.
const CONNECT: Duration = Duration::from_secs(2);

/// The messages of a subscription that wait for their reader, and the commands that wait for the connection: more than one pull
/// with its heartbeats and all calls of a node (what does not fit is lost without a word), and than the requests at once. The defaults
/// are 65,536 and 2,048.
const CAPACITY: (usize, usize) = (2 * calls::WAITING, 64);

/// The pause between two attempts to connect at the opening.
const AGAIN: Duration = Duration::from_millis(200);

/// The longest pause between two attempts to connect later on.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// A log in JetStream.
pub struct Nats {
    api: Api,
    names: Names,
    identity: LogId,
    most: usize,
    appends: Appends,
    line: Line,
    _publishing: AbortOnDropHandle<()>,
}

impl Nats {
    /// Opens the log, and makes its streams if need be. With sentences of warning.
    ///
    /// # Errors
    ///
    /// No server answers in time, or what is there is no log.
    pub async fn open(options: &Options) -> Result<(Nats, Vec<String>), OpenError> {
        let deadline = Instant::now() + options.patience;
        let address = &options.addresses;
        let client = connect(options, deadline).await?;
        let api = Api::new(client.clone(), options.within);
        let mut warnings = Vec::new();
        let mut names = Names::new(&options.name);
        let info = streams::ready(&api, &mut names, options, deadline, &mut warnings)
            .await
            .map_err(|error| OpenError(format!("{address}: {error}")))?;
        let most = info.config.most_bytes().min(api.max_payload()).min(MOST_BYTES);
        let (appends, jobs) = Appends::new(options.within);
        let publishing = tokio::spawn(publish::publish(api.clone(), names.clone(), jobs));
        let (identity, line) = (info.identity(), Line::new(client, names.calls.clone(), most));
        let publishing = AbortOnDropHandle::new(publishing);
        Ok((Nats { api, names, identity, most, appends, line, _publishing: publishing }, warnings))
    }
}

/// Connects to one of the servers, and checks its version.
async fn connect(options: &Options, deadline: Instant) -> Result<Client, OpenError> {
    let address = &options.addresses;
    let bad = |why: String| OpenError(format!("{address}: {why}"));
    let tls = trust::client(options.authorities.as_deref(), "the authorities").map_err(bad)?;
    let mut connecting = ConnectOptions::new()
        .name("presently")
        .require_tls(address.tls)
        .tls_client_config(tls)
        .ping_interval(PING)
        .connection_timeout(CONNECT)
        .request_timeout(Some(options.within))
        .subscription_capacity(CAPACITY.0)
        .client_capacity(CAPACITY.1)
        .reconnect_delay_callback(pause);
    if let Some(credentials) = &options.credentials {
        // The error could repeat what stands in the file.
        let connected = connecting.credentials(credentials.reveal());
        connecting = connected.map_err(|_| bad("the credentials file has no JWT and key".to_owned()))?;
    }
    let servers: Vec<String> = address.servers.iter().map(|server| format!("nats://{server}")).collect();
    let mut why = "no server answers".to_owned();
    let client = loop {
        let Ok(connected) = timeout_at(deadline, connecting.clone().connect(&servers)).await else {
            return Err(bad(why));
        };
        let error = match connected {
            Ok(client) => break client,
            Err(error) => error,
        };
        match error.kind() {
            ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                return Err(bad("the server refuses the credentials".to_owned()));
            }
            ConnectErrorKind::Tls | ConnectErrorKind::ServerParse => return Err(bad(error.to_string())),
            ConnectErrorKind::Dns
            | ConnectErrorKind::TimedOut
            | ConnectErrorKind::Io
            | ConnectErrorKind::MaxReconnects => why = format!("no server answers: {error}"),
        }
        sleep(AGAIN).await;
    };
    let version = client.server_info().version;
    match Version::read(&version).filter(|version| *version >= LEAST) {
        Some(_) => Ok(client),
        None => Err(bad(format!("the server has version {version}, and the log needs {LEAST} or newer"))),
    }
}

/// The pause before an attempt to connect, spread so that many gateways do not come at once.
fn pause(attempt: usize) -> Duration {
    match attempt {
        0..=2 => Duration::ZERO,
        _ => {
            let most = MAX_PAUSE.min(Duration::from_millis(1 << attempt.min(20)));
            most.mul_f64(0.5 + fastrand::f64() / 2.0)
        }
    }
}

impl Engine for Nats {
    fn identity(&self) -> LogId {
        self.identity
    }

    fn most_bytes(&self) -> usize {
        self.most
    }

    fn append(&self, batch: Bytes) -> Appending {
        // Another server of the cluster may take less.
        self.appends.hand_over(batch, self.most.min(self.api.max_payload()))
    }

    fn read(&self, after: u64) -> Reader {
        let following = follow::Following { api: self.api.within(follow::WITHIN), names: self.names.clone() };
        Reader::start(following, self.identity, after)
    }

    fn extent(&self) -> Answer<'_, Extent> {
        Box::pin(async { Ok(streams::info(&self.api, &self.names.log).await?.extent()) })
    }

    fn put_snapshot(&self, at: u64) -> Answer<'_, Box<dyn Writing>> {
        Box::pin(async move {
            Ok(Box::new(snapshots::Unfinished::new(self.api.clone(), self.names.clone(), at, self.most))
                as Box<dyn Writing>)
        })
    }

    fn snapshot(&self) -> Answer<'_, Option<Snapshot>> {
        Box::pin(async { Ok(snapshots::newest(&self.api, &self.names).await?) })
    }

    fn trim(&self, before: u64) -> Answer<'_, ()> {
        Box::pin(async move { Ok(streams::purge_before(&self.api, &self.names.log, before).await?) })
    }

    fn serve(&self, name: &str) -> Calls {
        self.line.serve(name)
    }

    fn call(&self, name: &str, question: Bytes, within: Duration) -> Answer<'_, Option<Bytes>> {
        let name = name.to_owned();
        Box::pin(async move { self.line.call(&name, question, within).await })
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats")
            .field("stream", &self.names.log)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}
