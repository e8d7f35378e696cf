//! Signing in to the page of a gateway with keys: what is there, and for whom.

use std::env;
use std::path::Path;

use fantoccini::key::Key;
use serde_json::json;

use super::USERS;
use super::access::{axe, violations};
use crate::harness::{Guarded, Page, SECRET, within};

/// What is to be seen of the parts whose presence depends on rights.
const PARTS: &str = "['.rooms', '.roster', '.you', '#sign-in', '#as-self', '.out', '.activity', '.gateway', '#access', '#access-form'] \
    .filter((css) => document.querySelector(css)?.checkVisibility()).join(' ')";

/// Whether it is known what the visitor may do.
const SHOWN: &str = "['who', 'access'].some((id) => document.getElementById(id)?.checkVisibility())";

impl Page {
    async fn guarded(guarded: &Guarded, path: &str, flags: &[&str]) -> Self {
        let page = Self::blank(flags).await;
        page.go(&format!("http://{}{path}", guarded.addr)).await;
        page.until("asked", SHOWN).await;
        page
    }

    async fn sign_in(&self, credential: &str) {
        self.enter("#credential", credential).await;
        self.run("window.before = true").await;
        self.click("#access-form .loud").await;
        self.until("begun anew", &format!("!window.before && {SHOWN}")).await;
    }

    async fn until_parts(&self, parts: &str) {
        self.until(parts, &format!("{PARTS} === '{parts}'")).await;
    }

    async fn picture(&self, name: &str) {
        if let Some(folder) = env::var_os("PRESENTLY_PICTURES") {
            self.until("at rest", "document.getAnimations().length === 0").await;
            let picture = within("a screenshot", self.client.screenshot()).await.expect("a screenshot");
            std::fs::write(Path::new(&folder).join(name), picture).expect("a place for the picture");
        }
    }
}

#[tokio::test]
async fn a_stranger_is_asked_to_sign_in_and_is_shown_nothing_else() {
    let guarded = Guarded::start(&["--user", "zoe"]).await;
    let page = Page::guarded(&guarded, "/users", &[]).await;
    page.until_parts("#access #access-form").await;
    assert_eq!(page.get("document.querySelector('h1').innerText").await, json!("lobby"));
    assert_eq!(
        page.get("document.getElementById('access-note').textContent").await,
        json!("To see who is here, sign in.")
    );
    page.picture("stranger.png").await;
    page.enter("#credential", "nonsense").await;
    page.click("#access-form .loud").await;
    page.until("told", "document.getElementById('access-wrong').textContent.length > 10").await;
    assert_eq!(page.get("document.activeElement.id").await, json!("credential"));
    page.picture("refused.png").await;
}

#[tokio::test]
async fn a_stranger_with_rights_watches_and_may_sign_in() {
    let guarded = Guarded::start(&["--user", "zoe", "--anyone", "lobby:watch,count"]).await;
    let page = Page::guarded(&guarded, "/users", &[]).await;
    page.until_live().await;
    page.until_users(&["zoe"]).await;
    page.until_parts(".rooms .roster .activity").await;
    page.click("#who").await;
    page.until_parts(".rooms .roster .activity #access #access-form").await;
    assert_eq!(page.get("document.activeElement.id").await, json!("credential"));
    page.press(Key::Escape).await;
    page.until_parts(".rooms .roster .activity").await;
    assert_eq!(page.get("document.activeElement.id").await, json!("who"));
    page.click("#who").await;
    page.sign_in(SECRET).await;
    page.until_live().await;
    page.until_parts(".rooms .roster .you #sign-in .out .activity .gateway").await;
}

#[tokio::test]
async fn axe_finds_nothing_wrong_with_the_panel() {
    let axe = axe().await;
    let guarded = Guarded::start(&["--user", "zoe"]).await;
    for flags in [&[][..], &["--blink-settings=preferredColorScheme=0"]] {
        let page = Page::guarded(&guarded, "/users", flags).await;
        assert_eq!(violations(&page, &axe).await, json!([]), "signed out, {flags:?}");
        page.sign_in(SECRET).await;
        page.until_users(&["zoe"]).await;
        page.click("#who").await;
        page.until("at rest", "document.getAnimations().length === 0").await;
        assert_eq!(violations(&page, &axe).await, json!([]), "signed in, {flags:?}");
    }
}

#[tokio::test]
async fn who_may_watch_sees_who_is_there_and_can_change_nobody() {
    let guarded = Guarded::start(&[]).await;
    let backend = guarded.backend();
    backend.sign_in_as("lobby", "zoe", &json!({ "status": "away" })).await;
    backend.sign_in("team-7", "bob").await;
    let token = guarded.token(&["--sub", "ann", "--room", "lobby", "--room", "team-*", "--can", "watch"]).await;
    let page = Page::guarded(&guarded, "/users", &[]).await;
    page.sign_in(&token).await;
    page.until_live().await;
    page.until_parts(".rooms .roster .activity").await;
    page.until_users(&["zoe"]).await;
    assert_eq!(page.get("document.getElementById('who').textContent").await, json!("ann"));
    page.click("li[data-user=zoe] .open").await;
    page.until(
        "said",
        "document.querySelector('[data-of=meta] .rows')?.innerText.replace(/\\s+/g, ' ') === 'status \"away\"'",
    )
    .await;
    let seen =
        "Array.from(document.querySelectorAll('.details :is(input, button)')).some((it) => it.checkVisibility())";
    assert_eq!(page.get(seen).await, json!(false), "nothing to change");
    page.click("#who").await;
    let granted = "document.getElementById('grants').innerText.replace(/\\s+/g, ' ')";
    page.until("told", &format!("{granted} === 'lobby count, watch team-* count, watch'")).await;
    assert!(
        page.get("document.getElementById('until').textContent")
            .await
            .as_str()
            .is_some_and(|text| text.starts_with("Until "))
    );
    page.picture("watcher.png").await;
    page.click("#who").await;
    page.click("#rooms a[data-room=team-7]").await;
    page.until_users(&["bob"]).await;
    guarded_room(&page, "other").await;
    page.until_parts(".rooms #access").await;
    page.until("said", "document.getElementById('access-note').textContent === 'ann may not see who is here.'").await;
    page.click("#rooms a[data-room=lobby]").await;
    page.until_users(&["zoe"]).await;
    page.until_parts(".rooms .roster .activity").await;
}

/// Opens a room by its name.
async fn guarded_room(page: &Page, room: &str) {
    page.enter("#room-field", room).await;
    page.run("document.getElementById('open-room').requestSubmit()").await;
}

#[tokio::test]
async fn who_may_join_is_here_as_themselves() {
    let guarded = Guarded::start(&[]).await;
    let backend = guarded.backend();
    let token = guarded.token(&["--sub", "ann", "--room", "lobby", "--can", "watch,join"]).await;
    let page = Page::guarded(&guarded, &format!("/users#token={token}"), &[]).await;
    page.until_live().await;
    assert_eq!(page.get("location.pathname + location.search + location.hash").await, json!("/users"));
    page.until_parts(".rooms .roster .you #as-self .activity").await;
    page.click("#join-self").await;
    page.until_users(&["ann"]).await;
    page.until("here", "document.getElementById('me-note').textContent === 'Here while this tab is open'").await;
    page.enter("#status-field", "at work").await;
    page.run("document.getElementById('status').requestSubmit()").await;
    let said = async { while backend.held("lobby").await.users["ann"].meta != json!({ "status": "at work" }) {} };
    within("the status", said).await;
    page.picture("joined.png").await;
    page.click("#leave").await;
    page.until_users(&[]).await;
}

#[tokio::test]
async fn an_operator_may_do_all_and_signs_out() {
    let guarded = Guarded::start(&[]).await;
    for flags in [&[][..], &["--blink-settings=preferredColorScheme=0"]] {
        let page = Page::guarded(&guarded, "/users", flags).await;
        page.sign_in(SECRET).await;
        page.until_live().await;
        page.until_parts(".rooms .roster .you #sign-in .activity .gateway").await;
        page.enter("#user", "bob").await;
        page.click("#sign-in .loud").await;
        page.until_users(&["bob"]).await;
        page.until_parts(".rooms .roster .you #sign-in .out .activity .gateway").await;
        page.until("numbers", "document.querySelector('[data-value=connections]').textContent !== '–'").await;
        page.picture(if flags.is_empty() { "operator.png" } else { "operator-dark.png" }).await;
        page.click("#who").await;
        page.until("all", "document.getElementById('grants').innerText.includes('All rooms')").await;
        page.picture(if flags.is_empty() { "granted.png" } else { "granted-dark.png" }).await;
        page.click("#end").await;
        page.until(
            "signed out",
            "document.getElementById('access-note')?.textContent.startsWith('You are signed out.')",
        )
        .await;
        page.until_parts("#access #access-form").await;
        page.picture(if flags.is_empty() { "signed-out.png" } else { "signed-out-dark.png" }).await;
        assert_eq!(page.get(USERS).await, json!([]));
        guarded.backend().sign_out("lobby", "bob").await;
    }
}

#[tokio::test]
async fn a_sign_in_that_ends_leads_back_to_the_sign_in() {
    let guarded = Guarded::start(&[]).await;
    let token = guarded.token(&["--sub", "ann", "--room", "lobby", "--can", "watch"]).await;
    let page = Page::guarded(&guarded, "/users", &[]).await;
    page.sign_in(&token).await;
    page.until_live().await;
    guarded.backend().send_json("POST", "/api/revocations", &json!({ "sub": "ann" })).await.expect(201);
    page.until("told", "document.getElementById('access-note')?.textContent.includes('revoked')").await;
    page.until_parts("#access #access-form").await;
}
