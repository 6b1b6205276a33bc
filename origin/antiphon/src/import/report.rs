//! How an import tells what it does: bars on a terminal, a line a file elsewhere, JSON when asked.
use std::{
    io::{IsTerminal, Write},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::{Outcome, outcome_json};

/// The whole import.
pub(super) struct Report {
    bars: MultiProgress,
    total: ProgressBar,
    json: bool,
    published: AtomicUsize,
    already: AtomicUsize,
    failed: AtomicUsize,
}

/// One file's bar; does nothing where there is no terminal.
#[derive(Clone)]
pub(super) struct Line(Arc<ProgressBar>);

impl Report {
    pub(super) fn new(files: usize, json: bool) -> Self {
        let on_terminal = std::io::stderr().is_terminal() && !json;
        let bars = MultiProgress::with_draw_target(if on_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() });
        let total = bars.add(ProgressBar::new(files as u64).with_style(style("{bar:30} {pos}/{len} files, {elapsed}")));
        total.enable_steady_tick(Duration::from_millis(500));
        Self { bars, total, json, published: AtomicUsize::new(0), already: AtomicUsize::new(0), failed: AtomicUsize::new(0) }
    }

    /// A file is taken up.
    pub(super) fn begin(&self, path: &Path) -> Line {
        let bar = self.bars.insert_before(&self.total, ProgressBar::new(100).with_style(style("  {bar:20} {prefix}: {msg}")));
        bar.set_prefix(path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
        Line(Arc::new(bar))
    }

    /// A file is done with.
    pub(super) fn end(&self, line: Line, path: &Path, outcome: &Outcome) {
        line.0.finish_and_clear();
        self.bars.remove(&line.0);
        let (count, text) = match outcome {
            Outcome::Published { .. } => (&self.published, Some(format!("  published  {}", path.display()))),
            Outcome::Already { .. } => (&self.already, None),
            Outcome::Failed { why } => (&self.failed, Some(format!("! {}: {why}", path.display()))),
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.total.inc(1);
        if self.json {
            let _ = writeln!(std::io::stdout(), "{}", outcome_json(path, outcome));
        } else if let Some(text) = text {
            // Above the bars where there are any.
            self.bars.suspend(|| {
                let _ = writeln!(std::io::stderr(), "{text}");
            });
        }
    }

    /// Sums up; true when every file is published.
    pub(super) fn finish(&self) -> bool {
        self.total.finish_and_clear();
        let [published, already, failed] = [&self.published, &self.already, &self.failed].map(|count| count.load(Ordering::Relaxed));
        let text = if self.json {
            json!({ "published": published, "already": already, "failed": failed }).to_string()
        } else {
            format!("{published} published, {already} were already there, {failed} failed")
        };
        let _ = writeln!(std::io::stdout(), "{text}");
        failed == 0
    }
}

impl Line {
    /// What is being done with the file.
    pub(super) fn says(&self, doing: &str) {
        self.0.set_message(doing.to_owned());
    }

    /// How much has been sent.
    pub(super) fn uploaded(&self, sent: u64, of: u64) {
        self.0.set_position(sent * 100 / of.max(1));
        self.0.set_message("uploading");
    }

    /// How far encoding is.
    pub(super) fn encoded(&self, percent: u64) {
        self.0.set_position(percent);
        self.0.set_message("encoding");
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
