//! A song goes up: published, rejected or taken down, and what was published plays back as it went up.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use serde_json::json;
use whole_system_tests::{Client, Keys, Listener, System, Upload, audio, client::answer, eventually, now};

/// FLAC, Ogg Vorbis and MP3 of a known signal; ffmpeg decodes every rung through the edge.
pub(crate) async fn three_songs_are_published_and_play_back_intact_at_every_rung(system: &System) -> Result<()> {
    let artist = Client::logged_in(&system.run.edge, &system.run.accounts.artist).await?;
    let listener = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let formats: [(&str, &[&str]); 3] =
        [("flac", &["-c:a", "flac"]), ("ogg", &["-c:a", "libvorbis", "-q:a", "8"]), ("mp3", &["-c:a", "libmp3lame", "-b:a", "320k"])];
    let directory = tempfile::tempdir()?;
    try_join_all(formats.map(|(extension, codec)| {
        let path = directory.path().join(format!("signal.{extension}"));
        let (artist, listener) = (&artist, &listener);
        async move {
            audio::signal(&path, 40, codec).await?;
            let upload =
                Upload::publish(artist, &format!("Signal in {extension}"), &format!("signal.{extension}"), &std::fs::read(&path)?).await?;
            plays_back_intact(listener, &upload.track, &path).await
        }
    }))
    .await?;
    Ok(())
}

/// Every rung the listener may have: as long as the source within one AAC frame, and the same signal.
async fn plays_back_intact(listener: &Client, track: &str, source: &std::path::Path) -> Result<()> {
    let original = audio::decode(&source.to_string_lossy()).await?;
    let play = Listener::begin(listener, track).await?;
    let index = format!("{}{}", listener.base, play.manifest["playlist_url"].as_str().unwrap_or_default());
    let rungs: Vec<_> = play.manifest["allowed"].as_array().into_iter().flatten().filter_map(|rung| rung.as_str()).collect();
    ensure!(rungs.len() == 3, "a premium listener is offered all three rungs, got {rungs:?}");
    for rung in rungs {
        let decoded = audio::decode(&index.replace("index.m3u8", &format!("{rung}.m3u8"))).await?;
        let difference = audio::frames(&decoded).abs_diff(audio::frames(&original));
        ensure!(difference <= 1024, "{track} {rung}: {difference} samples longer or shorter than the source");
        let snr = audio::snr_db(&original, &decoded);
        // AAC is no copy of the waveform; what a sample's shift would leave of these tones is 25 dB.
        let floor = match rung {
            "aac-64" => 9.0,
            "aac-128" => 20.0,
            _ => 28.0,
        };
        ensure!(snr >= floor, "{track} {rung}: signal-to-noise ratio {snr:.1} dB");
    }
    Ok(())
}

/// Text, a playlist that calls itself music, files cut short, and nothing at all: each is refused with its own code and a reason an artist can
/// act on, whatever its name says.
pub(crate) async fn what_is_not_audio_is_rejected_with_a_reason(system: &System) -> Result<()> {
    let artist = Client::signed_up(&system.run.edge, "artist").await?;
    let directory = tempfile::tempdir()?;
    let half = async |name: &str, codec: &[&str]| -> Result<Vec<u8>> {
        let path = directory.path().join(name);
        audio::signal(&path, 20, codec).await?;
        let whole = std::fs::read(&path)?;
        Ok(whole.get(..whole.len() / 2).unwrap_or_default().to_vec())
    };
    let playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n";
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("letter.flac", b"Dear listener, this is not a song. ".repeat(100), "not_audio"),
        ("playlist.mp3", playlist.to_vec(), "playlist_not_audio"),
        ("half.flac", half("half.flac", &["-c:a", "flac"]).await?, "truncated"),
        ("half.wav", half("half.wav", &["-c:a", "pcm_s16le"]).await?, "truncated"),
        ("half.mp3", half("half.mp3", &["-c:a", "libmp3lame", "-b:a", "192k"]).await?, "truncated"),
        ("half.m4a", half("half.m4a", &["-c:a", "aac", "-b:a", "192k", "-movflags", "+faststart"]).await?, "truncated"),
    ];
    try_join_all(cases.iter().map(async |(name, bytes, code)| {
        let upload = Upload::begin(&artist, name, name, bytes).await?;
        ensure!(upload.put(bytes).await?.status.is_success(), "{name}: the store judges bytes, not music");
        let status = upload.reaches(&artist, "rejected").await?;
        let reason = &status["reason"];
        ensure!(reason["code"] == *code && reason["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{name}: {status}");
        anyhow::Ok(())
    }))
    .await?;
    let nothing =
        json!({"title": "Nothing", "file_name": "n.flac", "content_type": "audio/flac", "size_bytes": 0, "sha256": "0".repeat(64)});
    artist.send(Method::POST, "/v1/ingest/upload", Some(&nothing)).await?.refused(400, "invalid_body")
}

/// The URL pins length and digest, and is spent by its first use.
pub(crate) async fn a_presigned_url_cannot_be_used_twice_or_for_other_bytes(system: &System) -> Result<()> {
    let artist = Client::signed_up(&system.run.edge, "artist").await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("song.flac");
    audio::signal(&path, 12, &["-c:a", "flac"]).await?;
    let bytes = std::fs::read(&path)?;
    let upload = Upload::begin(&artist, "Once", "song.flac", &bytes).await?;
    let mut other = bytes.clone();
    if let Some(last) = other.last_mut() {
        *last ^= 1;
    }
    upload.put(&other).await?.refused_by_store(400, "BadDigest").context("other bytes of the same length")?;
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    let shorter = bytes.split_last().map(|(_, rest)| rest).unwrap_or_default();
    upload.put(&longer).await?.refused_by_store(403, "SignatureDoesNotMatch").context("more bytes than promised")?;
    upload.put(shorter).await?.refused_by_store(403, "SignatureDoesNotMatch").context("fewer bytes than promised")?;
    upload.put_chunked(&longer).await?.refused_by_store(403, "SignatureDoesNotMatch").context("a length that nobody told")?;
    ensure!(upload.put(&bytes).await?.status.is_success(), "the promised bytes were refused");
    upload.put(&bytes).await?.refused_by_store(412, "PreconditionFailed").context("a second use")?;
    let (head, last) = upload.url.split_at(upload.url.len() - 1);
    let forged = Upload { url: format!("{head}{}", if last == "0" { "1" } else { "0" }), ..upload.clone() };
    forged.put(&bytes).await?.refused_by_store(403, "SignatureDoesNotMatch").context("a forged signature")?;
    upload.reaches(&artist, "published").await?;
    Ok(())
}

/// An address that has ended takes nothing, and its end is signed: it cannot be put off.
pub(crate) async fn a_presigned_url_ends_when_it_says(system: &System) -> Result<()> {
    let keys = Keys::of(system)?;
    let artist = Client::signed_up(&system.run.edge, "artist").await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("song.flac");
    audio::signal(&path, 13, &["-c:a", "flac"]).await?;
    let bytes = std::fs::read(&path)?;
    let upload = Upload::begin(&artist, "In time", "song.flac", &bytes).await?;
    ensure!(upload.url.contains("X-Amz-Expires=3600"), "{}", upload.url);

    let ended = keys.presigned_again(&upload, now().plus_ms(-3_000), Duration::from_secs(1))?;
    ended.put(&bytes).await?.refused_by_store(403, "AccessDenied").context("an address that has ended")?;
    let put_off = Upload { url: ended.url.replace("X-Amz-Expires=1&", "X-Amz-Expires=9000&"), ..ended.clone() };
    ensure!(put_off.url != ended.url, "{}", ended.url);
    put_off.put(&bytes).await?.refused_by_store(403, "SignatureDoesNotMatch").context("an end that was put off")?;

    let held_open = keys.presigned_again(&upload, now().plus_ms(-3_000), Duration::from_secs(600))?;
    ensure!(held_open.put(&bytes).await?.status.is_success(), "the same address within its time was refused");
    upload.reaches(&artist, "published").await?;
    Ok(())
}

/// After a take-down no new play begins, within the card's time to live.
pub(crate) async fn a_track_taken_down_stops_playing(system: &System) -> Result<()> {
    let artist = Client::signed_up(&system.run.edge, "artist").await?;
    let listener = Client::signed_up(&system.run.edge, "listener").await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("song.flac");
    audio::signal(&path, 11, &["-c:a", "flac"]).await?;
    let upload = Upload::publish(&artist, "Gone soon", "song.flac", &std::fs::read(&path)?).await?;
    Listener::begin(&listener, &upload.track).await?;
    let stranger = Client::signed_up(&system.run.edge, "artist").await?;
    let path = format!("/v1/tracks/{}", upload.track);
    let refused = stranger.send(Method::DELETE, &path, None).await?;
    ensure!(refused.status == 404 || refused.status == 403, "a stranger took a track down: {}", refused.status);
    artist.send(Method::DELETE, &path, None).await?.expect(204)?;
    eventually("the manifest is gone", Duration::from_secs(75), async || {
        answer(listener.request(Method::GET, &format!("{path}/manifest"))).await?.refused(410, "taken_down")
    })
    .await
}
