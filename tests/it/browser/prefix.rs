//! The page, the client and the element below a path prefix, which a proxy removes.

use fantoccini::key::Key;
use serde_json::json;

use super::USERS;
use crate::harness::{Binary, Client, Page, PrefixProxy, within};

const PREFIX: &str = "/apps/presence";

/// A gateway below the prefix, and a browser that shows `path` of it.
async fn below_prefix(path: &str) -> (Binary, PrefixProxy, Page) {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let proxy = PrefixProxy::start(&gateway, PREFIX).await;
    let page = Page::blank(&[]).await;
    page.go(&format!("{}{path}", proxy.base())).await;
    (gateway, proxy, page)
}

async fn users(gateway: &Client) -> Vec<String> {
    gateway.held("lobby").await.users.into_keys().collect()
}

#[tokio::test]
async fn the_page_is_live_and_whole() {
    let (gateway, proxy, page) = below_prefix("users").await;
    page.until_live().await;
    page.run("window.stayed = true").await;
    page.until_users(&["ann"]).await;
    page.enter("#user", &("bob".to_owned() + &Key::Enter)).await;
    page.until_users(&["ann", "bob"]).await;
    page.open_row("ann").await;
    page.click("li[data-user=ann] [data-of=meta] button").await;
    page.press_all("status").await;
    page.enter("[data-of=meta] input:nth-child(2)", &("\"away\"".to_owned() + &Key::Enter)).await;
    page.until("its status", "document.querySelector('li[data-user=ann] .meta').textContent === 'away'").await;
    page.sign_out_by_row("bob").await;
    page.until_users(&["ann"]).await;
    page.until("the chart", &Page::inked("#chart .over", "--accent")).await;
    page.until("the numbers", "document.querySelector('dd[data-value=uptime]').textContent !== '–'").await;
    page.until("the style", "getComputedStyle(document.querySelector('.unseen')).position === 'absolute'").await;
    page.until("the picture", "document.querySelector('.brand img').naturalWidth > 0").await;
    page.stayed().await;
    assert_eq!(proxy.astray(), [""; 0]);
    assert_eq!(users(&gateway).await, ["ann"]);
}

#[tokio::test]
async fn rooms_links_forms_and_snippets_keep_the_prefix() {
    let (gateway, proxy, page) = below_prefix("users").await;
    gateway.sign_in("den", "cyd").await;
    page.until_live().await;
    let base = proxy.base();
    page.until("listed", "document.querySelector('#rooms a:not([aria-current])')").await;
    page.click("#rooms a:not([aria-current])").await;
    page.until_users(&["cyd"]).await;
    assert_eq!(page.get("location.href").await, json!(format!("{base}users?room=den")));
    within("a reload", page.client.refresh()).await.expect("it reloads");
    page.until_live().await;
    page.until_users(&["cyd"]).await;
    for (expression, expected) in [
        ("document.querySelector('.brand').href", "users"),
        ("document.getElementById('open-room').action", "users"),
        ("document.getElementById('sign-in').action", "api/rooms/den/login"),
        ("document.getElementById('sign-out').action", "api/rooms/den/logout"),
    ] {
        assert_eq!(page.get(expression).await, json!(format!("{base}{expected}")), "{expression}");
    }
    let text = page.get("document.getElementById('snippets').textContent").await;
    let socket = format!("new WebSocket(\"{}ws?room=den\")", base.replace("http", "ws"));
    let (stream, import) = (format!("{base}api/rooms/den/stream"), format!("from \"{base}presently.js\""));
    for part in [socket, stream, import] {
        assert!(text.as_str().expect("text").contains(&part), "{part} is missing in {text}");
    }
    page.click(".brand").await;
    page.until("the lobby", &format!("JSON.stringify({USERS}) === '[\"ann\"]'")).await;
    assert_eq!(page.get("location.href").await, json!(format!("{base}users")));
    assert_eq!(proxy.astray(), [""; 0]);
}

/// By both names of the client, and over both transports.
#[tokio::test]
async fn the_client_finds_the_gateway_without_a_url() {
    let (gateway, proxy, page) = below_prefix("healthz").await;
    let file = gateway.get("/presently.js").await.expect(200);
    let hashed = file.header("content-location").expect("its name by hash");
    for (script, transport) in [("/presently.js", "websocket"), (hashed, "sse")] {
        let make = format!("new Room('lobby', {{ as: 'bob', transport: '{transport}' }})");
        let import = format!("import('{PREFIX}{script}')");
        page.run(&format!("return {import}.then(({{ Room }}) => {{ window.room = {make} }})")).await;
        page.until("live", "room.state === 'live' && room.holding").await;
        assert_eq!(page.get("room.transport").await, json!(transport), "{script}");
        assert_eq!(users(&gateway).await, ["ann", "bob"]);
        page.run("room.update({ status: 'away' })").await;
        page.until("said", "room.members.get('bob')?.meta.status === 'away'").await;
        page.run("room.leave()").await;
        page.until("gone", "!room.members.has('bob')").await;
        page.run("room.close()").await;
    }
    assert_eq!(proxy.astray(), [""; 0]);
}

#[tokio::test]
async fn the_element_finds_the_gateway_without_a_url() {
    let (gateway, proxy, page) = below_prefix("healthz").await;
    let element = "const element = document.createElement('presently-room'); window.element = element; \
                   element.setAttribute('room', 'lobby'); element.setAttribute('as', 'bob'); document.body.append(element)";
    page.run(&format!("return import('{PREFIX}/presently-room.js').then(() => {{ {element} }})")).await;
    page.until("live", "element.getAttribute('state') === 'live' && element.presence.holding").await;
    let names = "Array.from(element.shadowRoot.querySelectorAll('[part=name]'), (name) => name.textContent).join()";
    page.until("listed", &format!("{names} === 'ann,bob'")).await;
    assert_eq!(users(&gateway).await, ["ann", "bob"]);
    assert_eq!(proxy.astray(), [""; 0]);
}
