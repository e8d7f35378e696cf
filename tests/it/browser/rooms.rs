//! Rooms on the page: which there are, going from one to another, and the way back.

use fantoccini::key::Key;
use serde_json::json;

use crate::harness::{Binary, Page, within};

const ROOMS: &str = "Array.from(document.querySelectorAll('#rooms a'), (a) => a.innerText.replace(/\\s+/g, ' '))";
const NOTE: &str = "document.getElementById('rooms-note').textContent";
const OPEN: &str = "document.querySelector('#rooms a[aria-current=page] bdi').textContent";

impl Page {
    async fn until_room(&self, room: &str, users: &[&str]) {
        self.until(room, &format!("document.querySelector('h1 bdi').textContent === {}", json!(room))).await;
        self.until_users(users).await;
        self.until("open in the list", &format!("{OPEN} === {}", json!(room))).await;
    }
}

#[tokio::test]
async fn rooms_are_listed_with_their_counts() {
    let gateway = Binary::start(&["--user", "ann", "--user", "bob"]).await;
    gateway.sign_in("den", "cyd").await;
    let page = Page::of(&gateway).await;
    page.until("listed", &format!("{ROOMS}.join() === 'den 1,lobby 2'")).await;
    gateway.sign_in("lobby", "dee").await;
    gateway.sign_in("attic", "eve").await;
    page.until("up to date", &format!("{ROOMS}.join() === 'attic 1,den 1,lobby 3'")).await;
    page.enter("#room-field", "TT").await;
    page.until("found", &format!("{ROOMS}.join() === 'attic 1'")).await;
}

#[tokio::test]
async fn the_largest_rooms_come_first_when_asked_and_the_total_is_told() {
    let gateway = Binary::start(&["--user", "ann", "--user", "bob"]).await;
    for (room, user) in [("attic", "cyd"), ("den", "dee"), ("den", "eve"), ("den", "fay")] {
        gateway.sign_in(room, user).await;
    }
    let page = Page::of(&gateway).await;
    page.until("by name", &format!("{ROOMS}.join() === 'attic 1,den 3,lobby 2'")).await;
    page.until("told", &format!("{NOTE} === '3 rooms, 6 members.'")).await;
    page.click("#rooms-order").await;
    page.until("by count", &format!("{ROOMS}.join() === 'den 3,lobby 2,attic 1'")).await;
    assert_eq!(page.get("document.getElementById('rooms-order').ariaPressed").await, json!("true"));
    page.click("#rooms-order").await;
    page.until("by name again", &format!("{ROOMS}.join() === 'attic 1,den 3,lobby 2'")).await;
}

#[tokio::test]
async fn of_many_rooms_a_part_is_listed_and_the_others_are_found_by_their_beginning() {
    let gateway = Binary::start(&[]).await;
    for n in 0..250 {
        gateway.sign_in(&format!("game-{n:03}"), "ann").await;
    }
    gateway.sign_in("game-249", "bob").await;
    let page = Page::of(&gateway).await;
    page.until(
        "a part",
        &format!("{NOTE} === '250 rooms, 251 members. The first 200 are listed; typing finds the others.'"),
    )
    .await;
    assert_eq!(page.get(&format!("{ROOMS}.length")).await, json!(201), "the open one is not there, and listed");
    page.click("#rooms-more").await;
    page.until("all", &format!("{ROOMS}.length === 251 && document.getElementById('rooms-more').hidden")).await;
    page.enter("#room-field", "game-24").await;
    page.until("found", &format!("{NOTE} === 'Enter opens it. 10 rooms found, 11 members.'")).await;
    assert_eq!(page.get(&format!("{ROOMS}.at(-1)")).await, json!("game-249 2"));
    page.click("#rooms-order").await;
    page.until("the largest", &format!("{ROOMS}[0] === 'game-249 2' && {ROOMS}.length === 10")).await;
    page.enter("#room-field", &("9".to_owned() + &Key::Enter)).await;
    page.until_room("game-249", &["ann", "bob"]).await;
    page.until(
        "all again",
        &format!("{NOTE} === '250 rooms, 251 members. The largest 200 are listed; typing finds the others.'"),
    )
    .await;
    page.stayed().await;
}

#[tokio::test]
async fn a_room_is_opened_without_a_reload_and_the_address_leads_back() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    gateway.sign_in("team 7/a", "bob").await;
    let page = Page::of(&gateway).await;
    page.until("listed", "document.querySelector('#rooms a:not([aria-current])')").await;
    page.click("#rooms a:not([aria-current])").await;
    page.until_room("team 7/a", &["bob"]).await;
    page.until("in the title", "document.title === '1 in team 7/a · Presently'").await;
    assert_eq!(page.get("location.pathname + location.search").await, json!("/users?room=team%207%2Fa"));
    gateway.sign_in("team 7/a", "cyd").await;
    page.until_users(&["bob", "cyd"]).await;
    page.enter("#user", &("dee".to_owned() + &Key::Enter)).await;
    page.until_room("team 7/a", &["bob", "cyd", "dee"]).await;
    within("back", page.client.back()).await.expect("there was a room before");
    page.until_room("lobby", &["ann"]).await;
    within("forward", page.client.forward()).await.expect("there is one ahead");
    page.until_room("team 7/a", &["bob", "cyd", "dee"]).await;
    page.stayed().await;
    within("a reload", page.client.refresh()).await.expect("it loads");
    page.until_live().await;
    page.until_room("team 7/a", &["bob", "cyd", "dee"]).await;
}

#[tokio::test]
async fn a_room_that_is_not_there_yet_is_opened_by_its_name() {
    let gateway = Binary::start(&["--user", "ann"]).await;
    let page = Page::of(&gateway).await;
    page.enter("#room-field", &("new & empty".to_owned() + &Key::Enter)).await;
    page.until_room("new & empty", &[]).await;
    gateway.sign_in("lobby", "bob").await;
    gateway.sign_in("new & empty", "eve").await;
    page.until_users(&["eve"]).await;
    page.stayed().await;
}
