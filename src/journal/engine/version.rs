//! Versions of servers.

use std::fmt;

/// The first two numbers of a server's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl Version {
    /// Reads `2.9.10`, `v2.10.0-RC.1` or `7.0`.
    pub fn read(text: &str) -> Option<Version> {
        let mut numbers = text.trim_start_matches('v').split('.');
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?;
        let digits = minor.find(|c: char| !c.is_ascii_digit()).unwrap_or(minor.len());
        Some(Version(major, minor[..digits].parse().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_numbers_and_no_text() {
        assert!(Version::read("2.10.0-RC.1").unwrap() > Version::read("v2.9.25").unwrap());
        assert_eq!(Version::read("7.0"), Some(Version(7, 0)));
        assert_eq!(Version::read("6.2-rc1"), Some(Version(6, 2)));
        for text in ["", "7", "x.y", "2.x", "-1.2"] {
            assert_eq!(Version::read(text), None, "{text}");
        }
    }
}
