//! A label lets others act for its artist: each may do what its role says, at every service, and no more once it is removed.

use anyhow::{Context as _, Result, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use whole_system_tests::{Client, System, Upload, audio, eventually};

/// An account of its own, with a session and the address it is invited by.
struct Person {
    client: Client,
    email: String,
    id: String,
}

impl Person {
    async fn new(system: &System, role: &str) -> Result<Self> {
        let email = format!("{}@example.org", uuid::Uuid::from_u128(rand::random()).simple());
        let stranger = Client::new(&system.run.edge)?;
        let body = json!({"email": email, "password": "correct horse", "name": "Somebody", "role": role, "country": "DE"});
        let account = stranger.send(Method::POST, "/v1/accounts", Some(&body)).await?.expect(201)?;
        let credentials = whole_system_tests::system::Credentials { email: email.clone(), password: "correct horse".to_owned() };
        let client = Client::logged_in(&system.run.edge, &credentials).await?;
        Ok(Self { client, email, id: account["id"].as_str().context("account.id")?.to_owned() })
    }

    async fn artists(&self) -> Result<Value> {
        Ok(self.client.get("/v1/me/artists").await?["items"].clone())
    }
}

/// The label's owner invites an editor and a viewer, who are listeners' accounts; the editor uploads for the label.
pub(crate) async fn members_do_what_their_role_says_until_they_are_removed(system: &System) -> Result<()> {
    let (label, editor, viewer) =
        (Person::new(system, "artist").await?, Person::new(system, "listener").await?, Person::new(system, "listener").await?);
    let artist = label.artists().await?[0]["id"].as_str().context("the label's artist")?.to_owned();
    let members = format!("/v1/artists/{artist}/members");
    let (audio, declaration) = song().await?;

    editor.client.send(Method::POST, "/v1/ingest/upload", Some(&declaration)).await?.refused(403, "not_an_artist")?;
    for (person, role) in [(&editor, "editor"), (&viewer, "viewer")] {
        let invitation = json!({"email": person.email, "role": role});
        let invited = label.client.send(Method::POST, &members, Some(&invitation)).await?.expect(201)?;
        ensure!(invited["state"] == "invited" && invited["account_id"] == person.id.as_str(), "{invited}");
        person.client.send(Method::GET, &members, None).await?.refused(403, "not_a_member")?;
        person.client.send(Method::PUT, &format!("/v1/me/artists/{artist}"), None).await?.expect(200)?;
    }
    ensure!(editor.artists().await?[0]["role"] == "editor", "{}", editor.artists().await?);

    viewer.client.send(Method::POST, "/v1/ingest/upload", Some(&declaration)).await?.refused(403, "needs_editor")?;
    let upload = Upload::publish(&editor.client, "For the label", "label.flac", &audio).await?;
    let seen = viewer.client.get(&format!("/v1/me/tracks?artist_id={artist}")).await?;
    ensure!(seen["items"][0]["id"] == upload.track.as_str(), "{seen}");

    // Money is the owners' to share, and each payee's alone to read.
    let (splits, track) = (format!("/v1/me/tracks/{}/splits", upload.track), format!("/v1/tracks/{}", upload.track));
    let shares = json!({"effective_from": "2026-01-01T00:00:00Z", "shares": [{"payee": label.id, "basis_points": 10_000}]});
    eventually("royalty knows the track", std::time::Duration::from_secs(15), async || {
        label.client.send(Method::PUT, &splits, Some(&shares)).await?.expect(200)
    })
    .await?;
    editor.client.send(Method::PUT, &splits, Some(&shares)).await?.refused(403, "needs_owner")?;
    viewer.client.send(Method::PUT, &splits, Some(&shares)).await?.refused(403, "needs_owner")?;
    viewer.client.send(Method::DELETE, &track, None).await?.refused(403, "needs_editor")?;

    let of_editor = format!("{members}/{}", editor.id);
    editor.client.send(Method::DELETE, &format!("{members}/{}", viewer.id), None).await?.refused(403, "needs_owner")?;
    label.client.send(Method::DELETE, &format!("{members}/{}", label.id), None).await?.refused(409, "last_owner")?;
    label.client.send(Method::DELETE, &of_editor, None).await?.expect(204)?;
    // At the very next call, at every service.
    editor.client.send(Method::POST, "/v1/ingest/upload", Some(&declaration)).await?.refused(403, "not_an_artist")?;
    editor.client.send(Method::DELETE, &track, None).await?.refused(403, "not_yours")?;
    editor.client.send(Method::PUT, &splits, Some(&shares)).await?.refused(404, "no_such_track")?;

    label.client.send(Method::PUT, &format!("{members}/{}", viewer.id), Some(&json!({"role": "editor"}))).await?.expect(200)?;
    viewer.client.send(Method::DELETE, &track, None).await?.expect(204).map(drop)
}

/// A short song, and how it is declared.
async fn song() -> Result<(Vec<u8>, Value)> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("label.flac");
    audio::signal(&path, 5, &["-c:a", "flac"]).await?;
    let bytes = std::fs::read(&path)?;
    let declaration = json!({"title": "For the label", "file_name": "label.flac", "content_type": "audio/flac",
        "size_bytes": bytes.len(), "sha256": "0".repeat(64)});
    Ok((bytes, declaration))
}
