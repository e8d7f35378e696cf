//! Signals: only SIGTERM and SIGINT stop the gateway.

use std::time::Duration;

use tokio::time::sleep;

use crate::harness::{Binary, Reader, Transport, within};

/// SIGHUP comes from a closed terminal or from log rotation, SIGXFSZ from a log at the limit of file sizes, the others from
/// a colleague's script.
#[tokio::test]
async fn other_signals_end_nothing() {
    let gateway = Binary::start(&[]).await;
    let mut reader = Reader::open(gateway.addr, Transport::Ws, "lobby").await.begun().await;
    for signal in ["HUP", "USR1", "USR2", "ALRM", "PIPE", "XFSZ", "HUP"] {
        gateway.signal(signal).await;
    }
    let told = async {
        let is_it = |line: &String| line.contains("SIGHUP received; the keys are read again");
        while !gateway.log().iter().any(is_it) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    within("a line about SIGHUP", told).await;
    let cursor = gateway.sign_in("lobby", "ann").await;
    reader.caught_up(&cursor).await;
}
