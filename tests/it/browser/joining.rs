//! Being here by having the page open.

use serde_json::{Value, json};

use crate::harness::{Binary, Page, within};

const NOTE: &str = "document.getElementById('me-note').textContent";

impl Page {
    async fn join(&self, user: &str) {
        self.enter("#user", user).await;
        self.click("#join").await;
        self.until_joined(user).await;
    }

    async fn until_joined(&self, user: &str) {
        self.until("joined", &format!("{NOTE} === 'Here while this tab is open'")).await;
        self.until("pointed out", &format!("document.querySelector('#users > .me').dataset.user === '{user}'")).await;
    }
}

async fn holds(gateway: &Binary, room: &str, user: &str) -> Vec<Value> {
    let member = gateway.get(&format!("/api/rooms/{room}/users/{user}")).await.expect(200).json();
    member["holds"].as_array().expect("holds").iter().map(|hold| hold["kind"].clone()).collect()
}

#[tokio::test]
async fn who_joins_stays_where_they_are_while_they_look_around() {
    let gateway = Binary::start(&["--user", "bob"]).await;
    let page = Page::of(&gateway).await;
    page.join("ann").await;
    page.until_users(&["ann", "bob"]).await;
    assert_eq!(holds(&gateway, "lobby", "ann").await, [json!("connection")]);
    page.enter("#status-field", "writing\u{e007}").await;
    page.until("said", "document.querySelector('#users > .me .meta').textContent === 'writing'").await;

    page.enter("#room-field", "den\u{e007}").await;
    page.until_users(&[]).await;
    page.until("told where", &format!("{NOTE}.startsWith('In \u{2068}lobby\u{2069} ')")).await;
    assert!(gateway.held("lobby").await.users.into_keys().eq(["ann", "bob"]), "looking moves nobody");
    let before = gateway.cursor("lobby").await;
    within("a reload", page.client.refresh()).await.expect("it loads");
    page.run("window.stayed = true").await;
    page.until("there again", &format!("{NOTE}.startsWith('In \u{2068}lobby\u{2069} while')")).await;
    assert_eq!(gateway.cursor("lobby").await, before, "nor does a reload");
    page.click("#home").await;
    page.until_users(&["ann", "bob"]).await;
    page.until_joined("ann").await;
    page.enter("#room-field", "den\u{e007}").await;
    page.until("there", "document.querySelector('h1 bdi').textContent === 'den'").await;
    page.click("#move").await;
    page.until_users(&["ann"]).await;
    page.until_joined("ann").await;
    // What the page held before its reload is lost, and ends with its grace.
    let left = async { while gateway.held("lobby").await.users.contains_key("ann") {} };
    within("nobody is in two rooms by one page", left).await;
    page.click("#leave").await;
    page.until_users(&[]).await;
    page.until("may join again", "document.getElementById('join').offsetHeight > 0").await;
    page.stayed().await;
}

#[tokio::test]
async fn a_reload_is_no_event_and_the_tab_is_who_it_was() {
    let gateway = Binary::start(&[]).await;
    let page = Page::of(&gateway).await;
    page.join("ann").await;
    page.enter("#status-field", "writing\u{e007}").await;
    let said = "document.querySelector('#users > .me .meta')?.textContent === 'writing'";
    page.until("said", said).await;
    page.until("kept", "sessionStorage.getItem('presently.said')").await;
    let before = gateway.cursor("lobby").await;
    within("a reload", page.client.refresh()).await.expect("it loads");
    page.until_live().await;
    page.until_joined("ann").await;
    page.until_users(&["ann"]).await;
    page.until("still said", said).await;
    assert_eq!(gateway.cursor("lobby").await, before, "nobody saw it");
}

#[tokio::test]
async fn who_is_signed_out_by_others_is_told_and_may_join_again() {
    let gateway = Binary::start(&[]).await;
    let page = Page::of(&gateway).await;
    page.join("ann").await;
    gateway.sign_out("lobby", "ann").await;
    page.until_users(&[]).await;
    page.until("told", &format!("{NOTE} === 'Signed out by somebody'")).await;
    page.click("#leave").await;
    page.join("ann").await;
    page.until_users(&["ann"]).await;
    page.stayed().await;
}

#[tokio::test]
async fn who_is_kicked_is_told_that_they_were_kicked() {
    let gateway = Binary::start(&[]).await;
    let page = Page::of(&gateway).await;
    page.join("ann").await;
    gateway.send("DELETE", "/api/rooms/lobby/users/ann?reason=kicked", &[], "").await.expect(204);
    page.until_users(&[]).await;
    page.until("told", &format!("{NOTE} === 'Kicked by somebody'")).await;
}

#[tokio::test]
async fn a_name_that_is_none_is_said_and_joins_nobody() {
    let gateway = Binary::start(&[]).await;
    let page = Page::of(&gateway).await;
    page.enter("#user", "..").await;
    page.click("#join").await;
    page.until("told", "document.querySelector('#sign-in-note.wrong:not(:empty)')").await;
    page.enter("#user", "ann").await;
    page.until_users(&[]).await;
    page.enter("#room-field", "..\u{e007}").await;
    page.until("a page says why", "document.querySelector('.refused h1')?.textContent === 'Bad Request'").await;
}
