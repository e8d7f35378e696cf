//! Digests of 64 bits, the same on all machines and in all versions. They find mistakes and losses, and no forgers: whoever may
//! append to the log may do everything.

/// Mixes `number` into `digest`.
pub fn mix(digest: u64, number: u64) -> u64 {
    let mut x = digest.rotate_left(25).wrapping_add(number) ^ 0x9E37_79B9_7F4A_7C15;
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The digest of `bytes`.
pub fn of(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let digest = words.iter().fold(bytes.len() as u64, |digest, word| mix(digest, u64::from_le_bytes(*word)));
    rest.iter().fold(digest, |digest, byte| mix(digest, u64::from(*byte)))
}
