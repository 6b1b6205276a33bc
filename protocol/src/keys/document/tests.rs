//! What a key document may say, and what it is told when it says something else.
use super::*;

const NOW: i64 = 1_795_556_280_000;

fn hex(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// A key document in short: `current`, then `id digit from until` for each key, instants in seconds from now.
fn document(current: Option<u8>, keys: &[(&str, char, Option<i64>, Option<i64>)], pseudonym: bool) -> String {
    let keys: serde_json::Map<String, serde_json::Value> = keys
        .iter()
        .map(|(id, digit, from, until)| {
            let mut key = serde_json::json!({ "secret": hex(*digit) });
            if let Some(from) = from {
                key["signs_from_ms"] = (NOW + from * 1000).into();
            }
            if let Some(until) = until {
                key["verifies_until_ms"] = (NOW + until * 1000).into();
            }
            ((*id).to_owned(), key)
        })
        .collect();
    let mut document = serde_json::json!({ "keys": keys });
    if let Some(current) = current {
        document["current"] = current.into();
    }
    if pseudonym {
        document["pseudonym"] = hex('f').into();
    }
    document.to_string()
}

#[test]
fn a_document_that_cannot_work_is_refused_and_says_why() {
    let table = [
        (document(None, &[], true), KeysError::NoKey),
        (document(None, &[("1", '1', None, None)], true), KeysError::NoCurrent),
        (document(Some(2), &[("1", '1', None, None)], true), KeysError::NoCurrent),
        (document(Some(2), &[("1", '1', None, None), ("2", '2', Some(9), None)], true), KeysError::NoCurrent),
        (document(Some(2), &[("2", '2', Some(9), None)], true), KeysError::NeedlessCurrent),
        (document(Some(1), &[("0", '1', None, None)], true), KeysError::BadKey("0".to_owned())),
        (document(Some(1), &[("256", '1', None, None)], true), KeysError::BadKey("256".to_owned())),
        (document(Some(1), &[("01", '1', None, None)], true), KeysError::BadKey("01".to_owned())),
        (document(Some(1), &[("1", 'A', None, None)], true), KeysError::BadKey("1".to_owned())),
        (format!(r#"{{"keys":{{"1":{{"secret":"{}","signs_from_ms":{}}}}}}}"#, hex('1'), NOW / 1000), KeysError::BadInstant(1)),
        (format!(r#"{{"keys":{{"1":{{"secret":"{}","signs_from_ms":{}}}}}}}"#, hex('1'), NOW * 1000), KeysError::BadInstant(1)),
        (document(None, &[("1", '1', Some(9), Some(9))], true), KeysError::NeverLives(1)),
        (document(None, &[("1", '1', Some(9), Some(8))], true), KeysError::NeverLives(1)),
        (document(None, &[("1", '1', Some(9), Some(10))], true), KeysError::NoSuccessor(1)),
        (document(Some(1), &[("1", '1', None, Some(10))], true), KeysError::NoSuccessor(1)),
        (document(Some(1), &[("1", '1', None, Some(10)), ("2", '2', Some(11), None)], true), KeysError::Gap { ends: 1, next: 2 }),
        (document(None, &[("1", '1', Some(5), None), ("2", '2', Some(5), None)], true), KeysError::SameStart(1, 2)),
        (document(Some(1), &[("1", '1', None, None), ("2", '1', Some(5), None)], true), KeysError::SameSecret(1, 2)),
        (document(Some(1), &[("1", '1', None, Some(10)), ("2", '2', Some(10), None)], false), KeysError::PseudonymWouldEnd(1)),
        (format!(r#"{{"current":1,"keys":{{"1":"{}"}},"pseudonym":"x"}}"#, hex('1')), KeysError::BadPseudonym),
    ];
    for (json, refusal) in table {
        assert_eq!(Document::parse(&json).unwrap_err(), refusal, "{json}");
    }
}

#[test]
fn a_document_without_a_gap_is_read_and_written_back_unchanged() {
    let table = [
        document(Some(1), &[("1", '1', None, None)], false),
        document(Some(1), &[("1", '1', None, Some(10)), ("2", '2', Some(10), None)], true),
        document(Some(3), &[("1", '1', None, Some(-5)), ("3", '3', None, Some(99)), ("2", '2', Some(10), None)], true),
        document(None, &[("7", '7', Some(-10), None), ("9", '9', Some(10), None)], false),
        format!(r#"{{"current":1,"keys":{{"1":"{}","2":"{}"}}}}"#, hex('1'), hex('2')),
    ];
    for json in table {
        let document = Document::parse(&json).unwrap();
        assert_eq!(Document::parse(&document.to_json()).unwrap(), document, "{json}");
    }
}

#[test]
fn a_mistake_is_placed_and_no_secret_is_repeated() {
    let secret = hex('a');
    let table = [
        (format!(r#"{{"current":1,"keys":{{"1":{{"secret":"{secret}","sings_from_ms":1}}}}}}"#), "unknown field `sings_from_ms`"),
        (format!(r#"{{"current":1,"keys":{{"1":{{"secrets":"{secret}"}}}}}}"#), "unknown field `secrets`"),
        (format!(r#"{{"current":"{secret}","keys":{{}}}}"#), "column 77"),
        (format!(r#"{{"current":1,"keys":{{"1":["{secret}"]}}}}"#), "column 26"),
        (format!(r#"{{"current":1,"keys":{{"1":{{"secret":"{secret}","signs_from_ms":"{secret}"}}}}}}"#), "column "),
        (format!(r#"{{"current":1,"keys":{{"1":"{secret}" "#), "EOF while parsing"),
    ];
    for (json, hint) in table {
        let said = Document::parse(&json).unwrap_err().to_string();
        assert!(said.contains(hint) && !said.contains(&secret), "{said}");
    }
    assert!(!format!("{:?}", Document::parse(&document(Some(1), &[("1", 'a', None, None)], true))).contains(&secret));
}
