//! What hostile or broken clients meet: a status and a code, never a 5xx and never a secret.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use protocol::{
    TrackId,
    token::{Purpose, SKEW_MS},
};
use reqwest::Method;
use serde_json::{Value, json};
use whole_system_tests::{Client, Keys, Listener, System, client::answer, now};

use crate::playback::any_track;

/// None, forged, and of another scheme, at the edge itself and at services behind it.
pub(crate) async fn a_call_without_a_good_session_is_refused(system: &System) -> Result<()> {
    let listener = Client::signed_up(&system.run.edge, "listener").await?;
    let promoted = promoted(listener.token.as_deref().unwrap_or_default())?;
    let track = uuid::Uuid::from_u128(rand::random());
    let paths = [
        format!("/v1/tracks/{track}/manifest"),
        "/v1/me/history".to_owned(),
        "/v1/royalties/statements".to_owned(),
        "/v1/me/tracks".to_owned(),
    ];
    for base in [&system.run.edge, &system.run.gateway] {
        let client = Client::new(base)?;
        for path in &paths {
            client.send(Method::GET, path, None).await?.refused(401, "session_missing").with_context(|| path.clone())?;
            for forged in ["x", "e30.e30.e30", "eyJhbGciOiJub25lIiwidHlwIjoiSldUIiwia2lkIjoiazEifQ.e30.", &promoted] {
                let client = client.with_token(Some(forged));
                client.send(Method::GET, path, None).await?.refused(401, "session_invalid").with_context(|| format!("{path} {forged}"))?;
            }
        }
    }
    listener.send(Method::GET, &format!("/v1/royalties/counts?period={}", crate::period()), None).await?.refused(403, "not_an_admin")?;
    let credentials = json!({"email": system.run.accounts.listener.email, "password": "not the password"});
    Client::new(&system.run.edge)?.send(Method::POST, "/v1/sessions", Some(&credentials)).await?.refused(401, "bad_credentials")
}

/// A genuine access token whose owner made an administrator of themselves, and left the signature as it was.
fn promoted(access_token: &str) -> Result<String> {
    let mut parts = access_token.split('.');
    let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        anyhow::bail!("{access_token} is not a JWT");
    };
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok().context("base64url")?)?;
    ensure!(claims["role"] == "listener", "{claims}");
    claims["role"] = json!("admin");
    Ok(format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string())))
}

/// A stolen refresh token is worth one use, and the theft ends the session.
pub(crate) async fn a_spent_refresh_token_revokes_its_family(system: &System) -> Result<()> {
    let client = Client::new(&system.run.edge)?;
    let listener = &system.run.accounts.listener;
    let credentials = json!({"email": listener.email, "password": listener.password});
    let session = client.send(Method::POST, "/v1/sessions", Some(&credentials)).await?.expect(201)?;
    let refresh = |session: &Value| {
        let (client, body) = (client.clone(), json!({"refresh_token": session["refresh_token"]}));
        async move { client.send(Method::POST, "/v1/sessions/refresh", Some(&body)).await }
    };
    let second = refresh(&session).await?.expect(201)?;
    refresh(&session).await?.refused(401, "refresh_reused")?;
    let third = refresh(&second).await?;
    ensure!(third.status == 401, "the family lives on: {}", third.status);
    Ok(())
}

/// Every path under an altered token is refused, at both voices.
pub(crate) async fn a_token_that_was_touched_opens_nothing(system: &System) -> Result<()> {
    let client = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let play = Listener::begin(&client, &any_track(&client).await?).await?;
    let index = play.manifest["playlist_url"].as_str().context("playlist_url")?;
    let token = index.split('/').nth(3).context("a token in the path")?;
    let ticket = play.manifest["play"]["ticket"].as_str().context("ticket")?;
    let turn = |at: usize| -> String {
        token
            .chars()
            .enumerate()
            .map(|(n, letter)| {
                if n != at {
                    letter
                } else if letter == 'A' {
                    'B'
                } else {
                    'A'
                }
            })
            .collect()
    };
    let touched =
        [turn(0), turn(5), turn(40), turn(90), turn(129), format!("{token}="), token.to_lowercase(), ticket.to_owned(), "x".to_owned()];
    for base in [&system.run.edge, &system.run.gateway] {
        for token in &touched {
            for object in ["index.m3u8", "aac-64.m3u8", "aac-64/0.m4s"] {
                let path = format!("{base}/v1/media/{token}/{object}");
                let refused = answer(client.request(Method::GET, &path)).await?;
                // The gateway refuses a path that is not in its normal form before it looks at the token.
                let not_normal = token.ends_with('=') && refused.code() == "target_not_canonical";
                ensure!(not_normal || (refused.status == 403 && refused.code() == "token_invalid"), "{path}: {}", refused.body.text());
            }
        }
        let beyond = format!("{base}{}", index.replace("index.m3u8", "aac-64/9999.m4s"));
        answer(client.request(Method::GET, &beyond)).await?.refused(404, "no_such_segment")?;
    }
    let free = Client::signed_up(&system.run.edge, "listener").await?;
    let play = Listener::begin(&free, &any_track(&client).await?).await?;
    let index = play.manifest["playlist_url"].as_str().context("playlist_url")?;
    answer(free.request(Method::GET, &index.replace("index.m3u8", "aac-256.m3u8"))).await?.refused(403, "not_allowed_here")
}

/// Genuine sessions, tokens and tickets after their time, at both voices: refused, and told apart from forged ones, so that a player knows to
/// ask for new ones.
pub(crate) async fn what_has_expired_is_refused_as_expired(system: &System) -> Result<()> {
    let keys = Keys::of(system)?;
    let client = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let access = client.token.as_deref().context("a session")?;
    let track = any_track(&client).await?;
    let play = Listener::begin(&client, &track).await?;
    let index = play.manifest["playlist_url"].as_str().context("playlist_url")?;
    let token = index.split('/').nth(3).context("a token in the path")?;
    let ticket = play.manifest["play"]["ticket"].as_str().context("ticket")?;

    let just_over = now().plus_ms(-(SKEW_MS + 2_000));
    let ended = keys.session(access, |session| session.expires_at = just_over)?;
    let ended_for_play = keys.session(access, |session| (session.expires_at, session.play_until) = (just_over, just_over))?;
    let old_token = keys.token(token, Purpose::Media, |claims| claims.expires_at = just_over)?;
    let old_ticket = keys.token(ticket, Purpose::Event, |claims| claims.expires_at = just_over)?;
    let manifest = format!("/v1/tracks/{track}/manifest");
    for base in [&system.run.edge, &system.run.gateway] {
        let client = client.at(base);
        let get = |session: &str, path: &str| {
            let (client, path) = (client.with_token(Some(session)), path.to_owned());
            async move { client.send(Method::GET, &path, None).await }
        };
        for path in ["/v1/me/history", "/v1/me/tracks"] {
            get(&ended, path).await?.refused(401, "session_expired").with_context(|| path.to_owned())?;
        }
        // The music outlives an identity service that is away, until `play_until`.
        get(&ended, &manifest).await?.expect(200)?;
        get(&ended_for_play, &manifest).await?.refused(401, "session_expired")?;
        get(access, &format!("{manifest}?play={old_ticket}")).await?.refused(401, "ticket_expired")?;
        for object in ["index.m3u8", "aac-64.m3u8", "aac-64/init.mp4", "aac-64/0.m4s"] {
            let path = format!("/v1/media/{old_token}/{object}");
            client.send(Method::GET, &path, None).await?.refused(403, "token_expired").with_context(|| path)?;
        }
        let mut post = play.post(&[(0, "start", 0, 0)]);
        post["ticket"] = json!(old_ticket);
        client.send(Method::POST, "/v1/me/play-event", Some(&post)).await?.refused(401, "ticket_expired")?;
    }
    // The keys are the system's: what these tests sign without a change is taken.
    let same = keys.token(token, Purpose::Media, |_| ())?;
    answer(client.request(Method::GET, &index.replace(token, &same))).await?.expect(200)?;
    Ok(())
}

/// The ticket of one play does not renew the play of another track or of another account.
pub(crate) async fn a_ticket_renews_only_its_own_play(system: &System) -> Result<()> {
    let keys = Keys::of(system)?;
    let client = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let stranger = Client::signed_up(&system.run.edge, "listener").await?;
    let track = any_track(&client).await?;
    let play = Listener::begin(&client, &track).await?;
    let ticket = play.manifest["play"]["ticket"].as_str().context("ticket")?;
    let token = play.manifest["playlist_url"].as_str().and_then(|url| url.split('/').nth(3)).context("token")?;
    let of_another_track = keys.token(ticket, Purpose::Event, |claims| claims.track = TrackId::v7(now(), rand::random()))?;
    for base in [&system.run.edge, &system.run.gateway] {
        let renewed = |client: &Client, ticket: &str| {
            let request = client.at(base).request(Method::GET, &format!("/v1/tracks/{track}/manifest?play={ticket}"));
            answer(request.header("accept", "application/json"))
        };
        let same = renewed(&client, ticket).await?.expect(200)?;
        ensure!(same["play"]["id"] == play.play(), "a renewal began another play: {same}");
        renewed(&stranger, ticket).await?.refused(403, "play_is_not_yours")?;
        renewed(&client, &of_another_track).await?.refused(403, "play_is_not_yours")?;
        renewed(&client, token).await?.refused(401, "ticket_invalid")?;
    }
    Ok(())
}

/// Bodies that cannot be read, and tickets that are not ours.
pub(crate) async fn malformed_heartbeats_are_refused_by_name(system: &System) -> Result<()> {
    let client = Client::logged_in(&system.run.edge, &system.run.accounts.listener).await?;
    let play = Listener::begin(&client, &any_track(&client).await?).await?;
    let good = play.post(&[(0, "start", 0, 0)]);
    for base in [&system.run.edge, &system.run.gateway] {
        let post = |body: String| {
            answer(client.request(Method::POST, &format!("{base}/v1/me/play-event")).header("content-type", "application/json").body(body))
        };
        post("{".to_owned()).await?.refused(400, "malformed_body")?;
        let mut extra = good.clone();
        extra["extra"] = json!(1);
        post(extra.to_string()).await?.refused(400, "unknown_field")?;
        let mut forged = good.clone();
        forged["ticket"] = json!("A".repeat(130));
        post(forged.to_string()).await?.refused(401, "ticket_invalid")?;
        let media = play.manifest["playlist_url"].as_str().and_then(|url| url.split('/').nth(3)).context("token")?;
        forged["ticket"] = json!(media);
        post(forged.to_string()).await?.refused(401, "ticket_invalid")?;
        post(format!("\"{}\"", "x".repeat(70_000))).await?.refused(413, "body_too_large")?;
        let mixed = json!({"ticket": good["ticket"], "sender": format!("m{}", rand::random::<u32>()), "events": [
            {"seq": 0, "kind": "start", "from_ms": 0, "to_ms": 0}, {"seq": 1, "kind": "progress", "from_ms": 5, "to_ms": 1}, 7]});
        let answer = post(mixed.to_string()).await?.expect(202)?;
        ensure!(answer["accepted"] == 1 && answer["rejected"].as_array().is_some_and(|rejected| rejected.len() == 2), "{answer}");
    }
    Ok(())
}

/// A field nobody knows is a mistake worth hearing of.
pub(crate) async fn unknown_fields_are_refused_by_name(system: &System) -> Result<()> {
    let artist = Client::logged_in(&system.run.edge, &system.run.accounts.artist).await?;
    let body = json!({"email": "x@example.org", "password": "correct horse", "shoe_size": 44});
    let refused = artist.send(Method::POST, "/v1/sessions", Some(&body)).await?;
    ensure!(refused.status.is_client_error() && refused.body.text().contains("shoe_size"), "{} {}", refused.status, refused.body.text());
    let body =
        json!({"title": "t", "file_name": "f", "content_type": "audio/flac", "size_bytes": 1, "sha256": "0".repeat(64), "colour": 1});
    let refused = artist.send(Method::POST, "/v1/ingest/upload", Some(&body)).await?;
    ensure!(refused.status.is_client_error() && refused.body.text().contains("colour"), "{} {}", refused.status, refused.body.text());
    Ok(())
}
