//! The client's tokens, from pages that make them by themselves.

use serde_json::{Value, json};

use super::{held_by, holds};
use crate::harness::{Client, Guarded, Page, Proxy, SECRET, TestServer, within};

/// What a page needs to make tokens: `mint(sub, seconds, rooms)`. A page counts its answers in `asked`.
const MINT: &str = r#"
    const bytes = (text) => new TextEncoder().encode(text);
    const code = (data) => btoa(String.fromCharCode(...data)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
    const json = (value) => code(bytes(JSON.stringify(value)));
    const secret = bytes(arguments[0]);
    window.asked = 0;
    window.mint = async (sub, seconds, rooms = [{ match: '*', can: ['watch', 'join'] }]) => {
        window.asked += 1;
        const exp = Math.floor(Date.now() / 1000) + seconds;
        const said = `${json({ alg: 'HS256', typ: 'JWT' })}.${json({ aud: 'presently', sub, exp, presently: { rooms } })}`;
        const key = await crypto.subtle.importKey('raw', secret, { name: 'HMAC', hash: 'SHA-256' }, false, ['sign']);
        return `${said}.${code(new Uint8Array(await crypto.subtle.sign('HMAC', key, bytes(said))))}`;
    };"#;

impl Page {
    /// Makes a `room` in this tab with the `token`, an expression.
    async fn make_with(&self, name: &str, options: &Value, token: &str) {
        within("mint", self.client.execute(MINT, vec![json!(SECRET)])).await.expect("the script runs");
        self.make_more(name, options, &format!("token: {token}")).await;
    }

    async fn room_with(&self, name: &str, options: Value, token: &str) {
        self.make_with(name, &options, token).await;
        self.live().await;
    }
}

#[tokio::test]
async fn two_tabs_of_one_user_ask_for_one_token_and_the_next_leader_asks_for_its_own() {
    let guarded = Guarded::start(&[]).await;
    let (gateway, backend) = (&guarded, guarded.backend());
    let page = Page::idle(gateway).await;
    let leader = page.this().await;
    page.room_with("lobby", json!({ "as": "ann" }), "() => mint('ann', 600)").await;
    let follower = page.tab(gateway).await;
    page.room_with("lobby", json!({ "as": "ann" }), "() => mint('ann', 600)").await;
    assert_eq!(page.get("asked").await, json!(0));
    let (before, cursor) = (held_by(&backend, "ann").await, backend.cursor("lobby").await);
    page.to(&leader).await;
    assert_eq!(page.get("asked").await, json!(1));
    within("the tab's end", page.client.close_window()).await.expect("it closes");
    page.to(&follower).await;
    page.until("asked", "asked === 1").await;
    page.live().await;
    assert_ne!(held_by(&backend, "ann").await, before);
    assert_eq!(backend.cursor("lobby").await, cursor, "there was no event");
}

#[tokio::test]
async fn two_users_of_one_browser_have_connections_and_rights_of_their_own() {
    let guarded = Guarded::start(&[]).await;
    let (gateway, backend) = (&guarded, guarded.backend());
    let page = Page::idle(gateway).await;
    let first = page.this().await;
    page.room_with("lobby", json!({ "as": "ann" }), "() => mint('ann', 600)").await;
    page.tab(gateway).await;
    let only_lobby = "() => mint('bob', 600, [{ match: 'lobby', can: ['watch', 'join'] }])";
    page.room_with("lobby", json!({ "as": "bob" }), only_lobby).await;
    assert_ne!(held_by(&backend, "ann").await, held_by(&backend, "bob").await);
    page.make_more("hall", &json!({ "as": "bob" }), "token: () => mint('bob', 600)").await;
    page.until("refused", "room.state === 'refused' && room.refusal.code === 'not_allowed'").await;
    page.to(&first).await;
    page.room_with("hall", json!({ "as": "ann" }), "() => mint('ann', 600)").await;
    page.make_with("hall", &json!({ "as": "cyd" }), "() => mint('ann', 600)").await;
    page.until("refused", "room.state === 'refused' && room.refusal.code === 'wrong_user'").await;
}

#[tokio::test]
async fn a_gateway_that_starts_anew_is_shown_the_token_that_is_still_good() {
    let mut guarded = Guarded::start(&[]).await;
    let page = Page::idle(&guarded).await;
    page.room_with("lobby", json!({ "as": "ann" }), "() => mint('ann', 600)").await;
    page.run("room.addEventListener('state', () => { window.lost ||= room.state === 'waiting' })").await;
    guarded.start_anew().await;
    page.until("lost", "window.lost").await;
    page.live().await;
    held_by(&guarded.backend(), "ann").await;
    assert_eq!(page.get("asked").await, json!(1));
}

/// A token is taken for 30 s after its end.
#[tokio::test]
async fn a_token_that_ends_while_the_network_is_cut_is_replaced_without_an_event() {
    let guarded = Guarded::start(&["--grace", "60s", "--keep-alive", "1s", "--send-within", "1s"]).await;
    let backend = guarded.backend();
    let proxy = Proxy::start(&guarded).await;
    let page = Page::idle(&Client::of(proxy.addr)).await;
    page.room_with("lobby", json!({ "as": "ann" }), "() => mint('ann', asked ? 600 : -27)").await;
    proxy.cut();
    page.until("lost", "room.state !== 'live'").await;
    let cursor = backend.cursor("lobby").await;
    page.run("const over = Date.now() + 4_000; window.over = () => Date.now() > over").await;
    page.until("over", "over()").await;
    proxy.mend();
    page.live().await;
    assert_eq!(page.get("asked").await, json!(2));
    held_by(&backend, "ann").await;
    assert_eq!(backend.cursor("lobby").await, cursor, "there was no event");
}

#[tokio::test]
async fn a_token_is_renewed_in_place() {
    let guarded = Guarded::start(&[]).await;
    let backend = guarded.backend();
    let page = Page::idle(&guarded).await;
    page.room_with("lobby", json!({ "as": "ann" }), "() => mint('ann', asked ? 600 : 3)").await;
    let before = held_by(&backend, "ann").await;
    page.until("renewed", "asked >= 2").await;
    // Longer than the first token is good for.
    page.run("const over = Date.now() + 4_000; window.over = () => Date.now() > over").await;
    page.until("over", "over()").await;
    assert_eq!(held_by(&backend, "ann").await, before);
    assert_eq!(page.get("room.state").await, json!("live"));
}

#[tokio::test]
async fn what_a_new_token_does_not_allow_any_more_ends_and_the_rest_goes_on() {
    let guarded = Guarded::start(&[]).await;
    let backend = guarded.backend();
    let page = Page::idle(&guarded).await;
    let less = "() => mint('ann', asked ? 600 : 3, [{ match: asked ? 'hall' : '*', can: ['watch', 'join'] }])";
    page.room_with("lobby", json!({ "as": "ann" }), less).await;
    page.run("window.lobby = room").await;
    page.make_more("hall", &json!({ "as": "ann" }), &format!("token: {less}")).await;
    page.live().await;
    page.until("told", "lobby.state === 'refused' && lobby.refusal.code === 'not_allowed' && !lobby.holding").await;
    page.until("live", "room.state === 'live' && room.holding").await;
    assert_eq!(holds(&backend, "ann").await, Vec::<Value>::new(), "of the lobby");
}

#[tokio::test]
async fn over_a_session_the_token_comes_first_as_well() {
    let guarded = Guarded::start(&[]).await;
    let page = Page::idle(&guarded).await;
    page.room_with("lobby", json!({ "as": "ann", "transport": "sse" }), "() => mint('ann', asked ? 600 : 3)").await;
    page.until("renewed", "asked >= 2").await;
    page.run("room.update({ status: 'away' })").await;
    page.until("said", "room.members.get('ann').meta.status === 'away'").await;
    page.make_with("lobby", &json!({ "transport": "sse", "share": false }), "'forged'").await;
    page.until("refused", "room.state === 'refused' && room.refusal.code === 'token_invalid'").await;
    page.make("lobby", json!({ "transport": "sse" })).await;
    page.until("refused", "room.state === 'refused' && room.refusal.code === 'token_missing'").await;
}

#[tokio::test]
async fn a_revoked_token_is_not_shown_again() {
    let guarded = Guarded::start(&[]).await;
    let backend = guarded.backend();
    let page = Page::idle(&guarded).await;
    page.room_with("lobby", json!({ "as": "ann" }), "() => mint('ann', 600)").await;
    backend.send_json("POST", "/api/revocations", &json!({ "sub": "ann" })).await.expect(201);
    page.until("refused", "room.state === 'refused' && room.refusal.code === 'revoked'").await;
    assert_eq!((page.get("asked").await, holds(&backend, "ann").await), (json!(1), vec![]));
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_shows_its_token_over_either_transport() {
    let site = TestServer::start().await;
    let origin = format!("http://localhost:{}", site.addr.port());
    let guarded = Guarded::start(&["--allow-origin", &origin]).await;
    let page = Page::blank(&[]).await;
    page.go(&format!("{origin}/healthz")).await;
    within("mint", page.client.execute(MINT, vec![json!(SECRET)])).await.expect("the script runs");
    for transport in ["websocket", "sse"] {
        let options = format!("{{ as: 'ann', transport: '{transport}', token: () => mint('ann', 600) }}");
        let import = format!("import('http://{}/presently.js')", guarded.addr);
        page.run(&format!("return {import}.then(({{ Room }}) => {{ window.room = new Room('lobby', {options}) }})"))
            .await;
        page.live().await;
        page.run(&format!("room.update({{ over: '{transport}' }})")).await;
        page.until("said", &format!("room.members.get('ann').meta.over === '{transport}'")).await;
        page.run("room.close()").await;
    }
    site.stop().await;
}

#[tokio::test]
async fn an_element_with_a_user_waits_for_its_token() {
    let guarded = Guarded::start(&[]).await;
    let page = Page::idle(&guarded).await;
    within("mint", page.client.execute(MINT, vec![json!(SECRET)])).await.expect("the script runs");
    let make = "const element = document.createElement('presently-room'); window.element = element; \
                element.setAttribute('room', 'lobby'); element.setAttribute('as', 'ann'); element.setAttribute('user', 'ann'); \
                document.body.append(element)";
    page.run(&format!("{make}; return import('/presently-room.js')")).await;
    assert_eq!(page.get("element.presence").await, json!(null));
    page.run("element.token = () => mint('ann', 600)").await;
    page.until("live", "element.presence.holding && element.getAttribute('state') === 'live'").await;
    // Set before the element knew of it.
    page.run("const early = document.createElement('presently-room'); early.setAttribute('room', 'lobby'); \
              Object.defineProperty(early, 'token', { value: () => mint('ann', 600), configurable: true, writable: true }); \
              window.early = early; document.body.append(early)")
        .await;
    page.until("live", "early.getAttribute('state') === 'live'").await;
}

#[tokio::test]
async fn a_page_of_the_gateways_own_origin_without_a_token_is_told_why() {
    let guarded = Guarded::start(&[]).await;
    let page = Page::idle(&guarded).await;
    page.make("lobby", json!({ "as": "ann" })).await;
    page.until("refused", "room.state === 'refused' && room.refusal.code === 'token_missing'").await;
    assert_eq!(page.get("room.as").await, json!("ann"));
}
