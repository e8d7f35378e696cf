//! Events of one room to many readers.

use std::time::{Duration, Instant};

use crate::bench::board::Class;
use crate::bench::plan::{Plan, Turn};
use crate::bench::process::Usage;
use crate::bench::publisher::{Published, publish};
use crate::bench::stage::{Head, Stage};
use crate::bench::trouble::Trouble;

/// Measures how fast events reach all readers of a room, and what that costs the gateway.
///
/// Users with names of their own are signed in and out by turns, at `--rate`, or as fast as
/// `--publishers` go. The latency of an event runs from just before its request is sent to its
/// arrival, at each reader; events that arrive within `changes` or a snapshot have none. In the end
/// each reader must stand at the room's cursor with the room's set, and who was not resynced must
/// have seen each event.
pub async fn run(stage: &mut Stage) -> Result<(), Trouble> {
    stage.gather(0);
    stage.connect(Duration::from_secs(1)).await;
    let plan = stage.plan(Turn::InAndOut, 20, 5, 1);
    deliver(stage, plan).await.map(drop)
}

/// Publishes as planned, waits until everybody has it, and reports both; where the room then stands.
pub async fn deliver(stage: &mut Stage, plan: Plan) -> Result<Head, Trouble> {
    let readers = stage.crowd.readers.len() as u64;
    stage.progress.arrivals("publishing", plan.events_expected() * readers);
    let (began, before) = (Instant::now(), stage.usage());
    let published = publish(stage, plan).await?;
    report(stage, published, began, before).await
}

/// Waits until everybody has what was published since a moment, and reports; where the room then stands.
pub async fn report(
    stage: &mut Stage,
    published: Published,
    began: Instant,
    before: Option<Usage>,
) -> Result<Head, Trouble> {
    let readers = stage.crowd.readers.len() as u64;
    let head = stage.caught_up().await?;
    let after = stage.usage();
    let took = stage.crowd.last().unwrap_or(began).saturating_duration_since(began);
    let (as_themselves, netted) = (stage.crowd.sum(|s| s.events), stage.crowd.sum(|s| s.netted));
    let delivered = as_themselves + netted;
    let report = &mut stage.report;
    report.count("events", "events", published.events);
    report.measure("published_per_s", "published", published.events as f64 / published.time.as_secs_f64(), "/s");
    report.count("expected", "deliveries expected", published.events * readers);
    report.count("delivered", "delivered as events", as_themselves);
    report.count("netted", "delivered in changes", netted);
    report.measure("delivered_per_s", "delivered", delivered as f64 / took.as_secs_f64().max(1e-6), "/s");
    report.measure("seconds", "until all was delivered", took.as_secs_f64(), "s");
    if let (Some(before), Some(after)) = (before, after) {
        let cpu = (after.cpu - before.cpu) * 1e6 / delivered.max(1) as f64;
        report.measure("cpu_us_per_delivery", "processor time per delivery", cpu, "us");
    }
    report.count("resyncs", "resyncs", stage.crowd.sum(|s| s.resyncs));
    report.times("sse", stage.crowd.board.take_times(Class::Sse));
    report.times("ws", stage.crowd.board.take_times(Class::Ws));
    stage.compare(&head, published.events).await;
    Ok(head)
}
