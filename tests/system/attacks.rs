//! What a dishonest player tries, on the real edge and the real gateway, and what it gets: a refusal with its code, or a listen that is void with its
//! reason. `docs/attacks.md` is the table. What is not heard here is tried elsewhere at more speed: a million altered bodies
//! (`protocol/tests/hostile_bodies`), altered tokens (`protocol/tests/hostile.rs`), every order of events (`protocol/tests/listen_model`).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use protocol::{
    PlayId,
    token::{Pseudonym, Purpose},
};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::time::sleep;
use whole_system_tests::{
    Client, Keys, Listener, System,
    client::{Answer, answer},
    eventually, now,
};

use crate::{money::reaches, playback::any_track};

const PARALLEL_PLAYS: usize = 1_000;
/// Posts under way at once.
const AT_ONCE: usize = 16;
/// A listen of a long track takes that long, and a receipt more.
const A_LISTEN: Duration = Duration::from_secs(33);
const DAY_MS: i64 = 86_400_000;

async fn begin(system: &System) -> Result<Listener> {
    let client = Client::signed_up(&system.run.edge, "listener").await?;
    Listener::begin(&client, &any_track(&client).await?).await
}

fn ticket(play: &Listener) -> Result<&str> {
    play.manifest["play"]["ticket"].as_str().context("ticket")
}

/// One post without a session, as it comes from anywhere.
async fn post(base: &str, body: &Value) -> Result<Answer> {
    Client::new(base)?.send(Method::POST, "/v1/me/play-event", Some(body)).await
}

/// A stock player's report.
async fn report(base: &str, ticket: &str, records: &[&str]) -> Result<Answer> {
    let body: Vec<String> = records.iter().map(|record| format!("{record},sid=\"stock\",v=2")).collect();
    let path = format!("/v1/me/play-event?ticket={ticket}");
    answer(Client::new(base)?.request(Method::POST, &path).header("content-type", "application/cmcd").body(body.join("\n"))).await
}

fn codes(said: &Value) -> Vec<&str> {
    said["rejected"].as_array().into_iter().flatten().filter_map(|refusal| refusal["code"].as_str()).collect()
}

async fn is_void(play: &Listener, reason: &str) -> Result<Value> {
    eventually(&format!("the play is void, {reason}"), Duration::from_secs(60), async || {
        let item = play.in_history().await?;
        ensure!(item["state"] == "void" && item["reason"] == reason, "{item}");
        Ok(item)
    })
    .await
}

/// Why records of the play, or with the ticket, are in quarantine, as the database has it: an honest client never learns of it.
async fn quarantined(system: &System, play_or_ticket: &str) -> Result<Vec<String>> {
    let mut database = PgConnection::connect(&system.run.database).await?;
    let reasons = sqlx::query_scalar("SELECT reason FROM royalty.quarantine WHERE position($1 IN record) > 0 ORDER BY id");
    Ok(reasons.bind(play_or_ticket).fetch_all(&mut database).await?)
}

async fn comes_to_quarantine(system: &System, play_or_ticket: &str, reason: &str) -> Result<()> {
    eventually(&format!("a record is in quarantine as {reason}"), Duration::from_secs(30), async || {
        let reasons = quarantined(system, play_or_ticket).await?;
        ensure!(reasons == [reason], "{reasons:?}");
        Ok(())
    })
    .await
}

/// Positions that the track does not have: refused one by one; a stock player's are cut to the track and bring nothing.
pub(crate) async fn a_forged_position_is_refused_or_worth_nothing(system: &System) -> Result<()> {
    for base in [&system.run.edge, &system.run.gateway] {
        let play = begin(system).await?;
        let event = |seq: u32, from: i64, to: i64| json!({"seq": seq, "kind": "progress", "from_ms": from, "to_ms": to});
        let beyond_number = i64::from(u32::MAX) + 1;
        let events = [event(0, 0, 500_000_000), event(1, 9_000, 3_000), event(2, -5, 3_000), event(3, 0, beyond_number)];
        let said = post(base, &json!({"ticket": ticket(&play)?, "sender": "forger", "events": events})).await?.expect(202)?;
        ensure!(said["accepted"] == 0, "{said}");
        ensure!(codes(&said) == ["interval_beyond_track", "interval_reversed", "malformed_event", "malformed_event"], "{said}");

        let records = ["e=ps,sn=0,sta=p,ts=1000,pt=4000000000", "e=t,sn=1,sta=p,ts=41000,pt=4000040000", "e=ps,sn=2,sta=e,ts=81000"];
        report(base, ticket(&play)?, &records).await?.expect(202)?;
        let item = is_void(&play, "too_short").await?;
        ensure!(item["played_ms"] == 0, "{item}");
    }
    Ok(())
}

/// A clock that runs ten times as fast as the receiver's.
pub(crate) async fn a_clock_faster_than_time_is_void(system: &System) -> Result<()> {
    for base in [&system.run.edge, &system.run.gateway] {
        let play = begin(system).await?;
        report(base, ticket(&play)?, &["e=ps,sn=0,sta=p,ts=1000", "e=t,sn=1,sta=p,ts=31000"]).await?.expect(202)?;
        report(base, ticket(&play)?, &["e=ps,sn=2,sta=e,ts=61000"]).await?.expect(202)?;
        is_void(&play, "faster_than_time").await?;
    }
    Ok(())
}

/// One pair of ears: a thousand plays that one account runs at once are credited no more than the time that passed.
pub(crate) async fn a_thousand_parallel_plays_are_paid_the_time_that_passed(system: &System) -> Result<()> {
    let begun = now();
    let first = begin(system).await?;
    first.beat(system, &[(0, "start", 0, 0)]).await?;
    let keys = Keys::of(system)?;
    let others: Vec<String> = (1..PARALLEL_PLAYS)
        .map(|_| keys.token(ticket(&first)?, Purpose::Event, |claims| claims.play = PlayId::v7(now(), rand::random())))
        .collect::<Result<_>>()?;
    sleep(A_LISTEN).await;
    first.beat(system, &[(1, "progress", 0, 31_000), (2, "stop", 31_000, 31_000)]).await?;
    stream::iter(others.iter().enumerate())
        .map(|(n, ticket)| parallel_play(if n % 2 == 0 { &system.run.edge } else { &system.run.gateway }, ticket))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    let elapsed_ms = now().since(begun);

    let items = eventually("all plays are judged", Duration::from_secs(120), async || {
        let items = whole_history(&first.client).await?;
        ensure!(items.len() == PARALLEL_PLAYS && items.iter().all(|item| item["state"] != "open"), "{} plays", items.len());
        Ok(items)
    })
    .await?;
    let credited_ms: i64 = items.iter().filter_map(|item| item["played_ms"].as_i64()).sum();
    ensure!(credited_ms <= elapsed_ms + elapsed_ms / 20 + 2_000, "{credited_ms} ms are credited for {elapsed_ms} ms");
    let (valid, void): (Vec<_>, Vec<_>) = items.iter().partition(|item| item["state"] == "provisional");
    ensure!(!valid.is_empty() && valid.len() <= 2, "{} of {PARALLEL_PLAYS} parallel plays are valid", valid.len());
    ensure!(valid.iter().any(|item| item["play_id"] == first.play()), "the first play lost: {valid:?}");
    let strange = void.iter().find(|item| item["state"] != "void" || item["reason"] != "overlapping_plays");
    ensure!(strange.is_none(), "{strange:?}");
    Ok(())
}

/// All of a play in one post, as often as it takes.
async fn parallel_play(base: &str, ticket: &str) -> Result<()> {
    let events = json!([{"seq": 0, "kind": "progress", "from_ms": 0, "to_ms": 31_000}, {"seq": 1, "kind": "stop", "from_ms": 31_000, "to_ms": 31_000}]);
    let body = json!({"ticket": ticket, "sender": "parallel", "events": events});
    let taken = eventually("a parallel play is taken", Duration::from_secs(120), async || post(base, &body).await?.expect(202)).await?;
    ensure!(codes(&taken).is_empty(), "{taken}");
    Ok(())
}

/// An account that posts faster than any player is told when to come back, and is heard again then; nobody else is slowed.
pub(crate) async fn a_flood_of_posts_is_told_to_wait(system: &System) -> Result<()> {
    /// So many that even a slow machine answers a burst of them faster than the rate allowed.
    const FLOOD: usize = 4_000;
    for base in [&system.run.edge, &system.run.gateway] {
        let (flooding, other) = (begin(system).await?, begin(system).await?);
        // The event is refused, so that a post costs next to nothing but is counted.
        let of = |play: &Listener| {
            Ok::<_, anyhow::Error>(json!({"ticket": ticket(play)?, "sender": "flood", "events": [
            {"seq": 0, "kind": "progress", "from_ms": 9_000, "to_ms": 3_000}]}))
        };
        let (body, others) = (of(&flooding)?, of(&other)?);
        let mut posts = stream::iter(0..FLOOD).map(|_| post(base, &body)).buffer_unordered(4 * AT_ONCE);
        let mut throttled = None;
        while let Some(answer) = posts.try_next().await? {
            if answer.status != 202 {
                throttled = Some(answer);
                break;
            }
        }
        drop(posts);
        let answer = throttled.with_context(|| format!("{FLOOD} posts of one account were taken as fast as they came"))?;
        let retry_after = answer.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        answer.refused(429, "too_many_heartbeats")?;
        post(base, &others).await?.expect(202)?;
        sleep(Duration::from_secs(retry_after.context("a wait in seconds")?)).await;
        eventually("the account is heard again", Duration::from_secs(10), async || post(base, &body).await?.expect(202)).await?;
    }
    Ok(())
}

async fn whole_history(client: &Client) -> Result<Vec<Value>> {
    let (mut items, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/me/history?limit=200{cursor}")).await?;
        items.extend(page["items"].as_array().context("items")?.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(items),
        }
    }
}

/// Whoever has another's ticket can neither collect for themselves nor add to what its play may be worth, and a post heard twice is a duplicate.
pub(crate) async fn a_stolen_ticket_gives_its_thief_nothing(system: &System) -> Result<()> {
    let victim = begin(system).await?;
    let thief = Client::signed_up(&system.run.edge, "listener").await?;
    let heard = victim.post(&[(0, "start", 0, 0), (1, "progress", 0, 500)]);
    post(&system.run.edge, &heard).await?.expect(202)?;
    let replayed = thief.send(Method::POST, "/v1/me/play-event", Some(&heard)).await?.expect(202)?;
    ensure!(replayed["accepted"] == 0 && replayed["duplicate"] == 2, "{replayed}");
    eventually("the gateway knows the replayed post too", Duration::from_secs(30), async || {
        let replayed = thief.at(&system.run.gateway).send(Method::POST, "/v1/me/play-event", Some(&heard)).await?.expect(202)?;
        ensure!(replayed["accepted"] == 0 && replayed["duplicate"] == 2, "{replayed}");
        Ok(())
    })
    .await?;
    let own = json!([{"seq": 0, "kind": "progress", "from_ms": 500, "to_ms": 40_000}, {"seq": 1, "kind": "stop", "from_ms": 40_000, "to_ms": 40_000}]);
    let own = json!({"ticket": ticket(&victim)?, "sender": "thief", "events": own});
    thief.send(Method::POST, "/v1/me/play-event", Some(&own)).await?.expect(202)?;
    let item = is_void(&victim, "faster_than_time").await?;
    let of_thief = thief.get("/v1/me/history").await?;
    ensure!(of_thief["items"].as_array().is_some_and(Vec::is_empty), "{of_thief}");
    for base in [&system.run.edge, &system.run.gateway] {
        let path = format!("/v1/tracks/{}/manifest?play={}", item["track"]["id"].as_str().context("track")?, ticket(&victim)?);
        thief.at(base).send(Method::GET, &path, None).await?.refused(403, "play_is_not_yours")?;
    }
    Ok(())
}

/// Two devices on one ticket hear different parts at once: together they cannot outrun the time.
pub(crate) async fn two_devices_on_one_ticket_are_one_listener(system: &System) -> Result<()> {
    let play = begin(system).await?;
    play.beat(system, &[(0, "start", 0, 0)]).await?;
    sleep(Duration::from_secs(20)).await;
    play.beat(system, &[(1, "progress", 0, 20_000), (2, "stop", 20_000, 20_000)]).await?;
    let second = Listener { client: play.client.clone(), manifest: play.manifest.clone(), sender: "second-device".to_owned() };
    second.beat(system, &[(0, "progress", 22_000, 42_000), (1, "stop", 42_000, 42_000)]).await?;
    let item = is_void(&play, "faster_than_time").await?;
    ensure!(item["played_ms"].as_i64().is_some_and(|ms| (20_000..30_000).contains(&ms)), "{item}");
    Ok(())
}

/// A stock player's clock may be wrong by any amount: only its differences are used, and they are held to the receiver's.
pub(crate) async fn a_players_clock_is_not_believed(system: &System) -> Result<()> {
    const TEN_MINUTES_MS: i64 = 600_000;
    // What the clock said at first, 31 s later, and what comes of it.
    let clocks = [
        ("ten minutes ahead", now().0 + TEN_MINUTES_MS, 31_000, "provisional", 31_000..=31_000),
        ("ten minutes behind", now().0 - TEN_MINUTES_MS, 31_000, "provisional", 31_000..=31_000),
        ("it goes backwards", now().0, -31_000, "void", 0..=0),
        ("it jumps ten minutes ahead", now().0, TEN_MINUTES_MS, "provisional", 30_000..=45_000),
        ("it jumps ten minutes back", now().0, -TEN_MINUTES_MS, "void", 0..=0),
    ];
    let mut plays = Vec::new();
    for (at, base) in clocks.iter().map(|clock| clock.1).zip([&system.run.edge, &system.run.gateway].into_iter().cycle()) {
        let play = begin(system).await?;
        report(base, ticket(&play)?, &[&format!("e=ps,sn=0,sta=p,ts={at}")]).await?.expect(202)?;
        plays.push((play, base));
    }
    sleep(A_LISTEN).await;
    for ((play, base), (_, at, later, ..)) in plays.iter().zip(&clocks) {
        report(base, ticket(play)?, &[&format!("e=ps,sn=1,sta=e,ts={}", at + later)]).await?.expect(202)?;
    }
    for ((play, _), (what, _, _, state, credited)) in plays.iter().zip(clocks) {
        let item = reaches(play, state).await.with_context(|| what)?;
        ensure!(item["played_ms"].as_i64().is_some_and(|ms| credited.contains(&ms)), "{what}: {item}");
        ensure!(state != "void" || item["reason"] == "too_short", "{what}: {item}");
    }
    Ok(())
}

/// One name, two contents: the buffer refuses the second; by the other path it ends in quarantine, and what was heard first stands.
pub(crate) async fn a_number_used_for_other_content_is_refused_or_quarantined(system: &System) -> Result<()> {
    let play = begin(system).await?;
    play.beat(system, &[(0, "progress", 0, 500)]).await?;
    let other = play.post(&[(0, "progress", 0, 900)]);
    let said = post(&system.run.edge, &other).await?.expect(202)?;
    ensure!(said["accepted"] == 0 && codes(&said) == ["conflicting_content"], "{said}");
    // The gateway has not seen the first; the database has, once the buffer has sent it.
    eventually("the first is merged", Duration::from_secs(30), async || play.in_history().await.map(drop)).await?;
    post(&system.run.gateway, &other).await?.expect(202)?;
    comes_to_quarantine(system, play.play(), "other_content_under_this_name").await?;
    play.beat(system, &[(1, "stop", 500, 500)]).await?;
    let item = is_void(&play, "too_short").await?;
    ensure!(item["played_ms"] == 500, "{item}");
    Ok(())
}

/// What is told of a play after its end is judged like anything else: it cannot outrun time, nor make a second listen; who only repeats the end is
/// silenced.
pub(crate) async fn events_after_the_end_bring_nothing(system: &System) -> Result<()> {
    for base in [&system.run.edge, &system.run.gateway] {
        let play = begin(system).await?;
        post(base, &play.post(&[(0, "start", 0, 0), (1, "end", 0, 500)])).await?.expect(202)?;
        is_void(&play, "too_short").await?;
        post(base, &play.post(&[(2, "progress", 500, 31_000), (3, "progress", 31_000, 40_000)])).await?.expect(202)?;
        is_void(&play, "faster_than_time").await?;
        report(base, ticket(&play)?, &["e=t,sn=9,sta=e,ts=1"]).await?.refused(410, "play_ended")?;
        let history = play.client.get("/v1/me/history").await?;
        ensure!(history["items"].as_array().is_some_and(|items| items.len() == 1), "{history}");
    }
    Ok(())
}

/// Only a leaked key could sign these: a play that begins in the future, one that is older than plays live, and one that is somebody else's.
pub(crate) async fn plays_of_another_time_or_listener_do_not_count(system: &System) -> Result<()> {
    let keys = Keys::of(system)?;
    let play = begin(system).await?;
    play.beat(system, &[(0, "start", 0, 0)]).await?;
    let body = |ticket: &str| json!({"ticket": ticket, "sender": "forger", "events": [{"seq": 0, "kind": "progress", "from_ms": 0, "to_ms": 1_000}]});
    let minted = |age_ms: i64| PlayId::v7(now().plus_ms(-age_ms), rand::random());
    for base in [&system.run.edge, &system.run.gateway] {
        let future = keys.token(ticket(&play)?, Purpose::Event, |claims| claims.play = minted(-60_000))?;
        post(base, &body(&future)).await?.refused(401, "ticket_invalid")?;

        let old = keys.token(ticket(&play)?, Purpose::Event, |claims| claims.play = minted(9 * DAY_MS))?;
        post(base, &body(&old)).await?.expect(202)?;
        comes_to_quarantine(system, &old, "play_too_old").await?;
    }
    eventually("the play is known", Duration::from_secs(30), async || play.in_history().await.map(drop)).await?;
    let strange = keys.token(ticket(&play)?, Purpose::Event, |claims| claims.pseudonym = Pseudonym(rand::random()))?;
    post(&system.run.edge, &body(&strange)).await?.expect(202)?;
    comes_to_quarantine(system, play.play(), "ticket_of_another_play").await
}
