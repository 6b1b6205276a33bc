//! Everything a player would fetch of one URL, fetched and read: the multivariant playlist, each media playlist, init section and segment, and
//! the steering manifest.
//!
//! Only what cannot be fetched or read at the very top ends the check; anything below is kept with its failure, for a rule to tell.

use std::collections::BTreeMap;

use futures::{StreamExt as _, stream};
use reqwest::Url;
use serde::Deserialize;

use super::{
    Options,
    cmaf::{Fragment, Init},
    fetch::{ByteRange, Delivery, Fetcher, Kind, Unreachable},
    loudness,
    measure::{Rates, rates},
    playlist::{self, Entry, Media, Multivariant, Playlist, Variant},
};

/// Renditions and segments of one presentation, at most.
const RENDITIONS_MAX: usize = 64;
const SEGMENTS_MAX: usize = 20_000;
/// Segments in flight at once: as many as a browser's connections.
const PARALLEL: usize = 6;
/// Of the rendition that is listened to, this much is kept in memory.
const AUDIO_BYTES_MAX: usize = 512 << 20;

/// A presentation, fetched.
pub(crate) struct Presentation {
    /// The top playlist and how it came; `None` when the URL was a media playlist.
    pub(crate) multivariant: Option<Multivariant>,
    pub(crate) top: Delivery,
    pub(crate) renditions: Vec<Rendition>,
    pub(crate) steering: Option<(Delivery, Result<Steering, String>)>,
    /// Media playlists that a second manifest named; `None` when there was no manifest to ask again.
    pub(crate) named_again: Option<Vec<String>>,
    /// Loudness of what was decoded, LUFS, with the rendition it was decoded from.
    pub(crate) heard: Option<(usize, Result<f64, String>)>,
}

/// One media playlist and all it names.
pub(crate) struct Rendition {
    /// For people: the pathway and the playlist's file, without any token.
    pub(crate) name: String,
    pub(crate) pathway: String,
    /// Variants that play it, by their place; none for an alternative that only `EXT-X-MEDIA` names.
    pub(crate) variants: Vec<usize>,
    /// The group of the `EXT-X-MEDIA` that names it.
    pub(crate) group: Option<String>,
    pub(crate) delivery: Delivery,
    pub(crate) media: Result<Media, String>,
    pub(crate) init: Option<(Delivery, Result<Init, String>)>,
    pub(crate) segments: Vec<Segment>,
}

/// One segment.
pub(crate) struct Segment {
    pub(crate) entry: Entry,
    pub(crate) delivery: Delivery,
    pub(crate) fragment: Result<Fragment, String>,
}

/// A content steering manifest (draft-pantos-hls-rfc8216bis).
#[derive(Debug, Deserialize)]
pub(crate) struct Steering {
    #[serde(rename = "VERSION")]
    pub(crate) version: u64,
    #[serde(rename = "TTL")]
    pub(crate) ttl_s: Option<u64>,
    #[serde(rename = "PATHWAY-PRIORITY")]
    pub(crate) priority: Vec<String>,
}

/// An Antiphon manifest, as far as it leads to the playlist.
#[derive(Deserialize)]
struct Manifest {
    playlist_url: String,
}

impl Presentation {
    /// Fetches everything.
    pub(crate) async fn fetch(url: &str, options: &Options) -> Result<Self, Unreachable> {
        let url = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| Unreachable::NotHttp(url.to_owned()))?;
        let fetcher = Fetcher::new()?;
        let (top, playlist) = top(&fetcher, &url, options).await?;
        let multivariant = match playlist {
            Playlist::Multivariant(multivariant) => multivariant,
            Playlist::Media(media) => {
                let mut only = Rendition::new("", &top.found_at, top.clone(), Ok(media));
                only.fetch_segments(&fetcher, None).await?;
                return Ok(Self { multivariant: None, top, renditions: vec![only], steering: None, named_again: None, heard: None });
            }
        };
        let named_again = match options.bearer {
            Some(_) => self::top(&fetcher, &url, options).await.ok().map(|(found, playlist)| variant_urls(&found, &playlist)),
            None => None,
        };
        let mut renditions = renditions(&fetcher, &top, &multivariant).await?;
        let loudest = to_listen_to(&multivariant, &renditions);
        let mut heard = None;
        for (place, rendition) in renditions.iter_mut().enumerate() {
            let mut audio = (loudest == Some(place)).then(Vec::new);
            rendition.fetch_segments(&fetcher, audio.as_mut()).await?;
            if let Some(audio) = audio {
                let measured = tokio::task::spawn_blocking(move || loudness::integrated(audio)).await;
                heard = Some((place, measured.unwrap_or_else(|_| Err("the decoder gave up".to_owned()))));
            }
        }
        let steering = match &multivariant.steering {
            Some(tag) => Some(steering(&fetcher, &top, &tag.server_uri).await),
            None => None,
        };
        Ok(Self { multivariant: Some(multivariant), top, renditions, steering, named_again, heard })
    }

    /// Every answer there was, in the order in which a player meets them, with a name for people.
    pub(crate) fn deliveries(&self) -> impl Iterator<Item = (String, &Delivery)> {
        let top = self.multivariant.iter().map(|_| (short(&self.top.url), &self.top));
        let steering = self.steering.iter().map(|(delivery, _)| (short(&delivery.url), delivery));
        let media = self.renditions.iter().flat_map(|rendition| {
            let own = std::iter::once((rendition.name.clone(), &rendition.delivery));
            let init = rendition.init.iter().map(|(delivery, _)| (rendition.object(delivery), delivery));
            own.chain(init).chain(rendition.segments.iter().map(|segment| (rendition.object(&segment.delivery), &segment.delivery)))
        });
        top.chain(steering).chain(media)
    }

    /// The rendition a variant plays.
    pub(crate) fn of_variant(&self, variant: usize) -> Option<&Rendition> {
        self.renditions.iter().find(|rendition| rendition.variants.contains(&variant))
    }

    /// Variants with their place.
    pub(crate) fn variants(&self) -> impl Iterator<Item = (usize, &Variant)> {
        self.multivariant.iter().flat_map(|multivariant| multivariant.variants.iter().enumerate())
    }

    /// Media playlists that could be read, with their renditions.
    pub(crate) fn media(&self) -> impl Iterator<Item = (&Rendition, &Media)> {
        self.renditions.iter().filter_map(|rendition| Some((rendition, rendition.media.as_ref().ok()?)))
    }

    /// Init sections that could be read, with their renditions.
    pub(crate) fn inits(&self) -> impl Iterator<Item = (&Rendition, &Init)> {
        self.renditions.iter().filter_map(|rendition| Some((rendition, rendition.readable_init()?)))
    }
}

impl Rendition {
    fn new(pathway: &str, url: &Url, delivery: Delivery, media: Result<Media, String>) -> Self {
        let file = short(url);
        let name = if matches!(pathway, "" | ".") { file } else { format!("{pathway}: {file}") };
        Self { name, pathway: pathway.to_owned(), variants: Vec::new(), group: None, delivery, media, init: None, segments: Vec::new() }
    }

    /// The name of one of its objects: the last two steps of the path, which tell rungs and segments apart and hold no token.
    fn object(&self, delivery: &Delivery) -> String {
        let mut steps: Vec<&str> = delivery.url.path().rsplit('/').take(2).filter(|step| !step.is_empty()).collect();
        steps.reverse();
        let file = steps.join("/");
        if matches!(self.pathway.as_str(), "" | ".") { file } else { format!("{}: {file}", self.pathway) }
    }

    /// The name of segment `place`.
    pub(crate) fn segment(&self, place: usize) -> String {
        self.segments.get(place).map_or_else(|| format!("{} segment {place}", self.name), |segment| self.object(&segment.delivery))
    }

    pub(crate) fn readable_init(&self) -> Option<&Init> {
        self.init.as_ref()?.1.as_ref().ok()
    }

    /// Segments that could be read, with their places.
    pub(crate) fn fragments(&self) -> impl Iterator<Item = (usize, &Segment, &Fragment)> {
        self.segments.iter().enumerate().filter_map(|(place, segment)| Some((place, segment, segment.fragment.as_ref().ok()?)))
    }

    /// `(EXTINF, what is heard)` of each readable segment, seconds.
    pub(crate) fn durations(&self) -> impl Iterator<Item = (f64, f64)> {
        let init = self.readable_init();
        self.fragments().filter_map(move |(_, segment, fragment)| {
            let init = init?;
            Some((segment.entry.duration_s, init.seconds(init.presented(fragment.start..fragment.end()))))
        })
    }

    /// The sum of its `EXTINF`, seconds.
    pub(crate) fn told_s(&self) -> f64 {
        self.media.iter().flat_map(|media| &media.segments).map(|entry| entry.duration_s).sum()
    }

    /// Length of a coded frame, seconds; of an AAC frame at 44.1 kHz when that is not known.
    pub(crate) fn frame_s(&self) -> f64 {
        let longest = self.fragments().map(|(_, _, fragment)| fragment.frame).max();
        self.readable_init().zip(longest).map_or(1024.0 / 44_100.0, |(init, longest)| init.seconds(longest))
    }

    /// Bit rates by `EXTINF`, as RFC 8216 4.1 has them, and by the media's own durations; `None` unless every segment was read.
    pub(crate) fn rates(&self) -> Option<(Rates, Rates)> {
        let media = self.media.as_ref().ok()?;
        let init = self.readable_init()?;
        let target_s = media.target_s? as f64;
        let told: Vec<_> = self.fragments().map(|(_, segment, fragment)| (fragment.bytes, segment.entry.duration_s)).collect();
        let coded: Vec<_> = self.fragments().map(|(_, _, fragment)| (fragment.bytes, init.seconds(fragment.duration))).collect();
        (told.len() == media.segments.len() && !told.is_empty()).then(|| (rates(&told, target_s), rates(&coded, target_s)))
    }

    async fn fetch_segments(&mut self, fetcher: &Fetcher, audio: Option<&mut Vec<u8>>) -> Result<(), Unreachable> {
        let Ok(media) = &self.media else { return Ok(()) };
        let base = &self.delivery.found_at;
        if media.segments.len() > SEGMENTS_MAX {
            let reason = format!("it has more than {SEGMENTS_MAX} segments, which is where this check stops");
            return Err(Unreachable::NotAPlaylist { url: self.name.clone(), reason });
        }
        let mut audio = audio;
        if let Some(map) = &media.map {
            let (delivery, body) = object(fetcher, Kind::Init, base, &map.uri, map.range).await;
            let init = readable(&delivery).and_then(|()| Init::parse(&body));
            keep(audio.as_deref_mut(), &body);
            self.init = Some((delivery, init));
        }
        let init = self.init.as_ref().and_then(|(_, init)| init.as_ref().ok());
        let requests = media.segments.iter().map(|entry| async move {
            let (delivery, body) = object(fetcher, Kind::Segment, base, &entry.uri, entry.range).await;
            (entry, delivery, body)
        });
        let mut answers = stream::iter(requests).buffered(PARALLEL);
        while let Some((entry, delivery, body)) = answers.next().await {
            let fragment = readable(&delivery).and_then(|()| match init {
                Some(init) => Fragment::parse(&body, init),
                None => Err("without an init section it cannot be read".to_owned()),
            });
            keep(audio.as_deref_mut(), &body);
            self.segments.push(Segment { entry: entry.clone(), delivery, fragment });
        }
        Ok(())
    }
}

/// The file at the end of a URL's path.
fn short(url: &Url) -> String {
    url.path().rsplit('/').next().unwrap_or_default().to_owned()
}

fn keep(audio: Option<&mut Vec<u8>>, body: &[u8]) {
    if let Some(audio) = audio.filter(|audio| audio.len() + body.len() <= AUDIO_BYTES_MAX) {
        audio.extend_from_slice(body);
    }
}

fn readable(delivery: &Delivery) -> Result<(), String> {
    delivery.failure.clone().map_or(Ok(()), Err)
}

/// The playlist at `url`; when a JSON manifest is there, the playlist it names.
async fn top(fetcher: &Fetcher, url: &Url, options: &Options) -> Result<(Delivery, Playlist), Unreachable> {
    let (mut delivery, mut body) = fetcher.get(Kind::Playlist, url, None, options.bearer.as_deref()).await;
    if delivery.failure.is_none() && delivery.content_type.starts_with("application/json") {
        let named = serde_json::from_slice(&body).ok().and_then(|manifest: Manifest| delivery.found_at.join(&manifest.playlist_url).ok());
        let named =
            named.ok_or_else(|| Unreachable::NotAPlaylist { url: url.to_string(), reason: "its JSON has no playlist_url".to_owned() })?;
        (delivery, body) = fetcher.get(Kind::Playlist, &named, None, None).await;
    }
    if let Some(failure) = &delivery.failure {
        return Err(Unreachable::Refused { url: url.to_string(), failure: failure.clone() });
    }
    let playlist = playlist::parse(&body).map_err(|reason| Unreachable::NotAPlaylist { url: url.to_string(), reason })?;
    Ok((delivery, playlist))
}

fn variant_urls(delivery: &Delivery, playlist: &Playlist) -> Vec<String> {
    let Playlist::Multivariant(multivariant) = playlist else { return Vec::new() };
    multivariant.variants.iter().filter_map(|variant| delivery.found_at.join(&variant.uri).ok()).map(String::from).collect()
}

/// Fetches every media playlist that a variant or an `EXT-X-MEDIA` names, each once.
async fn renditions(fetcher: &Fetcher, top: &Delivery, multivariant: &Multivariant) -> Result<Vec<Rendition>, Unreachable> {
    let mut wanted: Vec<(&str, &str, Vec<usize>, Option<String>)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for (place, variant) in multivariant.variants.iter().enumerate() {
        let at = *places.entry(&variant.uri).or_insert(wanted.len());
        match wanted.get_mut(at) {
            Some((_, _, variants, _)) => variants.push(place),
            None => wanted.push((&variant.uri, &variant.pathway, vec![place], None)),
        }
    }
    for tag in multivariant.renditions.iter().filter(|tag| tag.is_audio) {
        let Some(uri) = tag.uri.as_deref() else { continue };
        let at = *places.entry(uri).or_insert(wanted.len());
        match wanted.get_mut(at) {
            Some((_, _, _, group)) => *group = Some(tag.group.clone()),
            None => wanted.push((uri, ".", Vec::new(), Some(tag.group.clone()))),
        }
    }
    if wanted.len() > RENDITIONS_MAX {
        let reason = format!("it has more than {RENDITIONS_MAX} renditions, which is where this check stops");
        return Err(Unreachable::NotAPlaylist { url: top.url.to_string(), reason });
    }
    let mut renditions = Vec::new();
    for (uri, pathway, variants, group) in wanted {
        let (delivery, body) = object(fetcher, Kind::Playlist, &top.found_at, uri, None).await;
        let media = readable(&delivery).and_then(|()| playlist::parse(&body)).and_then(|playlist| match playlist {
            Playlist::Media(media) => Ok(media),
            Playlist::Multivariant(_) => Err("it is a multivariant playlist inside another".to_owned()),
        });
        let mut rendition = Rendition::new(pathway, &delivery.url, delivery.clone(), media);
        (rendition.variants, rendition.group) = (variants, group);
        renditions.push(rendition);
    }
    Ok(renditions)
}

/// The variant nearest to the source: the largest of the first pathway.
fn to_listen_to(multivariant: &Multivariant, renditions: &[Rendition]) -> Option<usize> {
    let pathway = &multivariant.variants.first()?.pathway;
    let largest = multivariant
        .variants
        .iter()
        .enumerate()
        .filter(|(_, variant)| variant.pathway == *pathway)
        .max_by_key(|(_, variant)| variant.bandwidth)?;
    renditions.iter().position(|rendition| rendition.variants.contains(&largest.0))
}

async fn steering(fetcher: &Fetcher, top: &Delivery, uri: &str) -> (Delivery, Result<Steering, String>) {
    let (delivery, body) = object(fetcher, Kind::Steering, &top.found_at, uri, None).await;
    let manifest = readable(&delivery).and_then(|()| serde_json::from_slice(&body).map_err(|error| format!("it cannot be read: {error}")));
    (delivery, manifest)
}

/// Fetches what `uri` names, seen from `base`. A URI that leads nowhere is an answer like any other failure.
async fn object(fetcher: &Fetcher, kind: Kind, base: &Url, uri: &str, range: Option<ByteRange>) -> (Delivery, Vec<u8>) {
    match base.join(uri).ok().filter(|url| matches!(url.scheme(), "http" | "https")) {
        Some(url) => fetcher.get(kind, &url, range, None).await,
        None => (Delivery::failed(kind, base, format!("the URI `{uri}` leads nowhere")), Vec::new()),
    }
}
