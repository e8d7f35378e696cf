//! The gateway's numbers for Prometheus. Names follow its conventions: base units, `_total` for counters. No label has a value
//! that a client can choose.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::task::spawn_blocking;
use warp::http::StatusCode;

use crate::http::answer::{self, Answer};
use crate::http::call::Call;
use crate::http::gate::Operate;
use crate::http::rest::stats::readiness_of;
use crate::journal::cluster::figures::{ECHO_BOUNDS, Figures};
use crate::journal::cluster::node::survey::Survey;
use crate::journal::cluster::roll::Standing;
use crate::journal::numbers::FLUSH_BOUNDS;
use crate::model::hold::Transport;
use crate::model::refusal::{Code, Refusal};
use crate::runtime::keys::CHECKS;
use crate::runtime::memory::Kind;
use crate::runtime::meter::CatchUp;
use crate::runtime::meter::histogram::Durations;
use crate::runtime::process;
use crate::runtime::rates::Work;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The transports of streams, in order.
const TRANSPORTS: [(&str, Transport); 2] = [("sse", Transport::Sse), ("websocket", Transport::WebSocket)];

/// `GET /metrics`, in the OpenMetrics format, which Prometheus reads
pub async fn metrics(call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let permit = call.gate.may_operate(call.caller()?)?;
    let open_files = spawn_blocking(process::open_files).await.ok().flatten();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics { permit, open_files }));
    let mut metrics = String::new();
    let failed = |error| Refusal::new(Code::Failed, format!("the metrics failed: {error}"));
    text::encode(&mut metrics, &registry).map_err(failed)?;
    Ok(answer::content(StatusCode::OK, OPENMETRICS, metrics))
}

/// All numbers, read at nearly the same moment.
#[derive(Debug)]
struct Metrics {
    permit: Operate,
    open_files: Option<u64>,
}

impl Collector for Metrics {
    fn encode(&self, mut to: DescriptorEncoder) -> fmt::Result {
        let to = &mut Sheet(&mut to);
        self.encode_state(to)?;
        self.encode_connections(to)?;
        self.encode_refusals(to)?;
        self.encode_rooms(to)?;
        self.encode_delivery(to)?;
        self.encode_journal(to)?;
        self.encode_cluster(to)?;
        self.encode_memory(to)?;
        self.encode_process(to)
    }
}

impl Metrics {
    fn encode_state(&self, to: &mut Sheet<'_, '_>) -> fmt::Result {
        let gate = self.permit.gate();
        to.gauges(("presently_build_info", None, "What runs"), "version", &[(env!("CARGO_PKG_VERSION"), 1)])?;
        let ready = readiness_of(gate).is_ok();
        to.gauge(("presently_ready", None, "Whether /readyz is 200: 1 or 0"), ready.into())?;
        let draining = gate.is_stopping();
        to.gauge(("presently_draining", None, "Whether the gateway is about to stop: 1 or 0"), draining.into())?;
        let restarts = gate.restarts();
        to.counter(("presently_restarts", None, "Background tasks started again"), restarts)?;
        let lines = gate.dropped_log_lines();
        to.counter(("presently_log_lines_dropped", None, "Lines of the log that were not written"), lines)
    }

    fn encode_connections(&self, to: &mut Sheet<'_, '_>) -> fmt::Result {
        let (gate, meter) = (self.permit.gate(), self.permit.meter());
        let [sse, websocket] = TRANSPORTS.map(|(name, transport)| (name, meter.open(transport)));
        let open = gate.open_connections() as u64;
        let http = ("http", open.saturating_sub(sse.1 + websocket.1));
        to.gauges(("presently_connections", None, "Open connections"), "transport", &[http, sse, websocket])?;
        let opened = TRANSPORTS.map(|(name, transport)| (name, meter.opened(transport)));
        to.counters(("presently_streams", None, "Streams opened"), "transport", &opened)?;
        let places = [
            ("connections", gate.max_connections() as u64, open),
            ("rooms", self.permit.max_rooms() as u64, self.permit.room_count() as u64),
        ];
        let all = places.map(|(of, all, _)| (of, all));
        to.gauges(("presently_places", None, "Places there are"), "of", &all)?;
        let left = places.map(|(of, all, taken)| (of, all.saturating_sub(taken)));
        to.gauges(("presently_places_left", None, "Places that nobody has taken"), "of", &left)
    }

    fn encode_refusals(&self, to: &mut Sheet<'_, '_>) -> fmt::Result {
        let (gate, meter) = (self.permit.gate(), self.permit.meter());
        to.counters(("presently_refusals", None, "Requests and messages refused"), "code", &meter.refusals())?;
        let refused = gate.refused_connections();
        to.counter(("presently_refused_connections", None, "Connections closed at once"), refused)?;
        let too_fast = Work::ALL.map(|work| (work.name(), self.permit.too_fast(work)));
        to.counters(("presently_too_fast", None, "What was faster than a rate"), "rate", &too_fast)?;
        let verified = self.permit.verifications();
        to.counter(("presently_token_verifications", None, "Tokens whose signature was verified"), verified)?;
        let counts = self.permit.refused_tokens();
        let checks: [_; CHECKS.len()] = std::array::from_fn(|at| (CHECKS[at], counts[at]));
        to.counters(("presently_tokens_refused", None, "Tokens that failed a check"), "check", &checks)
    }

    fn encode_rooms(&self, to: &mut Sheet<'_, '_>) -> fmt::Result {
        let meter = self.permit.meter();
        to.gauge(("presently_rooms", None, "Rooms"), self.permit.room_count() as u64)?;
        to.gauge(("presently_members", None, "Members of all rooms"), meter.members())?;
        to.counter(("presently_events", None, "Events of all rooms"), meter.events())?;
        let saves = meter.grace_saves();
        to.counter(("presently_grace_saves", None, "Lost connections whose client came back within the grace"), saves)?;
        let absences = ("presently_loss_to_del", SECONDS, "From the loss of a connection to the del of its user");
        to.histogram(absences, &meter.absences())?;
        to.histogram(("presently_lock_wait", SECONDS, "Waits for the lock of a room"), &meter.lock_waits())
    }

    fn encode_delivery(&self, to: &mut Sheet<'_, '_>) -> fmt::Result {
        let meter = self.permit.meter();
        let readers = self.permit.count_readers() as u64;
        to.gauge(("presently_count_readers", None, "Readers of counts"), readers)?;
        to.counter(("presently_deliveries", None, "Events written, each time to each reader"), meter.deliveries())?;
        let sent = TRANSPORTS.map(|(name, transport)| (name, meter.sent(transport)));
        to.counters(("presently_sent", BYTES, "Written to streams"), "transport", &sent)?;
        to.histogram(("presently_pass", SECONDS, "A hub's way through all readers of a room"), &meter.passes())?;
        to.histogram(("presently_hub_lag", SECONDS, "From an event to the end of its pass"), &meter.lags())?;
        let [hits, changes, snapshots] =
            [CatchUp::Events, CatchUp::Changes, CatchUp::Snapshot].map(|how| meter.catch_ups(how));
        let lookups = [("hit", hits), ("miss", changes + snapshots)];
        let help = "Cursors to which the history reached back, or not";
        to.counters(("presently_history_lookups", None, help), "result", &lookups)?;
        let resyncs = [("changes", changes), ("snapshot", snapshots)];
        to.counters(("presently_resyncs", None, "Readers that lacked events, by what they got"), "kind", &resyncs)
    }

    /// All zero without `--data`.
    fn encode_journal(&self, to: &mut Sheet<'_, '_>) -> fmt::Result {
        let journal = self.permit.journal();
        let failing = journal.failing_for.is_some();
        to.gauge(("presently_journal_failing", None, "Whether writing the journal fails: 1 or 0"), failing.into())?;
        to.counter(("presently_journal_failures", None, "Times at which writing began to fail"), journal.failures)?;
        to.counter(("presently_journal_entries", None, "Entries handed to the system"), journal.entries)?;
        let dropped = ("presently_journal_dropped", None, "Entries dropped while writing failed");
        to.counter(dropped, journal.dropped)?;
        to.gauge(("presently_journal_queue", BYTES, "Entries not handed to the system yet"), journal.queued_bytes)?;
        to.gauge(("presently_journal_queue_limit", BYTES, "The bound of the queue"), journal.queue_bound)?;
        let unflushed = ConstGauge::new(journal.unflushed_for.unwrap_or_default().as_secs_f64());
        to.put(("presently_journal_unflushed", SECONDS, "Age of the oldest entry that is not flushed"), &unflushed)?;
        let bounds = FLUSH_BOUNDS.into_iter().chain([f64::INFINITY]);
        let flushes =
            Durations { buckets: bounds.zip(journal.flushes).collect(), sum: journal.flush_time.as_secs_f64() };
        to.histogram(("presently_journal_flush", SECONDS, "Flushes to the disk"), &flushes)?;
        let parts =
            [("tail", journal.tail_bytes), ("checkpoint", journal.checkpoint_bytes), ("all", journal.kept_bytes)];
        to.gauges(("presently_journal_size", BYTES, "Files of the journal"), "part", &parts)?;
        to.counter(("presently_journal_checkpoints", None, "Checkpoints written"), journal.checkpoints)
    }

    /// All zero without `--cluster`.
    fn encode_cluster(&self, to: &mut Sheet<'_, '_>) -> fmt::Result {
        let survey = self.permit.survey();
        let of = |read: fn(&Survey) -> u64| survey.as_ref().map_or(0, read);
        let standings: Vec<_> = survey.iter().flat_map(|all| &all.nodes).map(|peer| peer.standing.word()).collect();
        let nodes = Standing::WORDS.map(|word| (word, standings.iter().filter(|standing| **standing == word).count()));
        let nodes = nodes.map(|(word, count)| (word, count as u64));
        to.gauges(("presently_cluster_nodes", None, "Incarnations of nodes"), "standing", &nodes)?;
        let lost = of(|survey| survey.figures.lost);
        to.counter(("presently_cluster_nodes_lost", None, "Nodes that were taken for lost"), lost)?;
        to.gauge(("presently_cluster_position", None, "The last entry read"), of(|survey| survey.position))?;
        let seconds = |read: fn(&Survey) -> u64| ConstGauge::new(Duration::from_millis(of(read)).as_secs_f64());
        to.put(("presently_cluster_lag", SECONDS, "Age of the oldest entry not read"), &seconds(|survey| survey.lag))?;
        let stale = seconds(|survey| survey.stale_for);
        to.put(("presently_cluster_stale", SECONDS, "Time without an echo, once that is too long"), &stale)?;
        let pending = of(|survey| survey.pending as u64);
        to.gauge(("presently_cluster_pending", None, "Records that wait for the log"), pending)?;
        let figures = survey.map(|survey| survey.figures).unwrap_or_default();
        to.counter(("presently_cluster_batches", None, "Batches appended"), figures.batches)?;
        to.histogram(("presently_cluster_echo", SECONDS, "From an append to its echo"), &echoes(&figures))?;
        let rereads: [_; Figures::WHY.len()] = std::array::from_fn(|at| (Figures::WHY[at], figures.rereads[at]));
        to.counters(("presently_cluster_rereads", None, "Times at which the log was read anew"), "why", &rereads)
    }

    fn encode_memory(&self, to: &mut Sheet<'_, '_>) -> fmt::Result {
        let memory = self.permit.memory();
        to.gauge(("presently_memory_budget", BYTES, "Memory that the process may take"), memory.budget())?;
        let level = memory.look() as u64;
        to.gauge(("presently_memory_level", None, "Percentage of the budget from which the level holds"), level)?;
        let kinds = [("histories", Kind::Histories), ("messages", Kind::Messages), ("snapshots", Kind::Snapshots)];
        let held = kinds.map(|(name, kind)| (name, memory.held(kind)));
        to.gauges(("presently_memory_held", BYTES, "Memory counted, by kind"), "kind", &held)?;
        to.counter(("presently_memory_refusals", None, "Refusals for want of memory"), memory.refusals())
    }

    /// What each process tells, by the names that Prometheus has for it.
    fn encode_process(&self, to: &mut Sheet<'_, '_>) -> fmt::Result {
        if let Some(resident) = self.permit.memory().resident() {
            to.gauge(("process_resident_memory", BYTES, "Resident memory"), resident)?;
        }
        if let Some(open) = self.open_files {
            to.gauge(("process_open_fds", None, "Open files"), open)?;
        }
        if let Some(most) = process::open_files_limit() {
            to.gauge(("process_max_fds", None, "Files that may be open"), most)?;
        }
        let busy = ConstCounter::new(process::processor_time().as_secs_f64());
        to.put(("process_cpu", SECONDS, "Time of processors"), &busy)?;
        let started = self.permit.started().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let started = ConstGauge::new(started.as_secs_f64());
        to.put(("process_start_time", SECONDS, "When the gateway was started"), &started)
    }
}

const BYTES: Option<&Unit> = Some(&Unit::Bytes);
const SECONDS: Option<&Unit> = Some(&Unit::Seconds);

/// A metric's name without its unit, the unit, and the help.
type Named<'a> = (&'a str, Option<&'a Unit>, &'a str);

/// Where metrics are written.
struct Sheet<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Sheet<'_, '_> {
    fn counter(&mut self, named: Named<'_>, count: u64) -> fmt::Result {
        self.put(named, &counter(count))
    }

    fn gauge(&mut self, named: Named<'_>, value: u64) -> fmt::Result {
        self.put(named, &gauge(value))
    }

    /// A counter for each value of a label.
    fn counters(&mut self, named: Named<'_>, label: &str, counts: &[(&str, u64)]) -> fmt::Result {
        self.family(named, MetricType::Counter, label, counts, counter)
    }

    /// A gauge for each value of a label.
    fn gauges(&mut self, named: Named<'_>, label: &str, values: &[(&str, u64)]) -> fmt::Result {
        self.family(named, MetricType::Gauge, label, values, gauge)
    }

    fn histogram(&mut self, (name, unit, help): Named<'_>, durations: &Durations) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        metric.encode_histogram::<NoLabelSet>(durations.sum, durations.count(), &durations.buckets, None)
    }

    fn put(&mut self, (name, unit, help): Named<'_>, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, unit, metric.metric_type())?)
    }

    fn family<M: EncodeMetric>(
        &mut self,
        (name, unit, help): Named<'_>,
        ty: MetricType,
        label: &str,
        numbers: &[(&str, u64)],
        metric: impl Fn(u64) -> M,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, ty)?;
        numbers.iter().try_for_each(|(value, n)| metric(*n).encode(family.encode_family(&[(label, *value)])?))
    }
}

fn echoes(figures: &Figures) -> Durations {
    let bounds = ECHO_BOUNDS.map(|bound| Duration::from_millis(bound).as_secs_f64()).into_iter().chain([f64::INFINITY]);
    let sum = Duration::from_millis(figures.echo_time).as_secs_f64();
    Durations { buckets: bounds.zip(figures.echoes).collect(), sum }
}

fn counter(count: u64) -> ConstCounter<u64> {
    ConstCounter::new(count)
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
