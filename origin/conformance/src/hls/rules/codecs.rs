//! Codecs: what variants say they are, what init sections say, and which of them Apple wants where.

use super::{Fault, Outcome, count, range};
use crate::hls::{
    cmaf::Init,
    playlist::Variant,
    presentation::{Presentation, Rendition},
};

const HE_AAC_BPS: f64 = 64_000.0;
/// A frame's headers and a segment's boxes come on top of what an encoder is asked for.
const OVERHEAD: f64 = 1.10;
const NO_VARIANTS: &str = "a media playlist alone has no variants";

fn is_he_aac(codec: &str) -> bool {
    matches!(codec, "mp4a.40.5" | "mp4a.40.29")
}

/// What a variant's codecs are, by `CODECS` or, where that is silent, by its init section.
fn codecs<'p>(presentation: &'p Presentation, place: usize, variant: &'p Variant) -> Vec<&'p str> {
    match &variant.codecs {
        Some(told) => told.split(',').map(str::trim).collect(),
        None => {
            presentation.of_variant(place).and_then(Rendition::readable_init).map(|init| init.sound.codec.as_str()).into_iter().collect()
        }
    }
}

pub(super) fn stereo_aac(presentation: &Presentation) -> Outcome {
    let sounds: Vec<String> = presentation.inits().map(|(_, init)| format!("{} x{}", init.sound.codec, init.sound.channels)).collect();
    if sounds.is_empty() {
        return Outcome::none("no init section could be read");
    }
    let found = presentation.inits().filter(|(_, init)| init.sound.is_aac() && init.sound.channels == 2).count();
    let missing = (found == 0).then(|| Fault::new("all renditions", format!("none is stereo AAC: {}", sounds.join(", "))));
    Outcome::Measured(format!("{found} of {}", count(sounds.len(), "rendition")), missing.into_iter().collect())
}

pub(super) fn he_aac_rate(presentation: &Presentation) -> Outcome {
    rated(presentation, |init| is_he_aac(&init.sound.codec), 0.0, HE_AAC_BPS, "there is no HE-AAC")
}

pub(super) fn aac_rate(presentation: &Presentation) -> Outcome {
    rated(
        presentation,
        |init| init.sound.codec == "mp4a.40.2" && init.sound.channels == 2,
        32_000.0,
        160_000.0,
        "there is no stereo AAC-LC",
    )
}

/// Average rates of the renditions that are `meant`, held between two bounds.
fn rated(presentation: &Presentation, meant: fn(&Init) -> bool, low_bps: f64, high_bps: f64, none: &str) -> Outcome {
    let measured: Vec<(&Rendition, f64)> = presentation
        .inits()
        .filter(|(_, init)| meant(init))
        .filter_map(|(rendition, _)| Some((rendition, rendition.rates()?.0.average_bps)))
        .collect();
    if measured.is_empty() {
        return Outcome::none(none);
    }
    let outside = measured.iter().filter(|(_, bps)| *bps < low_bps / OVERHEAD || *bps > high_bps * OVERHEAD);
    let faults = outside.map(|(rendition, bps)| Fault::new(&rendition.name, format!("{bps:.0} bit/s on average")));
    Outcome::Measured(range(measured.iter().map(|(_, bps)| bps / 1000.0), 0, "kbit/s"), faults.collect())
}

/// Implicit SBR looks like AAC-LC in the init section, and only `CODECS` tells that it is more.
pub(super) fn explicit_sbr(presentation: &Presentation) -> Outcome {
    let meant = |(place, variant): &(usize, &Variant)| codecs(presentation, *place, variant).iter().any(|codec| is_he_aac(codec));
    let inits = presentation.variants().filter(meant).filter_map(|(place, _)| {
        let rendition = presentation.of_variant(place)?;
        Some((rendition, rendition.readable_init()?))
    });
    let inits: Vec<_> = inits.collect();
    if inits.is_empty() {
        return Outcome::none("there is no HE-AAC");
    }
    let silent = inits.iter().filter(|(_, init)| !init.sound.explicit_sbr);
    let faults = silent.map(|(rendition, _)| Fault::new(&rendition.name, "its AudioSpecificConfig does not announce SBR"));
    Outcome::Measured(count(inits.len(), "variant"), faults.collect())
}

pub(super) fn fragments(presentation: &Presentation) -> Outcome {
    let only_fragments = |codec: &&str| matches!(*codec, "fLaC" | "flac" | "alac" | "mp4a.40.42");
    let meant: Vec<_> =
        presentation.variants().filter(|(place, variant)| codecs(presentation, *place, variant).iter().any(only_fragments)).collect();
    if meant.is_empty() {
        return Outcome::none("there is no FLAC, ALAC or xHE-AAC");
    }
    let bare = meant.iter().filter(|(place, _)| {
        presentation.of_variant(*place).is_some_and(|rendition| rendition.media.as_ref().is_ok_and(|media| media.map.is_none()))
    });
    let faults = bare.map(|(_, variant)| Fault::new(format!("line {}", variant.line), "its segments are no fragmented MP4"));
    Outcome::Measured(count(meant.len(), "variant"), faults.collect())
}

pub(super) fn told(presentation: &Presentation) -> Outcome {
    let variants = presentation.variants().count();
    if variants == 0 {
        return Outcome::none(NO_VARIANTS);
    }
    let silent = presentation.variants().filter(|(_, variant)| variant.codecs.as_deref().unwrap_or_default().is_empty());
    let faults: Vec<_> = silent.map(|(_, variant)| Fault::new(format!("line {}", variant.line), "no CODECS")).collect();
    Outcome::Measured(format!("{} of {}", variants - faults.len(), count(variants, "variant")), faults)
}

pub(super) fn true_to_init(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (place, variant) in presentation.variants().filter(|(_, variant)| variant.codecs.is_some()) {
        let Some((rendition, init)) = presentation.of_variant(place).and_then(|rendition| Some((rendition, rendition.readable_init()?)))
        else {
            continue;
        };
        let (told, held) = (codecs(presentation, place, variant), init.sound.codec.as_str());
        seen.insert(held);
        if !told.contains(&held) {
            let held = if held.is_empty() { "of a codec unknown to this check" } else { held };
            faults.push(Fault::new(&rendition.name, format!("CODECS=\"{}\", the init section is {held}", told.join(","))));
        }
    }
    if seen.is_empty() {
        Outcome::none("no variant has both CODECS and a readable init section")
    } else {
        Outcome::Measured(seen.into_iter().collect::<Vec<_>>().join(", "), faults)
    }
}

pub(super) fn tvos(presentation: &Presentation) -> Outcome {
    let variants = presentation.variants().count();
    if variants == 0 {
        return Outcome::none(NO_VARIANTS);
    }
    let audio_only = presentation.variants().filter(|(_, variant)| !variant.has_video).count();
    let fault = (audio_only > 0).then(|| {
        Fault::new("the multivariant playlist", "pure music has nothing but audio: it does not conform to tvOS, and does not claim to")
    });
    Outcome::Measured(format!("{audio_only} of {} audio-only", count(variants, "variant")), fault.into_iter().collect())
}
