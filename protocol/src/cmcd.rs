//! Common Media Client Data (CTA-5004): the keys bitrate choice listens to, from the four request headers or the `CMCD` query
//! argument. Values are the player's word and are treated as such: unknown keys and malformed values are passed over.

/// What a player says about its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cmcd {
    /// `mtp`: measured throughput, kbit/s.
    pub measured_kbps: Option<u32>,
    /// `bl`: buffer length, ms.
    pub buffer_ms: Option<u32>,
    /// `rtp`: requested maximum throughput, kbit/s.
    pub requested_max_kbps: Option<u32>,
}

/// CMCD is a few hundred bytes; more is not read.
const TEXT_BYTES_MAX: usize = 4096;

impl Cmcd {
    /// Reads one header value or the decoded query argument and adds what it says.
    #[must_use]
    pub fn with(mut self, text: &str) -> Self {
        if text.len() > TEXT_BYTES_MAX {
            return self;
        }
        for (key, value) in text.split(',').filter_map(|item| item.trim().split_once('=')) {
            let number = || value.split(';').next().and_then(|bare| bare.parse().ok());
            match key {
                "mtp" => self.measured_kbps = number().or(self.measured_kbps),
                "bl" => self.buffer_ms = number().or(self.buffer_ms),
                "rtp" => self.requested_max_kbps = number().or(self.requested_max_kbps),
                _ => {}
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_are_read_and_nonsense_is_passed_over() {
        let cmcd = Cmcd::default().with("bl=21300,mtp=25400,sid=\"a,b=1\",su").with("mtp=x,rtp=15000;q=1,,=");
        assert_eq!(cmcd, Cmcd { measured_kbps: Some(25_400), buffer_ms: Some(21_300), requested_max_kbps: Some(15_000) });
        assert_eq!(Cmcd::default().with(&"mtp=1,".repeat(2000)), Cmcd::default());
    }
}
