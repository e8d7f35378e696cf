//! A gateway with keys inside the test's own process, and credentials of all kinds for it.

use std::fs;
use std::ops::Deref;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use presently::access::rights::Grant;
use presently::{Config, KeyFile};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Client, TestServer};

/// The API key of a backend.
pub const API_KEY: &str = "a-backend's-own-secret-of-40-bytes-or-so";
/// An API key that only reads.
pub const READ_KEY: &str = "an-operator's-secret-which-only-reads-it";
/// The secret that signs tokens.
pub const TOKEN_SECRET: &str = "a-secret-that-signs-tokens-in-the-tests!";

/// A running gateway with a key and two API keys.
pub struct Keyed {
    server: TestServer,
    _files: TempDir,
}

impl Keyed {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let files = tempfile::tempdir().expect("a folder");
        let file = |name: &str, text: String| {
            let path = files.path().join(name);
            fs::write(&path, text).expect("a written file");
            path
        };
        let key = KeyFile { kid: None, path: file("token.key", TOKEN_SECRET.to_owned()) };
        let api_keys = file("api.key", format!("{API_KEY}\nread {READ_KEY}\n"));
        let server = TestServer::with(|config| {
            config.keys.push(key);
            config.api_keys.push(api_keys);
            change(config);
        });
        Self { server: server.await, _files: files }
    }

    /// The backend.
    pub fn backend(&self) -> Client {
        self.bearing(API_KEY)
    }
}

impl Deref for Keyed {
    type Target = TestServer;

    fn deref(&self) -> &TestServer {
        &self.server
    }
}

/// A grant of `--anyone`, such as `lobby:watch`.
pub fn grant(text: &str) -> Grant {
    Grant::read(text, None).expect("a grant")
}

/// The wall clock, in seconds since 1970.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
    i64::try_from(since.as_secs()).expect("a time before the end")
}

/// The claims of a token.
#[derive(Clone)]
pub struct Token(Value);

impl Token {
    /// A token of `sub` that allows nothing, and ends in an hour.
    pub fn of(sub: &str) -> Self {
        Self(json!({"aud": "presently", "sub": sub, "iat": now(), "exp": now() + 3_600, "presently": {"rooms": []}}))
    }

    /// Also allows these verbs in the rooms of a pattern.
    pub fn may(mut self, rooms: &str, can: &[&str]) -> Self {
        let grants = self.0["presently"]["rooms"].as_array_mut().expect("grants");
        grants.push(json!({"match": rooms, "can": can}));
        self
    }

    /// Also allows what is outside of rooms.
    pub fn admin(mut self) -> Self {
        self.0["presently"]["admin"] = true.into();
        self
    }

    /// Says this of the user.
    pub fn info(mut self, info: Value) -> Self {
        self.0["presently"]["info"] = info;
        self
    }

    /// Has this claim in place of an earlier one.
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0[name] = value.into();
        self
    }

    /// Lacks this claim.
    pub fn without(mut self, name: &str) -> Self {
        self.0.as_object_mut().expect("claims").remove(name);
        self
    }

    /// Ends in so many seconds, or has ended.
    pub fn ends_in(self, seconds: i64) -> Self {
        self.claim("exp", now() + seconds)
    }

    /// The token, signed.
    pub fn sign(&self) -> String {
        let key = EncodingKey::from_secret(TOKEN_SECRET.as_bytes());
        jsonwebtoken::encode(&Header::default(), &self.0, &key).expect("a token")
    }
}
