//! The rules, one row each: where it comes from, how strong it is, what it asks for, and the function that measures it.
//!
//! A function takes the whole presentation and gives figures and faults; what a fault means follows from the row's level. Rules named `Apple` are
//! those of the HLS authoring specification for Apple devices, revision 2025-06-26; `RFC` is RFC 8216, `Steering` is what
//! draft-pantos-hls-rfc8216bis (4.4.6.6) says of content steering and what a switch in the middle of a song needs, `CMAF` is ISO/IEC 23000-19.

mod codecs;
mod delivery;
mod media;
mod rates;
mod steering;
mod text;
mod timing;

use super::{
    presentation::Presentation,
    report::{Fault, Finding, Level, Verdict},
};

/// One row of the table.
struct Rule {
    id: &'static str,
    level: Level,
    requirement: &'static str,
    measure: fn(&Presentation) -> Outcome,
}

/// What measuring gave.
pub(super) enum Outcome {
    /// Why the rule says nothing here.
    NotApplicable(String),
    /// Figures, and where they are wrong.
    Measured(String, Vec<Fault>),
}

impl Outcome {
    fn none(why: &str) -> Self {
        Self::NotApplicable(why.to_owned())
    }
}

const fn must(id: &'static str, requirement: &'static str, measure: fn(&Presentation) -> Outcome) -> Rule {
    Rule { id, level: Level::Must, requirement, measure }
}

const fn should(id: &'static str, requirement: &'static str, measure: fn(&Presentation) -> Outcome) -> Rule {
    Rule { id, level: Level::Should, requirement, measure }
}

const fn note(id: &'static str, requirement: &'static str, measure: fn(&Presentation) -> Outcome) -> Rule {
    Rule { id, level: Level::Note, requirement, measure }
}

const RULES: &[Rule] = &[
    must("Apple 1.26", "the measured average bit rate is within 10 % of AVERAGE-BANDWIDTH", rates::average),
    must("Apple 1.27", "the measured peak bit rate is within 10 % of BANDWIDTH", rates::peak),
    should("Apple 1.30", "the peak is at most twice the average", rates::burst),
    must("Apple 2.3", "there is stereo AAC or HE-AAC", codecs::stereo_aac),
    should("Apple 2.4", "HE-AAC runs at 64 kbit/s at most", codecs::he_aac_rate),
    note("Apple 2.9", "stereo AAC runs at 32 to 160 kbit/s", codecs::aac_rate),
    must("Apple 2.17", "a segment holds one audio stream and nothing else", media::one_stream),
    should("Apple 2.18, 2.19", "the loudness of the track is told, in a ludt box", media::loudness_told),
    must("Apple 2.23", "the loudness that is told is the real one (2 LU)", media::loudness_true),
    must("Apple 2.24", "HE-AAC in fragments announces SBR explicitly", codecs::explicit_sbr),
    must("Apple 2.25", "FLAC, ALAC and xHE-AAC come in fragmented MP4", codecs::fragments),
    must("Apple 7.3", "decode times go on without hole or overlap", timing::continuous),
    should("Apple 7.5", "the target duration is 6 s", timing::target),
    should("Apple 7.6", "segments last 6 s, to a frame (the last may be shorter)", timing::nominal),
    must("Apple 7.7", "no segment outlasts the target duration by more than 0.5 s", timing::longest),
    must("Apple 8.1", "over any run of segments, EXTINF adds up to what is heard, within one frame", timing::drift),
    must("Apple 8.2", "all renditions have the same target duration", timing::same_target),
    must("Apple 8.3, 8.7", "all renditions last equally long, within one frame", timing::same_length),
    must("Apple 8.6", "the playlist type is VOD", text::vod),
    must("Apple 8.10", "EXT-X-MEDIA tells its LANGUAGE, unless it is video", text::language),
    must("Apple 8.18", "media requests are not redirected", delivery::no_redirect),
    must("Apple 8.20", "fragmented MP4 has an EXT-X-MAP", text::map),
    should("Apple 8.22", "segments begin at the same times in all renditions", timing::aligned),
    must("Apple 9.1", "every variant has CODECS", codecs::told),
    must("Apple 9.13", "BANDWIDTH is no less than the measured peak of what plays together", rates::bandwidth),
    must("Apple 9.14", "every variant has AVERAGE-BANDWIDTH", rates::average_told),
    should("Apple 9.18", "EXT-X-CONTENT-STEERING has a PATHWAY-ID", steering::begins),
    note("Apple 9.20", "tvOS: there is no audio-only variant", codecs::tvos),
    must("Apple 9.21", "iOS: some variant peaks at 192 kbit/s or less", rates::cellular),
    must("Apple 10.1", "playlists are gzipped", delivery::gzip),
    should("Apple 10.2", "there is a second way to every variant, for when the first fails", steering::failover),
    should("Apple 10.4", "playlists and media have their MIME types", delivery::content_types),
    should("Apple 11", "everything is delivered over TLS", delivery::tls),
    must("Apple 12.1", "TLS is 1.2 or newer, with forward secrecy", delivery::tls_version),
    should("Apple 12.4", "segment URLs are not static", delivery::rotating),
    must("RFC 4.1", "every line is a valid tag, a comment or an announced URI, each where it may stand", text::lines),
    must("RFC 4.3.3.1", "EXTINF, rounded, is at most EXT-X-TARGETDURATION", timing::rounded),
    must("RFC 4.3.3.4", "a playlist that is over ends in EXT-X-ENDLIST", text::ended),
    should("RFC 4.3.5.1", "segments are independent, and say so", media::independent),
    must("RFC 4.3.4.2", "CODECS names what the init section holds", codecs::true_to_init),
    must("RFC 7", "EXT-X-VERSION is high enough for the tags in use", text::version),
    must("RFC 6.2.1", "every object answers, and can be read", delivery::answers),
    should("RFC 6.3.1", "every tag is one that players know", text::known),
    must("CMAF init", "the init section holds no samples", media::empty_init),
    must("CMAF chunk", "sample tables and data agree, and a segment stands alone", media::layout),
    should("CMAF edit", "one edit hides the encoder's priming, the same in all renditions of a codec", media::edits),
    should("Fetch CORS", "any page may read it", delivery::cors),
    should("hls.js start", "the first variant fits the 500 kbit/s that players assume before they know", rates::first),
    must("Steering tag", "content steering has a server and begins on a pathway that exists", steering::tag),
    must("Steering variants", "every pathway offers the same variants", steering::same_variants),
    must("Steering manifest", "the steering manifest is valid and names pathways that exist", steering::manifest),
    must("Steering media", "every pathway delivers the same media", steering::same_bytes),
];

/// Holds `presentation` to every rule.
pub(super) fn judge(presentation: &Presentation) -> Vec<Finding> {
    RULES.iter().map(|rule| rule.judge(presentation)).collect()
}

impl Rule {
    fn judge(&self, presentation: &Presentation) -> Finding {
        let (verdict, measured, faults) = match (self.measure)(presentation) {
            Outcome::NotApplicable(why) => (Verdict::NotApplicable, why, Vec::new()),
            Outcome::Measured(measured, faults) if faults.is_empty() => (Verdict::Kept, measured, faults),
            Outcome::Measured(measured, faults) => {
                let verdict = match self.level {
                    Level::Must => Verdict::Broken,
                    Level::Should => Verdict::Advised,
                    Level::Note => Verdict::Noted,
                };
                (verdict, measured, faults)
            }
        };
        Finding { rule: self.id, level: self.level, requirement: self.requirement, verdict, measured, faults }
    }
}

/// Smallest and largest of `values`, as text with a unit; empty when there are none.
fn range(values: impl Iterator<Item = f64>, decimals: usize, unit: &str) -> String {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low > high {
        return "nothing to measure".to_owned();
    }
    let (low_text, high_text) = (format!("{low:.decimals$}"), format!("{high:.decimals$}"));
    if low_text == high_text { format!("{low_text} {unit}") } else { format!("{low_text} to {high_text} {unit}") }
}

/// `n things`, or `1 thing`.
fn count(n: usize, thing: &str) -> String {
    if n == 1 { format!("1 {thing}") } else { format!("{n} {thing}s") }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::RULES;

    #[test]
    fn a_rule_is_listed_once() {
        let mut seen = HashSet::new();
        let twice: Vec<_> = RULES.iter().filter(|rule| !seen.insert(rule.id)).map(|rule| rule.id).collect();
        assert!(twice.is_empty(), "{twice:?}");
    }

    /// Section 4.1 of the project's reference to Apple's specification, number by number.
    #[test]
    fn every_numbered_rule_of_the_authoring_specification_that_we_follow_is_measured() {
        let listed: HashSet<&str> =
            RULES.iter().filter_map(|rule| rule.id.strip_prefix("Apple ")).flat_map(|numbers| numbers.split(", ")).collect();
        let wanted = "1.26 1.27 1.30 2.3 2.4 2.9 2.17 2.18 2.19 2.23 2.24 2.25 7.3 7.5 7.6 7.7 8.1 8.2 8.3 8.6 8.7 8.10 8.18 8.20 8.22 9.1 \
                      9.13 9.14 9.18 9.20 9.21 10.1 10.2 10.4 11 12.1 12.4";
        let missing: Vec<_> = wanted.split(' ').filter(|number| !listed.contains(number)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}
