//! The object store's "Object Created" event, as S3 writes it (event message structure 2.x). It comes from the queue at least once, late and in
//! any order, and every word of it is checked before it means anything.

use protocol::UploadId;
use serde::Deserialize;

/// An upload's bytes have arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// Which upload.
    pub(crate) upload: UploadId,
    /// Orders the events of one key; some stores leave it out.
    pub(crate) sequencer: Option<String>,
    /// The store's name for the content.
    pub(crate) etag: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "Event")]
    event: Option<String>,
    #[serde(rename = "Records")]
    records: Option<Vec<Record>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_version: String,
    event_name: String,
    s3: S3,
}

#[derive(Deserialize)]
struct S3 {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    key: String,
    e_tag: Option<String>,
    sequencer: Option<String>,
}

/// The arrivals that a message tells of; none for what is not about uploads, such as `s3:TestEvent`.
///
/// # Errors
/// Why the message is to be buried.
pub(crate) fn arrivals(body: &serde_json::Value, raw_bucket: &str) -> Result<Vec<Arrival>, String> {
    // By reference: unknown members, of which S3 adds new ones, are ignored.
    let message = Message::deserialize(body).map_err(|error| format!("not an S3 event: {error}"))?;
    let Some(records) = message.records else {
        return if message.event.as_deref() == Some("s3:TestEvent") {
            Ok(Vec::new())
        } else {
            Err("an S3 event without records".to_owned())
        };
    };
    let ours = |record: &Record| record.event_name.trim_start_matches("s3:").starts_with("ObjectCreated:");
    records.into_iter().filter(ours).map(|record| arrival(record, raw_bucket)).collect()
}

fn arrival(record: Record, raw_bucket: &str) -> Result<Arrival, String> {
    if !record.event_version.starts_with("2.") {
        return Err(format!("event version {:?} is not 2.x", record.event_version));
    }
    if record.s3.bucket.name != raw_bucket {
        return Err(format!("bucket {:?} is not the one of uploads", record.s3.bucket.name));
    }
    let object = record.s3.object;
    let key = form_decoded(&object.key).ok_or_else(|| format!("key {:?} is not form-encoded UTF-8", object.key))?;
    let upload = key.strip_prefix("raw/").and_then(|id| id.parse().ok()).ok_or_else(|| format!("key {key:?} is not that of an upload"))?;
    Ok(Arrival { upload, sequencer: object.sequencer, etag: object.e_tag })
}

/// Whether `event` is older than what was `seen`: sequencers of one key compare as hexadecimal, the shorter padded with zeros on the right.
pub(crate) fn is_older(event: Option<&str>, seen: Option<&str>) -> bool {
    let (Some(event), Some(seen)) = (event, seen) else { return false };
    let length = event.len().max(seen.len());
    let padded = |text: &str| format!("{:0<length$}", text.to_ascii_uppercase());
    padded(event) < padded(seen)
}

/// `application/x-www-form-urlencoded`: a plus is a space, `%XX` a byte.
fn form_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            plain => plain,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ID: &str = "01936f2e-8c00-7000-8000-000000000001";

    fn event(version: &str, name: &str, bucket: &str, key: &str) -> Value {
        json!({ "Records": [{ "eventVersion": version, "eventName": name, "eventSource": "aws:s3", "new": {},
            "s3": { "bucket": { "name": bucket }, "object": { "key": key, "size": 5, "eTag": "e", "sequencer": "0A" } } }] })
    }

    #[test]
    fn every_2_x_event_of_an_upload_is_an_arrival() {
        for version in ["2.0", "2.1", "2.5", "2.6"] {
            for name in ["ObjectCreated:Put", "ObjectCreated:CompleteMultipartUpload", "s3:ObjectCreated:Put"] {
                let arrivals = arrivals(&event(version, name, "raw", &format!("raw%2F{ID}")), "raw").unwrap();
                assert_eq!(arrivals, [Arrival { upload: ID.parse().unwrap(), sequencer: Some("0A".into()), etag: Some("e".into()) }]);
            }
        }
    }

    #[test]
    fn what_is_not_about_an_upload_is_ignored_or_buried_with_a_reason() {
        assert_eq!(arrivals(&json!({ "Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "raw" }), "raw"), Ok(vec![]));
        assert_eq!(arrivals(&event("2.1", "ObjectRemoved:Delete", "raw", "raw/x"), "raw"), Ok(vec![]));
        let bad = [
            json!({}),
            json!("Records"),
            json!({ "Records": [{}] }),
            event("3.0", "ObjectCreated:Put", "raw", &format!("raw/{ID}")),
            event("2.1", "ObjectCreated:Put", "media", &format!("raw/{ID}")),
            event("2.1", "ObjectCreated:Put", "raw", "raw/../../etc/passwd"),
            event("2.1", "ObjectCreated:Put", "raw", "raw/%ff"),
            event("2.1", "ObjectCreated:Put", "raw", &format!("raw/{}", ID.replace('a', "A").to_uppercase())),
        ];
        for body in bad {
            assert!(arrivals(&body, "raw").is_err(), "{body}");
        }
    }

    #[test]
    fn sequencers_compare_as_padded_hexadecimal() {
        assert!(is_older(Some("0055AED6DCD90281E5"), Some("0055AED6DCD90281E6")));
        assert!(is_older(Some("00"), Some("0055")));
        assert!(!is_older(Some("0056"), Some("0055aed6")));
        assert!(!is_older(Some("aa"), Some("AA00")));
        assert!(!is_older(None, Some("01")) && !is_older(Some("01"), None));
    }
}
