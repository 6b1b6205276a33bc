//! How many tests passed, counted from what each runner prints.
use std::fmt;

/// Counts of one suite, or of all.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Tally {
    /// Adds another suite's counts.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Counts one line of a runner's output, if it is one that sums up.
    pub(crate) fn count(&mut self, line: &str) {
        let line = &without_colours(line);
        let words: Vec<&str> =
            line.split(|c: char| c.is_whitespace() || matches!(c, ';' | ',' | '|')).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            // cargo test: `test result: ok. 5 passed; 0 failed; 1 ignored; ...`, one line per test program
            ["test", "result:", rest @ ..] => self.add_pairs(rest),
            // vitest: `Tests  12 passed | 1 failed (13)`
            ["Tests", rest @ ..] => self.add_pairs(rest),
            // node --test: `# pass 5` or, on a terminal, `ℹ pass 5`
            ["#" | "ℹ", what, number] => self.add_pairs(&[number, what]),
            // Our own programs, and this one: `11 passed, 0 failed`
            [_, "passed", _, "failed", ..] => self.add_pairs(&words),
            _ => {}
        }
    }

    fn add_pairs(&mut self, words: &[&str]) {
        for pair in words.windows(2) {
            let [number, what] = pair else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            match *what {
                "passed" | "pass" => self.passed += number,
                "failed" | "fail" => self.failed += number,
                "ignored" | "skipped" => self.skipped += number,
                _ => {}
            }
        }
    }
}

/// A line without the sequences that colour it (`ESC [ … m`).
fn without_colours(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or(part, |(_, rest)| rest))
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn the_closing_lines_of_every_runner_are_understood() {
        for (line, passed, failed, skipped) in [
            ("test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s", 5, 2, 1),
            ("      Tests  12 passed | 1 failed (13)", 12, 1, 0),
            (" Test Files  3 passed (3)", 0, 0, 0),
            ("# pass 7", 7, 0, 0),
            ("ℹ fail 3", 0, 3, 0),
            ("11 passed, 2 failed", 11, 2, 0),
            ("\x1b[2m      Tests \x1b[22m \x1b[1m\x1b[32m33 passed\x1b[39m\x1b[22m\x1b[90m (33)\x1b[39m", 33, 0, 0),
            ("ℹ skipped 2", 0, 0, 2),
            ("ℹ duration_ms 812", 0, 0, 0),
            ("test tests::a_failed_test_5_passed ... ok", 0, 0, 0),
        ] {
            let mut tally = Tally::default();
            tally.count(line);
            assert_eq!(tally, Tally { passed, failed, skipped }, "{line}");
        }
    }

    #[test]
    fn the_summary_is_one_plain_line() {
        let tally = Tally { passed: 3, failed: 0, skipped: 0 };
        assert_eq!(tally.to_string(), "3 passed, 0 failed");
    }
}
