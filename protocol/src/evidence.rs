//! What a request itself tells of its sender's connection: CMCD in its four headers or the `CMCD` argument, and client hints. Read in one
//! place for edge and gateway; what only the edge's platform knows (round trips it measured) the edge adds.

use std::borrow::Cow;

use crate::{
    choose::{Codecs, EffectiveType, Evidence},
    cmcd::Cmcd,
    query,
};

/// Gathers evidence. `header` looks up a request header by its lower-case name; `query` is the query string as it was sent, whose arguments
/// `CMCD` and `codecs` (RFC 6381 names, what the device plays) are read.
pub fn gather<'a>(header: impl Fn(&'static str) -> Option<Cow<'a, str>>, query: Option<&str>) -> Evidence {
    Evidence {
        cmcd: Cmcd::of_request(&header, query::argument(query, "CMCD").as_deref()),
        downlink_kbps: header("downlink").and_then(|text| megabits_as_kbps(&text)),
        effective_type: header("ect").and_then(|text| EffectiveType::parse(&text)),
        save_data: header("save-data").is_some_and(|text| text.trim().eq_ignore_ascii_case("on")),
        round_trip_ms: header("rtt").and_then(|text| text.trim().parse().ok()),
        codecs: query::argument(query, "codecs").map_or_else(Codecs::default, |text| Codecs::parse(&text)),
        ..Evidence::default()
    }
}

/// `Downlink` is Mbit/s with a fraction (Network Information API).
fn megabits_as_kbps(text: &str) -> Option<u32> {
    let megabits: f64 = text.trim().parse().ok()?;
    (0.0..1_000_000.0).contains(&megabits).then_some((megabits * 1000.0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gathered(headers: &'static [(&'static str, &'static str)], query: Option<&str>) -> Evidence {
        gather(|name| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| Cow::Borrowed(*value)), query)
    }

    #[test]
    fn what_a_browser_and_a_player_say_is_read() {
        let said = gathered(
            &[("downlink", "1.45"), ("ect", "3g"), ("rtt", "150"), ("save-data", "on"), ("cmcd-request", "bl=1000,mtp=900")],
            Some("CMCD=mtp%3D15000"),
        );
        assert_eq!((said.downlink_kbps, said.round_trip_ms, said.save_data), (Some(1450), Some(150), true));
        assert_eq!(said.effective_type, Some(EffectiveType::ThreeG));
        assert_eq!((said.cmcd.measured_kbps, said.cmcd.buffer_ms), (Some(900), Some(1000)), "headers come before the argument");
        assert_eq!(gathered(&[], Some("CMCD=mtp%3D15000")).cmcd.measured_kbps, Some(15_000));
    }

    #[test]
    fn a_device_says_which_codecs_it_plays() {
        assert_eq!(gathered(&[], Some("codecs=mp4a.40.2")).codecs, Codecs::parse("mp4a.40.2"));
        assert_eq!(gathered(&[], None).codecs, Codecs::default());
    }

    #[test]
    fn nonsense_is_no_evidence() {
        assert_eq!(gathered(&[("downlink", "NaN"), ("ect", "9g"), ("rtt", "-3")], Some("CMCD=%FF")), Evidence::default());
    }
}
