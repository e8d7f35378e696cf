//! What the page says of its connection, and how it comes back.

use serde_json::json;

use super::STATE;
use crate::harness::{Binary, Page, within};

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
async fn a_gateway_out_of_reach_is_said_and_may_be_tried_at_once() {
    let mut gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::of(&gateway).await;
    assert_eq!(page.get("document.getElementById('banner').textContent").await, json!(""));
    gateway.signal("KILL").await;
    gateway.exit().await;
    page.until("told", "document.getElementById('banner').textContent.startsWith('The connection was lost.')").await;
    page.until("counted down", "/^in \\d+ s$/.test(document.getElementById('countdown').textContent)").await;
    let addr = gateway.addr.to_string();
    let _gateway = Binary::start_with(&["--listen", &addr, "--user", "ann"], &[]).await;
    page.click("#retry").await;
    page.until_live().await;
    page.until("all is well", "document.getElementById('banner').textContent === ''").await;
    assert_eq!(page.get("document.getElementById('retry').hidden").await, json!(true));
    page.stayed().await;
}

#[tokio::test]
async fn a_refusal_is_said_with_its_reason() {
    let gateway = Binary::start(&["--user", "ann", "--max-per-connection", "0"]).await;
    let page = Page::blank(&[]).await;
    page.go(&format!("http://{}/users?room=den", gateway.addr)).await;
    page.until("not admitted", &format!("{STATE} === 'Not admitted'")).await;
    page.until("told why", "document.getElementById('banner').textContent.includes('the maximum')").await;
    page.until("may be tried", "!document.getElementById('retry').hidden").await;
    page.until("nothing is said of members", "document.getElementById('empty').hidden").await;
}
