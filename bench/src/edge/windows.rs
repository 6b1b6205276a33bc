//! The cases, and their turns: each asks its own process for `effort.window`, and what the process used of the processor in that time is divided by
//! the requests it answered.

use std::{thread, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    Effort,
    load::{self, Requests},
    origin::Origin,
    scene::{RUNG, Scene},
    workerd::{Kind, Worker, Workers},
};
use crate::{
    client::{Answer, Client},
    stats::Samples,
};

/// Plays whose tokens take turns, so that no address is asked for twice in a row.
const PLAYS: usize = 16;
/// Requests before the clock starts: caches are filled and code is compiled to the end.
const WARM_UP: usize = 1_500;
/// A write to the cache goes on behind its answer; a piece is asked for again until it is a hit, at most this often.
const FILLS_MAX: usize = 50;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    /// Nothing.
    Empty,
    /// A cached segment without any check.
    Floor,
    /// A manifest for any HLS player.
    ManifestHls,
    /// A manifest for our player.
    ManifestJson,
    /// A media playlist.
    Playlist,
    /// A segment that is in the cache.
    Segment,
}

impl What {
    /// What our Worker and the JavaScript Worker both answer.
    pub(crate) const SHARED: [Self; 4] = [Self::ManifestHls, Self::ManifestJson, Self::Playlist, Self::Segment];
}

/// Every window of one case, in order.
#[derive(Debug)]
pub(crate) struct Case {
    /// By which Worker.
    pub(crate) kind: Kind,
    /// What.
    pub(crate) what: What,
    requests: Requests,
    /// Microseconds of CPU a request.
    pub(crate) cpu_us: Vec<f64>,
    /// Latencies.
    pub(crate) latencies: Vec<Samples>,
}

/// All cases, and what the two Workers answer differently.
#[derive(Debug)]
pub(crate) struct Windows {
    /// The cases.
    pub(crate) cases: Vec<Case>,
    /// One line a difference; empty when the comparison is of equals.
    pub(crate) differences: Vec<String>,
}

/// Runs every case `effort.rounds` times, in turn, forwards and backwards.
///
/// # Errors
/// When a Worker does not come up or refuses.
pub(crate) fn measure(workers: &Workers, scene: &Scene, effort: Effort) -> Result<Windows> {
    let origin = Origin::start(scene)?;
    let start = |kind| Ok::<_, anyhow::Error>((kind, workers.start(kind, scene, &origin)?));
    let running = [start(Kind::Empty)?, start(Kind::Floor)?, start(Kind::Ours)?, start(Kind::JavaScript)?];
    let worker = |kind| running.iter().find(|(other, _)| *other == kind).map(|(_, worker)| worker).context("a Worker of each kind runs");

    let media = plays(worker(Kind::Ours)?, scene)?;
    let mut cases = Vec::new();
    for (kind, worker) in &running {
        cases.extend(cases_of(*kind, worker, scene, &media));
    }
    eprintln!("bench: filling caches, warming up");
    for case in &cases {
        warm_up(case)?;
    }
    let differences = differences(&cases)?;
    eprintln!("bench: {} rounds of {} windows of {:?}", effort.rounds, cases.len(), effort.window);
    for round in 0..effort.rounds {
        let mut order: Vec<&mut Case> = cases.iter_mut().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for case in order {
            window(case, worker(case.kind)?, effort)?;
        }
    }
    Ok(Windows { cases, differences })
}

fn window(case: &mut Case, worker: &Worker, effort: Effort) -> Result<()> {
    let before = worker.cpu()?;
    let samples = load::run(&case.requests, effort)?;
    let used = worker.cpu()?.saturating_sub(before);
    case.cpu_us.push(used.as_secs_f64() * 1e6 / samples.len().max(1) as f64);
    case.latencies.push(samples);
    Ok(())
}

/// Signed directories of [`PLAYS`] plays. Both Workers have the same keys, so both take them.
fn plays(ours: &Worker, scene: &Scene) -> Result<Vec<String>> {
    let mut client = Client::new(&ours.url)?;
    let headers = [("authorization", scene.authorization.as_str()), ("accept", "application/json")];
    (0..PLAYS).map(|_| Scene::media(&client.get(&scene.manifest(), &headers)?.json()?)).collect()
}

fn cases_of(kind: Kind, worker: &Worker, scene: &Scene, media: &[String]) -> Vec<Case> {
    let case = |what, paths, headers: &[(&str, &str)]| Case {
        kind,
        what,
        requests: Requests {
            url: worker.url.clone(),
            paths,
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        },
        cpu_us: Vec::new(),
        latencies: Vec::new(),
    };
    match kind {
        Kind::Empty => vec![case(What::Empty, vec!["/".to_owned()], &[])],
        Kind::Floor => vec![case(What::Floor, floor_paths(scene), &[])],
        Kind::Ours | Kind::JavaScript => {
            let authorization = ("authorization", scene.authorization.as_str());
            let segments = (0..scene.segments()).flat_map(|n| media.iter().map(move |media| format!("{media}/{RUNG}/{n}.m4s")));
            vec![
                case(What::ManifestHls, vec![scene.manifest()], &[authorization]),
                case(What::ManifestJson, vec![scene.manifest()], &[authorization, ("accept", "application/json")]),
                case(What::Playlist, media.iter().map(|media| format!("{media}/{RUNG}.m3u8")).collect(), &[]),
                case(What::Segment, segments.collect(), &[]),
            ]
        }
        Kind::Verify => Vec::new(),
    }
}

fn floor_paths(scene: &Scene) -> Vec<String> {
    let range = |n| scene.sheet.segment_range(RUNG, n);
    let version = scene.sheet.version;
    (0..scene.segments()).filter_map(range).map(|(offset, length)| format!("/{version}/{RUNG}/{offset}-{length}")).collect()
}

fn warm_up(case: &Case) -> Result<()> {
    let mut client = Client::new(&case.requests.url)?;
    for number in 0..WARM_UP {
        case.requests.ask(&mut client, number)?;
    }
    if case.what == What::Segment {
        for number in 0..case.requests.paths.len() {
            fill(case, &mut client, number)?;
        }
    }
    Ok(())
}

/// Asks until the answer is from the cache.
fn fill(case: &Case, client: &mut Client, number: usize) -> Result<()> {
    for _ in 0..FILLS_MAX {
        if case.requests.ask(client, number)?.header("cache-status").is_some_and(|status| status.ends_with("hit")) {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    bail!("{:?} does not keep segments", case.kind)
}

/// Whether the JavaScript Worker answers what ours does: the comparison is one of equals, or the table says that it is not.
fn differences(cases: &[Case]) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    for what in What::SHARED {
        let answer = |kind| -> Result<Answer> {
            let case = cases.iter().find(|case| case.kind == kind && case.what == what).context("both Workers have every case")?;
            case.requests.ask(&mut Client::new(&case.requests.url)?, 0)
        };
        let (ours, theirs) = (answer(Kind::Ours)?, answer(Kind::JavaScript)?);
        differences.extend(difference(&ours, &theirs).map(|difference| format!("{what:?}: {difference}")));
    }
    for difference in &differences {
        eprintln!("bench: the Workers differ: {difference}");
    }
    Ok(differences)
}

fn difference(ours: &Answer, theirs: &Answer) -> Option<String> {
    let (mine, other) = (comparable_headers(ours), comparable_headers(theirs));
    if mine != other {
        let only =
            |these: &[String], those: &[String]| these.iter().filter(|line| !those.contains(line)).cloned().collect::<Vec<_>>().join("; ");
        return Some(format!("headers: ours {{{}}}, JavaScript {{{}}}", only(&mine, &other), only(&other, &mine)));
    }
    (comparable_body(ours) != comparable_body(theirs)).then(|| "the bodies differ".to_owned())
}

/// Headers but for the names and tokens that differ from one answer to the next.
fn comparable_headers(answer: &Answer) -> Vec<String> {
    let own = ["x-request-id", "antiphon-play", "antiphon-ticket"];
    let line = |(name, value): &(String, String)| if own.contains(&name.as_str()) { name.clone() } else { format!("{name}: {value}") };
    let mut lines: Vec<String> = answer.headers.iter().map(line).collect();
    lines.sort_unstable();
    lines
}

/// The body without the play's id, its end and its tokens.
fn comparable_body(answer: &Answer) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(&answer.body) else { return answer.body.clone() };
    let mut text = text.to_owned();
    let json = serde_json::from_str::<Value>(&text).unwrap_or_default();
    let ends = json.pointer("/play/expires_at").and_then(Value::as_str).map(ToOwned::to_owned);
    let own = [answer.header("antiphon-play"), answer.header("antiphon-ticket"), ends.as_deref()].map(|own| own.map(ToOwned::to_owned));
    for own in own.into_iter().flatten() {
        text = text.replace(&own, "");
    }
    let tokens: Vec<String> = text.split("media/").skip(1).filter_map(|rest| rest.split('/').next()).map(ToOwned::to_owned).collect();
    for token in tokens.iter().filter(|token| !token.is_empty()) {
        text = text.replace(token.as_str(), "");
    }
    text.into_bytes()
}
