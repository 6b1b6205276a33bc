//! A song goes up: published, rejected or taken down, and what was published plays back as it went up.

use std::time::Duration;

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use reqwest::Method;
use whole_system_tests::{Client, Listener, System, Upload, audio, client::answer, eventually};

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

/// Text, nothing, half a file and a playlist are refused with a reason an artist can act on.
pub(crate) async fn what_is_not_audio_is_rejected_with_a_reason(system: &System) -> Result<()> {
    let artist = Client::signed_up(&system.run.edge, "artist").await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("half.flac");
    audio::signal(&path, 20, &["-c:a", "flac"]).await?;
    let whole = std::fs::read(&path)?;
    let half = whole.get(..whole.len() / 2).unwrap_or_default().to_vec();
    let cases: [(&str, Vec<u8>); 3] = [
        ("a letter", b"Dear listener, this is not a song. ".repeat(100)),
        ("half a song", half),
        ("a playlist", b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n".to_vec()),
    ];
    try_join_all(cases.iter().map(async |(title, bytes)| {
        let upload = Upload::begin(&artist, title, "song.flac", bytes).await?;
        upload.put(bytes).await?;
        let status = upload.reaches(&artist, "rejected").await?;
        let reason = &status["reason"];
        ensure!(reason["code"].as_str().is_some_and(|code| !code.is_empty()) && reason["detail"].is_string(), "{title}: {status}");
        anyhow::Ok(())
    }))
    .await?;
    let nothing = serde_json::json!({"title": "Nothing", "file_name": "n.flac", "content_type": "audio/flac", "size_bytes": 0, "sha256": "0".repeat(64)});
    let refused = artist.send(Method::POST, "/v1/ingest/upload", Some(&nothing)).await?;
    ensure!(refused.status.is_client_error(), "an empty upload: {}", refused.status);
    Ok(())
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
    ensure!(upload.put(&other).await?.status.is_client_error(), "other bytes of the same length were taken");
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    ensure!(upload.put(&longer).await?.status.is_client_error(), "more bytes than promised were taken");
    ensure!(upload.put(&bytes).await?.status.is_success(), "the promised bytes were refused");
    let again = upload.put(&bytes).await?;
    ensure!(again.status == 412, "a second use: {} {}", again.status, again.body.text());
    let (head, last) = upload.url.split_at(upload.url.len() - 1);
    let forged = Upload { url: format!("{head}{}", if last == "0" { "1" } else { "0" }), ..upload.clone() };
    let refused = forged.put(&bytes).await?;
    ensure!(refused.status == 403, "a forged signature: {} {}", refused.status, refused.body.text());
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
