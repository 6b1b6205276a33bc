//! A statement as a flat file after DDEX's Digital Sales Reporting: what its payee's own programs read. A pure rendering of a stored statement.
//!
//! Record types, their order and the order and number of their cells are those of the Royalty Reporting Profile 1.0.1; cells are parted by TAB,
//! repeated values by `|`, and `\` guards both inside a cell (DSR part 1):
//!
//! ```text
//! HEAD                                 the message: who, whom, which month
//! SY07                                 the payee's sum
//! AS02.01  SU03.01  LI01.01            a block for each track: the recording, its listens, the amount
//! FOOT                                 how many of each, so that a file cut short shows
//! ```
//! No more is claimed than the layout. Cells that the profile demands and that nobody here knows stay empty, so a strict validator objects to them: the
//! DDEX party ids of both sides (they come with DDEX's implementation licence), a recording's duration, the revenue behind a usage, and the share of
//! the work in per cent. Amounts are the ledger's, exact to the millionth.

use jiff::{civil, tz::TimeZone};
use protocol::AccountId;

use crate::{
    money,
    period::Period,
    store::statements::{LineRow, StatementRow},
};

const SENDER: &str = "Antiphon";
const PROFILE: [&str; 3] = ["dsrf/30", "RoyaltyReportingProfile", "1.0.1"];
/// The one summary record of the file.
const SUMMARY: &str = "1";
const USE: &str = "OnDemandStream";
const RIGHT: &str = "MakeAvailableRight";
/// A statement adds up all territories.
const TERRITORY: &str = "Worldwide";

/// Cells of each record type, its name included.
pub const CELLS: [(&str, usize); 6] = [("HEAD", 16), ("SY07", 18), ("AS02.01", 21), ("SU03.01", 9), ("LI01.01", 10), ("FOOT", 6)];

/// What the file is called, after DSR part 1: recipient, sender, service, month, territory, part of the file, instant.
#[must_use]
pub fn file_name(row: &StatementRow, payee: AccountId) -> String {
    let at = created(row).replace(['-', ':'], "").replace('Z', "");
    format!("DSR_{payee}_{SENDER}_{SENDER}_{}_{TERRITORY}_1of1_{at}.tsv", row.period)
}

/// The whole file.
#[must_use]
pub fn file(row: &StatementRow, lines: &[LineRow], payee: AccountId) -> String {
    let (first, last) = row.period.parse::<Period>().map(days).unwrap_or_default();
    let (id, payee) = (row.id.to_string(), payee.to_string());
    let (party, sum, listens) = (party(&payee), money::decimal(row.micros), row.listens.to_string());
    let [version, profile, profile_version] = PROFILE;
    let mut file = String::new();
    let created = created(row);
    record(
        &mut file,
        &["HEAD", version, profile, profile_version, &id, &created, "1", "1", &first, &last, "", SENDER, SENDER, "", &payee, ""],
    );
    record(
        &mut file,
        &["SY07", SUMMARY, "", "", "", USE, TERRITORY, RIGHT, SENDER, &listens, "", &row.currency, "", &payee, &party, "", &sum, &sum],
    );
    for (line, block) in lines.iter().zip(1u32..) {
        let (block, track) = (block.to_string(), line.track.id.to_string());
        let title = cell(line.track.title.as_deref().unwrap_or_default());
        let artist = cell(line.track.artist.as_ref().map_or("", |artist| artist.name.as_str()));
        let isrc = cell(line.isrc.as_deref().unwrap_or_default());
        let (transaction, listens, amount) = (format!("{id}-{block}"), line.listens.to_string(), money::decimal(line.micros));
        record(
            &mut file,
            &[
                "AS02.01",
                &block,
                "A1",
                &track,
                &isrc,
                &title,
                "",
                &artist,
                "",
                "",
                "SoundRecording",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
                "",
            ],
        );
        record(&mut file, &["SU03.01", &block, &transaction, SUMMARY, &track, &listens, "", "", ""]);
        record(&mut file, &["LI01.01", &block, SUMMARY, &payee, &party, "", "", RIGHT, &amount, &amount]);
    }
    let (records, blocks) = ((3 + 3 * lines.len()).to_string(), lines.len().to_string());
    record(&mut file, &["FOOT", &records, &records, "1", &blocks, &blocks]);
    file
}

fn record(file: &mut String, cells: &[&str]) {
    file.push_str(&cells.join("\t"));
    file.push('\n');
}

/// An account as a party of our own name space (`namespace::id`).
fn party(account: &str) -> String {
    format!("{SENDER}::{account}")
}

/// When the statement was posted, to the second: the only form that HEAD takes.
fn created(row: &StatementRow) -> String {
    let text = row.settled_at().rfc3339();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// The first and the last day of a month.
fn days(period: Period) -> (String, String) {
    let day = |at: protocol::UnixMs| {
        let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or_default();
        let date: civil::Date = at.to_zoned(TimeZone::UTC).date();
        date.to_string()
    };
    (day(period.starts_at()), day(period.ends_at().plus_ms(-1)))
}

/// Text from outside as one value of one cell.
fn cell(text: &str) -> String {
    let mut guarded = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '|' => guarded.extend(['\\', letter]),
            _ if letter.is_control() => guarded.push(' '),
            _ => guarded.push(letter),
        }
    }
    guarded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use protocol::{ArtistId, TrackId};
    use uuid::Uuid;

    use super::*;
    use crate::store::plays::{ArtistRef, TrackRef};

    fn statement(titles: &[&str]) -> (StatementRow, Vec<LineRow>) {
        let line = |(title, n): (&&str, i64)| LineRow {
            track: TrackRef {
                id: TrackId(Uuid::from_u128(n.unsigned_abs().into())),
                title: Some((*title).to_owned()),
                artist: Some(ArtistRef { id: ArtistId(Uuid::nil()), name: "An Artist".to_owned() }),
            },
            isrc: Some("DEA123456789".to_owned()),
            listens: n,
            micros: n * 10_001,
        };
        let lines: Vec<LineRow> = titles.iter().zip(1..).map(line).collect();
        let row = StatementRow {
            id: Uuid::from_u128(5),
            settlement: Uuid::nil(),
            leaf: 0,
            period: "2028-02".to_owned(),
            model: "pro_rata".to_owned(),
            currency: "EUR".to_owned(),
            listens: lines.iter().map(|line| line.listens).sum(),
            micros: lines.iter().map(|line| line.micros).sum(),
            settled_at_ms: 1_835_000_000_123,
        };
        (row, lines)
    }

    /// Records as a reader that knows only TAB and the line end takes them apart.
    fn records(file: &str) -> Vec<Vec<&str>> {
        file.strip_suffix('\n').unwrap().split('\n').map(|line| line.split('\t').collect()).collect()
    }

    #[test]
    fn every_record_has_the_cells_of_its_type_whatever_a_title_holds() {
        let (row, lines) = statement(&["Song", "a\tb\nc\rd", "one|two\\three", "#HEAD", ""]);
        let file = file(&row, &lines, AccountId(Uuid::from_u128(9)));
        let records = records(&file);
        for record in &records {
            let (_, cells) = CELLS.iter().find(|(name, _)| *name == record[0]).unwrap();
            assert_eq!(record.len(), *cells, "{record:?}");
        }
        let of = |name: &str| records.iter().filter(|record| record[0] == name).collect::<Vec<_>>();
        let titles: Vec<_> = of("AS02.01").iter().map(|record| record[5]).collect();
        assert_eq!(titles, ["Song", "a b c d", "one\\|two\\\\three", "#HEAD", ""]);
        let foot = of("FOOT")[0];
        assert_eq!(foot[1..], [&records.len().to_string(), &records.len().to_string(), "1", "5", "5"]);
        let order: Vec<_> = records.iter().map(|record| record[0]).collect();
        assert_eq!(order[..5], ["HEAD", "SY07", "AS02.01", "SU03.01", "LI01.01"]);
    }

    #[test]
    fn the_lines_add_up_to_the_summary_to_the_millionth() {
        let (row, lines) = statement(&["a", "b", "c"]);
        let file = file(&row, &lines, AccountId(Uuid::from_u128(9)));
        let records = records(&file);
        let micros = |text: &str| text.replace('.', "").parse::<i64>().unwrap();
        let sum: i64 = records.iter().filter(|record| record[0] == "LI01.01").map(|record| micros(record[9])).sum();
        let listens: i64 = records.iter().filter(|record| record[0] == "SU03.01").map(|record| record[5].parse::<i64>().unwrap()).sum();
        let summary = records.iter().find(|record| record[0] == "SY07").unwrap();
        assert_eq!((micros(summary[16]), summary[9].parse::<i64>().unwrap()), (sum, listens));
        assert_eq!((sum, listens), (60_006, 6));
    }

    #[test]
    fn the_head_says_which_days_of_which_month_and_so_does_the_name() {
        let (row, lines) = statement(&[]);
        let payee = AccountId(Uuid::from_u128(9));
        let file = file(&row, &lines, payee);
        let head = &records(&file)[0];
        assert_eq!(head[1..4], ["dsrf/30", "RoyaltyReportingProfile", "1.0.1"]);
        assert_eq!(head[5..10], ["2028-02-24T10:13:20Z", "1", "1", "2028-02-01", "2028-02-29"]);
        let name = file_name(&row, payee);
        assert_eq!(name, format!("DSR_{payee}_Antiphon_Antiphon_2028-02_Worldwide_1of1_20280224T101320.tsv"));
        assert_eq!(records(&file).len(), 3, "no listens: HEAD, summary and FOOT are a whole file");
    }
}
