use proptest::prelude::*;
use sfv::{BareItem, ListEntry};

use super::*;

/// What CTA-5004 gives as an example of the four headers, and the same as a query argument.
const VERSION_1_HEADERS: [&str; 4] = [
    "br=3200,d=4004,ot=v,tb=6000",
    "bl=21300,dl=18500,mtp=48100,nor=\"..%2F300kbps%2Ftrack.m4v\",nrr=\"12323-48763\",su",
    "rtp=12000,bs",
    "cid=\"faec5fc2-ac30-11ea-bb37-0242ac130002\",pr=1.08,sf=d,sid=\"6e2fb550-c457-11e9-bb97-0800200c9a66\",st=v,v=1",
];

/// The encoder of the Streaming Video Technology Alliance (@svta/cml-cmcd 2.7.0), version 2.
const VERSION_2: &str = "bl=(21300),br=(3200;v 320;a),bs,cid=\"faec5fc2-ac30-11ea-bb37-0242ac130002\",d=4004,dl=18500,mtp=(25400),\
    nor=(\"../300kbps/track,4.m4v\";r=\"12323-48763\" \"../300kbps/track,5.m4v\"),ot=a,pr=1.08,rtp=15000,sf=h,\
    sid=\"6e2fb550-c457-11e9-bb97-0800200c9a66\",st=v,su,tb=(6000),v=2";

fn version_1() -> Cmcd {
    Cmcd {
        measured_kbps: Some(48_100),
        buffer_ms: Some(21_300),
        requested_max_kbps: Some(12_000),
        bitrate_kbps: Some(3200),
        top_kbps: Some(6000),
        duration_ms: Some(4004),
        deadline_ms: Some(18_500),
        rate_permille: Some(1080),
        object: Some(ObjectType::Video),
        format: Some(StreamingFormat::Dash),
        stream: Some(StreamType::Vod),
        startup: true,
        starved: true,
        version: Some(1),
    }
}

#[test]
fn the_headers_of_version_1_and_the_same_as_a_query_argument_say_the_same() {
    let header = |name| HEADERS.iter().position(|header| *header == name).map(|at| VERSION_1_HEADERS[at]);
    assert_eq!(Cmcd::of_request(header, Some("mtp=1")), version_1());
    assert_eq!(Cmcd::of_request(|_| None::<&str>, Some(&VERSION_1_HEADERS.join(","))), version_1());
    assert_eq!(VERSION_1_HEADERS.iter().rev().fold(Cmcd::default(), |cmcd, text| cmcd.with(text)), version_1());
}

#[test]
fn version_2_has_lists_and_the_value_for_audio_is_taken() {
    let said = Cmcd::default().with(VERSION_2);
    assert_eq!((said.measured_kbps, said.bitrate_kbps, said.top_kbps), (Some(25_400), Some(320), Some(6000)));
    assert_eq!((said.object, said.version, said.starved), (Some(ObjectType::Audio), Some(2), true));
    let bitrate = |text| Cmcd::default().with(text).bitrate_kbps;
    assert_eq!(bitrate("br=(5000;v 256;av 320;a)"), Some(320));
    assert_eq!(bitrate("br=(5000;v 256;av)"), Some(256));
    assert_eq!(bitrate("br=(5000;v 96)"), Some(96));
    assert_eq!(bitrate("br=(5000;v)"), Some(5000));
    assert_eq!(bitrate("br=()"), None);
}

#[test]
fn the_next_object_is_percent_encoded_in_version_1_and_plain_in_version_2() {
    assert_eq!(next_object(VERSION_1_HEADERS[1]).unwrap(), "../300kbps/track.m4v");
    assert_eq!(next_object(VERSION_2).unwrap(), "../300kbps/track,4.m4v");
    assert_eq!(next_object("nor=(\"a%20b\")").unwrap(), "a%20b");
    assert_eq!(next_object(r#"nor="a\"b\\c,d""#).unwrap(), r#"a"b\c,d"#);
    assert_eq!(next_object("nor=3,nor=\"%ff\",nor=()"), None);
    let range = |text| Strings::of(text).next_object.unwrap().range;
    assert_eq!(range(VERSION_1_HEADERS[1]), Some((Some(12_323), Some(48_763))));
    assert_eq!(range(VERSION_2), Some((Some(12_323), Some(48_763))));
    assert_eq!(range("nor=\"x\",nrr=\"7-3\""), None);
    assert_eq!(Strings::of("nrr=\"500-\"").next_object.unwrap(), NextObject { path: "".into(), range: Some((Some(500), None)) });
}

#[test]
fn ids_are_text_of_bounded_length() {
    let said = Strings::of(VERSION_2);
    assert_eq!(said.content.unwrap(), "faec5fc2-ac30-11ea-bb37-0242ac130002");
    assert_eq!(said.session.unwrap(), "6e2fb550-c457-11e9-bb97-0800200c9a66");
    assert_eq!(Strings::of(&format!("sid=\"{}\"", "x".repeat(129))), Strings::default());
}

#[test]
fn known_keys_are_read_and_nonsense_is_passed_over() {
    let cmcd = Cmcd::default().with("bl=21300,mtp=25400,sid=\"a,br=1\",su").with("mtp=x,rtp=15000;q=1,,=");
    let said =
        Cmcd { measured_kbps: Some(25_400), buffer_ms: Some(21_300), requested_max_kbps: Some(15_000), startup: true, ..Cmcd::default() };
    assert_eq!(cmcd, said);
    assert_eq!(Cmcd::default().with(&"mtp=1,".repeat(2000)), Cmcd::default());
}

#[test]
fn a_malformed_member_costs_only_itself() {
    for bad in [
        "sid=\"never closed",
        "br=(1 2",
        "com.example-myKey=1",
        "nor=..%2Fx",
        "d=",
        "=1",
        "d=1.",
        "d=--1",
        "d=1234567890123456",
        "su=?2",
        "d=\u{e9}",
        "nor=\"\u{e9}\"",
        "nor=\"a\\b\"",
        "d=1 2",
        "ot=audio",
        "x=:AAAA:",
        "y=@1",
    ] {
        assert_eq!(Cmcd::default().with(&format!("bl=700,{bad},mtp=300")), Cmcd::default().with("bl=700,mtp=300"), "{bad}");
    }
}

#[test]
fn keys_of_others_and_values_of_the_wrong_type_say_nothing() {
    assert_eq!(Cmcd::default().with("com.example-mtp=5,mtp-x=6,MTP=7,mtp=\"8\",mtp=9.5,mtp=-1,mtp,su=1,ot=\"a\""), Cmcd::default());
    assert_eq!(Cmcd::default().with("mtp=999999999999999").measured_kbps, Some(u32::MAX));
    assert!(!Cmcd::default().with("su,su=?0").startup);
}

#[test]
fn nothing_of_a_version_not_known_is_believed_in_whatever_header_it_says_so() {
    let newer = Cmcd { version: Some(3), ..Cmcd::default() };
    assert_eq!(Cmcd::default().with("mtp=100,v=3"), newer);
    assert_eq!(Cmcd::default().with("mtp=100").with("v=3"), newer);
    assert_eq!(Cmcd::default().with("v=3").with("mtp=100"), newer);
    assert_eq!(Cmcd::default().with("v=99999").version, Some(u8::MAX));
}

/// What `sfv` reads, in the words of [`Bare`].
fn same(bare: &BareItem, ours: Bare<'_>) -> bool {
    match (bare, ours) {
        (BareItem::Integer(theirs), Bare::Number { thousandths, whole: true }) => i64::from(*theirs) * 1000 == thousandths,
        (BareItem::Decimal(theirs), Bare::Number { thousandths, whole: false }) => {
            (f64::from(*theirs) * 1000.0 - thousandths as f64).abs() < 0.5
        }
        (BareItem::String(theirs), Bare::Text(raw)) => {
            theirs.as_str() == raw.replace("\\\\", "\u{0}").replace("\\\"", "\"").replace('\u{0}', "\\")
        }
        (BareItem::Token(theirs), Bare::Token(token)) => theirs.as_str() == token,
        (BareItem::Boolean(theirs), Bare::Boolean(value)) => *theirs == value,
        _ => false,
    }
}

/// Texts near the grammar: arbitrary bytes alone would hardly ever get past the first key.
fn near_cmcd() -> impl Strategy<Value = String> {
    let pick = |scraps: &[&'static str]| prop::sample::select(scraps.to_vec());
    let key = || pick(&["mtp", "bl", "nor", "br", "su", "v", "com.example-x", "*a"]);
    let bare = || {
        let good = [
            "320",
            "-7",
            "1.08",
            "-0.5",
            "12.345",
            "\"\"",
            "\"a,b;c=(1\"",
            "\"x\\\\\\\"y\\\\\"",
            "tok/en:1",
            "*",
            "?1",
            "?0",
            "999999999999999",
        ];
        let bad = ["12.3456", "1234567890123456", "\"a\\b\"", "\"open", "\"\u{e9}\"", "?2", "@12", "-", "."];
        prop_oneof![12 => pick(&good), 1 => pick(&bad)]
    };
    let parameters = || pick(&["", "", "", ";a", ";v;a", "; r=\"1-2\"", ";a=?0", ";=", ";q=1.5;q=2"]);
    let item = move || (bare(), parameters()).prop_map(|(bare, parameters)| format!("{bare}{parameters}"));
    let list = (prop::collection::vec(item(), 0..4), pick(&[" ", " ", "  ", ""])).prop_map(|(items, gap)| format!("({})", items.join(gap)));
    let value = prop_oneof![3 => item().prop_map(|item| format!("={item}")), 2 => list.prop_map(|list| format!("={list}")), 1 => parameters().prop_map(str::to_owned)];
    let member = (key(), value).prop_map(|(key, value)| format!("{key}{value}"));
    (prop::collection::vec(member, 0..6), pick(&[",", ", ", "\t,\t", " , ", ",,", " "])).prop_map(|(members, comma)| members.join(comma))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = (Cmcd::default().with(&text), Strings::of(&text));
    }

    #[test]
    fn where_the_strict_grammar_reads_a_text_we_read_the_same(text in near_cmcd()) {
        let _ = (Cmcd::default().with(&text), Strings::of(&text));
        let Ok(theirs) = sfv::Parser::new(&text).with_version(sfv::Version::Rfc8941).parse::<sfv::Dictionary>() else { return Ok(()) };
        for (key, entry) in &theirs {
            let ours = Members::of(&text).filter(|member| member.key == key.as_str()).last();
            let items: Vec<_> = match entry {
                ListEntry::Item(item) => vec![item],
                ListEntry::InnerList(list) => list.items.iter().collect(),
            };
            let ours: Vec<_> = ours.unwrap().items().collect();
            prop_assert_eq!(ours.len(), items.len());
            for (ours, theirs) in ours.iter().zip(items) {
                prop_assert!(same(&theirs.bare_item, ours.bare), "{ours:?}");
                for (name, bare) in &theirs.params {
                    prop_assert!(ours.parameter(name.as_str()).is_some_and(|ours| same(bare, ours)), "{name:?} of {ours:?}");
                }
            }
        }
    }
}
