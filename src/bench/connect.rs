//! All readers connect in one go.

use std::time::{Duration, Instant};

use crate::bench::board::{count, no_times};
use crate::bench::process::listen_overflows;
use crate::bench::stage::Stage;
use crate::bench::trouble::Trouble;

/// Measures how a gateway takes a rush: all connections are begun at once and all requests sent at
/// once, each as soon as its connection is there; the time from the beginning until each reader has
/// its first frame. For a gateway on this machine also how often its listening socket had no room,
/// which other programs' sockets may add to.
pub async fn run(stage: &mut Stage) -> Result<(), Trouble> {
    stage.gather(0);
    stage.progress.arrivals("connecting", stage.options.readers.into());
    let (before, overflows) = (stage.usage(), listen_overflows());
    let began = Instant::now();
    let start = stage.crowd.rush(|_| None);
    start.send_replace(true);
    stage.crowd.until(|s| s.whole.is_some()).await;
    let (after, overflown) = (stage.usage(), listen_overflows());
    let mut first = no_times();
    for reader in &stage.crowd.readers {
        if let Some(whole) = reader.sight().lock().whole {
            count(&mut first, whole.saturating_duration_since(began));
        }
    }
    let report = &mut stage.report;
    report.count("served", "readers that have their first frame", first.len());
    report.measure("seconds", "until the last had it", Duration::from_micros(first.max()).as_secs_f64(), "s");
    if let (true, Some(before), Some(after)) = (stage.target.is_local(), overflows, overflown) {
        report.count("listen_overflows", "listen overflows", after.saturating_sub(before));
    }
    if let (Some(before), Some(after)) = (before, after) {
        let each = (after.cpu - before.cpu) * 1e6 / stage.crowd.readers.len() as f64;
        report.measure("cpu_us_per_connection", "processor time per connection", each, "us");
    }
    let missing = stage.crowd.count(|s| s.whole.is_none() && s.ended.is_none());
    if missing > 0 && !stage.stop.is_cancelled() {
        report.fault(format!("{missing} readers got no first frame"));
    }
    report.times("first_frame", first);
    Ok(())
}
