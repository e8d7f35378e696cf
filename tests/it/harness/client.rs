//! An HTTP client, with the requests that many tests need.

use std::net::SocketAddr;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use super::{Answer, Member, Set, within};

/// A name, percent-encoded for a path.
pub fn quoted(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// The cursor and the members of a room at one moment.
#[derive(Debug, PartialEq)]
pub struct Held {
    pub cursor: String,
    pub users: Set,
}

/// A client of one gateway, without redirects and proxies.
#[derive(Clone)]
pub struct Client {
    pub addr: SocketAddr,
    http: reqwest::Client,
}

impl Client {
    pub fn of(addr: SocketAddr) -> Self {
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy();
        Self { addr, http: http.build().expect("a client") }
    }

    /// The client with a token or API key.
    pub fn bearing(&self, credential: &str) -> Self {
        let value = format!("Bearer {credential}").parse().expect("a header");
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy();
        let http = http.default_headers([(AUTHORIZATION, value)].into_iter().collect());
        Self { addr: self.addr, http: http.build().expect("a client") }
    }

    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = self.http.request(method, format!("http://{}{path}", self.addr)).body(body.into());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = within(path, request.send()).await.expect("an answer");
        let text = |value: &reqwest::header::HeaderValue| value.to_str().expect("a header in ASCII").to_owned();
        Answer {
            status: answer.status().as_u16(),
            headers: answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: within(path, answer.bytes()).await.expect("a body").to_vec(),
        }
    }

    /// The status of the answer; `None` without an answer, as when the gateway was killed.
    pub async fn try_send(&self, method: &str, path: &str) -> Option<u16> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let sent = self.http.request(method, format!("http://{}{path}", self.addr)).send();
        Some(within(path, sent).await.ok()?.status().as_u16())
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    pub async fn send_json(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Signs in without a body; returns the cursor.
    pub async fn sign_in(&self, room: &str, user: &str) -> String {
        cursor_of(&self.send("PUT", &member_path(room, user), &[], "").await)
    }

    /// Signs in with `meta`, or changes the `meta`; returns the cursor.
    pub async fn sign_in_as(&self, room: &str, user: &str, meta: &Value) -> String {
        cursor_of(&self.send_json("PUT", &member_path(room, user), &json!({ "meta": meta })).await)
    }

    /// Signs out; returns the cursor.
    pub async fn sign_out(&self, room: &str, user: &str) -> String {
        self.send("DELETE", &member_path(room, user), &[], "").await.expect(204);
        self.cursor(room).await
    }

    /// Sends a batch of changes; returns the cursor.
    pub async fn batch(&self, room: &str, changes: &Value) -> String {
        cursor_of(&self.send_json("POST", &format!("/api/rooms/{}/users", quoted(room)), changes).await.expect(200))
    }

    /// Makes more events than fit into the buffers of a client that does not read: 6 MB, where the kernel takes 4 MB.
    pub async fn flood(&self, room: &str) -> String {
        let mut cursor = String::new();
        for round in 0..6 {
            let meta = json!({"round": round, "filling": "x".repeat(950)});
            let add: Vec<_> = (0..900).map(|n| json!({"user": format!("flood{n}"), "meta": meta})).collect();
            cursor = self.batch(room, &json!({ "add": add })).await;
        }
        cursor
    }

    pub async fn cursor(&self, room: &str) -> String {
        cursor_of(&self.get(&format!("/api/rooms/{}", quoted(room))).await.expect(200))
    }

    /// The whole room, which must not change meanwhile: all pages have one cursor.
    pub async fn held(&self, room: &str) -> Held {
        let (mut held, count) = self.page(room, "").await;
        while held.users.len() < count {
            let after = held.users.last_key_value().expect("a page is not empty").0;
            let (page, _) = self.page(room, after).await;
            assert_eq!(page.cursor, held.cursor, "somebody changes {room}");
            assert!(!page.users.is_empty(), "{count} are more than all pages have");
            held.users.extend(page.users);
        }
        held
    }

    /// One page of members after a name, and the number of all members.
    pub async fn page(&self, room: &str, after: &str) -> (Held, usize) {
        let path = format!("/api/rooms/{}/users?limit=10000&after={}", quoted(room), quoted(after));
        let page = self.get(&path).await.expect(200).json();
        let users = page["users"].as_array().expect("users").iter().map(Member::parse).collect();
        let cursor = page["cursor"].as_str().expect("a cursor").to_owned();
        let count = page["count"].as_u64().expect("a count");
        (Held { cursor, users }, usize::try_from(count).expect("a count"))
    }

    /// The holds of a member, each as `kind`, for a connection with the transport and `lost`.
    pub async fn holds(&self, room: &str, user: &str) -> Vec<String> {
        let member = self.get(&member_path(room, user)).await.expect(200).json();
        let told = |hold: &Value| {
            let transport = hold["transport"].as_str().map(|transport| format!(" {transport}"));
            let lost = if hold["lost"] == true { " lost" } else { "" };
            format!("{}{}{lost}", hold["kind"].as_str().expect("a kind"), transport.unwrap_or_default())
        };
        let mut holds: Vec<_> = member["holds"].as_array().expect("holds").iter().map(told).collect();
        holds.sort();
        holds
    }

    pub async fn is_present(&self, room: &str, user: &str) -> bool {
        self.get(&member_path(room, user)).await.status == 200
    }

    pub async fn restarts(&self) -> u64 {
        self.get("/healthz").await.expect(200).json()["restarts"].as_u64().expect("a number")
    }
}

pub fn member_path(room: &str, user: &str) -> String {
    format!("/api/rooms/{}/users/{}", quoted(room), quoted(user))
}

fn cursor_of(answer: &Answer) -> String {
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer.json()["cursor"].as_str().expect("a cursor").to_owned()
}
