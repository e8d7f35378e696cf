//! PROTOCOL's table of verbs, read from the page.

use std::collections::BTreeSet;
use std::fs;

use super::Place;
use crate::harness::quoted;

/// What a door needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Needs {
    Nothing,
    /// Any verb, token or API key.
    Anything,
    /// A token or an API key.
    Credential,
    Verbs {
        verbs: BTreeSet<String>,
        by_api_key: bool,
        /// Whether one of the verbs suffices.
        any: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Request,
    WebSocket,
    Message,
}

/// A request or message as the table writes it.
#[derive(Clone, Debug)]
pub struct Door {
    pub needs: Needs,
    pub kind: Kind,
    pub text: String,
    ticket: Option<String>,
}

pub struct Table {
    pub doors: Vec<Door>,
    /// Each verb in order, with those that it includes.
    verbs: Vec<(String, BTreeSet<String>)>,
}

impl Table {
    /// Reads the table, the only one of PROTOCOL that begins with what something needs.
    pub fn read() -> Self {
        let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/PROTOCOL.md")).expect("PROTOCOL");
        let (_, rest) =
            page.split_once("| needs | requests | messages |\n|---|---|---|\n").expect("the table of verbs");
        let mut table = Self { doors: Vec::new(), verbs: Vec::new() };
        for line in rest.lines().take_while(|line| line.starts_with('|')) {
            let cells: Vec<_> = line.trim_matches('|').split('|').collect();
            let [needs, requests, messages] = cells[..] else {
                panic!("three cells: {line}");
            };
            let needs = table.needs(needs.trim());
            let door = |kind, text: String| Door { needs: needs.clone(), kind, text, ticket: None };
            for text in spans(requests) {
                let kind = if text.starts_with("GET /ws") { Kind::WebSocket } else { Kind::Request };
                table.doors.push(door(kind, text));
            }
            table.doors.extend(spans(messages).into_iter().map(|text| door(Kind::Message, text)));
        }
        let texts: BTreeSet<_> = table.doors.iter().map(|door| &door.text).collect();
        assert_eq!(texts.len(), table.doors.len(), "a door stands in the table twice");
        table
    }

    fn needs(&mut self, cell: &str) -> Needs {
        match cell {
            "nothing" => return Needs::Nothing,
            "any verb, token or API key" => return Needs::Anything,
            "a token or API key" => return Needs::Credential,
            _ => {}
        }
        let (own, with) = cell.split_once(" (with ").unwrap_or((cell, ""));
        let own = spans(own);
        if let [verb] = &own[..]
            && !self.verbs.iter().any(|(known, _)| known == verb)
        {
            self.verbs.push((verb.clone(), spans(with).into_iter().collect()));
        }
        let by_api_key = cell.ends_with(", by an API key");
        Needs::Verbs { verbs: own.into_iter().collect(), by_api_key, any: cell.contains("` or `") }
    }

    /// The verbs, and those that they include.
    pub fn closure(&self, verbs: &[&str]) -> BTreeSet<String> {
        let with = |verb: &str| {
            let (name, with) = self.verbs.iter().find(|(name, _)| name == verb).expect("a verb of the table");
            with.iter().chain([name]).cloned().collect::<Vec<_>>()
        };
        verbs.iter().flat_map(|verb| with(verb)).collect()
    }

    /// Verbs of rooms in the order of the table.
    pub fn in_order(&self, verbs: &BTreeSet<String>) -> Vec<String> {
        self.verbs.iter().map(|(verb, _)| verb.clone()).filter(|verb| verbs.contains(verb)).collect()
    }
}

/// The texts between backticks.
fn spans(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(|text| text.replace('…', "/api/rooms/{room}")).collect()
}

impl Door {
    /// The method of a request, or the action of a message.
    pub fn method(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }

    /// What stands behind method and path.
    pub fn rest(&self) -> &str {
        self.text.splitn(3, ' ').nth(2).unwrap_or_default()
    }

    fn template(&self) -> &str {
        self.text.split(' ').nth(1).unwrap_or_default()
    }

    pub fn has(&self, part: &str) -> bool {
        self.text.contains(part)
    }

    pub fn is_of_lobby(&self) -> bool {
        let of_path =
            ["/user-stream", "/api/login", "/api/logout"].iter().any(|start| self.template().starts_with(start));
        of_path || self.text == "GET /users as JSON"
    }

    /// Whether the door concerns a room, and there is such a place for it: the lobby is granted only where it exists.
    pub fn has_place(&self, place: Place) -> bool {
        match place {
            Place::Granted => true,
            Place::GrantedAbsent => self.is_of_room(),
            Place::Other | Place::OtherAbsent => self.is_of_room() || self.is_of_lobby(),
        }
    }

    fn is_of_room(&self) -> bool {
        self.has("{room}") || self.text.contains("/api/tickets") || self.method() == "join"
    }

    /// The path and query, with names and a ticket.
    pub fn path(&self, room: &str, sub: &str) -> String {
        let client = "0192f0c1-2d3e-7a4b-8c5d-6e7f8091a2b3";
        let mut path = self.template().replace("{room}", &quoted(room)).replace("{sub}", sub);
        for (name, value) in [("user", "bob"), ("hold", "worker-a"), ("id", client), ("file", "presently.js")] {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        let sign = if path.contains('?') { '&' } else { '?' };
        self.ticket.as_ref().map_or(path.clone(), |ticket| format!("{path}{sign}ticket={ticket}"))
    }

    pub fn with_ticket(&self, ticket: &str) -> Self {
        Self { ticket: Some(ticket.to_owned()), ..self.clone() }
    }

    /// The same as a `HEAD`.
    pub fn head(&self) -> Self {
        Self { text: self.text.replacen("GET", "HEAD", 1), ..self.clone() }
    }

    /// Whether a route of the sources leads to the door.
    pub fn is_at(&self, route: &[String]) -> bool {
        let path = self.template().split('?').next().unwrap_or_default();
        let segments: Vec<_> = path.split('/').skip(1).filter(|segment| !segment.is_empty()).collect();
        let is_rest = route.last().is_some_and(|last| last == "..");
        let route = if is_rest { &route[..route.len() - 1] } else { route };
        let same_length = segments.len() == route.len() || is_rest && segments.len() > route.len();
        let fits = |(segment, part): (&&str, &String)| match part.as_str() {
            "Segment" => segment.starts_with('{'),
            "Module" => segment.contains('.'),
            literal => *segment == literal.trim_matches('"'),
        };
        self.kind != Kind::Message && same_length && segments.iter().zip(route).all(fits)
    }

    /// Whether both have one path, whatever the names in it.
    pub fn shares_path(&self, other: &Door) -> bool {
        let shape = |door: &Door| door.template().split('?').next().map(|path| path.replace("{sub}", "{user}"));
        self.kind != Kind::Message && shape(self) == shape(other)
    }
}

/// The segments of a route, where a line of the sources has one.
pub fn route(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    if line.starts_with("path::end()") {
        return Some(vec![]);
    }
    let (segments, _) = line.strip_prefix("path!(")?.split_once(')')?;
    Some(segments.split(" / ").map(str::to_owned).collect())
}

/// The actions that the sources read from messages.
pub fn actions(source: &str) -> BTreeSet<String> {
    let (_, rest) = source.split_once("match action.as_str() {").expect("the actions");
    let (arms, _) = rest.split_once("other =>").expect("the last arm");
    let arm = |line: &str| Some(line.trim().strip_prefix('"')?.split_once('"')?.0.to_owned());
    arms.lines().filter(|line| line.contains("=>") || line.contains("if ")).filter_map(arm).collect()
}
