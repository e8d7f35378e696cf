//! What publishes: kept-alive connections that sign users in and out, at a rate.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::bench::board::Board;
use crate::bench::caller::Caller;
use crate::bench::plan::{Plan, Turn};
use crate::bench::stage::Stage;
use crate::bench::trouble::Trouble;

/// What was published.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// Events.
    pub events: u64,
    /// How long it took.
    pub time: Duration,
}

/// Publishes as planned, or as far as it goes until the bench is stopped.
pub async fn publish(stage: &Stage, plan: Plan) -> Result<Published, Trouble> {
    let began = Instant::now();
    let turns = Arc::new(AtomicU64::new(0));
    let mut publishers = JoinSet::new();
    for _ in 0..plan.publishers {
        let publisher = Publisher {
            caller: Caller::open(&stage.target).await?,
            board: stage.crowd.board.clone(),
            room: stage.room.clone(),
            present: 0..0,
        };
        let (turns, stop) = (turns.clone(), stage.stop.clone());
        publishers.spawn(async move {
            let mut events = 0;
            let ended = stop.run_until_cancelled(publisher.run(plan, &turns, began, &mut events)).await;
            ended.unwrap_or(Ok(())).map(|()| events)
        });
    }
    let mut events = 0;
    while let Some(published) = publishers.join_next().await {
        let published = published.map_err(|error| Trouble::gateway(format!("a publisher failed: {error}")))?;
        events += published?;
    }
    Ok(Published { events, time: began.elapsed() })
}

struct Publisher {
    caller: Caller,
    board: Arc<Board>,
    room: Arc<str>,
    /// Who is to be signed out at the next turn.
    present: Range<u64>,
}

impl Publisher {
    async fn run(mut self, plan: Plan, turns: &AtomicU64, began: Instant, events: &mut u64) -> Result<(), Trouble> {
        loop {
            let turn = turns.fetch_add(1, Relaxed);
            if turn >= plan.turns() || (plan.rate == 0 && began.elapsed() >= plan.time) {
                return Ok(());
            }
            sleep_until(began + plan.due(turn)).await;
            *events += self.turn(plan.turn).await?;
        }
    }

    async fn turn(&mut self, turn: Turn) -> Result<u64, Trouble> {
        match turn {
            Turn::InAndOut if !self.present.is_empty() => {
                let user = std::mem::take(&mut self.present).start;
                self.call("DELETE", user).await
            }
            Turn::InAndOut | Turn::In => {
                self.present = self.board.fresh(1);
                self.call("PUT", self.present.start).await
            }
            Turn::Batch(users) => self.batch(users).await,
        }
    }

    async fn call(&mut self, method: &str, user: u64) -> Result<u64, Trouble> {
        let path = format!("/api/rooms/{}/users/u{user}", self.room);
        self.board.sending(user, method == "DELETE");
        self.caller.call(method, &path, "").await.map(|_| 1)
    }

    async fn batch(&mut self, users: u64) -> Result<u64, Trouble> {
        let gone = std::mem::replace(&mut self.present, self.board.fresh(users));
        let add: Vec<_> = self.present.clone().map(|user| json!({"user": format!("u{user}")})).collect();
        let del: Vec<_> = gone.clone().map(|user| format!("u{user}")).collect();
        let events = (add.len() + del.len()) as u64;
        let body = json!({"add": add, "del": del}).to_string();
        self.present.clone().for_each(|user| self.board.sending(user, false));
        gone.for_each(|user| self.board.sending(user, true));
        self.caller.call("POST", &format!("/api/rooms/{}/users", self.room), &body).await.map(|_| events)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_as_many_turns_as_rate_time_and_events_allow() {
        let plan = |turn, rate, events| Plan { turn, rate, events, time: Duration::from_secs(5), publishers: 1 };
        assert_eq!(plan(Turn::In, 20, None).turns(), 100);
        assert_eq!(plan(Turn::In, 20, Some(7)).turns(), 7);
        assert_eq!(plan(Turn::In, 0, Some(7)).turns(), 7);
        assert_eq!(plan(Turn::Batch(25), 500, None).turns(), 50);
        assert_eq!(plan(Turn::Batch(25), 500, None).due(10), Duration::from_secs(1));
    }
}
