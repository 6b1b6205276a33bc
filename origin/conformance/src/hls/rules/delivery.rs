//! How things came over HTTP.

use std::collections::BTreeSet;

use reqwest::Url;

use super::{Fault, Outcome, count};
use crate::hls::{
    fetch::{Delivery, Kind, PAGE},
    presentation::Presentation,
};

pub(super) fn answers(presentation: &Presentation) -> Outcome {
    let mut faults: Vec<Fault> =
        presentation.deliveries().filter_map(|(at, delivery)| Some(Fault::new(at, delivery.failure.as_ref()?))).collect();
    for rendition in &presentation.renditions {
        let came = |delivery: &Delivery| delivery.failure.is_none();
        if let Some((_, Err(why))) = rendition.init.as_ref().filter(|(delivery, _)| came(delivery)) {
            faults.push(Fault::new(format!("{} init section", rendition.name), why));
            // Every segment would only say the same.
            continue;
        }
        if rendition.init.is_none() {
            continue;
        }
        let broken = rendition.segments.iter().enumerate().filter(|(_, segment)| came(&segment.delivery));
        faults.extend(broken.filter_map(|(place, segment)| Some(Fault::new(rendition.segment(place), segment.fragment.as_ref().err()?))));
    }
    Outcome::Measured(count(presentation.deliveries().count(), "object"), faults)
}

pub(super) fn no_redirect(presentation: &Presentation) -> Outcome {
    let sent_away = presentation.deliveries().filter_map(|(at, delivery)| {
        let (status, _) = delivery.redirects.first()?;
        Some(Fault::new(at, format!("answered {status}, found after {}", count(delivery.redirects.len(), "redirect"))))
    });
    Outcome::Measured(count(presentation.deliveries().count(), "object"), sent_away.collect())
}

pub(super) fn gzip(presentation: &Presentation) -> Outcome {
    let playlists: Vec<_> = came(presentation).filter(|(_, delivery)| delivery.kind == Kind::Playlist).collect();
    let plain = playlists.iter().filter(|(_, delivery)| delivery.content_encoding != "gzip");
    let faults = plain.map(|(at, _)| Fault::new(at, "not gzipped, though gzip was accepted")).collect();
    Outcome::Measured(count(playlists.len(), "playlist"), faults)
}

pub(super) fn content_types(presentation: &Presentation) -> Outcome {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (at, delivery) in came(presentation) {
        let essence = delivery.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let expected: &[&str] = match delivery.kind {
            // RFC 8216 4 allows the second.
            Kind::Playlist => &["application/vnd.apple.mpegurl", "audio/mpegurl"],
            Kind::Init => &["audio/mp4", "video/mp4"],
            Kind::Segment => &["audio/mp4", "video/iso.segment", "audio/iso.segment", "video/mp4", "audio/aac"],
            // Recommended is the first; players take it for the JSON that it is.
            Kind::Steering => &["application/vnd.apple.steering-list", "application/json"],
        };
        if !expected.contains(&essence.as_str()) {
            let told = if essence.is_empty() { "no Content-Type".to_owned() } else { format!("Content-Type: {essence}") };
            faults.push(Fault::new(at, format!("{told}, not {}", expected.first().copied().unwrap_or_default())));
        }
        seen.insert(essence);
    }
    Outcome::Measured(seen.into_iter().collect::<Vec<_>>().join(", "), faults)
}

pub(super) fn tls(presentation: &Presentation) -> Outcome {
    let outside: Vec<_> = came(presentation).filter(|(_, delivery)| !is_loopback(&delivery.found_at)).collect();
    if outside.is_empty() {
        return Outcome::none("everything came from this machine");
    }
    let faults = outside.iter().filter(|(_, delivery)| delivery.found_at.scheme() != "https").map(|(at, _)| Fault::new(at, "http"));
    Outcome::Measured(count(outside.len(), "object"), faults.collect())
}

pub(super) fn tls_version(presentation: &Presentation) -> Outcome {
    let over_tls = came(presentation).filter(|(_, delivery)| delivery.found_at.scheme() == "https").count();
    if over_tls == 0 {
        return Outcome::none("nothing came over TLS");
    }
    // rustls speaks nothing older and no key exchange without forward secrecy: what answered is new enough, what is not does not answer.
    Outcome::Measured(format!("{} over TLS 1.2 or 1.3", count(over_tls, "object")), Vec::new())
}

pub(super) fn rotating(presentation: &Presentation) -> Outcome {
    let Some(again) = &presentation.named_again else {
        return Outcome::none("the URL was given; whether another listener gets another shows only with --bearer and a manifest");
    };
    let first: BTreeSet<&str> = presentation.renditions.iter().map(|rendition| rendition.delivery.url.as_str()).collect();
    let same = again.iter().filter(|url| first.contains(url.as_str())).count();
    let fault =
        (same > 0).then(|| Fault::new("the media playlists", format!("{same} of {} have the same URL in a second manifest", again.len())));
    Outcome::Measured(format!("{} in a second manifest, {same} of them as before", count(again.len(), "URL")), fault.into_iter().collect())
}

pub(super) fn cors(presentation: &Presentation) -> Outcome {
    let mut seen = BTreeSet::new();
    let mut faults = Vec::new();
    for (at, delivery) in came(presentation) {
        if !matches!(delivery.allow_origin.as_str(), "*" | PAGE) {
            let told = if delivery.allow_origin.is_empty() {
                "no Access-Control-Allow-Origin".to_owned()
            } else {
                format!("only {}", delivery.allow_origin)
            };
            faults.push(Fault::new(at, told));
        }
        seen.insert(delivery.allow_origin.as_str());
    }
    Outcome::Measured(format!("Access-Control-Allow-Origin: {}", seen.into_iter().collect::<Vec<_>>().join(", ")), faults)
}

/// What was answered.
fn came(presentation: &Presentation) -> impl Iterator<Item = (String, &Delivery)> {
    presentation.deliveries().filter(|(_, delivery)| delivery.failure.is_none())
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}
