//! The gateway's main numbers as JSON, for the page, and its health.

mod cluster;

use serde::Serialize;
use warp::http::StatusCode;

use crate::http::answer::{self, Answer};
use crate::http::call::Call;
use crate::http::gate::{Gate, Operate};
use crate::http::query::Query;
use crate::http::rest::stats::cluster::Cluster;
use crate::journal::cluster::node::survey::Recency;
use crate::model::hold::Transport;
use crate::model::refusal::{Code, Refusal};
use crate::runtime::memory::Kind;
use crate::runtime::rates::Work;

/// The numbers, read at nearly the same moment.
#[derive(Debug, Serialize)]
struct Stats {
    version: &'static str,
    /// Whole seconds since the gateway was started.
    uptime: u64,
    connections: Connections,
    streams: Streams,
    refused: u64,
    too_fast: TooFast,
    rooms: usize,
    count_readers: usize,
    members: u64,
    events: u64,
    deliveries: u64,
    /// The 99th percentile of the duration of a pass, in seconds. A pass is one delivery to all readers of a room.
    pass_p99: Option<f64>,
    /// Tokens whose signature was verified; one that comes again is not.
    token_verifications: u64,
    restarts: u64,
    log_lines_dropped: u64,
    /// The process's resident memory in bytes, on systems that report it.
    memory: Option<u64>,
    budget: Budget,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<Cluster>,
}

/// The memory's budget, and what is counted of its use.
#[derive(Debug, Serialize)]
struct Budget {
    bytes: u64,
    /// The percentage of the budget from which the present level holds; 0 is the normal one.
    level: u64,
    histories: u64,
    messages: u64,
    snapshots: u64,
    refusals: u64,
}

/// Open connections, by transport.
#[derive(Debug, Serialize)]
struct Connections {
    open: usize,
    /// Connections that are no streams, or not yet.
    http: u64,
    sse: u64,
    websocket: u64,
}

/// Streams opened so far.
#[derive(Debug, Serialize)]
struct Streams {
    sse: u64,
    websocket: u64,
}

/// How often something was faster than its rate.
#[derive(Debug, Serialize)]
struct TooFast {
    connections: u64,
    messages: u64,
    changes: u64,
    rooms: u64,
    snapshots: u64,
}

impl TooFast {
    fn of(permit: &Operate) -> Self {
        let [connections, messages, changes, rooms, snapshots] = Work::ALL.map(|work| permit.too_fast(work));
        TooFast { connections, messages, changes, rooms, snapshots }
    }
}

impl Stats {
    fn of(permit: &Operate, cluster: Option<Cluster>) -> Self {
        let (gate, meter) = (permit.gate(), permit.meter());
        let open = gate.open_connections();
        let memory = permit.memory();
        let (sse, websocket) = (meter.open(Transport::Sse), meter.open(Transport::WebSocket));
        Stats {
            version: env!("CARGO_PKG_VERSION"),
            uptime: permit.uptime().as_secs(),
            connections: Connections { open, http: (open as u64).saturating_sub(sse + websocket), sse, websocket },
            streams: Streams { sse: meter.opened(Transport::Sse), websocket: meter.opened(Transport::WebSocket) },
            refused: gate.refused_connections(),
            too_fast: TooFast::of(permit),
            rooms: permit.room_count(),
            count_readers: permit.count_readers(),
            members: meter.members(),
            events: meter.events(),
            deliveries: meter.deliveries(),
            pass_p99: meter.passes().p99(),
            token_verifications: permit.verifications(),
            restarts: gate.restarts(),
            log_lines_dropped: gate.dropped_log_lines(),
            memory: memory.resident(),
            budget: Budget {
                bytes: memory.budget(),
                level: memory.look() as u64,
                histories: memory.held(Kind::Histories),
                messages: memory.held(Kind::Messages),
                snapshots: memory.held(Kind::Snapshots),
                refusals: memory.refusals(),
            },
            cluster,
        }
    }
}

/// `GET /api/gateway`
pub async fn gateway(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    Query::strict(&call.query, &[])?;
    let permit = call.gate.may_operate(call.caller()?)?;
    let cluster = match permit.survey() {
        Some(survey) => Some(Cluster::of(survey, &*permit.held().await)),
        None => None,
    };
    Ok(answer::json(StatusCode::OK, &Stats::of(&permit, cluster)))
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    restarts: u64,
    connections: usize,
    max_connections: usize,
    refused: u64,
}

/// `GET /healthz`
pub async fn health(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let health = Health {
        status: "ok",
        version: env!("CARGO_PKG_VERSION"),
        restarts: call.gate.restarts(),
        connections: call.gate.open_connections(),
        max_connections: call.gate.max_connections(),
        refused: call.gate.refused_connections(),
    };
    Ok(answer::json(StatusCode::OK, &health))
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    /// Left out unless the shared log of a cluster is away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stale: bool,
}

/// `GET /readyz`
pub async fn readiness(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    readiness_of(&call.gate)?;
    let stale = call.gate.recency() == Some(Recency::Stale);
    Ok(answer::json(StatusCode::OK, &Readiness { status: "ready", stale }))
}

/// Whether the gateway takes new streams.
///
/// # Errors
///
/// The reason why not.
pub fn readiness_of(gate: &Gate) -> Result<(), Refusal> {
    if gate.is_stopping() {
        return Err(Refusal::new(Code::Stopping, "the gateway is about to stop"));
    }
    if !gate.has_its_keys() {
        return Err(Refusal::new(Code::NotReady, "the keys at --jwks could not be fetched yet"));
    }
    match gate.recency() {
        Some(Recency::Rereading) => {
            Err(behind("the shared log of the cluster turned out to be another one, and is read anew"))
        }
        Some(Recency::Behind) => Err(behind("the gateway is more than a second behind the shared log of its cluster")),
        Some(Recency::Stale | Recency::Current) | None => Ok(()),
    }
}

fn behind(why: &str) -> Refusal {
    Refusal::new(Code::NotReady, why)
}
