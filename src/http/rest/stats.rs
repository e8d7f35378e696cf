//! The gateway's own numbers, for the page and for Prometheus: the same ones.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;
use warp::http::StatusCode;

use crate::http::answer::{self, Answer};
use crate::http::call::Call;
use crate::http::gate::Operate;
use crate::http::query::Query;
use crate::model::hold::Transport;
use crate::model::refusal::{Code, Refusal};
use crate::runtime::memory::Kind;
use crate::runtime::meter::Passes;
use crate::runtime::rates::Work;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers, read at nearly the same moment.
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
    #[serde(skip)]
    started: SystemTime,
    #[serde(skip)]
    passes: Passes,
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

    /// The numbers by name.
    fn by_rate(&self) -> [(&'static str, ConstCounter<u64>); 5] {
        let TooFast { connections, messages, changes, rooms, snapshots } = *self;
        let counts = [connections, messages, changes, rooms, snapshots];
        std::array::from_fn(|at| (Work::ALL[at].name(), counter(counts[at])))
    }
}

impl Stats {
    fn of(permit: &Operate) -> Self {
        let (gate, meter) = (permit.gate(), permit.meter());
        let open = gate.open_connections();
        let memory = permit.memory();
        let (sse, websocket) = (meter.open(Transport::Sse), meter.open(Transport::WebSocket));
        let passes = meter.passes();
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
            pass_p99: passes.p99(),
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
            started: permit.started(),
            passes,
        }
    }
}

/// `GET /api/gateway`
pub async fn gateway(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    Query::strict(&call.query, &[])?;
    Ok(answer::json(StatusCode::OK, &Stats::of(&call.gate.may_operate(call.caller()?)?)))
}

/// `GET /metrics`, in the OpenMetrics format, which Prometheus reads
pub async fn metrics(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Stats::of(&call.gate.may_operate(call.caller()?)?)));
    let mut metrics = String::new();
    let failed = |error| Refusal::new(Code::Failed, format!("the metrics failed: {error}"));
    text::encode(&mut metrics, &registry).map_err(failed)?;
    Ok(answer::content(StatusCode::OK, OPENMETRICS, metrics))
}

impl Collector for Stats {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let Connections { http, sse, websocket, .. } = self.connections;
        let to = &mut to;
        put_by(to, "presently_build_info", "What runs", "version", &[(self.version, gauge(1))])?;
        let open = [("http", gauge(http)), ("sse", gauge(sse)), ("websocket", gauge(websocket))];
        put_by(to, "presently_connections", "Open connections", "transport", &open)?;
        let opened = [("sse", counter(self.streams.sse)), ("websocket", counter(self.streams.websocket))];
        put_by(to, "presently_streams", "Streams opened", "transport", &opened)?;
        put(to, "presently_refused_connections", "Connections closed at once", None, counter(self.refused))?;
        put_by(to, "presently_too_fast", "What was faster than a rate", "rate", &self.too_fast.by_rate())?;
        put(to, "presently_rooms", "Rooms", None, gauge(self.rooms as u64))?;
        put(to, "presently_count_readers", "Readers of counts", None, gauge(self.count_readers as u64))?;
        put(to, "presently_members", "Members of all rooms", None, gauge(self.members))?;
        put(to, "presently_events", "Events of all rooms", None, counter(self.events))?;
        put(to, "presently_deliveries", "Events written, each time to each reader", None, counter(self.deliveries))?;
        let verified = counter(self.token_verifications);
        put(to, "presently_token_verifications", "Tokens whose signature was verified", None, verified)?;
        put(to, "presently_restarts", "Background tasks started again", None, counter(self.restarts))?;
        put(
            to,
            "presently_log_lines_dropped",
            "Lines of the log that were not written",
            None,
            counter(self.log_lines_dropped),
        )?;
        self.encode_passes(to)?;
        self.encode_budget(to)?;
        if let Some(memory) = self.memory {
            put(to, "process_resident_memory", "Resident memory", Some(&Unit::Bytes), gauge(memory))?;
        }
        let started = self.started.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
        put(to, "process_start_time", "When the gateway was started", Some(&Unit::Seconds), ConstGauge::new(started))
    }
}

impl Stats {
    fn encode_budget(&self, to: &mut DescriptorEncoder) -> fmt::Result {
        let Budget { bytes, level, histories, messages, snapshots, refusals } = self.budget;
        let unit = Some(&Unit::Bytes);
        put(to, "presently_memory_budget", "Memory that the process may take", unit, gauge(bytes))?;
        put(to, "presently_memory_level", "Percentage of the budget from which the level holds", None, gauge(level))?;
        let kinds = [("histories", gauge(histories)), ("messages", gauge(messages)), ("snapshots", gauge(snapshots))];
        put_by(to, "presently_memory_held_bytes", "Memory counted, by kind", "kind", &kinds)?;
        put(to, "presently_memory_refusals", "Refusals for want of memory", None, counter(refusals))
    }

    fn encode_passes(&self, to: &mut DescriptorEncoder) -> fmt::Result {
        let help = "A hub's way through all readers of a room";
        let mut metric = to.encode_descriptor("presently_pass", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(self.passes.sum, self.passes.count(), &self.passes.buckets, None)
    }
}

fn put(
    to: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    metric: impl EncodeMetric,
) -> fmt::Result {
    metric.encode(to.encode_descriptor(name, help, unit, metric.metric_type())?)
}

/// Writes a metric with one value for each value of a label.
fn put_by<M: EncodeMetric>(
    to: &mut DescriptorEncoder,
    name: &str,
    help: &str,
    label: &str,
    metrics: &[(&str, M)],
) -> fmt::Result {
    let Some((_, first)) = metrics.first() else {
        return Ok(());
    };
    let mut family = to.encode_descriptor(name, help, None, first.metric_type())?;
    metrics.iter().try_for_each(|(value, metric)| metric.encode(family.encode_family(&[(label, *value)])?))
}

fn counter(count: u64) -> ConstCounter<u64> {
    ConstCounter::new(count)
}

fn gauge(count: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
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
}

/// `GET /readyz`
pub async fn readiness(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    if call.gate.is_stopping() {
        return Err(Refusal::new(Code::Stopping, "the gateway is about to stop"));
    }
    if !call.gate.has_its_keys() {
        return Err(Refusal::new(Code::NotReady, "the keys at --jwks could not be fetched yet"));
    }
    Ok(answer::json(StatusCode::OK, &Readiness { status: "ready" }))
}
