//! A cluster with a crowd, watchers and a backend, from the moment before a fault to the verdict.

use std::time::{Duration, Instant};

use crate::machines::backend::Backend;
use crate::machines::cluster::{Cluster, Wanted};
use crate::machines::crowd::{Crowd, Names};
use crate::machines::mirror::Set;
use crate::machines::verdict::{Moves, Verdict};
use crate::machines::watcher::Watcher;
use crate::machines::{ROOM, pause, within};

/// The guests who come and go.
const GUESTS: usize = 5;

pub struct Scene {
    pub cluster: Cluster,
    pub crowd: Crowd,
    pub watchers: Vec<Watcher>,
    /// Those who ask for suspects.
    askers: Vec<Watcher>,
    before: Set,
    backend: Backend,
    markers: Names,
    begun: Instant,
}

impl Scene {
    pub async fn open(wanted: Wanted, members: usize, watchers: usize) -> Self {
        let begun = Instant::now();
        let cluster = Cluster::start(wanted).await;
        let crowd = Crowd::gather(&cluster.http, cluster.proxy.addr, members).await;
        let watchers = cluster.watch(watchers).await;
        let askers = cluster.ask().await;
        let before = cluster.agree(&watchers).await;
        assert!(before.keys().eq(&crowd.names()), "{} are here", before.len());
        crowd.talk(true);
        let backend = Backend::start(&cluster.http, &[cluster.proxy.addr], GUESTS);
        let (many, took) = (watchers.len(), begun.elapsed().as_secs_f64());
        println!("  {members} members and {many} watchers are here after {took:.1} s");
        Scene { cluster, crowd, watchers, askers, before, backend, markers: Names::new(), begun: Instant::now() }
    }

    /// From now on times count.
    pub fn begin(&mut self) -> Instant {
        self.begun = Instant::now();
        self.begun
    }

    /// Signs somebody in at the first gateway; gives the time until all watchers know, and those who ask for suspects.
    pub async fn marker(&mut self) -> Duration {
        let (begun, user) = (Instant::now(), format!("marker-{}", self.markers.len()));
        let url = format!("http://{}/api/rooms/{ROOM}/users/{user}", self.cluster.gateways[0].addr);
        let signing_in = async {
            while !self.cluster.http.put(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                pause().await;
            }
        };
        within("a sign-in", signing_in).await;
        for watcher in self.watchers.iter_mut().chain(&mut self.askers) {
            watcher.until(&user, |seen| seen.mirror.users.contains_key(&user)).await;
        }
        self.markers.insert(user);
        begun.elapsed()
    }

    /// The first and the last time at which a watcher of this gateway saw events like this.
    pub fn seen_at(&self, name: &str, action: &str, names: &Names) -> String {
        let mut times = Vec::new();
        for watcher in self.watchers.iter().filter(|watcher| watcher.name.ends_with(name)) {
            for (event, at) in watcher.seen.borrow().events.values() {
                if event["action"] == action && event["user"].as_str().is_some_and(|user| names.contains(user)) {
                    times.push(at.duration_since(self.begun));
                }
            }
        }
        match (times.iter().min(), times.iter().max()) {
            (Some(first), Some(last)) => format!("{:.2} to {:.2} s", first.as_secs_f64(), last.as_secs_f64()),
            _ => "never".to_owned(),
        }
    }

    /// Who was suspect for those who ask at the first gateway.
    pub fn suspects(&self) -> Names {
        let seen = self.askers[0].seen.borrow();
        let suspect = seen.events.values().filter(|(event, _)| event["suspect"] == true);
        suspect.map(|(event, _)| event["user"].as_str().expect("a user").to_owned()).collect()
    }

    /// The members who left.
    pub fn lost(&self) -> Names {
        let mut lost = Names::new();
        for watcher in &self.watchers {
            for (event, _) in watcher.seen.borrow().events.values().filter(|(event, _)| event["action"] == "del") {
                lost.insert(event["user"].as_str().expect("a user").to_owned());
            }
        }
        lost.intersection(&self.crowd.names()).cloned().collect()
    }

    /// Lets all become quiet, and judges: nobody came or went but guests and `lost`, who left once, and came back with `back`.
    pub async fn judge(mut self, lost: &Names, back: bool) {
        let ended = Instant::now();
        self.crowd.talk(false);
        let requests = self.backend.stop().await;
        let after = self.cluster.agree(&self.watchers).await;
        // Answers over HTTP never tell of suspects, so a set that equals theirs has none.
        for asker in &mut self.askers {
            asker.until("the same set, without a suspect", |seen| seen.open && seen.mirror.users == after).await;
        }
        println!(
            "  all agree {:.1} s after the last change, at {} members",
            ended.elapsed().as_secs_f64(),
            after.len()
        );
        let verdict = Verdict::of(&self.watchers);
        let silence = self.watchers.iter().map(|watcher| watcher.seen.borrow().longest_silence(self.begun));
        let silences: Vec<_> = silence.map(|silence| silence.as_secs_f64()).collect();
        let jumps: usize = self.watchers.iter().map(|watcher| watcher.seen.borrow().jumps.len() - 1).sum();
        println!(
            "  {} events, the same for {} watchers; longest silence {:.1} to {:.1} s; {jumps} jumps by changes or snapshots",
            verdict.count(),
            self.watchers.len(),
            silences.iter().copied().fold(f64::MAX, f64::min),
            silences.iter().copied().fold(0.0, f64::max),
        );
        println!(
            "  backend: {} changes, {} sent again, longest {:.1} s",
            requests.done,
            requests.again,
            requests.longest.as_secs_f64()
        );
        println!("  a member was without a connection for {:.1} s at most", self.crowd.absence().as_secs_f64());
        let stay: Names = self.crowd.names().difference(lost).cloned().collect();
        assert_eq!(verdict.moves(&stay), Moves::default(), "who stayed was never away");
        assert!(stay.iter().all(|user| after[user].joined == self.before[user].joined), "nor joined anew");
        assert!(self.markers.iter().all(|user| after.contains_key(user)), "who was signed in is here");
        assert!(lost.iter().all(|user| after.contains_key(user) == back), "the lost ones");
        let moves = verdict.moves(lost);
        for user in lost {
            let came = moves.add.iter().filter(|other| *other == user).count();
            let went: Vec<_> =
                moves.del.iter().filter(|(other, _)| other == user).map(|(_, reason)| &**reason).collect();
            assert_eq!((came, went), (usize::from(back), vec!["node_lost"]), "{user}: {}", verdict.story(user));
        }
        println!(
            "  0 false add or del of {} members; {} lost{}",
            stay.len(),
            lost.len(),
            if back { ", and back" } else { "" }
        );
    }
}
