//! The S3 "Object Created" event: what an object's arrival looks like to whoever listens on the queue. The shape is S3's own
//! (event message structure 2.5), so that the consumer cannot tell this store from the real one.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::UnixMs;
use serde_json::{Value, json};

use crate::disk::Place;

/// Hands out sequencers: 16 hex digits that grow with every object, compared as text per key.
///
/// The high bits are the clock's milliseconds, so order survives a restart; a clock that stepped back is outrun through the
/// sequencer kept beside the object.
#[derive(Debug, Default)]
pub(crate) struct Sequencers {
    last: AtomicU64,
}

impl Sequencers {
    /// The next one, after `previous` (that of the object being replaced).
    pub(crate) fn next(&self, now: UnixMs, previous: Option<&str>) -> String {
        let previous = previous.and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
        let clock = u64::try_from(now.0).unwrap_or(0) << 20;
        let floor = clock.max(previous.saturating_add(1));
        let mut given = floor;
        let _ = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
            given = floor.max(last.saturating_add(1));
            Some(given)
        });
        format!("{given:016x}")
    }
}

/// One object as the event tells of it.
pub(crate) struct Created<'a> {
    pub(crate) place: &'a Place,
    pub(crate) size: u64,
    pub(crate) e_tag: &'a str,
    pub(crate) sequencer: &'a str,
    pub(crate) at: UnixMs,
    pub(crate) region: &'a str,
    pub(crate) principal: &'a str,
}

impl Created<'_> {
    /// The message: one record, as S3 sends it.
    pub(crate) fn message(&self) -> Value {
        json!({ "Records": [{
            "eventVersion": "2.5",
            "eventSource": "aws:s3",
            "awsRegion": self.region,
            "eventTime": self.at.rfc3339(),
            "eventName": "ObjectCreated:Put",
            "userIdentity": { "principalId": self.principal },
            "requestParameters": {},
            "responseElements": { "x-amz-request-id": self.sequencer },
            "s3": {
                "s3SchemaVersion": "1.0",
                "configurationId": "object-created",
                "bucket": {
                    "name": self.place.bucket,
                    "ownerIdentity": { "principalId": self.principal },
                    "arn": format!("arn:aws:s3:::{}", self.place.bucket),
                },
                "object": {
                    "key": form_encoded(&self.place.key),
                    "size": self.size,
                    "eTag": self.e_tag,
                    "sequencer": self.sequencer,
                },
            },
        }]})
    }
}

/// `application/x-www-form-urlencoded`, which is how S3 writes a key in an event; the slash stays, as it does there.
fn form_encoded(key: &str) -> String {
    let mut text = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' | b'/' => text.push(char::from(byte)),
            b' ' => text.push('+'),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_form_encoded() {
        assert_eq!(form_encoded("raw/a b+c=ü~.wav"), "raw/a+b%2Bc%3D%C3%BC%7E.wav");
    }

    #[test]
    fn a_sequencer_grows_even_when_the_clock_steps_back() {
        let sequencers = Sequencers::default();
        let first = sequencers.next(UnixMs(2_000), None);
        let second = sequencers.next(UnixMs(1_000), None);
        assert!(second > first && second.len() == 16);
        let after_restart = Sequencers::default().next(UnixMs(1_000), Some(&second));
        assert!(after_restart > second);
    }
}
