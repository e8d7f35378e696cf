//! The page for those who see it otherwise, hear it, or have only a keyboard.

use std::env;
use std::path::Path;

use fantoccini::key::Key;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{USERS, crowd};
use crate::harness::{Binary, Page, within};

const AXE: &str = "axe-core-4.11.0";
const AXE_SHA512: &str = "8a561a9c453cbf1c417b1a4977c716338125490ab841cb422ca8a1d1349f8c87\
                          c24137b21ffeb356b98825f2cfaca4ca2516e21be71f9d96d02230252661758d";
const FOCUSED: &str = "document.activeElement.closest('li')?.dataset.user";

/// The checker's script. It is fetched beside other build products when it is not there yet.
pub(super) async fn axe() -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(AXE);
    let script = folder.join("package/axe.min.js");
    if !script.exists() {
        tokio::fs::create_dir_all(&folder).await.expect("a directory");
        let registry = ["npm_config_registry", "NPM_CONFIG_REGISTRY"].into_iter().find_map(|name| env::var(name).ok());
        let registry = registry.unwrap_or("https://registry.npmjs.org".into());
        let url = format!("{}/axe-core/-/{AXE}.tgz", registry.trim_end_matches('/'));
        let fetch =
            r#"curl -fsSL --retry 3 -o axe.tgz "$0" && echo "$1  axe.tgz" | sha512sum --check && tar -xzf axe.tgz"#;
        let mut shell = Command::new("sh");
        shell.args(["-c", fetch, &url, AXE_SHA512]).current_dir(&folder);
        let fetched = within(&url, shell.output()).await.expect("a shell");
        assert!(fetched.status.success(), "{url}: {}", String::from_utf8_lossy(&fetched.stderr));
    }
    tokio::fs::read_to_string(script).await.expect("it was fetched")
}

/// What axe-core finds wrong, each as its rule and the element.
pub(super) async fn violations(page: &Page, axe: &str) -> Value {
    page.run(axe).await;
    let script = "const done = arguments[arguments.length - 1];
        axe.run().then(({ violations }) => done(violations.flatMap(({ id, nodes }) =>
            nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`))));";
    within("axe", page.client.execute_async(script, vec![])).await.expect("axe runs")
}

/// How the page is seen: by features of media, as those who look at it have chosen them.
const LOOKS: [&[(&str, &str)]; 4] = [
    &[("prefers-color-scheme", "light")],
    &[("prefers-color-scheme", "dark")],
    &[("forced-colors", "active"), ("prefers-color-scheme", "light")],
    &[("forced-colors", "active"), ("prefers-color-scheme", "dark")],
];

#[tokio::test]
async fn axe_finds_nothing_wrong_in_light_dark_and_forced_colours() {
    let axe = axe().await;
    let gateway = Binary::start(&["--user", "ann", "--user", "bob"]).await;
    gateway.sign_in_as("lobby", "cyd", &json!({ "status": "away" })).await;
    for look in LOOKS {
        let page = Page::blank(&[]).await;
        page.look(look).await;
        page.go(&format!("http://{}/users", gateway.addr)).await;
        page.until_live().await;
        for (feature, value) in look {
            assert_eq!(page.get(&format!("matchMedia('({feature}: {value})').matches")).await, json!(true));
        }
        page.open_row("cyd").await;
        page.until("at rest", "document.getAnimations().length === 0").await;
        assert_eq!(violations(&page, &axe).await, json!([]), "open, {look:?}");
        page.click("li[data-user=cyd] [data-act=kick]").await;
        page.until("a question", "document.getElementById('confirm').open").await;
        assert_eq!(violations(&page, &axe).await, json!([]), "asked, {look:?}");
        page.click("#confirm-no").await;
        page.until("answered", "!document.getElementById('confirm').open").await;
        page.click("#how").await;
        page.until("a sheet", "document.getElementById('connect').open").await;
        assert_eq!(violations(&page, &axe).await, json!([]), "how to connect, {look:?}");
        page.press(Key::Escape).await;
        page.enter("#search", "nobody").await;
        assert_eq!(violations(&page, &axe).await, json!([]), "nobody found, {look:?}");
    }
}

/// Forced colours take away grounds and shadows: what they said is said by edges.
#[tokio::test]
async fn forced_colours_keep_edges_dots_and_the_open_room() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    gateway.sign_in("den", "bob").await;
    let page = Page::blank(&[]).await;
    page.look(LOOKS[2]).await;
    page.go(&format!("http://{}/users", gateway.addr)).await;
    page.until_live().await;
    page.open_row("ann").await;
    let edgeless = "Array.from(document.querySelectorAll('button:not(.open)')).filter((it) => it.checkVisibility() \
        && !(parseFloat(getComputedStyle(it).borderTopWidth) > 0)).map((it) => it.outerHTML)";
    assert_eq!(page.get(edgeless).await, json!([]), "buttons without an edge");
    let dot = "getComputedStyle(document.querySelector('p.pill'), '::before')";
    assert_ne!(
        page.get(&format!("{dot}.backgroundColor")).await,
        page.get("getComputedStyle(document.querySelector('p.pill')).backgroundColor").await
    );
    assert_ne!(page.get(&format!("{dot}.borderTopWidth")).await, json!("0px"));
    let outline = |css: &str| format!("getComputedStyle(document.querySelector('{css}')).outlineStyle");
    assert_eq!(page.get(&outline("#rooms a[aria-current]")).await, json!("solid"));
    assert_eq!(page.get(&outline("#rooms a:not([aria-current])")).await, json!("none"));
    let avatar = "getComputedStyle(document.querySelector('#users .avatar')).borderTopWidth";
    assert_ne!(page.get(avatar).await, json!("0px"), "a circle");
}

#[tokio::test]
async fn letters_of_24_pixels_at_least_do_not_overlap() {
    let gateway = crowd(3_000).await;
    gateway.sign_in_as("lobby", "member-0001", &json!({ "status": "gone fishing" })).await;
    let page = Page::at(&gateway, "/users", &["--blink-settings=minimumFontSize=24"]).await;
    page.until_heading("3\u{202f}000 members").await;
    let overlapping = "(() => { const rows = Array.from(document.querySelectorAll('#users > li'));
        const edges = rows.map((li) => [li.getBoundingClientRect(), ...['.name', '.about'].map((css) => li.querySelector(css).getBoundingClientRect())]);
        return edges.filter(([row, name, about], i) => name.bottom > about.top + 1 || about.bottom > row.bottom + 1
            || (edges[i + 1] && row.bottom > edges[i + 1][0].top + 1)).length; })()";
    page.until("apart", &format!("document.querySelectorAll('#users > li').length > 5 && {overlapping} === 0")).await;
}

#[tokio::test]
async fn how_to_connect_is_in_sight_on_a_small_screen() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::at(&gateway, "/users", &["--window-size=1280,720"]).await;
    let button = "document.getElementById('how').getBoundingClientRect()";
    page.until("in sight", &format!("{button}.top >= 0 && {button}.bottom <= innerHeight && {button}.height > 0"))
        .await;
    page.click("#how").await;
    let sheet = "document.getElementById('connect').getBoundingClientRect()";
    let last = "document.querySelector('#snippets figure:last-child').getBoundingClientRect()";
    page.until("nothing is empty", &format!("{sheet}.bottom - {last}.bottom < 40 && {sheet}.bottom <= innerHeight"))
        .await;
    page.press(Key::Escape).await;
    page.until("closed, and back", "document.activeElement.id === 'how' && !document.getElementById('connect').open")
        .await;
}

#[tokio::test]
async fn the_arrow_keys_go_through_the_list_and_tab_leaves_it() {
    let gateway = crowd(2_000).await;
    let page = Page::of(&gateway).await;
    page.until_heading("2\u{202f}000 members").await;
    page.enter("#sort", &Key::Tab).await;
    assert_eq!(page.get(FOCUSED).await, json!("member-0000"));
    for (key, user) in [
        (Key::Down, "member-0001"),
        (Key::Down, "member-0002"),
        (Key::Up, "member-0001"),
        (Key::End, "member-1999"),
        (Key::Up, "member-1998"),
        (Key::Home, "member-0000"),
    ] {
        page.press(key).await;
        page.until(user, &format!("{FOCUSED} === '{user}'")).await;
        let row = "document.activeElement.getBoundingClientRect()";
        let view = "document.getElementById('scroller').getBoundingClientRect()";
        page.until("in view", &format!("{row}.top >= {view}.top - 1 && {row}.bottom <= {view}.bottom + 1")).await;
    }
    page.press(Key::Tab).await;
    page.until("its Sign out", "document.activeElement.matches('li[data-user=member-0000] .out')").await;
    page.press(Key::Tab).await;
    page.until("past the list", "document.activeElement.closest('#users') === null").await;
}

#[tokio::test]
async fn the_focus_stays_with_its_row_out_of_view_and_goes_to_the_next_when_that_one_goes() {
    let gateway = crowd(2_000).await;
    let page = Page::of(&gateway).await;
    page.until_heading("2\u{202f}000 members").await;
    page.run("document.querySelector('li[data-user=member-0002] .open').focus()").await;
    page.run("document.getElementById('scroller').scrollTop = 56 * 1500").await;
    page.until("scrolled", &format!("{USERS}.includes('member-1500')")).await;
    assert_eq!(page.get(FOCUSED).await, json!("member-0002"));
    gateway.sign_out("lobby", "member-0002").await;
    page.until("the next", &format!("{FOCUSED} === 'member-0003'")).await;
}

#[tokio::test]
async fn what_happens_is_told_politely_and_a_flood_as_numbers() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::of(&gateway).await;
    let script = "window.told = []; const news = document.getElementById('news');
        new MutationObserver(() => told.push(news.textContent)).observe(news, { childList: true })";
    page.run(script).await;
    for n in 0..60 {
        gateway.sign_in("lobby", &format!("guest-{n}")).await;
    }
    page.until("told", "told.at(-1)?.endsWith(' came. 61 members here.')").await;
    let told = page.get("told").await;
    assert!(told.as_array().expect("a list").len() < 20, "one by one nobody could listen: {told}");
    assert_eq!(page.get("document.getElementById('news').ariaLive").await, json!("polite"));
}

#[tokio::test]
async fn who_wants_less_motion_gets_none() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::at(&gateway, "/users", &["--force-prefers-reduced-motion"]).await;
    let script = "window.moved = 0;
        for (const type of ['animationstart', 'transitionrun']) addEventListener(type, () => { moved += 1 }, true)";
    page.run(script).await;
    for user in ["aaron", "bob"] {
        gateway.sign_in("lobby", user).await;
    }
    page.until_users(&["aaron", "ann", "bob"]).await;
    gateway.sign_out("lobby", "aaron").await;
    page.until_users(&["ann", "bob"]).await;
    page.run("return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))").await;
    assert_eq!(page.get("moved").await, json!(0));
}
