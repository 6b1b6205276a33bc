//! Reconciliation: what each hop gave held against what the next one got, and who is to be asked where they differ. A pure judgement of
//! [`crate::store::reconcile::Snapshot`].
//!
//! ```text
//!  client ──offered─► buffer ──stored─► collector ──frozen─► listens ──new events─► lake
//! ```
//! At every hop `in = out + quarantined + duplicate + pending + difference`, where `in` is what the hop before says it gave and the rest is what
//! the hop itself has counted where it keeps it. `docs/reconciliation.md` tells of each figure who counts it, in which transaction.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{UnixMs, tally::Hour};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    lake,
    period::Period,
    store::reconcile::{Gap, Life, Listened, Merged, Snapshot, Told, Uneven},
};

/// What one hop made of what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Figures {
    /// What the hop before says it gave.
    #[serde(rename = "in")]
    pub in_: i64,
    /// What went on.
    pub out: i64,
    /// What cannot count; at the front, what was refused.
    pub quarantined: i64,
    /// What was there already.
    pub duplicate: i64,
    /// What has not gone on yet.
    pub pending: i64,
    /// What none of these account for: 0, or something is wrong.
    pub difference: i64,
}

/// The hops, from the player on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hop {
    /// What players offered and the front answered.
    Client,
    /// What buffers stored and froze into batches.
    Buffer,
    /// What was merged.
    Collector,
    /// What the listen rule has seen.
    Listens,
    /// Plays, not events: what the activity lake's files hold.
    Lake,
}

/// A hop and its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct HopFigures {
    /// The hop.
    pub hop: Hop,
    /// Its figures.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The hops of one hour of mints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct HourFigures {
    /// When the hour began, RFC 3339.
    #[serde(with = "protocol::time::rfc3339")]
    #[schema(value_type = String)]
    pub hour_at: UnixMs,
    /// The hops.
    pub hops: Vec<HopFigures>,
}

/// Something that does not add up, or has not arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Finding {
    /// A stable code.
    pub code: &'static str,
    /// What it means.
    pub detail: String,
    /// The buffer.
    pub buffer: Option<String>,
    /// Which life of it.
    pub epoch: Option<String>,
    /// The batch, or the first of several.
    pub first: Option<i64>,
    /// The last of them.
    pub last: Option<i64>,
    /// How many events it is about, where that is known.
    pub events: Option<i64>,
    /// The play.
    pub play: Option<Uuid>,
    /// The hour of mints, where it is one hour.
    #[schema(value_type = Option<String>)]
    pub hour_at: Option<String>,
}

/// Plays of a period by what the rule says of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct PlayStates {
    /// Not long enough yet.
    pub open: i64,
    /// Listens of a period that is not settled.
    pub provisional: i64,
    /// Listens that were settled.
    #[serde(rename = "final")]
    pub final_: i64,
    /// Not a listen.
    pub void: i64,
}

/// `acked = counted + quarantined + duplicate + pending`, from the buffer's acknowledgement on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct Identity {
    /// Acknowledged to players, by the buffers' word; what carries no report, by the collector's.
    pub acked: i64,
    /// Seen by the listen rule.
    pub counted: i64,
    /// In quarantine.
    pub quarantined: i64,
    /// Duplicates that the merge knew.
    pub duplicate: i64,
    /// In a buffer, set aside, in the log, or merged and not seen by the rule yet.
    pub pending: i64,
}

/// A period, hop by hop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reconciliation {
    /// The month of the plays' mints.
    #[schema(value_type = String)]
    pub period: Period,
    /// The whole period.
    pub hops: Vec<HopFigures>,
    /// The same by the hour.
    pub hours: Vec<HourFigures>,
    /// From end to end.
    pub identity: Identity,
    /// Records of batches that carried no report: for these the collector's word stands alone.
    pub unreported: i64,
    /// What became of the plays.
    pub plays: PlayStates,
    /// Batches that are not merged, and where they are.
    pub waiting: Vec<Finding>,
    /// What does not add up. Empty, or something was lost or made up.
    pub differences: Vec<Finding>,
}

/// What the lake says of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LakeHour {
    /// Plays in its files, each once.
    pub plays: i64,
    /// Rows it did not write because the account was forgotten.
    pub forgotten: i64,
}

/// Judges a snapshot. `in_log` are records that a log in front of the merge has made durable; `lake` is `None` when the lake does not answer.
#[must_use]
pub fn reconcile(period: Period, snapshot: &Snapshot, in_log: i64, lake: Option<&lake::Account>) -> Reconciliation {
    let link = link(snapshot, in_log);
    let mut hours: BTreeMap<Hour, BTreeMap<Hop, Figures>> = BTreeMap::new();
    let mut differences = fronts(snapshot);
    for ((life, hour), told) in &snapshot.told {
        let hops = hours.entry(*hour).or_default();
        add(
            hops,
            Hop::Client,
            Figures { in_: told.offered, out: told.stored, quarantined: told.refused, duplicate: told.duplicate, ..NONE },
        );
        let waiting = if snapshot.drained.contains_key(life) { 0 } else { (told.stored - told.frozen).max(0) };
        add(hops, Hop::Buffer, Figures { in_: told.stored, out: told.frozen, pending: waiting, ..NONE });
        add(hops, Hop::Collector, Figures { in_: told.frozen, ..NONE });
    }
    for ((life, hour), merged) in &snapshot.merged {
        let Merged { unreported, counted, duplicate, quarantined, .. } = *merged;
        add(hours.entry(*hour).or_default(), Hop::Collector, Figures { in_: unreported, out: counted, quarantined, duplicate, ..NONE });
        if merged.acked > 0 && !snapshot.told.contains_key(&(life.clone(), *hour)) {
            let detail = "the collector counted records of an hour that the buffer's reports do not name".to_owned();
            differences.push(Finding { code: "hour_unreported", detail, events: Some(merged.acked), ..of_hour(of(life), *hour) });
        }
    }
    for (hour, pending) in &link.pending {
        add(hours.entry(*hour).or_default(), Hop::Collector, Figures { pending: *pending, ..NONE });
    }
    for (hour, (counted, duplicate)) in &snapshot.replayed {
        let (out, quarantined) = (*counted, -counted - duplicate);
        add(hours.entry(*hour).or_default(), Hop::Collector, Figures { out, duplicate: *duplicate, quarantined, ..NONE });
    }
    differences.extend(link.differences);
    let mut plays = PlayStates::default();
    let of_lake_alone = lake.into_iter().flat_map(|lake| lake.hours.keys());
    let all: BTreeSet<Hour> = hours.keys().chain(snapshot.listened.keys()).chain(of_lake_alone).copied().collect();
    for hour in all {
        let hops = hours.entry(hour).or_default();
        let listened = snapshot.listened.get(&hour).copied().unwrap_or_default();
        let given = hops.get(&Hop::Collector).map_or(0, |collector| collector.out);
        let figures = Figures { in_: given, out: listened.folded, pending: listened.rows - listened.folded, ..NONE };
        add(hops, Hop::Listens, figures);
        if given != listened.rows {
            let detail = format!("{given} new events were merged and {} are there", listened.rows);
            let code = if given > listened.rows { "events_missing" } else { "events_unaccounted" };
            differences.push(Finding { code, detail, events: Some(given - listened.rows), ..of_hour(Finding::default(), hour) });
        }
        plays.open += listened.open;
        plays.provisional += listened.provisional;
        plays.final_ += listened.final_;
        plays.void += listened.void;
        if let Some(lake) = lake {
            let (figures, finding) = of_lake(listened, lake.hours.get(&hour).copied().unwrap_or_default());
            add(hops, Hop::Lake, figures);
            differences.extend(finding.map(|finding| of_hour(finding, hour)));
        }
    }
    differences.extend(snapshot.uncounted.iter().map(|play| {
        let detail = format!("the play has {} events by its own word and {} that are there", play.events, play.rows);
        Finding { code: "play_miscounts", detail, events: Some(play.events - play.rows), play: Some(play.play), ..Finding::default() }
    }));
    let mut total: BTreeMap<Hop, Figures> = BTreeMap::new();
    for (hop, figures) in hours.values().flatten() {
        add(&mut total, *hop, *figures);
    }
    for hop in [Hop::Client, Hop::Buffer, Hop::Collector, Hop::Listens].into_iter().chain(lake.map(|_| Hop::Lake)) {
        total.entry(hop).or_default();
    }
    let unreported = snapshot.merged.values().map(|merged| merged.unreported).sum();
    let hours = hours.into_iter().map(|(hour, hops)| HourFigures { hour_at: hour.starts_at(), hops: rows(&hops) }).collect();
    let identity = identity(&total, unreported);
    Reconciliation { period, hops: rows(&total), hours, identity, unreported, plays, waiting: link.waiting, differences }
}

/// The lake's hop of one hour. What changed after the place up to which it was written is on its way; what did not must be in its files.
fn of_lake(listened: Listened, lake: LakeHour) -> (Figures, Option<Finding>) {
    let LakeHour { plays: held, forgotten } = lake;
    let plays = listened.open + listened.provisional + listened.final_ + listened.void;
    let quarantined = forgotten.min((plays - held).max(0));
    let missing = (listened.told - held - quarantined).max(0);
    let pending = (plays - held - quarantined - missing).max(0);
    let finding = if missing > 0 {
        let detail = format!("the lake was written past {} plays and its files hold {held}", listened.told);
        Some(Finding { code: "plays_missing", detail, ..Finding::default() })
    } else if held > plays {
        let detail = format!("the lake's files hold {held} plays and the ledger's database {plays}");
        Some(Finding { code: "plays_unaccounted", detail, ..Finding::default() })
    } else {
        None
    };
    (Figures { in_: plays, out: held, quarantined, pending, ..NONE }, finding)
}

const NONE: Figures = Figures { in_: 0, out: 0, quarantined: 0, duplicate: 0, pending: 0, difference: 0 };

fn add(hops: &mut BTreeMap<Hop, Figures>, hop: Hop, more: Figures) {
    let figures = hops.entry(hop).or_default();
    figures.in_ += more.in_;
    figures.out += more.out;
    figures.quarantined += more.quarantined;
    figures.duplicate += more.duplicate;
    figures.pending += more.pending;
    figures.difference = figures.in_ - figures.out - figures.quarantined - figures.duplicate - figures.pending;
}

fn rows(hops: &BTreeMap<Hop, Figures>) -> Vec<HopFigures> {
    hops.iter().map(|(hop, figures)| HopFigures { hop: *hop, figures: *figures }).collect()
}

fn identity(total: &BTreeMap<Hop, Figures>, unreported: i64) -> Identity {
    let of = |hop| total.get(&hop).copied().unwrap_or_default();
    let (buffer, collector, listens) = (of(Hop::Buffer), of(Hop::Collector), of(Hop::Listens));
    Identity {
        acked: buffer.in_ + unreported,
        counted: listens.out,
        quarantined: collector.quarantined,
        duplicate: collector.duplicate,
        pending: buffer.pending + collector.pending + listens.pending,
    }
}

fn of(life: &Life) -> Finding {
    Finding { buffer: Some(life.buffer.clone()), epoch: Some(life.epoch.clone()), ..Finding::default() }
}

fn of_hour(finding: Finding, hour: Hour) -> Finding {
    Finding { hour_at: Some(hour.starts_at().rfc3339()), ..finding }
}

fn batches(finding: Finding, first: i64, last: i64) -> Finding {
    Finding { first: Some(first), last: Some(last), ..finding }
}

/// What fronts and buffers say that contradicts itself.
fn fronts(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ((life, hour), told) in &snapshot.told {
        let Told { offered, refused, duplicate, stored, frozen } = *told;
        let lost = offered - refused - duplicate - stored;
        if lost != 0 {
            let detail = format!("of {offered} events offered {refused} were refused, {duplicate} known and {stored} stored");
            findings.push(Finding { code: "front_miscounts", detail, events: Some(lost), ..of_hour(of(life), *hour) });
        }
        let drained = snapshot.drained.get(life);
        if frozen > stored || (frozen < stored && drained.is_some()) {
            let detail = format!("{stored} events were stored and {frozen} are in batches, and no post waits");
            let named = drained.map_or_else(|| of(life), |newest| batches(of(life), *newest, *newest));
            findings.push(Finding { code: "buffer_miscounts", detail, events: Some(stored - frozen), ..of_hour(named, *hour) });
        }
    }
    findings
}

/// What lies between buffers and the merge.
struct Link {
    /// Events that are known to wait, by hour.
    pending: BTreeMap<Hour, i64>,
    waiting: Vec<Finding>,
    differences: Vec<Finding>,
}

/// Finds each batch that did not arrive, or arrived with another number of events, and says whether somebody still has it.
fn link(snapshot: &Snapshot, in_log: i64) -> Link {
    let mut link = Link { pending: BTreeMap::new(), waiting: Vec::new(), differences: Vec::new() };
    // Events that are missing: what their buffer put into batches and the collector did not count.
    let mut missing: BTreeMap<(Life, Hour), i64> = BTreeMap::new();
    for ((life, hour), told) in &snapshot.told {
        let acked = snapshot.merged.get(&(life.clone(), *hour)).map_or(0, |merged| merged.acked);
        if told.frozen != acked {
            missing.insert((life.clone(), *hour), told.frozen - acked);
        }
    }
    // What the log holds explains what is missing, unless it holds less than that.
    let all_missing: i64 = missing.values().filter(|events| **events > 0).sum();
    let in_the_log = in_log > 0 && all_missing <= in_log;
    let keyless: BTreeSet<(&str, &str, i64)> =
        snapshot.keyless.iter().map(|torn| (torn.buffer.as_str(), torn.epoch.as_str(), torn.number)).collect();
    let mut lost: BTreeSet<Life> = BTreeSet::new();
    for gap in &snapshot.gaps {
        if gap.first == gap.last && keyless.contains(&(gap.buffer.as_str(), gap.epoch.as_str(), gap.first)) {
            continue;
        }
        let life = Life { buffer: gap.buffer.clone(), epoch: gap.epoch.clone() };
        let events = events_of(gap, &snapshot.uneven);
        let finding = Finding { events, ..batches(of(&life), gap.first, gap.last) };
        let numbers = gap.last - gap.first + 1;
        if i64::try_from(gap.set_aside.len()) == Ok(numbers) {
            let detail = "the origin refused these batches and the buffer keeps them: it tries them again every hour".to_owned();
            link.waiting.push(Finding { code: "set_aside", detail, ..finding });
        } else if in_log > 0 && (in_the_log || events.is_none()) {
            let detail = "not merged, while the log in front of the merge holds records".to_owned();
            link.waiting.push(Finding { code: "in_the_log", detail, ..finding });
        } else {
            let held = if gap.set_aside.is_empty() { String::new() } else { format!("; the buffer still holds {:?}", gap.set_aside) };
            let detail = format!("{numbers} batches were frozen, since later ones arrived, and never merged{held}");
            link.differences.push(Finding { code: "batch_missing", detail, ..finding });
            lost.insert(life);
        }
    }
    for torn in &snapshot.keyless {
        let life = Life { buffer: torn.buffer.clone(), epoch: torn.epoch.clone() };
        let detail = "its records are counted, and its key is gone: sent again it would be merged again".to_owned();
        let finding = Finding { events: Some(torn.events), ..batches(of(&life), torn.number, torn.number) };
        link.differences.push(Finding { code: "key_missing", detail, ..finding });
    }
    for uneven in snapshot.uneven.iter().filter(|uneven| !explained(uneven, &snapshot.gaps)) {
        let life = Life { buffer: uneven.buffer.clone(), epoch: uneven.epoch.clone() };
        let events = uneven.sent - uneven.received;
        let named = of_hour(batches(of(&life), uneven.number, uneven.number), Hour(uneven.hour));
        let detail = format!("its buffer put {} events into it and {} were merged", uneven.sent, uneven.received);
        let finding = Finding { detail, events: Some(events), ..named };
        if events > 0 && (uneven.in_parts || in_the_log) && in_log >= events {
            link.waiting.push(Finding { code: "in_the_log", ..finding });
        } else {
            link.differences.push(Finding { code: if events > 0 { "batch_short" } else { "batch_long" }, ..finding });
            lost.insert(life);
        }
    }
    for ((life, hour), events) in missing {
        if events > 0 && !lost.contains(&life) {
            *link.pending.entry(hour).or_default() += events;
        } else if events < 0 && !lost.contains(&life) {
            let detail = "more events of this hour were merged than the buffer says it has frozen".to_owned();
            link.differences.push(Finding { code: "hour_unreported", detail, events: Some(events), ..of_hour(of(&life), hour) });
        }
    }
    link
}

/// Whether a gap lies between a batch and the one before it that told of the same hour.
fn explained(uneven: &Uneven, gaps: &[Gap]) -> bool {
    uneven.sent > uneven.received && gaps.iter().any(|gap| between(gap, uneven))
}

fn between(gap: &Gap, uneven: &Uneven) -> bool {
    (&gap.buffer, &gap.epoch) == (&uneven.buffer, &uneven.epoch) && gap.first > uneven.previous && gap.last < uneven.number
}

/// How many events are in a gap, when a later report tells of them and no other gap shares the telling.
fn events_of(gap: &Gap, uneven: &[Uneven]) -> Option<i64> {
    let around: Vec<i64> = uneven.iter().filter(|uneven| between(gap, uneven)).map(|uneven| uneven.sent - uneven.received).collect();
    (!around.is_empty()).then(|| around.iter().sum())
}
