//! Secrets, a seeded generator, and a second hand that seals tokens: written from `docs/token.md`, not from the code under test.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

pub(crate) const SECRET_1: &str = "1111111111111111111111111111111111111111111111111111111111111111";
pub(crate) const SECRET_2: &str = "2222222222222222222222222222222222222222222222222222222222222222";
pub(crate) const SECRET_3: &str = "3333333333333333333333333333333333333333333333333333333333333333";
const SECRET_4: &str = "4444444444444444444444444444444444444444444444444444444444444444";
pub(crate) const MEDIA_LABEL: &str = "antiphon media v1";
pub(crate) const EVENT_LABEL: &str = "antiphon event v1";

/// Key 4 has ended, key 1 still verifies, key 2 signs since an hour, key 3 will in a day (from 2026-11-24T21:38:00Z).
pub(crate) fn document() -> String {
    format!(
        r#"{{"current": 1, "keys": {{
            "1": {{"secret": "{SECRET_1}", "verifies_until_ms": 1795900000000}},
            "2": {{"secret": "{SECRET_2}", "signs_from_ms": 1795552680000}},
            "3": {{"secret": "{SECRET_3}", "signs_from_ms": 1795642680000}},
            "4": {{"secret": "{SECRET_4}", "signs_from_ms": 1790000000000, "verifies_until_ms": 1795556280000}}}},
            "pseudonym": "5555555555555555555555555555555555555555555555555555555555555555"}}"#
    )
}

pub(crate) fn secret(hex: &str) -> [u8; 32] {
    let digit = u8::from_str_radix(&hex[..2], 16).unwrap();
    assert_eq!(hex, format!("{digit:02x}").repeat(32));
    [digit; 32]
}

/// `body` and its tag under the key that `label` derives from `secret`.
pub(crate) fn sealed(secret: &[u8; 32], label: &str, body: &[u8]) -> Vec<u8> {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(None, secret).expand(label.as_bytes(), &mut key).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(body);
    [body, &mac.finalize().into_bytes()[..16]].concat()
}

/// SplitMix64: the same attempts in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.draw() % u64::try_from(bound).unwrap()).unwrap()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.draw().to_be_bytes()[0]
    }
}
