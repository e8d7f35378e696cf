//! Memory per room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::bench::caller::Caller;
use crate::bench::stage::{Stage, grown};
use crate::bench::trouble::Trouble;

/// Who is in each room.
const USERS: [&str; 3] = ["ann", "bob", "cyd"];

/// Measures how much memory the gateway takes for a room: `--rooms` (10,000) of three members each,
/// made by one batch each over `--publishers` connections (8). The growth of its proportional set
/// divided by rooms, whole and without the bytes of the names. A room's history of three events is in
/// it, until the gateway forgets it.
pub async fn run(stage: &mut Stage) -> Result<(), Trouble> {
    let before = stage.usage();
    let began = Instant::now();
    let made = all(stage, "making rooms", r#"{"add":[{"user":"ann"},{"user":"bob"},{"user":"cyd"}]}"#).await;
    let took = began.elapsed();
    stage.settle(Duration::from_secs(1)).await;
    let after = stage.usage();
    let rooms = *made.as_ref().unwrap_or(&0);
    let report = &mut stage.report;
    report.count("rooms", "rooms", rooms.into());
    report.measure("made_per_s", "made", f64::from(rooms) / took.as_secs_f64(), "/s");
    if let (Some(before), Some(after), true) = (before, after, rooms > 0) {
        let each = grown(before, after) * 1_024.0 / f64::from(rooms);
        let names = name(&stage.room, rooms - 1).len() + USERS.concat().len();
        report.measure("pss_bytes_per_room", "memory per room", each, "B");
        report.count("name_bytes_per_room", "of that, names", names as u64);
        report.measure("pss_bytes_per_room_beyond_names", "beyond names", each - names as f64, "B");
    }
    // Also when stopped: they are ours to take away.
    let stop = std::mem::take(&mut stage.stop);
    let cleared = all(stage, "taking them away", r#"{"del":["ann","bob","cyd"]}"#).await;
    stage.stop = stop;
    made.and(cleared).map(drop)
}

fn name(prefix: &str, number: u32) -> String {
    format!("{prefix}-{number}")
}

/// Does the same to all rooms; how many it was done to.
async fn all(stage: &Stage, message: &'static str, body: &'static str) -> Result<u32, Trouble> {
    let rooms = stage.options.rooms;
    stage.progress.steps(message, rooms.into());
    let next = Arc::new(AtomicU32::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..stage.options.publishers.unwrap_or(8) {
        let mut caller = Caller::open(&stage.target).await?;
        let (next, prefix, stop) = (next.clone(), stage.room.clone(), stage.stop.clone());
        callers.spawn(async move {
            let mut done = 0;
            while !stop.is_cancelled() {
                let room = next.fetch_add(1, Relaxed);
                if room >= rooms {
                    break;
                }
                caller.call("POST", &format!("/api/rooms/{}/users", name(&prefix, room)), body).await?;
                done += 1;
            }
            Ok::<_, Trouble>(done)
        });
    }
    let mut done = 0;
    while let Some(ended) = callers.join_next().await {
        done += ended.map_err(|error| Trouble::gateway(format!("a caller failed: {error}")))??;
        stage.progress.did(0);
    }
    Ok(done)
}
