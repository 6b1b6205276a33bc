//! Time: what `EXTINF` and the target duration tell, what `tfdt` and `trun` hold, and how renditions agree.

use std::collections::BTreeSet;

use super::{Fault, Outcome, count, range};
use crate::hls::{
    measure,
    presentation::{Presentation, Rendition},
};

const TARGET_S: u64 = 6;
/// Apple 7.7.
const OVER_S: f64 = 0.5;
/// Half of the last digit of the six that are usual in `EXTINF`, over the longest of runs: what rounding alone may add up to.
const ROUNDING_S: f64 = 0.001;

const UNREAD: &str = "no segment could be read";

pub(super) fn continuous(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let mut joints = 0;
    for (rendition, _) in presentation.inits() {
        let mut before: Option<(usize, u64)> = None;
        for (place, segment, fragment) in rendition.fragments() {
            faults.extend(fragment.gaps.iter().map(|gap| Fault::new(rendition.segment(place), gap)));
            // What could not be read is told elsewhere; a hole is between neighbours only.
            if let Some((_, end)) = before.filter(|(last, _)| last + 1 == place && !segment.entry.discontinuity) {
                joints += 1;
                if end != fragment.start {
                    let what = format!("tfdt is {}, the segment before ends at {end}", fragment.start);
                    faults.push(Fault::new(rendition.segment(place), what));
                }
            }
            before = Some((place, fragment.end()));
        }
    }
    Outcome::Measured(format!("{joints} joints compared"), faults)
}

pub(super) fn target(presentation: &Presentation) -> Outcome {
    let targets: Vec<_> = targets(presentation).collect();
    let faults = targets
        .iter()
        .filter(|(_, target)| *target != TARGET_S)
        .map(|(rendition, target)| Fault::new(&rendition.name, format!("{target} s")));
    Outcome::Measured(range(targets.iter().map(|(_, target)| *target as f64), 0, "s"), faults.collect())
}

pub(super) fn nominal(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let mut all = Vec::new();
    for (rendition, media) in presentation.media() {
        let last = media.segments.len().saturating_sub(1);
        let frame_s = rendition.frame_s() + ROUNDING_S;
        for (place, entry) in media.segments.iter().enumerate() {
            all.push(entry.duration_s);
            let off = entry.duration_s - TARGET_S as f64;
            // The last ends with the music.
            if off > frame_s || (off < -frame_s && place < last) {
                faults.push(Fault::new(rendition.segment(place), format!("EXTINF {:.3} s", entry.duration_s)));
            }
        }
    }
    Outcome::Measured(range(all.into_iter(), 3, "s"), faults)
}

pub(super) fn longest(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let mut longest = 0.0_f64;
    for (rendition, target) in targets(presentation) {
        let limit = target as f64 + OVER_S;
        for (place, segment) in rendition.segments.iter().enumerate() {
            let held = rendition
                .readable_init()
                .zip(segment.fragment.as_ref().ok())
                .map_or(0.0, |(init, fragment)| init.seconds(fragment.duration));
            let told = segment.entry.duration_s;
            longest = longest.max(told).max(held);
            if told.max(held) > limit {
                faults.push(Fault::new(rendition.segment(place), format!("EXTINF {told:.3} s, media {held:.3} s, at most {limit} s")));
            }
        }
    }
    Outcome::Measured(format!("the longest lasts {longest:.3} s"), faults)
}

pub(super) fn rounded(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let mut longest = 0.0_f64;
    for (rendition, media) in presentation.media() {
        let Some(target) = media.target_s else {
            faults.push(Fault::new(&rendition.name, "no EXT-X-TARGETDURATION"));
            continue;
        };
        for (place, entry) in media.segments.iter().enumerate() {
            longest = longest.max(entry.duration_s);
            if entry.duration_s.round() > target as f64 {
                faults.push(Fault::new(
                    rendition.segment(place),
                    format!("EXTINF {} s, the target duration is {target} s", entry.duration_s),
                ));
            }
        }
    }
    Outcome::Measured(format!("the longest EXTINF is {longest:.3} s"), faults)
}

pub(super) fn drift(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let mut worst = Vec::new();
    for (rendition, _) in presentation.inits() {
        let frame_s = rendition.frame_s();
        let found = measure::drift(rendition.durations());
        worst.push(found.seconds * 1000.0);
        if found.seconds > frame_s + ROUNDING_S {
            let at = format!("{} to {}", rendition.segment(found.from), rendition.segment(found.to));
            faults.push(Fault::new(at, format!("off by {:.1} ms, a frame is {:.1} ms", found.seconds * 1000.0, frame_s * 1000.0)));
        }
    }
    if worst.is_empty() {
        Outcome::none(UNREAD)
    } else {
        Outcome::Measured(format!("off by {}", range(worst.into_iter(), 3, "ms")), faults)
    }
}

pub(super) fn same_target(presentation: &Presentation) -> Outcome {
    let told: BTreeSet<u64> = targets(presentation).map(|(_, target)| target).collect();
    let Some(first) = first(presentation) else { return Outcome::none("there is one rendition only") };
    let expected = first.media.as_ref().ok().and_then(|media| media.target_s);
    let others = targets(presentation).filter(|(_, target)| Some(*target) != expected);
    let faults = others
        .map(|(rendition, target)| Fault::new(&rendition.name, format!("{target} s, {} has {} s", first.name, expected.unwrap_or(0))));
    Outcome::Measured(range(told.iter().map(|target| *target as f64), 0, "s"), faults.collect())
}

pub(super) fn same_length(presentation: &Presentation) -> Outcome {
    let Some(first) = first(presentation) else { return Outcome::none("there is one rendition only") };
    let expected = first.told_s();
    let faults = presentation
        .media()
        .filter(|(other, _)| (other.told_s() - expected).abs() > other.frame_s().max(first.frame_s()))
        .map(|(other, _)| Fault::new(&other.name, format!("{:.3} s, {} lasts {expected:.3} s", other.told_s(), first.name)));
    Outcome::Measured(range(presentation.media().map(|(rendition, _)| rendition.told_s()), 3, "s"), faults.collect())
}

pub(super) fn aligned(presentation: &Presentation) -> Outcome {
    let Some((first, first_init)) = presentation.inits().next().filter(|_| presentation.inits().count() > 1) else {
        return Outcome::none("there is one rendition only");
    };
    let begins: Vec<(usize, f64)> = first.fragments().map(|(place, _, fragment)| (place, first_init.seconds(fragment.start))).collect();
    let mut faults = Vec::new();
    for (other, init) in presentation.inits().skip(1) {
        if other.segments.len() != first.segments.len() {
            let (here, there) = (count(other.segments.len(), "segment"), first.segments.len());
            faults.push(Fault::new(&other.name, format!("{here}, {} has {there}", first.name)));
            continue;
        }
        // Renditions of one codec can begin at the very same sample; those of two are as near as the larger frame allows.
        let frames_s = (other.frame_s(), first.frame_s());
        let tolerance = if init.sound.codec == first_init.sound.codec && init.timescale == first_init.timescale {
            0.0
        } else {
            frames_s.0.max(frames_s.1)
        };
        let apart = other.fragments().filter_map(|(place, _, fragment)| {
            let (_, expected) = begins.iter().find(|(there, _)| *there == place)?;
            let here = init.seconds(fragment.start);
            ((here - expected).abs() > tolerance)
                .then(|| Fault::new(other.segment(place), format!("begins at {here:.6} s, in {} at {expected:.6} s", first.name)))
        });
        faults.extend(apart);
    }
    Outcome::Measured(format!("{} in each of {}", count(begins.len(), "segment"), count(presentation.inits().count(), "rendition")), faults)
}

fn targets(presentation: &Presentation) -> impl Iterator<Item = (&Rendition, u64)> {
    presentation.media().filter_map(|(rendition, media)| Some((rendition, media.target_s?)))
}

/// The rendition the others are compared with, when there are others.
fn first(presentation: &Presentation) -> Option<&Rendition> {
    let mut all = presentation.media().map(|(rendition, _)| rendition);
    let first = all.next();
    all.next().and(first)
}
