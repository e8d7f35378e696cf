//! Amounts of memory, as operators write them.

use std::fmt;
use std::str::FromStr;

/// An amount of memory: bytes, or a share of what the system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// A percentage of the system's memory.
    Percent(u8),
}

impl Amount {
    /// The bytes on a system with `all` bytes.
    pub fn of(self, all: u64) -> u64 {
        match self {
            Amount::Bytes(bytes) => bytes,
            Amount::Percent(percent) => all / 100 * u64::from(percent),
        }
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let hint = || "write 128MiB, 2GiB or 60%".to_owned();
        let number: u64 = number.parse().map_err(|_| hint())?;
        let shift = match unit.trim_start() {
            "%" => {
                let percent = u8::try_from(number).ok().filter(|percent| (1..=100).contains(percent));
                return percent.map(Amount::Percent).ok_or_else(|| "a percentage is 1% to 100%".to_owned());
            }
            "KiB" => 10,
            "MiB" => 20,
            "GiB" => 30,
            "TiB" => 40,
            _ => return Err(hint()),
        };
        number.checked_mul(1 << shift).map(Amount::Bytes).ok_or_else(hint)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Percent(percent) => write!(f, "{percent}%"),
            Amount::Bytes(bytes) => write!(f, "{}MiB", bytes >> 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_bytes_or_shares() {
        let of = |text: &str| text.parse::<Amount>().map(|amount| amount.of(1_000));
        assert_eq!(of("128MiB"), Ok(128 << 20));
        assert_eq!(of("2 GiB"), Ok(2 << 30));
        assert_eq!(of("60%"), Ok(600));
        for bad in ["", "128", "MiB", "128MB", "0%", "101%", "-1GiB", "99999999999TiB", "1.5GiB"] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
    }
}
