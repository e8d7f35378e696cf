//! A backend that signs guests in and out through the proxy, so that there are events at all times.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{ROOM, within};

/// Between two changes of one guest.
const EVERY: Duration = Duration::from_millis(100);

/// What happened to the backend's requests.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    pub done: usize,
    pub again: usize,
    pub longest: Duration,
}

/// Guests who come and go until they are stopped.
pub struct Backend {
    stop: CancellationToken,
    guests: Vec<JoinHandle<Requests>>,
}

impl Backend {
    pub fn start(http: &Client, to: &[SocketAddr], guests: usize) -> Self {
        let stop = CancellationToken::new();
        let guest = |number: usize| {
            let url = format!("http://{}/api/rooms/{ROOM}/users/guest-{number}", to[number % to.len()]);
            tokio::spawn(come_and_go(http.clone(), url, stop.clone()))
        };
        Backend { guests: (0..guests).map(guest).collect(), stop }
    }

    /// Ends the changes; what was asked for is done.
    pub async fn stop(self) -> Requests {
        self.stop.cancel();
        let mut all = Requests::default();
        for guest in self.guests {
            let one = within("a guest", guest).await.expect("no panic");
            all.done += one.done;
            all.again += one.again;
            all.longest = all.longest.max(one.longest);
        }
        all
    }
}

async fn come_and_go(http: Client, url: String, stop: CancellationToken) -> Requests {
    let mut requests = Requests::default();
    while !stop.is_cancelled() {
        for method in [Method::PUT, Method::DELETE] {
            let begun = Instant::now();
            while !http.request(method.clone(), &url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                requests.again += 1;
                sleep(EVERY).await;
            }
            requests.done += 1;
            requests.longest = requests.longest.max(begun.elapsed());
            sleep(EVERY).await;
        }
    }
    requests
}
