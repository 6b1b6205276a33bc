//! The playlists as text: tags that must be there, and lines that must not.

use super::{Fault, Outcome, count};
use crate::hls::{playlist::Common, presentation::Presentation};

pub(super) fn vod(presentation: &Presentation) -> Outcome {
    let faults = presentation
        .media()
        .filter(|(_, media)| !media.is_vod)
        .map(|(rendition, _)| Fault::new(&rendition.name, "no EXT-X-PLAYLIST-TYPE:VOD"));
    Outcome::Measured(count(presentation.media().count(), "media playlist"), faults.collect())
}

pub(super) fn ended(presentation: &Presentation) -> Outcome {
    let faults =
        presentation.media().filter(|(_, media)| !media.ended).map(|(rendition, _)| Fault::new(&rendition.name, "no EXT-X-ENDLIST"));
    Outcome::Measured(count(presentation.media().count(), "media playlist"), faults.collect())
}

pub(super) fn map(presentation: &Presentation) -> Outcome {
    let faults =
        presentation.media().filter(|(_, media)| media.map.is_none()).map(|(rendition, _)| Fault::new(&rendition.name, "no EXT-X-MAP"));
    Outcome::Measured(count(presentation.media().count(), "media playlist"), faults.collect())
}

pub(super) fn language(presentation: &Presentation) -> Outcome {
    let tags = presentation.multivariant.as_ref().map(|multivariant| multivariant.renditions.as_slice()).unwrap_or_default();
    if tags.is_empty() {
        return Outcome::none("there is no EXT-X-MEDIA");
    }
    let silent = tags.iter().filter(|tag| !tag.is_video && tag.language.is_none());
    let faults = silent.map(|tag| Fault::new(format!("line {}", tag.line), format!("`{}` has no LANGUAGE", tag.name)));
    Outcome::Measured(count(tags.len(), "EXT-X-MEDIA"), faults.collect())
}

pub(super) fn lines(presentation: &Presentation) -> Outcome {
    let remarks = |at: &str, common: &Common| -> Vec<Fault> {
        common.remarks.iter().map(|remark| Fault::new(format!("{at} line {}", remark.line), &remark.what)).collect()
    };
    let mut faults: Vec<Fault> = commons(presentation).flat_map(|(at, common)| remarks(&at, common)).collect();
    // A media playlist that is none is told here; one that did not come at all, under "every object answers".
    let unread = presentation.renditions.iter().filter(|rendition| rendition.delivery.failure.is_none());
    faults.extend(unread.filter_map(|rendition| Some(Fault::new(&rendition.name, rendition.media.as_ref().err()?))));
    Outcome::Measured(count(commons(presentation).count(), "playlist"), faults)
}

pub(super) fn known(presentation: &Presentation) -> Outcome {
    let strange = commons(presentation).flat_map(|(at, common)| {
        common.strange.iter().map(move |tag| Fault::new(format!("{at} line {}", tag.line), format!("{} is skipped by players", tag.what)))
    });
    Outcome::Measured(count(commons(presentation).count(), "playlist"), strange.collect())
}

pub(super) fn version(presentation: &Presentation) -> Outcome {
    let mut faults = Vec::new();
    let mut told = Vec::new();
    for (at, common) in commons(presentation) {
        let version = common.version.unwrap_or(1);
        told.push(version as f64);
        if let Some((needed, why)) = common.needs.filter(|(needed, _)| *needed > version) {
            faults.push(Fault::new(at, format!("EXT-X-VERSION is {version}, {why} needs {needed}")));
        }
    }
    Outcome::Measured(format!("version {}", super::range(told.into_iter(), 0, "").trim_end()), faults)
}

/// What every readable playlist has, with the playlist's name.
fn commons(presentation: &Presentation) -> impl Iterator<Item = (String, &Common)> {
    let top = presentation.multivariant.iter().map(|multivariant| ("multivariant playlist".to_owned(), &multivariant.common));
    top.chain(presentation.media().map(|(rendition, media)| (rendition.name.clone(), &media.common)))
}
