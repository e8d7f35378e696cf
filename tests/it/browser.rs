//! The page in a real browser.

mod access;
mod doing;
mod joining;
mod operating;
mod pictures;
mod prefix;
mod rooms;
mod roster;
mod signing_in;
mod states;

use fantoccini::key::Key;
use serde_json::json;

use crate::harness::{Binary, Page, within};

const WITHOUT_SCRIPT: &str = "--blink-settings=scriptEnabled=false";

const USERS: &str = "Array.from(document.querySelectorAll('#users > li'), (li) => li.dataset.user)";
const STATE: &str = "document.getElementById('state').textContent";

impl Page {
    /// Opens the page and waits until it is live.
    async fn of(gateway: &Binary) -> Self {
        Self::at(gateway, "/users", &[]).await
    }

    /// The same at another path of the page, in a browser with these flags.
    async fn at(gateway: &Binary, path: &str, flags: &[&str]) -> Self {
        let page = Self::blank(flags).await;
        page.go(&format!("http://{}{path}", gateway.addr)).await;
        page.until_live().await;
        page.run("window.stayed = true").await;
        page
    }

    async fn until_live(&self) {
        self.until("live", &format!("{STATE} === 'Live'")).await;
    }

    /// Waits until the list has these, in this order.
    async fn until_users(&self, users: &[&str]) {
        let expected = json!(users).to_string();
        self.until(&expected, &format!("JSON.stringify({USERS}) === {}", json!(expected))).await;
        self.until_heading(&format!("{} member{}", users.len(), if users.len() == 1 { "" } else { "s" })).await;
    }

    /// Waits until the heading begins so.
    async fn until_heading(&self, count: &str) {
        self.until(count, &format!("document.querySelector('h1').textContent.startsWith({})", json!(count))).await;
    }

    /// Opens the row of a member, and waits until it tells what holds them.
    async fn open_row(&self, user: &str) {
        self.click(&format!("li[data-user={user}] .open")).await;
        self.until("told", &format!("document.querySelector('li[data-user={user}] .holds li')")).await;
    }

    /// Signs a member out by the button of the row, and says that it is meant.
    async fn sign_out_by_row(&self, user: &str) {
        self.click(&format!("li[data-user={user}] .out")).await;
        self.click("#confirm-yes").await;
    }

    /// Presses a key wherever the focus is.
    async fn press(&self, key: Key) {
        let focused = within("the focus", self.client.active_element()).await.expect("something has the focus");
        within("a key", focused.send_keys(&String::from(char::from(key)))).await.expect("it takes keys");
    }

    /// Types wherever the focus is.
    async fn press_all(&self, text: &str) {
        let focused = within("the focus", self.client.active_element()).await.expect("something has the focus");
        within(text, focused.send_keys(text)).await.expect("it takes keys");
    }

    /// The page of this window was not loaded again, by whatever happened since it was opened.
    async fn stayed(&self) {
        assert_eq!(self.get("window.stayed").await, json!(true), "the page was loaded again");
    }
}

/// A gateway with so many members in its lobby.
async fn crowd(count: usize) -> Binary {
    let gateway = Binary::start(&[]).await;
    let crowd = (0..count).map(|n| json!({ "user": format!("member-{n:04}") })).collect::<Vec<_>>();
    gateway.batch("lobby", &json!({ "add": crowd })).await;
    gateway
}
