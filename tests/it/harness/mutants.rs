//! Fuzzing without a tool: valid inputs with a few random faults, the same in every run. The unit tests of parsers use
//! this file, too.
//!
//! `PRESENTLY_SEED` chooses other mutants, and `PRESENTLY_FUZZ` makes so many times as many of them.

use fastrand::Rng;

/// Bytes and words at which parsers decide something.
const WORDS: [&[u8]; 40] = [
    b"\0",
    b"\n",
    b"\r\n",
    b" ",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b".",
    b"/",
    b"%",
    b"%00",
    b"%2F",
    b"&",
    b"=",
    b"+",
    b"-",
    b"0",
    b"1e400",
    b"9223372036854775808",
    b"null",
    b"\"ref\":1",
    b"\\u0061",
    b"\\ud800",
    b"\xff",
    "\u{202E}".as_bytes(),
    "\u{200D}".as_bytes(),
    "山".as_bytes(),
    b"\x00\x00\x00\x00",
    b"\x88",
    b"\x80",
    b"\xFF\xFF",
    b"\xFE",
    b"$serde_json::private::RawValue",
    b"as=",
    b"meta",
];

/// Mutants of some valid inputs. The inputs themselves come first.
pub struct Mutants {
    rng: Rng,
    inputs: Vec<Vec<u8>>,
    made: usize,
    count: usize,
    last: Vec<u8>,
}

impl Mutants {
    pub fn of<T: AsRef<[u8]>>(inputs: impl IntoIterator<Item = T>, count: usize) -> Self {
        let number = |name, otherwise| {
            let given = std::env::var(name).ok();
            given.map_or(otherwise, |given| given.parse().unwrap_or_else(|_| panic!("{name} is a number")))
        };
        let inputs: Vec<_> = inputs.into_iter().map(|input| input.as_ref().to_vec()).collect();
        let count = inputs.len() + count * number("PRESENTLY_FUZZ", 1) as usize;
        Self { rng: Rng::with_seed(number("PRESENTLY_SEED", 1)), inputs, made: 0, count, last: Vec::new() }
    }

    /// The same mutants as texts: bytes that are not UTF-8 are replaced.
    pub fn texts(self) -> impl Iterator<Item = String> {
        self.map(|mutant| String::from_utf8_lossy(&mutant).into_owned())
    }

    fn mutant(&mut self) -> Vec<u8> {
        let mut mutant = self.rng.choice(&self.inputs).expect("an input").clone();
        // Few faults get past the first checks, many reach odd places.
        for _ in 0..1 << self.rng.u32(..4) {
            self.mutate(&mut mutant);
        }
        mutant
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let rng = &mut self.rng;
        let from = rng.usize(..=bytes.len());
        let to = (from + rng.usize(..=8)).min(bytes.len());
        match rng.u8(..8) {
            0 => drop(bytes.drain(from..to)),
            1 => bytes.truncate(from),
            2 => drop(bytes.splice(from..from, WORDS[rng.usize(..WORDS.len())].iter().copied())),
            3 => drop(bytes.splice(from..to, WORDS[rng.usize(..WORDS.len())].iter().copied())),
            4 => bytes[from..to].iter_mut().for_each(|byte| *byte ^= 1 << rng.u8(..8)),
            5 => {
                // One part many times: depth, length and repetition.
                let times = 1 << rng.u32(..8);
                drop(bytes.splice(to..to, bytes[from..to].repeat(times)));
            }
            6 => {
                let other = &self.inputs[rng.usize(..self.inputs.len())];
                let (start, length) = (rng.usize(..=other.len()), rng.usize(..=32));
                drop(bytes.splice(from..from, other[start..].iter().take(length).copied()));
            }
            _ => {
                let other = &self.inputs[rng.usize(..self.inputs.len())];
                bytes.truncate(from);
                bytes.extend(&other[rng.usize(..=other.len())..]);
            }
        }
    }
}

impl Iterator for Mutants {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        if self.made == self.count {
            return None;
        }
        self.last = if self.made < self.inputs.len() { self.inputs[self.made].clone() } else { self.mutant() };
        self.made += 1;
        Some(self.last.clone())
    }
}

impl Drop for Mutants {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("mutant {}: {}", self.made, self.last.escape_ascii());
        }
    }
}
