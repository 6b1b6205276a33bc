//! Content steering (draft-pantos-hls-rfc8216bis 4.4.6.6): several ways to the same music.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fault, Outcome, count};
use crate::hls::{
    playlist::Variant,
    presentation::{Presentation, Rendition},
};

const NONE: &str = "there is no EXT-X-CONTENT-STEERING";

pub(super) fn tag(presentation: &Presentation) -> Outcome {
    let Some(tag) = presentation.multivariant.as_ref().and_then(|multivariant| multivariant.steering.as_ref()) else {
        return Outcome::none(NONE);
    };
    let known = pathways(presentation);
    let mut faults = Vec::new();
    let at = format!("line {}", tag.line);
    if tag.server_uri.is_empty() {
        faults.push(Fault::new(&at, "SERVER-URI is empty"));
    }
    if let Some(pathway) = tag.pathway.as_deref().filter(|pathway| !known.contains_key(pathway)) {
        faults.push(Fault::new(&at, format!("PATHWAY-ID=\"{pathway}\" is of no variant")));
    }
    Outcome::Measured(format!("begins on `{}` of {}", tag.pathway.as_deref().unwrap_or("."), count(known.len(), "pathway")), faults)
}

pub(super) fn begins(presentation: &Presentation) -> Outcome {
    let Some(tag) = presentation.multivariant.as_ref().and_then(|multivariant| multivariant.steering.as_ref()) else {
        return Outcome::none(NONE);
    };
    let silent = tag.pathway.is_none().then(|| Fault::new(format!("line {}", tag.line), "no PATHWAY-ID: a player begins anywhere"));
    Outcome::Measured(tag.pathway.clone().unwrap_or_default(), silent.into_iter().collect())
}

/// A variant listed twice with other URIs is a second way, with content steering or without.
pub(super) fn failover(presentation: &Presentation) -> Outcome {
    let mut ways: BTreeMap<(u64, Option<&str>), BTreeSet<&str>> = BTreeMap::new();
    for (_, variant) in presentation.variants() {
        ways.entry((variant.bandwidth, variant.codecs.as_deref())).or_default().insert(&variant.uri);
    }
    if ways.is_empty() {
        return Outcome::none("a media playlist alone has no variants");
    }
    let single = ways.iter().filter(|(_, uris)| uris.len() < 2);
    let faults: Vec<_> = single
        .map(|((bandwidth, _), uris)| {
            Fault::new(
                uris.iter().copied().next().unwrap_or_default().rsplit('/').next().unwrap_or_default(),
                format!("BANDWIDTH={bandwidth} is there once"),
            )
        })
        .collect();
    Outcome::Measured(format!("{} of {} twice", ways.len() - faults.len(), count(ways.len(), "variant")), faults)
}

fn pathways(presentation: &Presentation) -> BTreeMap<&str, Vec<(usize, &Variant)>> {
    let mut found: BTreeMap<&str, Vec<(usize, &Variant)>> = BTreeMap::new();
    for (place, variant) in presentation.variants() {
        found.entry(&variant.pathway).or_default().push((place, variant));
    }
    found
}

pub(super) fn same_variants(presentation: &Presentation) -> Outcome {
    let pathways = pathways(presentation);
    let Some((first_name, first)) = pathways.first_key_value().filter(|_| pathways.len() > 1) else {
        return Outcome::none("there is one pathway only");
    };
    let offer = |variants: &[(usize, &Variant)]| -> BTreeSet<(u64, Option<u64>, Option<String>)> {
        variants.iter().map(|(_, variant)| (variant.bandwidth, variant.average_bandwidth, variant.codecs.clone())).collect()
    };
    let expected = offer(first);
    let others = pathways.iter().filter(|(_, variants)| offer(variants) != expected);
    let faults =
        others.map(|(name, _)| Fault::new(format!("pathway {name}"), format!("its variants are not those of pathway {first_name}")));
    Outcome::Measured(format!("{} on each of {}", count(first.len(), "variant"), count(pathways.len(), "pathway")), faults.collect())
}

pub(super) fn manifest(presentation: &Presentation) -> Outcome {
    let Some((_, manifest)) = &presentation.steering else { return Outcome::none(NONE) };
    let at = "steering manifest";
    let manifest = match manifest {
        Ok(manifest) => manifest,
        // That it did not come is told under "every object answers", and here too: without it there is no steering.
        Err(why) => return Outcome::Measured("unreadable".to_owned(), vec![Fault::new(at, why)]),
    };
    let known = pathways(presentation);
    let mut faults = Vec::new();
    if manifest.version != 1 {
        faults.push(Fault::new(at, format!("VERSION is {}", manifest.version)));
    }
    if manifest.ttl_s == Some(0) {
        faults.push(Fault::new(at, "a TTL of 0 s: players would never stop asking"));
    }
    if manifest.priority.is_empty() {
        faults.push(Fault::new(at, "PATHWAY-PRIORITY is empty"));
    }
    let mut seen = BTreeSet::new();
    for pathway in &manifest.priority {
        if !seen.insert(pathway) {
            faults.push(Fault::new(at, format!("PATHWAY-PRIORITY names `{pathway}` twice")));
        }
        if !known.contains_key(pathway.as_str()) {
            faults.push(Fault::new(at, format!("PATHWAY-PRIORITY names `{pathway}`, which no variant is on")));
        }
    }
    let ttl = manifest.ttl_s.map_or_else(|| "as long as a player likes".to_owned(), |ttl_s| format!("for {ttl_s} s"));
    Outcome::Measured(format!("{} {ttl}", manifest.priority.join(", ")), faults)
}

pub(super) fn same_bytes(presentation: &Presentation) -> Outcome {
    let pathways = pathways(presentation);
    if pathways.len() < 2 {
        return Outcome::none("there is one pathway only");
    }
    let rendition = |variants: &[(usize, &Variant)], wanted: &Variant| -> Option<&Rendition> {
        let same = |variant: &Variant| variant.bandwidth == wanted.bandwidth && variant.codecs == wanted.codecs;
        let (place, _) = variants.iter().find(|(_, variant)| same(variant))?;
        presentation.of_variant(*place)
    };
    let mut faults = Vec::new();
    let mut compared = 0;
    let first = pathways.values().next().map(Vec::as_slice).unwrap_or_default();
    for others in pathways.values().skip(1) {
        for (_, variant) in first {
            let Some((here, there)) = rendition(first, variant).zip(rendition(others, variant)) else { continue };
            for ((place, _, one), (_, _, other)) in here.fragments().zip(there.fragments()) {
                compared += 1;
                if one.digest != other.digest {
                    faults.push(Fault::new(
                        there.segment(place),
                        format!("{} bytes, other than the {} of {}", other.bytes, one.bytes, here.segment(place)),
                    ));
                }
            }
        }
    }
    Outcome::Measured(format!("{} compared", count(compared, "segment")), faults)
}
