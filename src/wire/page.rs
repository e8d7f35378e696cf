//! Pages of lists: members of a room, or rooms, as JSON in parts.

use std::sync::Arc;
use std::vec;

use crate::model::name::Name;
use crate::model::roster::Member;
use crate::wire::object::{MemberObject, RoomObject, to_json};
use crate::wire::part::PART_BYTES;

/// The size in bytes at which a page ends, entries only: a page is listed at once, and its entries stay in memory while the
/// client reads.
pub const PAGE_BYTES: usize = 1024 * 1024;

/// An entry of a list.
pub trait Entry {
    /// The name by which the list is ordered.
    fn name(&self) -> &Name;

    /// The entry as a JSON object.
    fn json(&self) -> String;
}

impl Entry for Arc<Member> {
    fn name(&self) -> &Name {
        &self.user
    }

    fn json(&self) -> String {
        to_json(&MemberObject::from(&**self))
    }
}

/// A room and the number of its members.
impl Entry for (Name, usize) {
    fn name(&self) -> &Name {
        &self.0
    }

    fn json(&self) -> String {
        to_json(&RoomObject::from(self))
    }
}

/// A room and the number of its members, unless the caller may not count them.
impl Entry for (Name, Option<usize>) {
    fn name(&self) -> &Name {
        &self.0
    }

    fn json(&self) -> String {
        to_json(&RoomObject::from(self))
    }
}

/// One page of a list. Only the first part is encoded; of all others the entries are kept, at a tenth of the memory, because
/// most entries belong to the rooms anyway.
#[derive(Debug)]
pub struct Page<E> {
    /// The JSON objects of the first part, with commas between.
    first: String,
    /// The entries behind the first part.
    rest: Vec<E>,
    /// The size of all entries in bytes, as JSON with commas between.
    bytes: usize,
    /// The last name of the page, if more entries follow.
    next: Option<Name>,
}

/// The JSON of a page, part by part.
#[derive(Debug)]
pub struct Parts<E> {
    /// The first part; then empty.
    first: String,
    rest: vec::IntoIter<E>,
    /// The text behind the list; empty once written.
    close: String,
}

impl<E: Entry> Page<E> {
    /// The page of the first `limit` of `entries`, which ends early at `bytes`.
    pub fn of(entries: impl Iterator<Item = E>, limit: usize, bytes: usize) -> Self {
        let mut page = Page { first: String::new(), rest: Vec::new(), bytes: 0, next: None };
        let mut entries = entries.peekable();
        for _ in 0..limit {
            let Some(entry) = entries.next_if(|_| page.bytes < bytes) else {
                break;
            };
            page.next = Some(entry.name().clone());
            page.push(entry);
        }
        page.next.take_if(|_| entries.peek().is_none());
        page
    }

    fn push(&mut self, entry: E) {
        // Encoded in any case, since an answer begins with its length.
        let json = entry.json();
        let separator = if self.bytes == 0 { "" } else { "," };
        self.bytes += separator.len() + json.len();
        if self.first.len() < PART_BYTES {
            self.first.push_str(separator);
            self.first.push_str(&json);
        } else {
            self.rest.push(entry);
        }
    }

    /// The last name of the page, if more entries follow.
    pub fn next(&self) -> Option<&Name> {
        self.next.as_ref()
    }

    /// The size in bytes of the page between `open` and `close`, and its parts.
    pub fn between(self, open: &str, close: String) -> (usize, Parts<E>) {
        let length = open.len() + self.bytes + close.len();
        // Of the list's growth, up to half would be empty.
        let rest = self.rest.into_boxed_slice().into_vec().into_iter();
        (length, Parts { first: format!("{open}{}", self.first), rest, close })
    }
}

impl<E: Entry> Parts<E> {
    /// The memory of the entries to be encoded, in bytes, as far as it belongs to the page alone.
    pub fn kept_bytes(&self) -> usize {
        self.rest.len() * size_of::<E>()
    }
}

impl<E: Entry> Iterator for Parts<E> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut part = std::mem::take(&mut self.first);
        while part.len() < PART_BYTES
            && let Some(entry) = self.rest.next()
        {
            part.push(',');
            part.push_str(&entry.json());
        }
        if self.rest.len() == 0 {
            part.push_str(&std::mem::take(&mut self.close));
        }
        (!part.is_empty()).then_some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::info::Info;
    use crate::model::meta::Meta;
    use crate::model::moment::Timestamp;

    fn members(names: impl Iterator<Item = String>) -> impl Iterator<Item = Arc<Member>> {
        names
            .map(|name| name.parse().unwrap())
            .map(|user| Member { user, meta: Meta::default(), info: Info::default(), joined: Timestamp(0) })
            .map(Arc::new)
    }

    /// The names of a page, and its number of parts.
    fn read(page: Page<Arc<Member>>) -> (Vec<String>, usize) {
        let (length, parts) = page.between(r#"{"users":["#, "]}".to_owned());
        let parts: Vec<_> = parts.collect();
        assert!(parts.iter().all(|part| (1..PART_BYTES + 1_500).contains(&part.len())));
        let text = parts.concat();
        assert_eq!(text.len(), length);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let users = json["users"].as_array().unwrap().iter();
        (users.map(|user| user["user"].as_str().unwrap().to_owned()).collect(), parts.len())
    }

    #[test]
    fn pages_end_at_their_limit_or_their_size_and_name_the_next() {
        for (limit, names, next) in [
            (2, vec!["ann", "bob"], Some("bob")),
            (3, vec!["ann", "bob", "cyd"], None),
            (9, vec!["ann", "bob", "cyd"], None),
        ] {
            let page = Page::of(members(["ann", "bob", "cyd"].map(str::to_owned).into_iter()), limit, PAGE_BYTES);
            assert_eq!(page.next().map(|name| &**name), next);
            assert_eq!(read(page), (names.into_iter().map(str::to_owned).collect(), 1));
        }
        let none = Page::of(members(std::iter::empty()), 3, PAGE_BYTES);
        assert_eq!(none.next(), None);
        assert_eq!(read(none), (vec![], 1));
        let many = Page::of(members((0..20_000).map(|n| format!("{n:0100}"))), 20_000, PAGE_BYTES);
        assert!((PAGE_BYTES..PAGE_BYTES + 1_000).contains(&many.bytes) && many.next().is_some());
    }

    #[test]
    fn the_parts_of_a_page_together_are_the_page_whatever_its_size() {
        let names = |count| (0..count).map(|n| format!("{n:0100}"));
        for count in [0, 1, 100, 200, 1_000, 5_000] {
            let page = Page::of(members(names(count)), count, PAGE_BYTES);
            let (_, parts) = Page::of(members(names(count)), count, PAGE_BYTES).between("", String::new());
            assert!(parts.kept_bytes() <= count * 8);
            let (read, parts) = read(page);
            assert_eq!(read, names(count).collect::<Vec<_>>());
            assert!(parts >= count * 150 / PART_BYTES && parts <= 1 + count * 170 / PART_BYTES, "{count} in {parts}");
        }
    }
}
