//! The client in a real browser: what its tabs share, and how they come and go.

mod tokens;

use std::time::Duration;

use fantoccini::wd::WindowHandle;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::harness::{Binary, Client, Page, Proxy, TestServer, member_path, offset, within};

/// Long enough for a page to come back, short enough to wait for.
const GRACE: Duration = Duration::from_secs(2);

/// What the events so far were about.
const SEEN: &str = "JSON.stringify(seen)";

async fn gateway() -> TestServer {
    TestServer::with(|config| config.grace = GRACE).await
}

impl Page {
    /// A browser with one tab, where nothing runs.
    async fn idle(gateway: &Client) -> Self {
        let page = Self::blank(&[]).await;
        page.go(&idle(gateway)).await;
        page
    }

    async fn tab(&self, gateway: &Client) -> WindowHandle {
        let tab = within("a tab", self.client.new_window(true)).await.expect("a tab").handle;
        self.to(&tab).await;
        self.go(&idle(gateway)).await;
        tab
    }

    async fn this(&self) -> WindowHandle {
        within("the tab's handle", self.client.window()).await.expect("a tab")
    }

    async fn to(&self, tab: &WindowHandle) {
        within("a tab", self.client.switch_to_window(tab.clone())).await.expect("it is there");
    }

    /// Makes a `room` in this tab, and waits until it is live.
    async fn room(&self, name: &str, options: Value) {
        self.make(name, options).await;
        self.live().await;
    }

    async fn make(&self, name: &str, options: Value) {
        self.make_more(name, &options, "").await;
    }

    /// The same, with `more` options, which are no JSON.
    async fn make_more(&self, name: &str, options: &Value, more: &str) {
        let args = format!("{}, {{ ...{options}, {more} }}", json!(name));
        let script = "window.seen = []; for (const type of ['add', 'update', 'del', 'snapshot']) \
             room.addEventListener(type, ({ detail }) => seen.push(`${type} ${detail.user ?? detail.count}`));";
        let made = format!("window.room = new Room({args}); {script}");
        self.run(&format!("return import('/presently.js').then(({{ Room }}) => {{ {made} }})")).await;
    }

    async fn live(&self) {
        self.until("live", "room.state === 'live' && (!room.as || room.holding)").await;
    }

    async fn until_seen(&self, seen: &[&str]) {
        let seen = json!(json!(seen).to_string());
        self.until_or_tell(seen.as_str().unwrap_or_default(), &format!("{SEEN} === {seen}"), SEEN).await;
    }
}

/// Where a page of the gateway's origin does nothing by itself.
fn idle(gateway: &Client) -> String {
    format!("http://{}/healthz", gateway.addr)
}

/// The connections that hold a user in the lobby, those in their grace too.
async fn holds(gateway: &Client, user: &str) -> Vec<Value> {
    let member = gateway.get(&member_path("lobby", user)).await;
    if member.status == 404 { vec![] } else { member.json()["holds"].as_array().expect("holds").clone() }
}

/// Waits until one connection holds the user, and none is in its grace any more; which one that is.
async fn held_by(gateway: &Client, user: &str) -> String {
    let settled = async {
        loop {
            let holds = holds(gateway, user).await;
            if let [hold] = holds.as_slice()
                && hold["lost"].is_null()
            {
                return hold["connection"].as_str().expect("a connection").to_owned();
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    within(&format!("one connection for {user}"), settled).await
}

#[tokio::test]
async fn two_tabs_and_three_rooms_have_one_connection() {
    let gateway = gateway().await;
    let page = Page::idle(&gateway).await;
    let first = page.this().await;
    page.room("lobby", json!({ "as": "ann", "meta": { "status": "here" } })).await;
    page.tab(&gateway).await;
    page.room("hall", json!({})).await;
    // Whoever leads by then, since a hidden tab may lose the lead on a slow machine: the set comes first, and then bob.
    page.room("lobby", json!({})).await;
    page.until_seen(&["snapshot 1"]).await;
    page.run("return room.join('bob')").await;
    assert_eq!(held_by(&gateway, "ann").await, held_by(&gateway, "bob").await);
    gateway.sign_in("lobby", "cyd").await;
    page.until_seen(&["snapshot 1", "add bob", "add cyd"]).await;
    page.to(&first).await;
    page.until_seen(&["snapshot 1", "add bob", "add cyd"]).await;
    page.run("room.update({ status: 'away' })").await;
    page.until_seen(&["snapshot 1", "add bob", "add cyd", "update ann"]).await;
    assert_eq!(page.get("room.transport").await, json!("websocket"));
    gateway.stop().await;
}

#[tokio::test]
async fn when_the_leading_tab_is_closed_another_takes_over_without_an_event() {
    let gateway = gateway().await;
    let page = Page::idle(&gateway).await;
    let leader = page.this().await;
    page.room("lobby", json!({ "as": "ann" })).await;
    let follower = page.tab(&gateway).await;
    page.room("lobby", json!({ "as": "ann" })).await;
    let (before, cursor) = (held_by(&gateway, "ann").await, gateway.cursor("lobby").await);
    page.to(&leader).await;
    within("the tab's end", page.client.close_window()).await.expect("it closes");
    page.to(&follower).await;
    page.live().await;
    assert_ne!(held_by(&gateway, "ann").await, before);
    assert_eq!(gateway.cursor("lobby").await, cursor, "there was no event");
    gateway.sign_in("lobby", "bob").await;
    page.until_seen(&["snapshot 1", "add bob"]).await;
    gateway.stop().await;
}

/// As a system does that suspends tabs which nobody sees, while they hold their locks.
#[tokio::test]
async fn a_leading_tab_that_hangs_loses_the_lead_to_one_that_is_looked_at() {
    let gateway = gateway().await;
    let page = Page::idle(&gateway).await;
    let leader = page.this().await;
    page.room("lobby", json!({})).await;
    let follower = page.tab(&gateway).await;
    page.room("lobby", json!({ "as": "bob" })).await;
    let before = held_by(&gateway, "bob").await;
    page.to(&leader).await;
    let hang = "const end = Date.now() + 6_000; while (Date.now() < end);";
    page.run(&format!("window.hang = new BroadcastChannel('hang'); hang.onmessage = () => {{ {hang} }}")).await;
    page.to(&follower).await;
    page.run("new BroadcastChannel('hang').postMessage(null)").await;
    page.run("document.dispatchEvent(new Event('visibilitychange'))").await;
    let cursor = gateway.cursor("lobby").await;
    let after = gateway.sign_in("lobby", "cyd").await;
    page.until("the event", "seen.at(-1) === 'add cyd'").await;
    page.to(&leader).await;
    page.until_seen(&["snapshot 0", "add bob", "add cyd"]).await;
    page.live().await;
    assert_ne!(held_by(&gateway, "bob").await, before, "it is the other tab's connection");
    assert_eq!(offset(&after), offset(&cursor) + 1);
    assert_eq!(gateway.cursor("lobby").await, after, "there was no other event");
    gateway.stop().await;
}

#[tokio::test]
async fn a_tab_that_follows_and_is_closed_is_gone_after_the_grace() {
    let gateway = gateway().await;
    let page = Page::idle(&gateway).await;
    let leader = page.this().await;
    page.room("lobby", json!({})).await;
    page.tab(&gateway).await;
    page.room("lobby", json!({ "as": "ann" })).await;
    within("the tab's end", page.client.close_window()).await.expect("it closes");
    page.to(&leader).await;
    page.until_seen(&["snapshot 0", "add ann", "del ann"]).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_room_that_a_following_tab_closes_is_left_at_once() {
    let gateway = TestServer::start().await;
    let page = Page::idle(&gateway).await;
    let leader = page.this().await;
    page.room("lobby", json!({})).await;
    page.tab(&gateway).await;
    page.room("lobby", json!({ "as": "ann" })).await;
    page.run("room.close()").await;
    page.to(&leader).await;
    page.until_seen(&["snapshot 0", "add ann", "del ann"]).await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_reload_within_the_grace_is_seen_by_nobody() {
    let gateway = gateway().await;
    let page = Page::idle(&gateway).await;
    page.room("lobby", json!({ "as": "ann" })).await;
    let (before, cursor) = (held_by(&gateway, "ann").await, gateway.cursor("lobby").await);
    within("a reload", page.client.refresh()).await.expect("it reloads");
    page.room("lobby", json!({ "as": "ann" })).await;
    assert_ne!(held_by(&gateway, "ann").await, before);
    assert_eq!(gateway.cursor("lobby").await, cursor, "there was no event");
    gateway.stop().await;
}

#[tokio::test]
async fn a_page_from_the_back_forward_cache_holds_again_without_an_event() {
    let gateway = gateway().await;
    let page = Page::idle(&gateway).await;
    page.room("lobby", json!({ "as": "ann" })).await;
    page.run("addEventListener('pageshow', (event) => { window.persisted = event.persisted })").await;
    let before = held_by(&gateway, "ann").await;
    page.go(&format!("http://{}/api/rooms", gateway.addr)).await;
    gateway.sign_in("lobby", "bob").await;
    within("the way back", page.client.back()).await.expect("there was a page before");
    page.until_seen(&["snapshot 1", "add bob"]).await;
    page.live().await;
    assert_eq!(page.get("window.persisted").await, json!(true), "it came from the cache");
    assert_ne!(held_by(&gateway, "ann").await, before);
    page.until_seen(&["snapshot 1", "add bob"]).await;
    gateway.stop().await;
}

#[tokio::test]
async fn when_the_gateway_starts_anew_tabs_hold_and_watch_as_before() {
    let mut gateway = Binary::start(&["--user", "zoe"]).await;
    let page = Page::idle(&gateway).await;
    let first = page.this().await;
    page.room("lobby", json!({ "as": "ann", "meta": { "status": "here" } })).await;
    let second = page.tab(&gateway).await;
    page.room("lobby", json!({ "as": "bob" })).await;
    gateway.signal("KILL").await;
    gateway.exit().await;
    page.until("told when it tries again", "room.state === 'waiting' && room.retryAt > 0").await;
    let addr = gateway.addr.to_string();
    // Until the time after the start is over, whom the old gateway knew stays.
    let gateway = Binary::start_with(&["--listen", &addr, "--fresh-for", "2s"], &[]).await;
    for tab in [&first, &second] {
        page.to(tab).await;
        page.live().await;
        page.until("both there", "[...room.members.keys()].sort().join() === 'ann,bob'").await;
    }
    assert_eq!(held_by(&gateway, "ann").await, held_by(&gateway, "bob").await);
    assert_eq!(page.get("room.members.get('ann').meta").await, json!({ "status": "here" }));
}

#[tokio::test]
async fn a_browser_that_is_online_again_connects_at_once_and_without_an_event() {
    let gateway = gateway().await;
    let page = Page::idle(&gateway).await;
    page.room("lobby", json!({ "as": "ann" })).await;
    let (before, cursor) = (held_by(&gateway, "ann").await, gateway.cursor("lobby").await);
    page.run("window.online = 0; addEventListener('online', () => { window.online += 1 })").await;
    page.network(true).await;
    page.until("offline", "!navigator.onLine").await;
    page.network(false).await;
    page.until("online", "window.online === 1").await;
    let renewed = async { while held_by(&gateway, "ann").await == before {} };
    within("another connection", renewed).await;
    page.live().await;
    assert_eq!(gateway.cursor("lobby").await, cursor, "there was no event");
    gateway.sign_in("lobby", "bob").await;
    page.until_seen(&["snapshot 1", "add bob"]).await;
    gateway.stop().await;
}

#[tokio::test]
async fn behind_a_proxy_that_breaks_upgrades_it_goes_on_over_sse() {
    let gateway = gateway().await;
    let proxy = Proxy::start(&gateway).await;
    let page = Page::idle(&Client::of(proxy.addr)).await;
    page.room("lobby", json!({ "as": "ann" })).await;
    assert_eq!(page.get("room.transport").await, json!("websocket"));
    let cursor = gateway.cursor("lobby").await;
    proxy.break_upgrades();
    page.until("sse", "room.transport === 'sse' && room.state === 'live'").await;
    gateway.sign_in("lobby", "bob").await;
    page.until("the event", "seen.at(-1) === 'add bob'").await;
    assert_eq!(page.get("seen.filter((seen) => seen.startsWith('snapshot')).length").await, json!(1), "from {cursor}");
    page.run("room.update({ status: 'away' })").await;
    page.until("said", "room.members.get('ann').meta.status === 'away'").await;
    page.run("room.leave()").await;
    page.until("gone", "seen.at(-1) === 'del ann' && !room.holding").await;
    gateway.stop().await;
}

/// A past bug: over SSE each room took a connection, and the seventh hung with all other requests of the site.
#[tokio::test]
async fn over_a_session_many_rooms_are_one_connection_and_requests_are_answered() {
    let gateway = gateway().await;
    let page = Page::idle(&gateway).await;
    let make =
        "window.rooms = Array.from({ length: 8 }, (_, n) => new Room(`room ${n}`, { as: 'ann', transport: 'sse' }))";
    page.run(&format!("return import('/presently.js').then(({{ Room }}) => {{ {make} }})")).await;
    page.until("all live", "rooms.every((room) => room.state === 'live' && room.holding)").await;
    page.run("window.asked = 0; fetch('/healthz').then(({ status }) => { window.asked = status })").await;
    page.until("an answer", "window.asked === 200").await;
    let numbers = gateway.get("/api/gateway").await.expect(200).json();
    assert_eq!((&numbers["connections"]["sse"], &numbers["connections"]["websocket"]), (&json!(1), &json!(0)));
    gateway.stop().await;
}

/// A past bug: two updates in a row were two requests, which could pass each other.
#[tokio::test]
async fn over_a_session_the_last_word_is_the_last_that_was_said() {
    let gateway = gateway().await;
    let page = Page::idle(&gateway).await;
    page.room("lobby", json!({ "as": "ann", "transport": "sse", "every": 0 })).await;
    for n in 0..20 {
        page.run(&format!("room.update({{ n: {n}, typing: true }}); room.update({{ n: {n}, typing: false }})")).await;
    }
    let said = async {
        while gateway.get(&member_path("lobby", "ann")).await.json()["meta"] != json!({ "n": 19, "typing": false }) {}
    };
    within("the last word", said).await;
    // One update each, and in order.
    let seen = "JSON.stringify(seen) === JSON.stringify(['snapshot 1', ...Array(40).fill('update ann')])";
    page.until("all words", seen).await;
    assert_eq!(page.get("room.members.get('ann').meta.typing").await, json!(false));
    gateway.stop().await;
}

/// A past bug: the request that left and the stream that joined could pass each other.
#[tokio::test]
async fn over_a_session_a_room_that_is_closed_and_made_again_holds_on() {
    let gateway = gateway().await;
    let page = Page::idle(&gateway).await;
    page.room("lobby", json!({ "as": "ann", "transport": "sse" })).await;
    let cursor = gateway.cursor("lobby").await;
    page.run("window.Room = room.constructor; room.close(); window.room = new Room('lobby', { as: 'ann', transport: 'sse' })")
        .await;
    page.live().await;
    assert_eq!(gateway.cursor("lobby").await, cursor, "there was no event");
    page.run("room.close(); setTimeout(() => { window.room = new Room('lobby', { as: 'ann', transport: 'sse' }) }, 5)")
        .await;
    page.until("another room", "room.state === 'live' && room.holding").await;
    held_by(&gateway, "ann").await;
    assert_eq!(page.get("room.holding").await, json!(true));
    gateway.stop().await;
}

#[tokio::test]
async fn a_hold_that_is_refused_leaves_the_room_live() {
    let gateway = TestServer::start().await;
    let page = Page::idle(&gateway).await;
    let deep = (0..40).fold(json!(1), |inner, _| json!({ "a": inner }));
    page.make("lobby", json!({ "as": "ann", "meta": deep })).await;
    page.until("refused", "room.refusal?.code === 'bad_meta'").await;
    page.until("live", "room.state === 'live' && !room.holding").await;
    gateway.stop().await;
}

#[tokio::test]
async fn a_page_of_an_origin_that_is_not_allowed_is_refused_for_good() {
    let gateway = TestServer::start().await;
    let page = Page::blank(&[]).await;
    page.go(&format!("http://localhost:{}/healthz", gateway.addr.port())).await;
    let url = format!("http://{}/", gateway.addr);
    let import = format!("import('{url}presently.js')");
    let made = "window.room = new Room('lobby', { as: 'ann' })";
    page.run(&format!("return {import}.then(({{ Room }}) => {{ {made} }})")).await;
    page.until("refused", "room.state === 'refused' && room.refusal.code === 'cross_site'").await;
    assert_eq!(gateway.held("lobby").await.users.len(), 0);
    gateway.stop().await;
}

#[tokio::test]
async fn signed_out_or_kicked_every_tab_stops_holding_and_watches_on() {
    for query in ["", "?reason=kicked"] {
        let gateway = gateway().await;
        let page = Page::idle(&gateway).await;
        let first = page.this().await;
        page.room("lobby", json!({ "as": "ann" })).await;
        let second = page.tab(&gateway).await;
        page.room("lobby", json!({ "as": "ann" })).await;
        gateway.send("DELETE", &(member_path("lobby", "ann") + query), &[], "").await.expect(204);
        for tab in [&first, &second] {
            page.to(tab).await;
            page.until("told", "!room.holding && room.as === ''").await;
            page.until("live", "room.state === 'live'").await;
        }
        gateway.sign_in("lobby", "bob").await;
        page.until_seen(&["snapshot 1", "del ann", "add bob"]).await;
        page.run("room.join('ann')").await;
        page.until("back", "room.holding && room.members.has('ann')").await;
        gateway.stop().await;
    }
}

#[tokio::test]
async fn it_runs_in_a_worker() {
    let gateway = TestServer::start().await;
    let page = Page::idle(&gateway).await;
    let worker = format!(
        "import {{ Room }} from 'http://{}/presently.js'; \
         const room = new Room('lobby', {{ as: 'ann' }}); \
         room.addEventListener('change', () => postMessage([...room.members.keys()].join()));",
        gateway.addr
    );
    let url = format!("URL.createObjectURL(new Blob([{}], {{ type: 'text/javascript' }}))", json!(worker));
    let told = "onmessage = ({ data }) => { window.told = data }";
    page.run(&format!("window.worker = new Worker({url}, {{ type: 'module' }}); worker.{told}")).await;
    page.until("in the room", "window.told === 'ann'").await;
    gateway.sign_in("lobby", "bob").await;
    page.until("following", "window.told === 'ann,bob'").await;
    gateway.stop().await;
}

/// On the page itself, whose policy forbids style and script in elements.
#[tokio::test]
async fn the_element_lists_who_is_there_and_takes_style_from_outside() {
    let gateway = TestServer::start().await;
    gateway.sign_in_as("lobby", "<b>ann</b>", &json!({ "status": "away" })).await;
    let page = Page::blank(&[]).await;
    page.go(&format!("http://{}/users", gateway.addr)).await;
    page.run("addEventListener('securitypolicyviolation', (event) => { window.violated = event.violatedDirective })")
        .await;
    let element = "const element = document.createElement('presently-room'); window.element = element; \
                   element.setAttribute('room', 'lobby'); element.setAttribute('as', 'bob'); document.body.prepend(element)";
    page.run(&format!("return import('/presently-room.js').then(() => {{ {element} }})")).await;
    let text = "Array.from(li.querySelectorAll('[part~=name], [part~=status]'), (part) => part.textContent).join('')";
    let rows = &format!("Array.from(element.shadowRoot.querySelectorAll('li'), (li) => {text}).join('|')");
    page.until("listed", &format!("{rows} === '<b>ann</b>away|bob'")).await;
    page.until("live", "element.getAttribute('state') === 'live'").await;
    assert_eq!(page.get("element.shadowRoot.querySelector('li:last-child').matches('[part~=me]')").await, json!(true));
    assert_eq!(page.get("getComputedStyle(element.shadowRoot.querySelector('ul')).listStyleType").await, json!("none"));
    let before = gateway.cursor("lobby").await;
    page.run("document.querySelector('main').append(element)").await;
    let after = gateway.sign_in("lobby", "cyd").await;
    page.until("the third", &format!("{rows}.endsWith('|bob|cyd')")).await;
    assert_eq!(offset(&after), offset(&before) + 1, "who is moved within the page stays");
    gateway.sign_in("lobby", "aaron").await;
    page.run("element.setAttribute('limit', '2')").await;
    page.until("the first two", &format!("{rows} === '<b>ann</b>away|aaron'")).await;
    page.until("the rest counted", "element.shadowRoot.querySelector('[part=more]').textContent === 'and 2 more'")
        .await;
    page.run("element.setAttribute('as', 'aaron')").await;
    page.until("another me", "element.shadowRoot.querySelector('[part~=me] bdi').textContent === 'aaron'").await;
    page.run("element.setAttribute('as', 'bob'); element.remove()").await;
    let gone = async { while !holds(&gateway, "bob").await.is_empty() {} };
    within("bob has left", gone).await;
    assert_eq!(page.get("window.violated === undefined").await, json!(true));
    gateway.stop().await;
}

/// To a page, the two processes of a takeover are one gateway.
#[tokio::test]
async fn a_takeover_is_no_event_for_a_page() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().display().to_string();
    let mut old = Binary::start(&["--data", &data, "--drain", "300ms"]).await;
    let page = Page::idle(&old).await;
    page.room("lobby", json!({ "as": "ann" })).await;
    page.tab(&old).await;
    page.room("lobby", json!({ "as": "bob", "transport": "sse" })).await;
    page.run("seen.length = 0").await;
    let cursor = old.cursor("lobby").await;
    let new = Binary::start(&["--listen", &old.addr.to_string(), "--data", &data, "--takeover"]).await;
    assert_eq!(old.exit().await.code(), Some(0));
    for (user, hold) in [("ann", "connection websocket"), ("bob", "connection sse")] {
        let back = async {
            while new.holds("lobby", user).await != [hold] {
                sleep(Duration::from_millis(20)).await;
            }
        };
        within("a client that is back", back).await;
    }
    assert_eq!(new.cursor("lobby").await, cursor, "nobody left or came");
    page.run("room.update({ back: true })").await;
    page.until_seen(&["update bob"]).await;
}
