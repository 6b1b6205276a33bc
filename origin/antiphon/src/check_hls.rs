//! `antiphon check-hls`: asks `conformance` to measure what a URL serves, and shows it as a table or as JSON.
use std::process::ExitCode;

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use conformance::hls::{self, Finding, Options, Report, Verdict};

use crate::runtime;

/// Places shown of one rule; the JSON has all.
const FAULTS_SHOWN: usize = 3;
/// Columns of text where there is no terminal to ask: a log, a pager.
const WIDTH: u16 = 160;
/// The playlist could not be had, which says nothing about the rules.
const UNREACHABLE: u8 = 2;

/// `antiphon check-hls`
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    antiphon check-hls https://music.example/v1/media/TOKEN/index.m3u8         a playlist whose URL is signed\n  \
    antiphon check-hls http://127.0.0.1:8787/v1/tracks/ID/manifest --bearer TOKEN\n  \
    antiphon check-hls https://music.example/v1/media/TOKEN/index.m3u8 --json | jq '.findings[] | select(.verdict == \"broken\")'\n\n\
    Everything the playlist leads to is fetched once: every media playlist, init section and segment, on every pathway.\n\
    A broken MUST fails the check; a SHOULD that is not followed is told, and so is what concerns one platform only.\n\
    Exit status: 0 every MUST that applies is kept, 1 one is broken, 2 there was no playlist to be had.")]
pub(crate) struct Args {
    /// A multivariant or media playlist, or a track's manifest
    #[arg(value_name = "URL")]
    url: String,
    /// Ask for URL with this access token; it is sent to no other address
    #[arg(long, env = "ANTIPHON_BEARER", hide_env_values = true, value_name = "TOKEN")]
    bearer: Option<String>,
    /// Print the whole report as JSON
    #[arg(long)]
    json: bool,
    /// Show only rules that are not kept
    #[arg(long, short)]
    quiet: bool,
}

pub(crate) fn run(args: Args) -> Result<ExitCode> {
    let options = Options { bearer: args.bearer };
    let report = match runtime()?.block_on(hls::check(&args.url, &options)) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("error: {error}");
            return Ok(UNREACHABLE.into());
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        let shown = report.findings.iter().filter(|finding| !args.quiet || is_off(finding.verdict));
        println!("{}", table(shown));
        println!("{}", summary(&report));
    }
    Ok(if report.passes() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn is_off(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Broken | Verdict::Advised | Verdict::Noted)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Kept => "ok",
        Verdict::Broken => "BROKEN",
        Verdict::Advised => "should",
        Verdict::Noted => "note",
        Verdict::NotApplicable => "n/a",
    }
}

fn table<'r>(findings: impl Iterator<Item = &'r Finding>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(["rule", "verdict", "requirement", "measured", "where"]);
    for finding in findings {
        table.add_row([finding.rule, word(finding.verdict), finding.requirement, &finding.measured, &places(finding)]);
    }
    table
}

/// The first places where a rule is not kept, a line each.
fn places(finding: &Finding) -> String {
    let mut lines: Vec<String> = finding.faults.iter().take(FAULTS_SHOWN).map(|fault| format!("{}: {}", fault.at, fault.what)).collect();
    if finding.faults.len() > FAULTS_SHOWN {
        lines.push(format!("and {} more", finding.faults.len() - FAULTS_SHOWN));
    }
    lines.join("\n")
}

fn summary(report: &Report) -> String {
    let of = |wanted: Verdict| report.findings.iter().filter(|finding| finding.verdict == wanted).count();
    format!(
        "{} media playlists, {} segments: {} rules kept, {} broken, {} to consider, {} not applicable",
        report.renditions,
        report.segments,
        of(Verdict::Kept),
        of(Verdict::Broken),
        of(Verdict::Advised) + of(Verdict::Noted),
        of(Verdict::NotApplicable)
    )
}

#[cfg(test)]
mod tests {
    use conformance::hls::{Fault, Level};

    use super::*;

    fn finding(faults: usize) -> Finding {
        Finding {
            rule: "Apple 7.7",
            level: Level::Must,
            requirement: "no segment is too long",
            verdict: if faults == 0 { Verdict::Kept } else { Verdict::Broken },
            measured: "the longest lasts 9 s".to_owned(),
            faults: (0..faults).map(|n| Fault { at: format!("{n}.m4s"), what: "9 s".to_owned() }).collect(),
        }
    }

    #[test]
    fn a_rule_broken_everywhere_shows_a_few_places_and_how_many_more() {
        assert_eq!(places(&finding(0)), "");
        assert_eq!(places(&finding(5)), "0.m4s: 9 s\n1.m4s: 9 s\n2.m4s: 9 s\nand 2 more");
    }

    #[test]
    fn the_table_tells_what_was_broken_and_where() {
        let text = table([finding(1)].iter()).to_string();
        assert!(["Apple 7.7", "BROKEN", "the longest lasts 9 s", "0.m4s: 9 s"].iter().all(|words| text.contains(words)), "{text}");
    }
}
