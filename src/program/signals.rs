//! Signals: which of them stop the program.

use std::io;

use presently::Stop;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};

/// The requests to stop: on SIGTERM, and on SIGINT (Ctrl-C). Other signals that would end the process by default do nothing:
/// they come from a terminal that closes, a script's mistake, or the limit on the size of the log's file.
pub fn signals() -> io::Result<Receiver<Stop>> {
    let too_large = SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw());
    for ignored in [SignalKind::user_defined1(), SignalKind::user_defined2(), SignalKind::alarm(), too_large] {
        // Once there is a handler, the default no longer applies, also without a receiver.
        drop(signal(ignored)?);
    }
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let (stops, receiver) = channel(1);
    tokio::spawn(async move {
        loop {
            let stop = tokio::select! {
                Some(()) = terminate.recv() => Stop::Terminate,
                Some(()) = interrupt.recv() => Stop::Interrupt,
                // The gateway reads the keys again.
                Some(()) = hangup.recv() => continue,
                else => return,
            };
            // Fails only when the gateway has ended.
            if stops.send(stop).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

/// Resolves on SIGTERM or Ctrl-C.
pub fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
