//! What the service manager is told, where there is one (sd_notify(3), `NOTIFY_SOCKET`).

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

/// The gateway serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The gateway serves, and this process is the main one now.
pub fn took_over() {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

/// The gateway stops, which takes up to `within`: longer than the service manager waits, perhaps.
pub fn stopping(within: Duration) {
    let within = u32::try_from(within.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(within)]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, "the service manager cannot be told; see NOTIFY_SOCKET");
    }
}
