//! A gateway behind the proxy is killed.

use std::collections::BTreeMap;

use crate::machines::backend::Backend;
use crate::machines::cluster::{Cluster, Wanted};
use crate::machines::crowd::{Crowd, Names};
use crate::machines::verdict::{Moves, Verdict};

/// Members of the dead gateway who come back elsewhere were never away. The others are lost, once, for all watchers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_members_of_a_killed_gateway_come_back_through_the_proxy_or_are_lost() {
    let mut cluster = Cluster::start(Wanted { number: 1, engines: 1, drain: "1s", slow: None }).await;
    let crowd = Crowd::gather(&cluster.http, cluster.proxy.addr, 90).await;
    let mut watchers = cluster.watch(2).await;
    let before = cluster.agree(&watchers).await;
    assert!(before.keys().eq(&crowd.names()), "{before:?}");
    crowd.talk(true);
    let backend = Backend::start(&cluster.http, &[cluster.proxy.addr], 5);

    let dead = cluster.gateways[2].incarnation().await;
    let held = crowd.held_by(&cluster, &dead).await;
    assert!((15..60).contains(&held.len()), "the proxy deals the members out: {}", held.len());
    let gone: Names = held.iter().step_by(2).cloned().collect();
    let stay: Names = crowd.names().difference(&gone).cloned().collect();
    crowd.stay_away(&gone);
    cluster.gateways[2].kill().await;
    for watcher in &mut watchers {
        // Those of the dead gateway come back when it does.
        if !watcher.name.ends_with(&cluster.gateways[2].name) {
            watcher.until("the lost members", |seen| !seen.mirror.users.keys().any(|user| gone.contains(user))).await;
        }
    }
    crowd.are_back(&stay).await;
    cluster.gateways[2].restart().await;
    crowd.talk(false);
    backend.stop().await;

    let after = cluster.agree(&watchers).await;
    let verdict = Verdict::of(&watchers);
    let lost = verdict.moves(&gone);
    assert_eq!(lost.add, Vec::<String>::new());
    let once: BTreeMap<_, _> = gone.iter().map(|user| (user.clone(), "node_lost".to_owned())).collect();
    assert_eq!((lost.del.len(), lost.del.into_iter().collect()), (once.len(), once));
    assert_eq!(verdict.moves(&stay), Moves::default(), "who came back was never away");
    assert!(stay.iter().all(|user| after[user].joined == before[user].joined), "nor joined anew");
    assert!(after.keys().eq(&stay), "{after:?}");
}
