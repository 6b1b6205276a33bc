//! Bit rates: what the multivariant playlist promises, and what the segments weigh.

use super::{Fault, Outcome, count, range};
use crate::hls::{
    measure::deviation,
    playlist::Variant,
    presentation::{Presentation, Rendition},
};

/// Apple's tolerance for what a playlist tells of bit rates.
const TOLERANCE: f64 = 0.10;
/// hls.js's `abrEwmaDefaultEstimate`, bit/s.
const FIRST_ESTIMATE_BPS: u64 = 500_000;
/// What iOS allows itself on a cellular network, bit/s.
const CELLULAR_BPS: u64 = 192_000;

/// A variant and its measured rates.
struct Measured<'p> {
    variant: &'p Variant,
    rendition: &'p Rendition,
    average_bps: f64,
    peak_bps: f64,
    /// The peak by the media's own durations, which `EXTINF` may miss by a frame.
    coded_peak_bps: f64,
}

/// Every variant that was read whole. An alternative that plays with a variant adds its own rates: the largest of its group.
fn measured(presentation: &Presentation) -> Vec<Measured<'_>> {
    let of_variant = |(place, variant): (usize, _)| {
        let variant: &Variant = variant;
        let rendition = presentation.of_variant(place)?;
        let (told, coded) = rendition.rates()?;
        let in_group = |other: &&Rendition| other.group.is_some() && other.group == variant.audio_group && !other.variants.contains(&place);
        let beside = presentation
            .renditions
            .iter()
            .filter(in_group)
            .filter_map(Rendition::rates)
            .fold((0.0, 0.0, 0.0), |sum: (f64, f64, f64), (told, coded)| {
                (sum.0.max(told.average_bps), sum.1.max(told.peak_bps), sum.2.max(coded.peak_bps))
            });
        Some(Measured {
            variant,
            rendition,
            average_bps: told.average_bps + beside.0,
            peak_bps: told.peak_bps + beside.1,
            coded_peak_bps: coded.peak_bps + beside.2,
        })
    };
    presentation.variants().filter_map(of_variant).collect()
}

const UNREAD: &str = "no variant could be read whole";

pub(super) fn average(presentation: &Presentation) -> Outcome {
    let all = measured(presentation);
    let told: Vec<_> = all.iter().filter_map(|one| Some((one, one.variant.average_bandwidth?))).collect();
    if told.is_empty() {
        return Outcome::none("no variant tells its average");
    }
    let faults = told
        .iter()
        .filter(|(one, told)| deviation(one.average_bps, *told) > TOLERANCE)
        .map(|(one, told)| Fault::new(&one.rendition.name, format!("AVERAGE-BANDWIDTH={told}, measured {:.0}", one.average_bps)));
    let off = told.iter().map(|(one, told)| deviation(one.average_bps, *told) * 100.0);
    Outcome::Measured(format!("off by {}", range(off, 2, "%")), faults.collect())
}

pub(super) fn peak(presentation: &Presentation) -> Outcome {
    let all = measured(presentation);
    if all.is_empty() {
        return Outcome::none(UNREAD);
    }
    let faults = all
        .iter()
        .filter(|one| deviation(one.peak_bps, one.variant.bandwidth) > TOLERANCE)
        .map(|one| Fault::new(&one.rendition.name, format!("BANDWIDTH={}, measured {:.0}", one.variant.bandwidth, one.peak_bps)));
    let off = all.iter().map(|one| deviation(one.peak_bps, one.variant.bandwidth) * 100.0);
    Outcome::Measured(format!("off by {}", range(off, 2, "%")), faults.collect())
}

pub(super) fn burst(presentation: &Presentation) -> Outcome {
    let all = measured(presentation);
    if all.is_empty() {
        return Outcome::none(UNREAD);
    }
    let faults = all
        .iter()
        .filter(|one| one.peak_bps > 2.0 * one.average_bps)
        .map(|one| Fault::new(&one.rendition.name, format!("peaks at {:.0}, averages {:.0} bit/s", one.peak_bps, one.average_bps)));
    let shares = all.iter().map(|one| one.peak_bps / one.average_bps.max(1.0) * 100.0);
    Outcome::Measured(range(shares, 0, "% of the average"), faults.collect())
}

/// The authoring specification and RFC 8216 4.3.4.2 say "is"; what a player may be promised less than is what counts. `EXTINF` may miss the
/// media by a frame (8.1), so the smaller of both peaks is held against it.
pub(super) fn bandwidth(presentation: &Presentation) -> Outcome {
    let all = measured(presentation);
    if all.is_empty() {
        return Outcome::none(UNREAD);
    }
    let faults = all.iter().filter(|one| (one.variant.bandwidth as f64) < one.peak_bps.min(one.coded_peak_bps).floor()).map(|one| {
        let (told, by_extinf, coded) = (one.variant.bandwidth, one.peak_bps, one.coded_peak_bps);
        Fault::new(&one.rendition.name, format!("BANDWIDTH={told}, the peak is {by_extinf:.0} by EXTINF and {coded:.0} by the media"))
    });
    let shares = all.iter().map(|one| one.variant.bandwidth as f64 / one.peak_bps.max(1.0) * 100.0);
    Outcome::Measured(format!("BANDWIDTH is {} of the peak by EXTINF", range(shares, 2, "%")), faults.collect())
}

pub(super) fn average_told(presentation: &Presentation) -> Outcome {
    let variants = presentation.variants().count();
    if variants == 0 {
        return Outcome::none("a media playlist alone has no variants");
    }
    let silent = presentation.variants().filter(|(_, variant)| variant.average_bandwidth.is_none());
    let faults: Vec<_> = silent.map(|(_, variant)| Fault::new(format!("line {}", variant.line), "no AVERAGE-BANDWIDTH")).collect();
    Outcome::Measured(format!("{} of {}", variants - faults.len(), count(variants, "variant")), faults)
}

pub(super) fn cellular(presentation: &Presentation) -> Outcome {
    let Some((_, smallest)) = presentation.variants().min_by_key(|(_, variant)| variant.bandwidth) else {
        return Outcome::none("a media playlist alone has no variants");
    };
    let too_large = (smallest.bandwidth > CELLULAR_BPS)
        .then(|| Fault::new(format!("line {}", smallest.line), "even the smallest variant is above 192,000 bit/s"));
    Outcome::Measured(format!("the smallest peaks at {} bit/s", smallest.bandwidth), too_large.into_iter().collect())
}

pub(super) fn first(presentation: &Presentation) -> Outcome {
    let Some((_, first)) = presentation.variants().next() else {
        return Outcome::none("a media playlist alone has no variants");
    };
    let too_large = (first.bandwidth > FIRST_ESTIMATE_BPS)
        .then(|| Fault::new(format!("line {}", first.line), format!("the first variant asks for {} bit/s", first.bandwidth)));
    Outcome::Measured(format!("the first peaks at {} bit/s", first.bandwidth), too_large.into_iter().collect())
}
