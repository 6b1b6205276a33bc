//! What is revoked stops within five seconds, at both voices, and nothing else does: not even when identity is away.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::future::{try_join, try_join_all};
use reqwest::Method;
use serde_json::{Value, json};
use whole_system_tests::{Client, Listener, System, Upload, audio, client::answer, eventually};

/// The promise to users (DESIGN, section 4).
const BOUND: Duration = Duration::from_secs(5);
/// When to stop looking and say so.
const PATIENCE: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// 100 revocations, of which so many run side by side.
const LANES: usize = 20;
const REVOCATIONS_PER_LANE: usize = 5;
/// How long identity is kept down: beyond any age at which an edge would wait for news.
const AWAY: Duration = Duration::from_secs(8);

/// A play, an account, a track, and a track that its artist takes down.
pub(crate) async fn what_is_revoked_stops_within_five_seconds_and_nothing_else_does(system: &System) -> Result<()> {
    let admin = Client::logged_in(&system.run.edge, &system.run.accounts.admin).await?;
    let (artist, track) = published(system).await?;
    a_play(system, &admin, &track).await?;
    an_account(system, &admin, &track).await?;
    a_track(system, &admin, &artist, &track).await
}

async fn a_play(system: &System, admin: &Client, track: &str) -> Result<()> {
    let listener = Client::signed_up(&system.run.edge, "listener").await?;
    let (play, neighbour) = try_join(Listener::begin(&listener, track), Listener::begin(&listener, track)).await?;
    is_served(system, &play).await?;
    revoke(admin, "play", play.play()).await?.expect(201)?;
    stops(system, &play, Instant::now()).await?;
    let revoked = revoke(admin, "play", play.play()).await?.expect(200)?;
    ensure!(revoked["id"] == play.play() && revoked["lifted_at"].is_null(), "{revoked}");

    let beat = play.post(&[(0, "start", 0, 0)]);
    let ticket = play.manifest["play"]["ticket"].as_str().context("ticket")?;
    for base in voices(system) {
        let client = listener.at(base);
        client.send(Method::POST, "/v1/me/play-event", Some(&beat)).await?.refused(410, "play_ended")?;
        client.send(Method::GET, &format!("/v1/tracks/{track}/manifest?play={ticket}"), None).await?.refused(403, "token_revoked")?;
    }
    is_served(system, &neighbour).await
}

async fn an_account(system: &System, admin: &Client, track: &str) -> Result<()> {
    let name = uuid::Uuid::from_u128(rand::random()).simple().to_string();
    let (email, stranger) = (format!("{name}@example.org"), Client::new(&system.run.edge)?);
    let new = json!({"email": email, "password": "correct horse", "name": "Soon gone", "role": "listener", "country": "DE"});
    let account = stranger.send(Method::POST, "/v1/accounts", Some(&new)).await?.expect(201)?;
    let id = account["id"].as_str().context("account.id")?;
    let log_in = json!({"email": email, "password": "correct horse"});
    let session = stranger.send(Method::POST, "/v1/sessions", Some(&log_in)).await?.expect(201)?;
    let listener = stranger.with_token(session["access_token"].as_str());
    let play = Listener::begin(&listener, track).await?;
    is_served(system, &play).await?;

    revoke(admin, "account", id).await?.expect(201)?;
    stops(system, &play, Instant::now()).await?;
    for base in voices(system) {
        listener.at(base).send(Method::GET, &format!("/v1/tracks/{track}/manifest"), None).await?.refused(401, "session_revoked")?;
    }
    let refresh = json!({"refresh_token": session["refresh_token"]});
    stranger.send(Method::POST, "/v1/sessions", Some(&log_in)).await?.refused(403, "account_suspended")?;
    stranger.send(Method::POST, "/v1/sessions/refresh", Some(&refresh)).await?.refused(403, "account_suspended")?;

    lift(admin, "account", id).await?;
    let session = stranger.send(Method::POST, "/v1/sessions", Some(&log_in)).await?.expect(201)?;
    let again = Listener::begin(&stranger.with_token(session["access_token"].as_str()), track).await?;
    is_served(system, &again).await?;
    for base in voices(system) {
        media(&listener, base, &play).await?.refused(403, "token_revoked").context("a play of before the lifting")?;
    }
    Ok(())
}

async fn a_track(system: &System, admin: &Client, artist: &Client, track: &str) -> Result<()> {
    let listener = Client::signed_up(&system.run.edge, "listener").await?;
    let play = Listener::begin(&listener, track).await?;
    is_served(system, &play).await?;
    revoke(admin, "track", track).await?.expect(201)?;
    stops(system, &play, Instant::now()).await?;
    for base in voices(system) {
        listener.at(base).send(Method::GET, &format!("/v1/tracks/{track}/manifest"), None).await?.refused(410, "taken_down")?;
    }
    lift(admin, "track", track).await?;
    // Waits until the edge has heard of it.
    let again = Listener::begin(&listener, track).await?;
    is_served(system, &again).await?;

    artist.send(Method::DELETE, &format!("/v1/tracks/{track}"), None).await?.expect(204)?;
    stops(system, &again, Instant::now()).await?;
    let listed = admin.get("/v1/revocations?limit=200").await?;
    let taken_down =
        listed["items"].as_array().into_iter().flatten().find(|item| item["id"] == *track).context("the take-down is listed")?;
    ensure!(taken_down["revoked_by"].is_null() && taken_down["lifted_at"].is_null(), "{taken_down}");
    Ok(())
}

/// 100 plays, from the administrator's answer to the edge's first refusal.
pub(crate) async fn a_hundred_revocations_reach_the_edge_within_five_seconds(system: &System) -> Result<()> {
    let admin = Client::logged_in(&system.run.edge, &system.run.accounts.admin).await?;
    let listener = Client::signed_up(&system.run.edge, "listener").await?;
    let (_, track) = published(system).await?;
    let lanes = (0..LANES).map(async |_| {
        let mut took = Vec::new();
        for _ in 0..REVOCATIONS_PER_LANE {
            let play = Listener::begin(&listener, &track).await?;
            // Lanes that wait for the same news begin again together: this parts them.
            tokio::time::sleep(Duration::from_millis(rand::random_range(0..1500))).await;
            revoke(&admin, "play", play.play()).await?.expect(201)?;
            took.push(refused_after(&listener, &system.run.edge, &play, Instant::now()).await?);
        }
        anyhow::Ok(took)
    });
    let mut took: Vec<Duration> = try_join_all(lanes).await?.into_iter().flatten().collect();
    took.sort_unstable();
    let percentile = |p: usize| took.get((took.len() * p).div_ceil(100).saturating_sub(1)).copied().context("no revocation was measured");
    let (p50, p99) = (percentile(50)?, percentile(99)?);
    println!("    {} revocations, from the answer to the edge's refusal: p50 {p50:.2?}, p99 {p99:.2?}", took.len());
    ensure!(took.len() == LANES * REVOCATIONS_PER_LANE && p99 <= BOUND, "p99 {p99:?}");
    Ok(())
}

/// Identity is killed whenever it is back: plays begin and go on, what was revoked stays so; afterwards news arrive again.
pub(crate) async fn music_goes_on_while_identity_is_away_and_what_was_revoked_stays_so(system: &System) -> Result<()> {
    let admin = Client::logged_in(&system.run.edge, &system.run.accounts.admin).await?;
    let listener = Client::signed_up(&system.run.edge, "listener").await?;
    let (_, track) = published(system).await?;
    let (play, gone) = try_join(Listener::begin(&listener, &track), Listener::begin(&listener, &track)).await?;
    revoke(&admin, "play", gone.play()).await?.expect(201)?;
    stops(system, &gone, Instant::now()).await?;

    let until = Instant::now() + AWAY;
    let killing = async {
        while Instant::now() < until {
            system.kill("identity")?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        anyhow::Ok(())
    };
    let playing = async {
        let mut rounds = 0;
        while Instant::now() < until {
            is_served(system, &play).await?;
            for base in voices(system) {
                listener.at(base).send(Method::GET, &format!("/v1/tracks/{track}/manifest"), None).await?.expect(200)?;
                media(&listener, base, &gone).await?.refused(403, "token_revoked")?;
            }
            rounds += 1;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        ensure!(rounds > 10, "only {rounds} rounds in {AWAY:?}");
        Ok(())
    };
    try_join(killing, playing).await?;

    eventually("identity is back", Duration::from_secs(60), async || revoke(&admin, "play", play.play()).await?.expect(201)).await?;
    stops(system, &play, Instant::now()).await
}

fn voices(system: &System) -> [&String; 2] {
    [&system.run.edge, &system.run.gateway]
}

/// A new artist with a published track.
async fn published(system: &System) -> Result<(Client, String)> {
    let artist = Client::signed_up(&system.run.edge, "artist").await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("song.flac");
    audio::signal(&path, 12, &["-c:a", "flac"]).await?;
    let upload = Upload::publish(&artist, "Revocable", "song.flac", &std::fs::read(&path)?).await?;
    Ok((artist, upload.track))
}

async fn revoke(admin: &Client, kind: &str, id: &str) -> Result<whole_system_tests::client::Answer> {
    let body: Value = json!({"kind": kind, "id": id, "reason": "a test of revocation"});
    admin.send(Method::POST, "/v1/revocations", Some(&body)).await
}

async fn lift(admin: &Client, kind: &str, id: &str) -> Result<()> {
    admin.send(Method::DELETE, &format!("/v1/revocations/{kind}/{id}"), None).await?.expect(204).map(drop)
}

/// The init section of a play, which is small.
async fn media(client: &Client, base: &str, play: &Listener) -> Result<whole_system_tests::client::Answer> {
    let path = play.manifest["first"]["init_url"].as_str().context("first.init_url")?;
    answer(client.request(Method::GET, &format!("{base}{path}"))).await
}

async fn is_served(system: &System, play: &Listener) -> Result<()> {
    for base in voices(system) {
        let served = media(&play.client, base, play).await?;
        ensure!(served.status == 200, "{base}: {} {}", served.status, served.body.text());
    }
    Ok(())
}

/// Holds both voices to refusing the play within the bound.
async fn stops(system: &System, play: &Listener, since: Instant) -> Result<()> {
    let [edge, gateway] = voices(system).map(|base| refused_after(&play.client, base, play, since));
    let (edge, gateway) = try_join(edge, gateway).await?;
    ensure!(edge <= BOUND && gateway <= BOUND, "refused after {edge:?} at the edge, {gateway:?} at the gateway");
    Ok(())
}

/// How long after `since` the play is first refused; other answers than media and that refusal are faults.
async fn refused_after(client: &Client, base: &str, play: &Listener, since: Instant) -> Result<Duration> {
    loop {
        let found = media(client, base, play).await?;
        let took = since.elapsed();
        if found.status != 200 {
            found.refused(403, "token_revoked").with_context(|| base.to_owned())?;
            return Ok(took);
        }
        ensure!(took < PATIENCE, "{base} still serves {} after {took:?}", play.play());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
