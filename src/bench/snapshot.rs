//! One sign-in, and one whole snapshot, of a room with many members.

use std::time::{Duration, Instant};

use crate::bench::board::{count, no_times};
use crate::bench::caller::Caller;
use crate::bench::stage::{Stage, grown};
use crate::bench::trouble::Trouble;

/// Sign-ins that are timed; one is too short to be told from chance.
const SIGN_INS: u32 = 200;

/// Measures a room of `--members` (1,000): the time of a sign-in by `PUT` over a kept-alive
/// connection, 200 times, from before the request to after the answer; and the time from connecting
/// until one whole snapshot has been read over server-sent events.
pub async fn run(stage: &mut Stage) -> Result<(), Trouble> {
    let members = stage.options.members.unwrap_or(1_000);
    let before = stage.usage();
    stage.fill(members).await?;
    stage.settle(Duration::from_secs(1)).await;
    if let (Some(before), Some(after)) = (before, stage.usage()) {
        let each = grown(before, after) * 1_024.0 / f64::from(members);
        stage.report.measure("pss_bytes_per_member", "memory per member", each, "B");
    }
    let mut caller = Caller::open(&stage.target).await?;
    let mut sign_ins = no_times();
    for user in 0..SIGN_INS {
        if stage.stop.is_cancelled() {
            break;
        }
        let began = Instant::now();
        caller.call("PUT", &format!("/api/rooms/{}/users/s{user}", stage.room), "").await?;
        count(&mut sign_ins, began.elapsed());
    }
    stage.report.measure("sign_in_us", "one sign-in", sign_ins.value_at_percentile(50.0) as f64, "us");
    stage.report.times("sign_in", sign_ins);
    let head = stage.head().await?;
    stage.progress.arrivals("reading a snapshot", 1);
    match stage.crowd.newcomer(0).await {
        Some((sight, took)) => {
            stage.report.measure("snapshot_s", "one whole snapshot", took.as_secs_f64(), "s");
            stage.report.count("members", "members in it", sight.set.count);
            if sight.set.count != head.count && sight.offset == head.offset {
                let (has, says) = (sight.set.count, head.count);
                stage.report.fault(format!("the snapshot has {has} members, where the room says {says}"));
            }
        }
        None if stage.stop.is_cancelled() => {}
        None => stage.report.fault("the snapshot did not come"),
    }
    Ok(())
}
