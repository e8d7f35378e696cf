//! `snapshot`: a sign-in to a room with many members, and a whole snapshot of it.

use std::time::Instant;

use crate::bench::context::Context;
use crate::bench::error::BenchError;
use crate::bench::latencies::Latencies;

/// Sign-ins that are timed, so that their median says more than a single one.
const SIGN_INS: u32 = 200;

/// Measures a room of `--members` (1,000): the time of a sign-in by `PUT` over a kept-alive connection,
/// 200 times, from before the request to after the answer; and the time from connecting until one
/// whole snapshot was read over server-sent events.
pub(super) async fn run(context: &mut Context) -> Result<(), BenchError> {
    fill_room(context).await?;
    let sign_ins = sign_in(context).await?;
    context.report.measure("sign_in_us", "one sign-in", sign_ins.percentile_us(50.0) as f64, "us");
    context.report.latencies("sign_in", sign_ins);
    read_snapshot(context).await
}

async fn fill_room(context: &mut Context) -> Result<(), BenchError> {
    let members = context.options.members();
    let before = context.usage();
    context.fill_room(members).await?;
    context.settle().await;
    if let (Some(before), Some(after)) = (before, context.usage()) {
        let pss = after.pss_bytes_since(before) / f64::from(members);
        context.report.measure("pss_bytes_per_member", "memory per member", pss, "B");
    }
    Ok(())
}

async fn sign_in(context: &Context) -> Result<Latencies, BenchError> {
    let mut client = context.room.client().await?;
    let mut latencies = Latencies::default();
    for user in 0..SIGN_INS {
        if context.stop.is_cancelled() {
            break;
        }
        let began = Instant::now();
        client.send("PUT", &context.room.user_path(&format!("s{user}")), "").await?;
        latencies.record(began.elapsed());
    }
    Ok(latencies)
}

async fn read_snapshot(context: &mut Context) -> Result<(), BenchError> {
    let state = context.room.state().await?;
    context.progress.expect_arrivals("reading a snapshot", 1);
    let snapshot = context.readers.read_snapshot(0).await;
    let report = &mut context.report;
    match snapshot {
        Some((view, took)) => {
            let (members, count) = (view.members.count, state.count);
            report.measure("snapshot_s", "one whole snapshot", took.as_secs_f64(), "s");
            report.count("members", "members in the snapshot", members);
            if members != count && view.cursor.offset == state.cursor.offset {
                report.fault(format!("the snapshot has {members} members, but the room's count is {count}"));
            }
        }
        None if context.stop.is_cancelled() => {}
        None => report.fault("no snapshot of the room came"),
    }
    Ok(())
}
