//! The room in which a bench works, and the requests that prepare, check and empty it.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::bench::cursor::Cursor;
use crate::bench::error::BenchError;
use crate::bench::http_client::HttpClient;
use crate::bench::target::Target;

/// Users in one batch request: the maximum that a gateway accepts by default.
pub(super) const BATCH: u32 = 1_000;

/// A room at a gateway. Its random name keeps other clients out.
#[derive(Clone, Debug)]
pub(super) struct Room {
    /// The gateway of the readers.
    pub(super) target: Target,
    /// The gateway of the publishers: the same, or another node of its cluster.
    pub(super) publishes_to: Target,
    pub(super) name: String,
}

/// The state of a room, from `GET /api/rooms/{room}`.
#[derive(Clone, Debug)]
pub(super) struct RoomState {
    pub(super) cursor: Cursor,
    /// The number of members.
    pub(super) count: u64,
}

impl Room {
    /// A room with a new name.
    pub(super) fn new(target: Target, publishes_to: Target) -> Self {
        let name = format!("bench-{}", &Uuid::new_v4().simple().to_string()[..10]);
        Room { target, publishes_to, name }
    }

    /// The path of the members.
    pub(super) fn users_path(&self) -> String {
        format!("/api/rooms/{}/users", self.name)
    }

    /// The path of one member.
    pub(super) fn user_path(&self, user: &str) -> String {
        format!("/api/rooms/{}/users/{user}", self.name)
    }

    /// Opens a connection for requests about this room.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if the gateway cannot be reached.
    pub(super) async fn client(&self) -> Result<HttpClient, BenchError> {
        HttpClient::connect(&self.publishes_to).await
    }

    /// Signs one user in, over a connection of its own.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if the gateway cannot be reached or refuses.
    pub(super) async fn sign_in(&self, user: &str) -> Result<(), BenchError> {
        self.client().await?.send("PUT", &self.user_path(user), "").await.map(drop)
    }

    /// Reads the room's cursor and count.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if the gateway cannot be reached or does not tell them.
    pub(super) async fn state(&self) -> Result<RoomState, BenchError> {
        let state = self.client().await?.get(&format!("/api/rooms/{}", self.name)).await?;
        let (cursor, count) = (state["cursor"].as_str().and_then(Cursor::parse), state["count"].as_u64());
        let known = cursor.zip(count).map(|(cursor, count)| RoomState { cursor, count });
        known.ok_or_else(|| BenchError::gateway(format!("{} does not tell the room's cursor", self.target.url)))
    }

    /// Signs all members out, in batches.
    ///
    /// # Errors
    ///
    /// [`BenchError::Gateway`] if the gateway cannot be reached or refuses.
    pub(super) async fn empty(&self) -> Result<(), BenchError> {
        let mut client = self.client().await?;
        let path = self.users_path();
        loop {
            let page = client.get(&format!("{path}?limit={BATCH}")).await?;
            let users: Vec<&Value> = page["users"].as_array().into_iter().flatten().map(|user| &user["user"]).collect();
            if users.is_empty() {
                return Ok(());
            }
            client.send("POST", &path, &json!({ "del": users }).to_string()).await?;
        }
    }
}
