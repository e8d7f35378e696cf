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
async fn who_joins_is_held_by_the_tab_and_goes_with_it_from_room_to_room() {
    let gateway = Binary::start(&["--user", "bob"]).await;
    let page = Page::of(&gateway).await;
    page.join("ann").await;
    page.until_users(&["ann", "bob"]).await;
    assert_eq!(holds(&gateway, "lobby", "ann").await, [json!("connection")]);
    page.enter("#status-field", "writing\u{e007}").await;
    page.until("said", "document.querySelector('#users > .me .meta').textContent === 'writing'").await;

    page.enter("#room-field", "den\u{e007}").await;
    page.until_users(&["ann"]).await;
    page.until_joined("ann").await;
    assert!(gateway.held("lobby").await.users.into_keys().eq(["bob"]), "nobody is in two rooms by one page");
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
    let before = gateway.cursor("lobby").await;
    within("a reload", page.client.refresh()).await.expect("it loads");
    page.until_live().await;
    page.until_joined("ann").await;
    page.until_users(&["ann"]).await;
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
