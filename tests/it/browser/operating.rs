//! The page as an operator's tool: what happened before, what holds a member, and what may be done about it.

use serde_json::{Value, json};

use super::STATE;
use crate::cluster::{CLIENT, Cluster, joined};
use crate::engines::servers::Program;
use crate::harness::{Binary, Page, within};

const LOG: &str = "Array.from(document.querySelectorAll('#log > li'), (li) => li.innerText.replace(/\\s+/g, ' ').replace(/^\\S+ /, '').trim()).join('|')";
const HOLDS: &str = "Array.from(document.querySelectorAll('.holds > li'), (li) => li.innerText.replace(/\\s+/g, ' ').replaceAll(/[\u{2068}\u{2069}]/g, '')).join('|')";

async fn member(gateway: &Binary, user: &str) -> String {
    gateway.get(&format!("/api/rooms/lobby/users/{user}")).await.expect(200).text().to_owned()
}

#[tokio::test]
async fn what_happened_before_the_page_came_is_listed_and_charted() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    gateway.sign_in_as("lobby", "bob", &json!({ "status": "away" })).await;
    gateway.sign_out("lobby", "ann").await;
    gateway.sign_in("den", "cyd").await;
    let page = Page::of(&gateway).await;
    page.until("listed", &format!("{LOG} === 'ann left signed out|bob came|ann came'")).await;
    page.until("charted", "document.getElementById('chart').ariaLabel.endsWith('2 came, 1 left.')").await;
    gateway.sign_in("lobby", "dee").await;
    page.until("and now", &format!("{LOG} === 'dee came|ann left signed out|bob came|ann came'")).await;
    page.click("#rooms a[data-room=den]").await;
    page.until("of the other room", &format!("{LOG} === 'cyd came'")).await;
}

#[tokio::test]
async fn the_room_of_a_tab_is_told_by_its_history_once() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::of(&gateway).await;
    page.until("before", &format!("{LOG} === 'ann came'")).await;
    page.network(true).await;
    page.until("out of reach", &format!("{STATE} !== 'Live'")).await;
    gateway.sign_in("lobby", "bob").await;
    page.network(false).await;
    page.run("document.getElementById('retry').click()").await;
    page.until_live().await;
    gateway.sign_in("lobby", "cyd").await;
    page.until("each once", &format!("{LOG} === 'cyd came|bob came|ann came'")).await;
}

#[tokio::test]
async fn each_hold_says_what_it_is_and_a_named_one_may_be_ended() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let lease = json!({ "hold": "worker-a", "ttl": 3_000, "meta": { "on": "phone" }, "rank": -1 });
    gateway.send_json("PUT", "/api/rooms/lobby/users/ann", &lease).await.expect(200);
    let page = Page::of(&gateway).await;
    page.open_row("ann").await;
    let told = "/^Sign-in\\|Lease worker-a (50 min|49 min \\d+ s) left says \\{\"on\":\"phone\"\\} at rank -1 End$/";
    page.until("told", &format!("{told}.test({HOLDS})")).await;
    page.click(".holds .quiet").await;
    page.until("ended", &format!("{HOLDS} === 'Sign-in'")).await;
    page.find(".lease select").await.select_by_value("300").await.expect("a term");
    page.click(".lease button").await;
    page.until("a lease now", &format!("/^Lease (5 min|4 min 5\\d s) left$/.test({HOLDS})")).await;
    page.stayed().await;
}

#[tokio::test]
async fn meta_is_a_table_whose_numbers_keep_their_text() {
    let gateway = Binary::start(&[]).await;
    let body = r#"{"meta":{"big":9007199254740993,"n":1E5,"status":"away"}}"#;
    let json = [("content-type", "application/json")];
    gateway.send("PUT", "/api/rooms/lobby/users/ann", &json, body).await.expect(201);
    let page = Page::of(&gateway).await;
    page.open_row("ann").await;
    let rows = "Array.from(document.querySelectorAll('[data-of=meta] input'), ({ value }) => value).join(' ')";
    page.until("shown", &format!("{rows} === 'big 9007199254740993 n 1E5 status \"away\"'")).await;
    let value = "[data-of=meta] .rows > :last-child input:nth-child(2)";
    page.find(value).await.clear().await.expect("a field");
    page.enter(value, "gone\u{e007}").await;
    page.until("no JSON", "document.querySelector('.said.wrong').textContent.includes('\"gone\"')").await;
    page.until("the field", &format!("document.activeElement.matches('{value}[aria-invalid]')")).await;
    page.find(value).await.clear().await.expect("a field");
    page.enter(value, "\"gone\"\u{e007}").await;
    page.until("saved", "document.querySelector('.details > .said').textContent === 'Saved.'").await;
    let text = member(&gateway, "ann").await;
    assert!(text.contains(r#""meta":{"big":9007199254740993,"n":1E5,"status":"gone"}"#), "{text}");
    gateway.sign_in_as("lobby", "ann", &json!({ "a": 1 })).await;
    page.until("anew", &format!("{rows} === 'a 1'")).await;
    page.click("[data-of=info] button").await;
    page.press_all("role\t").await;
    page.press_all("\"host\"\u{e007}").await;
    let informed = async { while !member(&gateway, "ann").await.contains(r#""info":{"role":"host"}"#) {} };
    within("info", informed).await;
}

#[tokio::test]
async fn a_kick_is_asked_first_and_told_to_who_was_kicked() {
    let gateway = Binary::start(&["--user", "bob"]).await;
    let page = Page::of(&gateway).await;
    page.open_row("bob").await;
    page.click("li[data-user=bob] [data-act=kick]").await;
    page.until("asked", "document.getElementById('confirm-text').textContent.includes('ends: Sign-in.')").await;
    page.click("#confirm-no").await;
    page.until("nothing", "!document.getElementById('confirm').open").await;
    assert!(gateway.held("lobby").await.users.into_keys().eq(["bob"]));
    page.click("li[data-user=bob] [data-act=kick]").await;
    page.click("#confirm-yes").await;
    page.until_users(&[]).await;
    page.until("why", &format!("{LOG}.startsWith('bob left kicked|')")).await;
}

const NODES: &str = "Array.from(document.querySelectorAll('#nodes tbody tr'), (tr) => Array.from(tr.children, (td) => td.textContent).join('|')).join()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_of_a_cluster_are_a_table() {
    let mut cluster = Cluster::start(Program::NewNats, 2, &[]).await;
    let _ann = joined(cluster.addr(1), "lobby", "ann", CLIENT).await;
    let page = Page::of(&cluster.nodes[0]).await;
    page.until(
        "both",
        &format!("/^[0-9a-f]{{8}} \\(this\\)\\|live\\|0\\|0,[0-9a-f]{{8}}\\|live\\|0\\|1$/.test({NODES})"),
    )
    .await;
    let heads = "Array.from(document.querySelectorAll('#nodes th'), (th) => th.scope).join()";
    assert_eq!(page.get(heads).await, "col,col,col,col,row,row");
    let titles = page.get("document.querySelector('#nodes tbody th').title").await;
    assert!(titles.as_str().is_some_and(|title| title.ends_with(concat!(", version ", env!("CARGO_PKG_VERSION")))));
    cluster.kill(1).await;
    page.until("silent", &format!("/\\|silent\\|/.test({NODES})")).await;
    page.until("gone", &format!("/^[0-9a-f]{{8}} \\(this\\)\\|live\\|0\\|0$/.test({NODES})")).await;
    page.until("why", &format!("{LOG}.startsWith('ann left gateway lost|')")).await;
    cluster.server.kill();
    page.until("stale", "/does not answer/.test(document.querySelector('#nodes .note').textContent)").await;
    page.stayed().await;

    let alone = Binary::start(&[]).await;
    let page = Page::of(&alone).await;
    page.until("numbers", "document.querySelector('[data-value=uptime]').textContent !== '–'").await;
    assert_eq!(page.get("document.getElementById('nodes').hidden").await, true);
}

#[tokio::test]
async fn after_a_restart_the_rooms_of_before_are_gone() {
    let mut gateway = Binary::start(&["--user", "ann"]).await;
    gateway.sign_in("den", "bob").await;
    let page = Page::of(&gateway).await;
    let rooms = "Array.from(document.querySelectorAll('#rooms a'), (a) => a.dataset.room).join()";
    page.until("listed", &format!("{rooms} === 'den,lobby'")).await;
    gateway.signal("KILL").await;
    gateway.exit().await;
    let addr = gateway.addr.to_string();
    let gateway = Binary::start_with(&["--listen", &addr, "--user", "ann"], &[]).await;
    gateway.sign_in("attic", "eve").await;
    page.until("those of today", &format!("{rooms} === 'attic,lobby'")).await;
    page.stayed().await;
}

#[tokio::test]
async fn the_numbers_have_lines_and_links() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::of(&gateway).await;
    page.until("lines", &Page::inked("#sparks li:last-child .trace", "--accent")).await;
    let said = "Array.from(document.querySelectorAll('#sparks .trace'), (trace) => trace.getAttribute('aria-label').split(' over')[0])";
    page.until("said", &format!("{said}.at(-1) === 'Memory' && {said}[1] === 'Connections'")).await;
    let links = page.get("Array.from(document.querySelectorAll('.gateway a, #connect .note a'), (a) => a.href)").await;
    for link in links.as_array().expect("links").iter().filter_map(Value::as_str) {
        let path = link.split_once(&gateway.addr.to_string()).expect("of this gateway").1;
        gateway.get(path).await.expect(200);
    }
    assert_eq!(links.as_array().map(Vec::len), Some(7));
}
