//! Audio-only HLS on demand, held to the rules.
//!
//! ```text
//!  URL ──► fetch ──► playlist ─┬─► presentation ──► rules ──► report
//!          (HTTP, bounded)     │   (all of it,      (a table)  (figures, verdicts, places)
//!                    ▲         │    by reference)
//!                    └─ URIs ──┤
//!                              └─► cmaf, loudness (boxes, decoded sound)
//! ```

mod cmaf;
mod fetch;
mod loudness;
mod measure;
mod playlist;
mod presentation;
mod report;
mod rules;

pub use self::{
    fetch::Unreachable,
    report::{Fault, Finding, Level, Report, Verdict},
};

/// How to ask.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A session for the first URL, which is then a manifest's; it is sent nowhere else.
    pub bearer: Option<String>,
}

/// Fetches the presentation at `url`, which is a multivariant playlist, a media playlist or an Antiphon manifest, and measures every rule.
///
/// # Errors
/// When there is no playlist to be had at `url`. Anything that fails below it is in the report.
pub async fn check(url: &str, options: &Options) -> Result<Report, Unreachable> {
    let presentation = presentation::Presentation::fetch(url, options).await?;
    let segments = presentation.renditions.iter().map(|rendition| rendition.fragments().count()).sum();
    Ok(Report { url: url.to_owned(), renditions: presentation.media().count(), segments, findings: rules::judge(&presentation) })
}
