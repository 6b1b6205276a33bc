//! What the activity lake says it holds, asked over HTTP when a period is reconciled. The lake may be away: then its hop is left out, and nothing
//! else is.

use std::{collections::BTreeMap, time::Duration};

use platform::activity::Place;
use protocol::{UnixMs, tally::Hour};
use serde::Deserialize;

use crate::{period::Period, reconcile::LakeHour};

const CONNECT_WITHIN: Duration = Duration::from_secs(1);
/// It counts in its files.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);

/// The lake's own reckoning.
#[derive(Debug, Clone)]
pub struct Lake {
    http: reqwest::Client,
    url: String,
}

/// What it says of a period.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// Up to here it has all that the feed of plays told.
    pub written_to: Place,
    /// By the hour of mints.
    pub hours: BTreeMap<Hour, LakeHour>,
}

#[derive(Deserialize)]
struct Hours {
    hours: Vec<Passed>,
    held: Vec<Held>,
    written_to: Place,
}

#[derive(Deserialize)]
struct Passed {
    kind: String,
    hour_ms: i64,
    forgotten: i64,
}

#[derive(Deserialize)]
struct Held {
    hour_ms: i64,
    plays: i64,
}

impl Lake {
    /// At `url`.
    ///
    /// # Errors
    /// When no client can be made.
    pub fn at(url: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).timeout(ANSWER_WITHIN).build()?;
        Ok(Self { http, url: format!("{url}/internal/lake/hours") })
    }

    /// Its account of a period.
    ///
    /// # Errors
    /// When it does not answer, or not in time.
    pub async fn account(&self, period: Period) -> Result<Account, reqwest::Error> {
        let query = [("from_ms", period.starts_at().0), ("until_ms", period.ends_at().0)];
        let told: Hours = self.http.get(&self.url).query(&query).send().await?.error_for_status()?.json().await?;
        let mut hours: BTreeMap<Hour, LakeHour> = BTreeMap::new();
        for held in told.held {
            hours.entry(Hour::of(UnixMs(held.hour_ms))).or_default().plays += held.plays;
        }
        for passed in told.hours.into_iter().filter(|passed| passed.kind == "play") {
            hours.entry(Hour::of(UnixMs(passed.hour_ms))).or_default().forgotten += passed.forgotten;
        }
        Ok(Account { written_to: told.written_to, hours })
    }
}
