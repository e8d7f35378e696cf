//! The gateways behind the proxy are updated, one after the other.

use crate::machines::backend::Backend;
use crate::machines::cluster::{Cluster, Wanted};
use crate::machines::crowd::Crowd;
use crate::machines::verdict::{Moves, Verdict};

/// Nobody leaves, and nobody comes, but the guests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_update_behind_the_proxy_is_no_event() {
    let mut cluster = Cluster::start(Wanted { number: 2, engines: 1, drain: "1s", slow: None }).await;
    let crowd = Crowd::gather(&cluster.http, cluster.proxy.addr, 300).await;
    let watchers = cluster.watch(2).await;
    let before = cluster.agree(&watchers).await;
    crowd.talk(true);
    let backend = Backend::start(&cluster.http, &[cluster.proxy.addr], 5);
    for gateway in &mut cluster.gateways {
        gateway.stop().await;
        gateway.restart().await;
    }
    crowd.are_back(&crowd.names()).await;
    crowd.talk(false);
    let requests = backend.stop().await;

    let after = cluster.agree(&watchers).await;
    let verdict = Verdict::of(&watchers);
    assert!(verdict.count() > requests.done, "{requests:?}");
    assert_eq!(verdict.moves(&crowd.names()), Moves::default());
    assert!(after.keys().eq(&crowd.names()), "{after:?}");
    assert!(after.iter().all(|(user, member)| member.joined == before[user].joined), "nobody joined anew");
    assert!(watchers.iter().all(|watcher| watcher.seen.borrow().connections > 1), "each gateway was stopped");
}
