//! Messages about the stream itself, before and between those about rooms.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::model::name::Name;
use crate::wire::object::to_json;

/// The question whether the client is alive, as JSON. Any message is an answer.
pub const ASK: &str = r#"{"action":"alive","ask":true}"#;

/// The gateway's times, so that no client has to assume the defaults, and what the gateway knows of the client.
#[derive(Clone, Debug)]
pub struct Hello {
    /// The grace period of a lost connection.
    pub grace: Duration,
    /// The longest silence before a keep-alive.
    pub keep_alive: Duration,
    /// The silence after which the stream is lost.
    pub silence: Duration,
    /// The user that the client's credential names.
    pub sub: Option<Name>,
    /// Whether nothing is allowed before `auth`.
    pub auth: bool,
}

#[derive(Serialize)]
struct HelloObject<'a> {
    action: &'static str,
    grace: Millis,
    keep_alive: Millis,
    silence: Millis,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a Name>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    auth: bool,
}

#[derive(Serialize)]
struct AuthExpires {
    action: &'static str,
    r#in: u64,
}

#[derive(Serialize)]
struct SessionObject<'a> {
    action: &'static str,
    session: &'a str,
}

/// A time in whole milliseconds.
struct Millis(Duration);

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX).serialize(to)
    }
}

impl Hello {
    /// The JSON of `hello`.
    pub fn json(&self) -> String {
        let [grace, keep_alive, silence] = [self.grace, self.keep_alive, self.silence].map(Millis);
        let (sub, auth) = (self.sub.as_ref(), self.auth);
        to_json(&HelloObject { action: "hello", grace, keep_alive, silence, sub, auth })
    }
}

/// The JSON of `auth_expires`: the client's token ends in so many seconds.
pub fn auth_expires(seconds: u64) -> String {
    to_json(&AuthExpires { action: "auth_expires", r#in: seconds })
}

/// The JSON of `session`, which names the secret of an event stream.
pub fn session(secret: &str) -> String {
    to_json(&SessionObject { action: "session", session: secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_have_the_json_of_the_protocol() {
        let [grace, keep_alive, silence] = [5, 10, 25].map(Duration::from_secs);
        let mut hello = Hello { grace, keep_alive, silence, sub: None, auth: false };
        let times = r#"{"action":"hello","grace":5000,"keep_alive":10000,"silence":25000"#;
        assert_eq!(hello.json(), format!("{times}}}"));
        (hello.sub, hello.auth) = ("ann".parse().ok(), true);
        assert_eq!(hello.json(), format!(r#"{times},"sub":"ann","auth":true}}"#));
        assert_eq!(auth_expires(30), r#"{"action":"auth_expires","in":30}"#);
        assert_eq!(session("a1"), r#"{"action":"session","session":"a1"}"#);
    }
}
