//! HLS playlists (RFC 8216 and the numeric rules of Apple's authoring specification), each a pure function of the sheet and of what
//! a token allows. Edge and gateway call the same functions, so their answers are equal byte for byte.

use std::fmt::Write as _;

use crate::{Rung, RungSet, media_path::MediaObject, sheet::Sheet};

/// The media type of both kinds of playlist.
pub const CONTENT_TYPE: &str = "application/vnd.apple.mpegurl";

/// The media type of a steering manifest.
pub const STEERING_TYPE: &str = "application/json";
/// How long a player may go without asking for the steering manifest again, s.
const STEERING_TTL_S: u32 = 300;

/// The pathway along which a playlist came: whatever answered it.
const NEAR: &str = "edge";
/// The second pathway: the gateway, by its absolute address.
const GATEWAY: &str = "gateway";

/// Where the variants of a multivariant playlist are.
#[derive(Debug, Clone, Copy)]
pub struct Bases<'a> {
    /// Put before each URI of the near pathway: empty beside the media playlists, `../../media/{token}/` from a manifest.
    pub near: &'a str,
    /// The absolute address of the same directory at the gateway, ending in a slash.
    pub gateway: &'a str,
}

/// The multivariant playlist: a variant a rung of `allowed` on each of two pathways, `start` first, which is where a player that trusts the
/// order begins.
///
/// Content steering (draft-pantos-hls-rfc8216bis section 7.1) names the pathways, so that a player that knows it goes on along the gateway when
/// the edge is gone; one that does not takes the first it understands.
/// `BANDWIDTH` is the measured peak and `AVERAGE-BANDWIDTH` the measured average (authoring specification 9.13, 9.14).
#[must_use]
pub fn multivariant(sheet: &Sheet, allowed: RungSet, start: Rung, bases: Bases<'_>) -> String {
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-CONTENT-STEERING:SERVER-URI=\"{}{}\",PATHWAY-ID=\"{NEAR}\"\n",
        bases.near,
        MediaObject::Steering,
    );
    for (pathway, base) in [(NEAR, bases.near), (GATEWAY, bases.gateway)] {
        let others = allowed.without(start).iter();
        for rendition in std::iter::once(start).chain(others).filter_map(|rung| sheet.rung(rung)) {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={},CODECS=\"{}\",PATHWAY-ID=\"{pathway}\"\n{base}{}.m3u8\n",
                rendition.peak_bps, rendition.average_bps, rendition.codec, rendition.rung
            );
        }
    }
    text
}

/// The steering manifest: the edge as long as it answers, else the gateway.
#[must_use]
pub fn steering() -> String {
    format!("{{\"VERSION\":1,\"TTL\":{STEERING_TTL_S},\"PATHWAY-PRIORITY\":[\"{NEAR}\",\"{GATEWAY}\"]}}\n")
}

/// The media playlist of one rung; `None` when the sheet lacks it. URIs are relative to the playlist.
///
/// Durations are what is heard of each segment, so that any run of them is within a sample's rounding of the audio (authoring
/// specification 8.1), and all rungs have the same (8.2, 8.3).
#[must_use]
pub fn media(sheet: &Sheet, rung: Rung) -> Option<String> {
    let segments = sheet.rung(rung)?.segment_bytes.len().min(sheet.segments());
    let timescale = u64::from(sheet.timescale.max(1));
    let mut entries = String::new();
    // What a rendition is measured over (RFC 8216 section 4.1), however short its track: Apple's 6 s (authoring specification 7.5).
    let mut target_s = 6;
    // Rounding each boundary rather than each duration keeps the error of a run below a microsecond.
    let micros = |samples: u64| samples.saturating_mul(1_000_000) / timescale;
    let mut heard = 0;
    for n in 0..segments {
        let until = heard + sheet.heard_samples(n)?;
        let duration_us = micros(until) - micros(heard);
        heard = until;
        target_s = target_s.max((duration_us + 500_000) / 1_000_000);
        let _ = write!(entries, "#EXTINF:{}.{:06},\n{rung}/{n}.m4s\n", duration_us / 1_000_000, duration_us % 1_000_000);
    }
    Some(format!(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:{target_s}\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-PLAYLIST-TYPE:VOD\n\
         #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"{rung}/init.mp4\"\n{entries}#EXT-X-ENDLIST\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sheet::tests::sheet;

    #[test]
    fn the_start_rung_comes_first_and_nothing_that_is_not_allowed_comes_at_all() {
        let bases = Bases { near: "", gateway: "https://gateway.example/v1/media/tok/" };
        let text = multivariant(&sheet(), RungSet::of(&[Rung::Aac64, Rung::Aac128]), Rung::Aac128, bases);
        let uris: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let gateway = ["https://gateway.example/v1/media/tok/aac-128.m3u8", "https://gateway.example/v1/media/tok/aac-64.m3u8"];
        assert_eq!(uris, ["aac-128.m3u8", "aac-64.m3u8", gateway[0], gateway[1]]);
        assert!(text.contains("BANDWIDTH=140800,AVERAGE-BANDWIDTH=128000,CODECS=\"mp4a.40.2\",PATHWAY-ID=\"edge\""));
        assert!(text.contains("#EXT-X-CONTENT-STEERING:SERVER-URI=\"steering.json\",PATHWAY-ID=\"edge\"\n"));
    }

    #[test]
    fn the_steering_manifest_names_the_pathways_of_the_playlist() {
        let manifest: serde_json::Value = serde_json::from_str(&steering()).unwrap();
        assert_eq!(manifest["VERSION"], 1);
        assert_eq!(manifest["PATHWAY-PRIORITY"], serde_json::json!([NEAR, GATEWAY]));
    }

    #[test]
    fn the_durations_of_a_media_playlist_add_up_to_the_audio() {
        let sheet = sheet();
        let text = media(&sheet, Rung::Aac64).unwrap();
        let total_us: u64 = text
            .lines()
            .filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(','))
            .map(|seconds| seconds.replace('.', "").parse::<u64>().unwrap())
            .sum();
        assert_eq!(total_us, sheet.samples * 1_000_000 / 44_100);
        assert!(text.contains("#EXT-X-TARGETDURATION:6\n") && text.ends_with("#EXT-X-ENDLIST\n"));
        assert_eq!(media(&sheet, Rung::Flac), None);
    }
}
