//! Durations as k6 writes them: `"1m30s"`, `"250ms"`, or a number of milliseconds.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// Reads `"1h2m3.5s"`, `"10s"`, `"250ms"` or `"0"`.
///
/// # Errors
/// What is wrong with the text.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: write it like \"1m30s\" or \"250ms\"");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    if let Ok(ms) = rest.parse::<f64>() {
        return from_ms(ms).ok_or_else(wrong);
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1.0,
            "s" => 1_000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        total += from_ms(number * unit_ms).ok_or_else(wrong)?;
        rest = tail;
    }
    Ok(total)
}

fn from_ms(ms: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(ms / 1_000.0).ok()
}

/// For serde: a string as [`parse`] reads it, or milliseconds.
///
/// # Errors
/// What is wrong.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Ms(f64),
    }
    match Written::deserialize(input)? {
        Written::Text(text) => parse(&text).map_err(D::Error::custom),
        Written::Ms(ms) => from_ms(ms).ok_or_else(|| D::Error::custom("a duration cannot be negative")),
    }
}

/// [`deserialize`] for an option that may be left out.
///
/// # Errors
/// What is wrong.
pub(crate) fn optional<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
    deserialize(input).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_k6_writes_them() {
        for (text, ms) in [("10s", 10_000), ("1m30s", 90_000), ("250ms", 250), ("1.5s", 1_500), ("2h", 7_200_000), ("700", 700), ("0", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "10x", "1m-3s"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
