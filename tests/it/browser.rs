//! The page in a real browser.

use std::{env, fs, path::PathBuf};

use fantoccini::key::Key;
use serde_json::json;

use crate::harness::{Binary, Page, within};

const WITHOUT_SCRIPT: &str = "--blink-settings=scriptEnabled=false";

const USERS: &str = "Array.from(document.querySelectorAll('#users > li'), (li) => li.dataset.user)";
const STATE: &str = "document.getElementById('state').textContent";

impl Page {
    /// Opens the page and waits until it is live.
    async fn of(gateway: &Binary) -> Self {
        let page = Self::blank(&[]).await;
        page.go(&format!("http://{}/users", gateway.addr)).await;
        page.until("live", &format!("{STATE} === 'Live'")).await;
        page.run("window.stayed = true").await;
        page
    }

    /// Waits until the list has these, in this order.
    async fn until_users(&self, users: &[&str]) {
        let expected = json!(users).to_string();
        self.until(&expected, &format!("JSON.stringify({USERS}) === {}", json!(expected))).await;
        let count = format!("{} member{}", users.len(), if users.len() == 1 { "" } else { "s" });
        self.until(&count, &format!("document.querySelector('h1').textContent.startsWith({})", json!(count))).await;
    }

    /// The page of this window was not loaded again, by whatever happened since [`Page::of`].
    async fn stayed(&self) {
        assert_eq!(self.get("window.stayed").await, json!(true), "the page was loaded again");
    }
}

#[tokio::test]
async fn who_signs_in_appears_and_who_signs_out_goes_without_a_reload() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::of(&gateway).await;
    page.until_users(&["ann"]).await;
    gateway.get("/api/login/yay").await.expect(302);
    page.until_users(&["ann", "yay"]).await;
    page.until("in the title", "document.title.startsWith('2 ')").await;
    gateway.sign_in("lobby", "bob").await;
    page.until_users(&["ann", "bob", "yay"]).await;
    gateway.get("/api/logout/yay").await.expect(302);
    gateway.sign_out("lobby", "ann").await;
    page.until_users(&["bob"]).await;
    gateway.sign_out("lobby", "bob").await;
    page.until_users(&[]).await;
    page.until("said to be empty", "document.getElementById('empty').offsetHeight > 0").await;
    page.stayed().await;
}

#[tokio::test]
async fn what_is_said_of_a_member_changes_in_place() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::of(&gateway).await;
    page.run("window.row = document.querySelector('#users > li')").await;
    gateway.sign_in_as("lobby", "ann", &json!({ "status": "away" })).await;
    page.until("away", "window.row.querySelector('.meta').textContent === '{\"status\":\"away\"}'").await;
    gateway.sign_in_as("lobby", "ann", &json!({})).await;
    page.until("cleared", "window.row.querySelector('.meta').textContent === ''").await;
    assert_eq!(page.get("window.row.isConnected").await, json!(true), "the row is still the same");
}

#[tokio::test]
async fn a_name_that_looks_like_markup_stays_text() {
    let before = "\"><svg onload=window.pwned=1>";
    let live = ["<img src=x onerror=window.pwned=1>", "<script>window.pwned=1</script>", "&lt;b&gt;"];
    let gateway = Binary::start(&["--user", before]).await;
    let page = Page::of(&gateway).await;
    let mut expected = vec![before];
    for name in live {
        gateway.sign_in("lobby", name).await;
        expected.push(name);
        expected.sort_unstable();
        page.until_users(&expected).await;
    }
    let names = page.get("Array.from(document.querySelectorAll('#users .name'), (name) => name.textContent)").await;
    assert_eq!(names, json!(expected));
    assert_eq!(page.get("document.querySelectorAll('#users :is(img, svg, script, b)').length").await, json!(0));
    assert_eq!(page.get("window.pwned === undefined").await, json!(true));
}

#[tokio::test]
async fn names_stand_in_the_order_of_their_bytes() {
    let gateway = Binary::start(&["--user", "🦊", "--user", "é"]).await;
    let page = Page::of(&gateway).await;
    for name in ["\u{ffee}", "Zoe", "שלום", "ann", "山田", "👩‍👧"] {
        gateway.sign_in("lobby", name).await;
    }
    page.until_users(&["Zoe", "ann", "é", "שלום", "山田", "\u{ffee}", "👩‍👧", "🦊"]).await;
}

#[tokio::test]
async fn the_page_comes_back_when_the_gateway_does() {
    let mut gateway = Binary::start(&["--user", "ann", "--user", "bob"]).await;
    let page = Page::of(&gateway).await;
    gateway.signal("KILL").await;
    gateway.exit().await;
    page.until("reconnecting", &format!("{STATE} === 'Reconnecting…'")).await;
    page.until_users(&["ann", "bob"]).await;

    let addr = gateway.addr.to_string();
    let gateway = Binary::start_with(&["--listen", &addr, "--user", "bob", "--user", "cyd"], &[]).await;
    page.until("live again", &format!("{STATE} === 'Live'")).await;
    page.until_users(&["bob", "cyd"]).await;
    gateway.sign_in("lobby", "dee").await;
    page.until_users(&["bob", "cyd", "dee"]).await;
    page.stayed().await;
}

#[tokio::test]
async fn a_page_from_the_back_forward_cache_is_live_again() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::of(&gateway).await;
    page.run("addEventListener('pageshow', (event) => { window.persisted = event.persisted })").await;
    page.go(&format!("http://{}/healthz", gateway.addr)).await;
    gateway.sign_in("lobby", "bob").await;
    within("the way back", page.client.back()).await.expect("there was a page before");
    page.until("live again", &format!("{STATE} === 'Live'")).await;
    page.until_users(&["ann", "bob"]).await;
    gateway.sign_out("lobby", "ann").await;
    page.until_users(&["bob"]).await;
    assert_eq!(page.get("window.persisted").await, json!(true), "it came from the cache");
    page.stayed().await;
}

#[tokio::test]
async fn the_form_signs_in_and_says_what_is_wrong() {
    let gateway = Binary::start(&[]).await;
    let page = Page::of(&gateway).await;
    page.enter("#user", "Grace").await;
    page.click("#sign-in button").await;
    page.until_users(&["Grace"]).await;
    page.until("cleared, for the next name", "document.getElementById('user').value === ''").await;
    page.enter("#user", &(Key::Null + "a/b + c" + &Key::Enter)).await;
    page.until_users(&["Grace", "a/b + c"]).await;

    page.until("cleared again", "document.getElementById('user').value === ''").await;
    page.enter("#user", &("..".to_owned() + &Key::Enter)).await;
    page.until("told why", "document.querySelector('#sign-in-note.wrong:not(:empty)')").await;
    let invalid = "document.activeElement.matches('#user[aria-invalid=true][aria-describedby=sign-in-note]')";
    assert_eq!(page.get(invalid).await, json!(true), "the field has the focus and the message");
    page.until_users(&["Grace", "a/b + c"]).await;
    page.stayed().await;
}

#[tokio::test]
async fn a_row_signs_out_by_its_button_and_the_focus_stays_near() {
    let gateway = Binary::start(&["--user", "ann", "--user", "bob", "--user", "cyd"]).await;
    let page = Page::of(&gateway).await;
    page.enter("li[data-user=bob] button", &Key::Enter).await;
    page.until_users(&["ann", "cyd"]).await;
    assert_eq!(page.get("document.activeElement.dataset.user").await, json!("cyd"), "the next row");
    page.click("li[data-user=cyd] button").await;
    page.until_users(&["ann"]).await;
    assert_eq!(page.get("document.activeElement.dataset.user").await, json!("ann"), "or the one before");
    page.click("li[data-user=ann] button").await;
    page.until_users(&[]).await;
    assert_eq!(page.get("document.activeElement.id").await, json!("user"), "or the form");
    page.stayed().await;
}

#[tokio::test]
async fn of_a_crowd_the_page_shows_the_first_and_counts_all() {
    let gateway = Binary::start(&[]).await;
    let crowd = (0..700).map(|n| json!({ "user": format!("member-{n:03}") })).collect::<Vec<_>>();
    gateway.batch("lobby", &json!({ "add": crowd })).await;
    let page = Page::of(&gateway).await;
    let shows = async |first: &str, last: &str, count: usize| {
        let rows = format!("{USERS}.length === 500 && {USERS}.at(0) === '{first}' && {USERS}.at(-1) === '{last}'");
        page.until(first, &rows).await;
        page.until("counted", &format!("document.getElementById('count').textContent === '{count}'")).await;
        let more = format!("document.getElementById('more').innerText === 'and {} more'", count - 500);
        page.until("more", &more).await;
    };
    shows("member-000", "member-499", 700).await;
    gateway.sign_in("lobby", "aaron").await;
    shows("aaron", "member-498", 701).await;
    gateway.sign_in("lobby", "zoe").await;
    shows("aaron", "member-498", 702).await;
    gateway.sign_out("lobby", "member-000").await;
    shows("aaron", "member-499", 701).await;
    page.stayed().await;
}

#[tokio::test]
async fn without_script_the_page_is_whole_and_its_forms_work() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::blank(&[WITHOUT_SCRIPT]).await;
    page.go(&format!("http://{}/users", gateway.addr)).await;
    page.until_users(&["ann"]).await;
    assert_eq!(page.get(STATE).await, json!(""), "it doesn't claim to be live");
    page.find("noscript a").await;
    page.enter("#user", "Grace & <b>").await;
    page.click("#sign-in button").await;
    page.until_users(&["Grace & <b>", "ann"]).await;
    page.click("li[data-user=ann] button").await;
    page.until_users(&["Grace & <b>"]).await;
    assert!(page.get("location.pathname").await == json!("/users"), "the page again, and not the form's answer");
}

/// Also how the README gets its picture: `PRESENTLY_SCREENSHOT=tests/screenshot.png cargo test screenshot`.
#[tokio::test]
async fn a_screenshot_shows_the_page_at_work() {
    let gateway = Binary::start(&[]).await;
    let page = Page::of(&gateway).await;
    let people = [
        ("Ada", json!({})),
        ("Barbara", json!({ "on": "phone" })),
        ("Edith", json!({})),
        ("Frances", json!({})),
        ("Grace", json!({ "status": "away" })),
        ("Hedy", json!({})),
        ("Jean", json!({})),
        ("Katherine", json!({})),
        ("Margaret", json!({})),
        ("Radia", json!({ "status": "here" })),
        ("Sophie", json!({})),
        ("Zoë", json!({})),
        ("נעמי", json!({})),
        ("🦊 fox", json!({})),
    ];
    for (name, meta) in &people {
        gateway.sign_in_as("lobby", name, meta).await;
    }
    page.until_users(&people.each_ref().map(|(name, _)| *name)).await;
    page.until("at rest", "document.getAnimations().length === 0").await;
    let picture = within("a screenshot", page.client.screenshot()).await.expect("a screenshot");
    assert!(picture.starts_with(b"\x89PNG"));
    let scratch = tempfile::tempdir().expect("a directory");
    let path = env::var_os("PRESENTLY_SCREENSHOT").map_or(scratch.path().join("page.png"), PathBuf::from);
    fs::write(&path, picture).expect("a place for the screenshot");
}
