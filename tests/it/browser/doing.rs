//! What people do on the page, with script and without.

use fantoccini::key::Key;
use serde_json::json;

use super::{STATE, WITHOUT_SCRIPT, crowd};
use crate::harness::{Binary, Page};

#[tokio::test]
async fn the_form_signs_in_and_says_what_is_wrong() {
    let gateway = Binary::start(&[]).await;
    let page = Page::of(&gateway).await;
    page.enter("#user", "Grace").await;
    page.click("#sign-in button").await;
    page.until_users(&["Grace"]).await;
    page.until("cleared, for the next name", "document.getElementById('user').value === ''").await;
    page.enter("#user", &(Key::Null + "a/b + c" + &Key::Enter)).await;
    page.until_users(&["a/b + c", "Grace"]).await;

    page.until("cleared again", "document.getElementById('user').value === ''").await;
    page.enter("#user", &("..".to_owned() + &Key::Enter)).await;
    page.until("told why", "document.querySelector('#sign-in-note.wrong:not(:empty)')").await;
    let invalid = "document.activeElement.matches('#user[aria-invalid=true][aria-describedby~=sign-in-note]')";
    assert_eq!(page.get(invalid).await, json!(true), "the field has the focus and the message");
    page.until_users(&["a/b + c", "Grace"]).await;
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

#[tokio::test]
async fn without_script_other_rooms_are_read_and_changed_too() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    gateway.sign_in("team 7/a", "bob").await;
    let page = Page::blank(&[WITHOUT_SCRIPT]).await;
    page.go(&format!("http://{}/users?room=team+7%2Fa", gateway.addr)).await;
    page.until_users(&["bob"]).await;
    page.enter("#user", "eve").await;
    page.click("#sign-in button").await;
    page.until_users(&["bob", "eve"]).await;
    page.click("li[data-user=bob] button").await;
    page.until_users(&["eve"]).await;
    page.until("the same room", "document.querySelector('h1 bdi').textContent === 'team 7/a'").await;
    assert!(gateway.held("lobby").await.users.into_keys().eq(["ann"]));
}

#[tokio::test]
async fn without_script_links_lead_through_all_members_and_all_rooms() {
    let gateway = crowd(1_100).await;
    for n in 0..120 {
        gateway.sign_in(&format!("room-{n:03}"), "ann").await;
    }
    let page = Page::blank(&[WITHOUT_SCRIPT]).await;
    page.go(&format!("http://{}/users", gateway.addr)).await;
    let members =
        "[document.querySelector('#users > li').dataset.user, document.querySelectorAll('#users > li').length].join()";
    for seen in ["member-0000,500", "member-0500,500", "member-1000,100"] {
        page.until(seen, &format!("{members} === '{seen}'")).await;
        page.until_heading("1100 members").await;
        if !seen.ends_with(",100") {
            page.click(".pages a:last-child").await;
        }
    }
    page.click(".pages a").await;
    page.until("from the first again", &format!("{members} === 'member-0000,500'")).await;
    page.click("noscript a[href*=rooms_after]").await;
    page.click("#rooms li:last-child a").await;
    page.until("the last room", "document.querySelector('h1 bdi').textContent === 'room-119'").await;
    page.until_users(&["ann"]).await;
}

#[tokio::test]
async fn an_open_row_closes_and_goes_with_its_member_and_covers_nothing() {
    let gateway = Binary::start(&["--user", "ann", "--user", "bob"]).await;
    let page = Page::of(&gateway).await;
    page.open_row("ann").await;
    page.until("open", "document.querySelector('li[data-user=ann] .open').ariaExpanded === 'true'").await;
    let edge = |user: &str, edge: &str| {
        format!("document.querySelector('li[data-user={user}]').getBoundingClientRect().{edge}")
    };
    let apart = format!("{} >= {} - 1", edge("bob", "top"), edge("ann", "bottom"));
    page.until("nothing is covered", &format!("document.getAnimations().length === 0 && {apart}")).await;
    page.click("li[data-user=ann] .open").await;
    page.until("closed", "!document.querySelector('.details')").await;
    page.open_row("bob").await;
    gateway.sign_out("lobby", "bob").await;
    page.until_users(&["ann"]).await;
    page.until("gone with its row", "!document.querySelector('.details')").await;
    page.stayed().await;
}

#[tokio::test]
async fn what_happens_is_listed_with_its_reason_and_charted() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::of(&gateway).await;
    let log = "Array.from(document.querySelectorAll('#log > li'), (li) => li.innerText.replace(/\\s+/g, ' ').replace(/^\\S+ /, '').trim())";
    page.until("from before", &format!("{log}.join('|') === 'ann came'")).await;
    gateway.sign_in("lobby", "bob").await;
    gateway.sign_in_as("lobby", "bob", &json!({ "status": "away" })).await;
    gateway.sign_out("lobby", "ann").await;
    page.until("listed", &format!("{log}.join('|') === 'ann left signed out|bob changed away|bob came|ann came'"))
        .await;
    page.until("counted", "document.getElementById('came').textContent === '2'").await;
    page.until("drawn", &Page::inked("#chart .over", "--accent")).await;
    page.until("with bars", &Page::inked("#chart .flow", "--came")).await;
    page.until("described", "document.getElementById('chart').ariaLabel.endsWith('2 came, 1 left.')").await;
    for n in 0..60 {
        gateway.sign_in("lobby", &format!("guest-{n}")).await;
    }
    page.until("the last are kept", &format!("{log}[0] === 'guest-59 came' && {log}.length === 50")).await;
}

#[tokio::test]
async fn how_to_connect_names_this_gateway_and_room_and_can_be_copied() {
    let gateway = Binary::start(&[]).await;
    let page = Page::at(&gateway, "/users?room=team+7", &[]).await;
    page.click("#how").await;
    let text = page.get("document.getElementById('snippets').innerText").await;
    for part in [
        format!("curl -N 'http://{}/api/rooms/team%207/stream'", gateway.addr),
        format!("import {{ Room }} from \"http://{}/presently.js\";", gateway.addr),
        format!("new WebSocket(\"ws://{}/ws?room=team%207\")", gateway.addr),
    ] {
        assert!(text.as_str().expect("text").contains(&part), "{part} is missing in {text}");
    }
    page.run("navigator.clipboard.writeText = async (text) => { window.copied = text }").await;
    page.click("#snippets figure:nth-child(2) button").await;
    page.until("copied", "window.copied?.startsWith('curl -N ')").await;
    page.until("told", "document.getElementById('copied').textContent === 'Copied.'").await;
    page.run("navigator.clipboard.writeText = async () => { throw new Error('not allowed') }").await;
    page.click("#snippets figure:nth-child(1) button").await;
    page.until("at least selected", "getSelection().toString().startsWith('curl -X PUT')").await;
}
