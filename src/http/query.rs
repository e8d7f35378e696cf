//! Parameters in queries and forms, form-encoded (WHATWG URL, 5.1).

use std::collections::HashMap;
use std::str::FromStr;

use percent_encoding::percent_decode;

use crate::model::refusal::{Code, Refusal, shown};

/// Members or rooms on one page of a list by default.
pub const PAGE: usize = 1_000;

/// Members or rooms on one page of a list at most; 10,000 members are about a megabyte.
pub const MAX_PAGE: usize = 10_000;

/// The parameters that page through a list.
pub const PAGING: [&str; 2] = ["limit", "after"];

/// Parameters in which other services take tokens.
const TOKENS: [&str; 2] = ["token", "access_token"];

/// Parameters by name, each at most once.
#[derive(Debug)]
pub struct Query(HashMap<String, String>);

/// Whether each % is followed by two hexadecimal digits (RFC 3986, 2.1).
pub fn well_encoded(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'%').skip(1).all(|rest| rest.len() > 1 && rest[..2].iter().all(u8::is_ascii_hexdigit))
}

/// Refuses a token in the query, also where other unknown parameters are passed over: a proxy's log has it already, and whoever
/// sent it should learn why it does not help.
///
/// # Errors
///
/// `bad_parameter`.
pub fn without_token(text: &str) -> Result<(), Refusal> {
    let mut names = form_urlencoded::parse(text.as_bytes()).map(|(name, _)| name);
    names.find(|name| TOKENS.contains(&&**name)).map_or(Ok(()), |name| Err(token(&name)))
}

fn token(name: &str) -> Refusal {
    bad(
        name,
        "is not known: tokens never travel in URLs, where logs keep them; send Authorization: Bearer, or a message auth",
    )
}

impl Query {
    /// Reads a query of which only the `known` parameters may be there.
    pub fn strict(text: &str, known: &[&str]) -> Result<Self, Refusal> {
        Query::read(text, |name| match known.contains(&name) {
            true => Ok(true),
            false if TOKENS.contains(&name) => Err(token(name)),
            false if known.is_empty() => Err(bad(name, "is not known; this path takes no parameters")),
            false => Err(bad(name, &format!("is not known; there are {}", known.join(", ")))),
        })
    }

    /// Reads a query's `known` parameters and passes over others.
    pub fn lenient(text: &str, known: &[&str]) -> Result<Self, Refusal> {
        Query::read(text, |name| Ok(known.contains(&name)))
    }

    fn read(text: &str, takes: impl Fn(&str) -> Result<bool, Refusal>) -> Result<Self, Refusal> {
        if !well_encoded(text.as_bytes()) {
            return Err(Refusal::new(
                Code::BadParameter,
                "the query has a % that is not followed by two hexadecimal digits",
            ));
        }
        if percent_decode(text.as_bytes()).decode_utf8().is_err() {
            return Err(Refusal::new(Code::BadParameter, "the query is not UTF-8"));
        }
        let mut all = HashMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            if takes(&name)? && all.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(bad(&name, "is given twice"));
            }
        }
        Ok(Query(all))
    }

    /// The parameter `name`. Without a value, it counts as absent.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The parameter `name`, which must have a value if it is there.
    ///
    /// # Errors
    ///
    /// `bad_parameter`.
    pub fn full(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.0.get(name).is_some_and(String::is_empty) {
            true => Err(bad(name, "has no value")),
            false => Ok(self.get(name)),
        }
    }

    /// Whether the parameter `name` is 1, and not left out.
    pub fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.get(name) {
            None => Ok(false),
            Some("1") => Ok(true),
            Some(_) => Err(bad(name, "is 1 or left out")),
        }
    }

    /// The parameter `name` as a number from `least` to `most`.
    pub fn number<N>(&self, name: &str, least: N, most: N) -> Result<Option<N>, Refusal>
    where
        N: FromStr + PartialOrd + std::fmt::Display,
    {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let number = text.parse().ok().filter(|number| (&least..=&most).contains(&number));
        number.map(Some).ok_or_else(|| bad(name, &format!("is not a number from {least} to {most}")))
    }
}

/// The refusal of the parameter `name`, for the reason `what`.
pub fn bad(name: &str, what: &str) -> Refusal {
    let shown = shown(name);
    Refusal::new(Code::BadParameter, format!("parameter {shown:?} {what}")).of(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::Mutants;

    #[test]
    fn takes_what_is_known_once_and_decodes_it() {
        let query = Query::strict("a=x+y%2Fz%C3%A9&b=", &["a", "b"]).unwrap();
        assert_eq!((query.get("a"), query.get("b")), (Some("x y/zé"), None));
    }

    #[test]
    fn refuses_what_is_unknown_doubled_or_badly_encoded() {
        for (text, said) in [
            ("c=1", "parameter \"c\" is not known; there are a, b"),
            ("a=1&a=1", "parameter \"a\" is given twice"),
            ("a=&a=1", "parameter \"a\" is given twice"),
            ("a=%zz", "the query has a % that is not followed by two hexadecimal digits"),
            ("a=%f", "the query has a % that is not followed by two hexadecimal digits"),
            ("a=%ff", "the query is not UTF-8"),
        ] {
            assert_eq!(Query::strict(text, &["a", "b"]).unwrap_err().message, said, "{text}");
        }
        assert!(Query::lenient("c=1&c=2", &["a"]).is_ok());
        assert!(Query::lenient("a=1&a=2", &["a"]).is_err());
    }

    #[test]
    fn a_token_is_refused_by_its_name_and_not_repeated() {
        for text in ["a=1&token=s3cret", "access_token=s3cret", "%74oken=s3cret", "token"] {
            for refused in [without_token(text), Query::strict(text, &["a"]).map(drop)] {
                let message = refused.unwrap_err().message;
                assert!(message.contains("tokens never travel in URLs") && !message.contains("s3cret"), "{message}");
            }
        }
        assert_eq!(without_token("a=token&tokens=1&ticket=x"), Ok(()));
    }

    #[test]
    fn numbers_have_bounds() {
        let number = |text| Query::strict(text, &["n"]).unwrap().number("n", 1, 10);
        assert_eq!(number("n=10"), Ok(Some(10)));
        assert_eq!(number(""), Ok(None));
        for bad in ["n=0", "n=11", "n=x", "n=-1", "n=99999999999999999999"] {
            assert_eq!(number(bad).unwrap_err().message, "parameter \"n\" is not a number from 1 to 10", "{bad}");
        }
    }

    #[test]
    fn mutants_of_queries_are_read_or_refused() {
        let queries =
            ["room=lobby&since=k3f.1&as=ann", "meta=%7B%22a%22%3A1%7D&as=x+y%2F", "a=1&&b==&c", "room=%E5%B1%B1"];
        for text in Mutants::of(queries, 20_000).texts() {
            for query in [Query::strict(&text, &["room", "since", "as", "meta"]), Query::lenient(&text, &["room"])] {
                match query {
                    Ok(query) => assert_ne!(query.get("room"), Some("")),
                    Err(refusal) => assert_eq!(refusal.code, Code::BadParameter),
                }
            }
        }
    }
}
