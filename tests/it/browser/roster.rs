//! The list: who is there, and nobody else, however many they are.

use fantoccini::key::Key;
use serde_json::json;

use super::{USERS, crowd};
use crate::harness::{Binary, Page};

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
    page.until("away", "window.row.querySelector('.meta').textContent === 'away'").await;
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
async fn names_stand_in_the_order_of_their_language() {
    let gateway = Binary::start(&["--user", "🦊", "--user", "é"]).await;
    let page = Page::of(&gateway).await;
    for name in ["\u{ffee}", "Zoe", "שלום", "ann", "山田", "👩‍👧"] {
        gateway.sign_in("lobby", name).await;
    }
    page.until_users(&["\u{ffee}", "👩‍👧", "🦊", "ann", "é", "Zoe", "שלום", "山田"]).await;
}

#[tokio::test]
async fn a_row_signs_out_by_its_button_and_the_focus_stays_near() {
    let gateway = Binary::start(&["--user", "ann", "--user", "bob", "--user", "cyd"]).await;
    let page = Page::of(&gateway).await;
    page.enter("li[data-user=bob] .out", &Key::Enter).await;
    page.until("asked", "document.activeElement.id === 'confirm-no'").await;
    page.press(Key::Escape).await;
    page.until("back", "document.activeElement.matches('li[data-user=bob] .out')").await;
    page.enter("li[data-user=bob] .out", &Key::Enter).await;
    page.until("asked again", "document.getElementById('confirm-title').textContent.startsWith('Sign out')").await;
    page.enter("#confirm-yes", &Key::Enter).await;
    page.until_users(&["ann", "cyd"]).await;
    assert_eq!(page.get("document.activeElement.closest('li').dataset.user").await, json!("cyd"), "the next row");
    page.sign_out_by_row("cyd").await;
    page.until_users(&["ann"]).await;
    assert_eq!(page.get("document.activeElement.closest('li').dataset.user").await, json!("ann"), "or the one before");
    page.sign_out_by_row("ann").await;
    page.until_users(&[]).await;
    assert_eq!(page.get("document.activeElement.id").await, json!("user"), "or the form");
    page.stayed().await;
}

/// Whether the rows that there are stand from one place to another, and know of how many they are.
fn rows(first: usize, last: usize, of: usize) -> String {
    format!(
        "(() => {{ const rows = Array.from(document.querySelectorAll('#users > li'));
           const at = rows.map((li) => Number(li.getAttribute('aria-posinset')));
           return at[0] === {first} && at.at(-1) === {last} && at.every((n, i) => n === {first} + i)
             && rows.every((li) => li.getAttribute('aria-setsize') === '{of}'); }})()"
    )
}

const FEW: &str = "document.querySelectorAll('#users > li').length < 60";

#[tokio::test]
async fn up_to_500_members_all_have_a_row() {
    let gateway = crowd(499).await;
    let page = Page::of(&gateway).await;
    page.until("all", &rows(1, 499, 499)).await;
    gateway.sign_in("lobby", "zoe").await;
    page.until("one more", &rows(1, 500, 500)).await;
    page.stayed().await;
}

#[tokio::test]
async fn of_a_crowd_only_those_in_view_have_a_row_and_all_are_counted() {
    let gateway = crowd(3_000).await;
    let page = Page::of(&gateway).await;
    page.until_heading("3\u{202f}000 members").await;
    page.until("few rows", FEW).await;
    page.until("the first", &format!("{USERS}[0] === 'member-0000'")).await;
    page.run("document.getElementById('scroller').scrollTop = 1e9").await;
    page.until("the last", &format!("{USERS}.at(-1) === 'member-2999'")).await;
    page.until("few rows", FEW).await;
    let bottom = |css: &str| format!("document.querySelector('{css}').getBoundingClientRect().bottom");
    let seen = format!("{} <= {} + 1", bottom("#users > li:last-child"), bottom("#scroller"));
    page.until("in view", &seen).await;
    let place = "document.querySelector('#users > li:last-child').getAttribute('aria-posinset')";
    assert_eq!(page.get(place).await, json!("3000"));
    page.stayed().await;
}

#[tokio::test]
async fn what_comes_and_goes_above_does_not_move_what_is_in_view() {
    let gateway = crowd(3_000).await;
    let page = Page::of(&gateway).await;
    page.until("few rows", FEW).await;
    page.run("document.getElementById('scroller').scrollTop = 56 * 1000 + 20").await;
    let row = "document.querySelector('li[data-user=member-1003]')";
    let top = format!("{row}.getBoundingClientRect().top");
    page.until("in view", row).await;
    let before = page.get(&top).await;
    gateway.batch("lobby", &json!({ "add": [{ "user": "aaron" }, { "user": "abel" }], "del": ["member-0001"] })).await;
    page.until("one more", &format!("{row}.getAttribute('aria-posinset') === '1005'")).await;
    assert_eq!(page.get(&top).await, before, "the row stayed where it was");
    gateway.sign_out("lobby", "member-1000").await;
    page.until("one less", &format!("{row}.getAttribute('aria-posinset') === '1004'")).await;
    assert_eq!(page.get(&top).await, before, "also when the first in view goes");
}

#[tokio::test]
async fn searching_finds_names_and_what_is_said_as_one_types() {
    let gateway = Binary::start(&["--user", "Ann", "--user", "bob", "--user", "joANNa"]).await;
    gateway.sign_in_as("lobby", "cyd", &json!({ "status": "with ann" })).await;
    let page = Page::of(&gateway).await;
    page.enter("#search", "ann").await;
    page.until("found", &format!("{USERS}.join() === 'Ann,cyd,joANNa'")).await;
    page.until("told how many", "document.getElementById('more').textContent === '3 of 4'").await;
    gateway.sign_in("lobby", "hannah").await;
    gateway.sign_in("lobby", "eve").await;
    page.until("who comes, too", &format!("{USERS}.join() === 'Ann,cyd,hannah,joANNa'")).await;
    page.enter("#search", "zzz").await;
    page.until("nobody", "document.getElementById('empty').innerText.startsWith('Nobody matches “annzzz”.')").await;
    page.until_heading("6 members").await;
    page.enter("#search", &Key::Backspace.to_string().repeat(6)).await;
    page.until_users(&["Ann", "bob", "cyd", "eve", "hannah", "joANNa"]).await;
}

#[tokio::test]
async fn the_newest_or_the_longest_here_may_come_first() {
    let gateway = Binary::start(&["--user", "bob"]).await;
    let page = Page::of(&gateway).await;
    let came = "Date.parse(document.querySelector('#users time').dateTime)";
    // Members come in whole seconds.
    page.until("another second", &format!("Date.now() >= {came} + 1000")).await;
    gateway.sign_in("lobby", "ann").await;
    page.until_users(&["ann", "bob"]).await;
    page.find("#sort").await.select_by_value("longest").await.expect("an order");
    page.until_users(&["bob", "ann"]).await;
    page.find("#sort").await.select_by_value("newest").await.expect("an order");
    page.until_users(&["ann", "bob"]).await;
    page.until("another second", &format!("Date.now() >= {came} + 1000")).await;
    gateway.sign_in("lobby", "zoe").await;
    page.until_users(&["zoe", "ann", "bob"]).await;
    page.stayed().await;
}
