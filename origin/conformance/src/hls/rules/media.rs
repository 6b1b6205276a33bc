//! What is inside init sections and segments, beyond time and weight.

use std::collections::BTreeMap;

use super::{Fault, Outcome, count, range};
use crate::hls::presentation::{Presentation, Rendition};

/// What the `ludt` box's steps of 1/4 LU, a lossy encoder and a source that was measured before it may differ by. A wrong value, such as one that
/// was never measured, is off by far more.
const LOUDNESS_TOLERANCE_LU: f64 = 2.0;
const UNREAD: &str = "no init section could be read";

pub(super) fn one_stream(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let mut segments = 0;
    for (rendition, init) in presentation.inits() {
        if init.tracks != 1 {
            faults.push(Fault::new(&rendition.name, format!("the init section has {} tracks", init.tracks)));
        }
        for (place, _, fragment) in rendition.fragments() {
            segments += 1;
            if fragment.tracks.len() != 1 {
                faults.push(Fault::new(rendition.segment(place), format!("{} tracks", fragment.tracks.len())));
            }
        }
    }
    Outcome::Measured(count(segments, "segment"), faults)
}

pub(super) fn loudness_told(presentation: &Presentation) -> Outcome {
    let told = |rendition: &Rendition| rendition.readable_init().and_then(|init| init.loudness).and_then(|loudness| loudness.program_lufs);
    let silent = presentation.inits().filter(|(rendition, _)| told(rendition).is_none());
    let faults: Vec<_> = silent.map(|(rendition, _)| Fault::new(&rendition.name, "no ludt box with a programme loudness")).collect();
    Outcome::Measured(range(presentation.inits().filter_map(|(rendition, _)| told(rendition)), 2, "LUFS"), faults)
}

pub(super) fn loudness_true(presentation: &Presentation) -> Outcome {
    let heard = match &presentation.heard {
        Some((_, Ok(heard))) => *heard,
        Some((_, Err(why))) => return Outcome::NotApplicable(format!("the audio could not be decoded here: {why}")),
        None => return Outcome::none("nothing was decoded"),
    };
    // The floor of BS.1770's gate: silence has no loudness to compare.
    if !heard.is_finite() || heard < -70.0 {
        return Outcome::none("the track is silent");
    }
    let told: Vec<(&Rendition, f64)> =
        presentation.inits().filter_map(|(rendition, init)| Some((rendition, init.loudness?.program_lufs?))).collect();
    if told.is_empty() {
        return Outcome::none("no loudness is told");
    }
    let wrong = told.iter().filter(|(_, lufs)| (lufs - heard).abs() > LOUDNESS_TOLERANCE_LU);
    let faults =
        wrong.map(|(rendition, lufs)| Fault::new(&rendition.name, format!("told {lufs:.2} LUFS, decoded {heard:.2} LUFS"))).collect();
    Outcome::Measured(format!("told {}, decoded {heard:.2} LUFS", range(told.iter().map(|(_, lufs)| *lufs), 2, "LUFS")), faults)
}

pub(super) fn independent(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let all = presentation.multivariant.as_ref().is_some_and(|multivariant| multivariant.common.independent_segments);
    for (rendition, media) in presentation.media() {
        if !all && !media.common.independent_segments {
            faults.push(Fault::new(&rendition.name, "no EXT-X-INDEPENDENT-SEGMENTS"));
        }
        let late = rendition.fragments().filter(|(_, _, fragment)| !fragment.starts_with_sync);
        faults.extend(late.map(|(place, _, _)| Fault::new(rendition.segment(place), "its first sample is no place to begin")));
    }
    let segments = presentation.renditions.iter().map(|rendition| rendition.fragments().count()).sum();
    Outcome::Measured(count(segments, "segment"), faults)
}

pub(super) fn empty_init(presentation: &Presentation) -> Outcome {
    let inits: Vec<_> = presentation.inits().collect();
    if inits.is_empty() {
        return Outcome::none(UNREAD);
    }
    let faults = inits
        .iter()
        .filter(|(_, init)| init.samples > 0)
        .map(|(rendition, _)| Fault::new(&rendition.name, "the init section holds samples"));
    Outcome::Measured(count(inits.len(), "init section"), faults.collect())
}

pub(super) fn layout(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let mut samples = 0;
    for rendition in &presentation.renditions {
        for (place, _, fragment) in rendition.fragments() {
            samples += fragment.samples;
            faults.extend(fragment.layout.iter().map(|what| Fault::new(rendition.segment(place), what)));
        }
    }
    Outcome::Measured(format!("{samples} samples"), faults)
}

pub(super) fn edits(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let mut priming: BTreeMap<&str, u64> = BTreeMap::new();
    let mut told = Vec::new();
    for (rendition, init) in presentation.inits() {
        let Some(edit) = init.edit else {
            // FLAC and its like put out nothing but what was put in.
            if init.sound.is_aac() {
                faults.push(Fault::new(&rendition.name, "no edit list: a player must guess the encoder's priming"));
            }
            continue;
        };
        told.push(edit.skip as f64);
        if edit.entries != 1 {
            faults.push(Fault::new(&rendition.name, format!("{} edits", edit.entries)));
        }
        let expected = *priming.entry(&init.sound.codec).or_insert(edit.skip);
        if edit.skip != expected {
            faults.push(Fault::new(
                &rendition.name,
                format!("skips {} samples, others of its codec {expected}: a switch would move the music", edit.skip),
            ));
        }
        // What did not come cannot be counted.
        let is_whole = rendition.fragments().count() == rendition.segments.len();
        let presented: u64 = rendition.fragments().map(|(_, _, fragment)| fragment.duration).sum::<u64>().saturating_sub(edit.skip);
        if is_whole && edit.keep.is_some_and(|keep| keep > presented) {
            faults.push(Fault::new(&rendition.name, format!("presents {} samples, there are {presented}", edit.keep.unwrap_or(0))));
        }
    }
    Outcome::Measured(format!("priming of {}", range(told.into_iter(), 0, "samples")), faults)
}
