//! One defect at a time: each is found under its own rule, and under no other.
use std::collections::BTreeSet;

use super::{
    Verdict, check, off,
    sample::{RUNGS, SEGMENTS, good, publish, published},
    shelf::{Object, Shelf},
};

/// What is published does not follow, and does not mean to: a short first segment, 256 kbit/s, and no picture.
const BASELINE: [&str; 3] = ["Apple 2.9", "Apple 7.6", "Apple 9.20"];
/// A pathway alone has no second.
const ALONE: &str = "Apple 10.2";

/// What is broken, under which rules that must be found, and how it is broken.
type Defect = (&'static str, &'static [&'static str], fn(&mut Shelf));

const INDEX: &str = "/index.m3u8";
const MEDIA: &str = "/aac-64.m3u8";

const PLAYLISTS: &[Defect] = &[
    ("a media playlist without its end", &["RFC 4.3.3.4"], |s| s.edit(MEDIA, "#EXT-X-ENDLIST\n", "")),
    ("a media playlist that may still change", &["Apple 8.6"], |s| s.edit(MEDIA, "TYPE:VOD", "TYPE:EVENT")),
    ("no init section is named", &["Apple 8.20"], |s| s.edit(MEDIA, "#EXT-X-MAP:URI=\"aac-64/init.mp4\"\n", "")),
    ("a version too low for its tags", &["RFC 7"], |s| s.edit(MEDIA, "VERSION:7", "VERSION:5")),
    ("a tag with a value that is none", &["RFC 4.1", "RFC 4.3.3.1"], |s| s.edit(MEDIA, "TARGETDURATION:6", "TARGETDURATION:six")),
    ("a tag twice", &["RFC 4.1"], |s| s.edit(MEDIA, "#EXT-X-PLAYLIST-TYPE:VOD\n", "#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-PLAYLIST-TYPE:VOD\n")),
    ("a URI that nothing announces", &["RFC 4.1"], |s| s.edit(MEDIA, "#EXT-X-ENDLIST", "stray.m4s\n#EXT-X-ENDLIST")),
    ("an attribute twice", &["RFC 4.1"], |s| {
        s.edit(INDEX, ",CODECS=\"mp4a.40.2\"\naac-64", ",CODECS=\"mp4a.40.2\",CODECS=\"mp4a.40.2\"\naac-64")
    }),
    ("a variant without its URI", &["RFC 4.1"], |s| {
        s.edit(
            INDEX,
            "#EXT-X-INDEPENDENT-SEGMENTS\n",
            "#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1,CODECS=\"mp4a.40.2\"\n",
        )
    }),
    ("a misspelt tag", &["RFC 6.3.1"], |s| s.edit(MEDIA, "#EXT-X-ENDLIST", "#EXT-X-DISCONTINUTY\n#EXT-X-ENDLIST")),
    ("segments that do not say they are independent", &["RFC 4.3.5.1"], |s| {
        s.edit(INDEX, "#EXT-X-INDEPENDENT-SEGMENTS\n", "");
        s.edit(MEDIA, "#EXT-X-INDEPENDENT-SEGMENTS\n", "");
    }),
    ("an alternative without its language", &["Apple 8.10"], |s| {
        s.edit(INDEX, "#EXT-X-INDEPENDENT", "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"A\",URI=\"aac-64.m3u8\"\n#EXT-X-INDEPENDENT");
    }),
    ("a target duration below the longest segment", &["RFC 4.3.3.1", "Apple 7.5", "Apple 7.7"], |s| {
        RUNGS.iter().for_each(|rung| s.edit(&format!("/{rung}.m3u8"), "TARGETDURATION:6", "TARGETDURATION:5"));
    }),
    ("one rendition with another target duration", &["Apple 8.2", "Apple 7.5"], |s| s.edit(MEDIA, "TARGETDURATION:6", "TARGETDURATION:7")),
    ("a second moved from one segment to the next", &["Apple 1.27", "Apple 7.7", "Apple 8.1", "RFC 4.3.3.1"], |s| stretch(s, 1, 1.0)),
    ("50 ms moved from one segment to the next", &["Apple 8.1"], |s| stretch(s, 1, 0.05)),
    ("a rendition that claims 100 ms more than it has", &["Apple 8.1", "Apple 8.3, 8.7"], |s| extend_last(s, 0.1)),
    ("a rendition without its last segment", &["Apple 8.3, 8.7", "Apple 8.22", "CMAF edit"], |s| {
        let text = s.text(MEDIA);
        let last = text.match_indices("#EXTINF").last().unwrap().0;
        s.at(MEDIA).body = format!("{}#EXT-X-ENDLIST\n", &text[..last]).into_bytes();
    }),
];

const RATES: &[Defect] = &[
    ("BANDWIDTH below the peak", &["Apple 9.13"], |s| scale(s, "BANDWIDTH", 0.97)),
    ("BANDWIDTH far above the peak", &["Apple 1.27"], |s| scale(s, "BANDWIDTH", 1.25)),
    ("AVERAGE-BANDWIDTH far above the average", &["Apple 1.26"], |s| scale(s, "AVERAGE-BANDWIDTH", 1.25)),
    ("no AVERAGE-BANDWIDTH", &["Apple 9.14"], |s| {
        let average = value(s, "AVERAGE-BANDWIDTH");
        s.edit(INDEX, &format!(",AVERAGE-BANDWIDTH={average}"), "");
    }),
    ("no variant small enough for cellular", &["Apple 9.21"], |s| {
        let text = s.text(INDEX);
        let from = text.find("#EXT-X-STREAM-INF").unwrap();
        let largest = text.rfind("#EXT-X-STREAM-INF").unwrap();
        s.at(INDEX).body = format!("{}{}", &text[..from], &text[largest..]).into_bytes();
    }),
    ("one segment much heavier than the others", &["Apple 1.30"], |s| {
        // A box that every parser skips, so that only the weight changes.
        let body = &mut s.at("/aac-64/2.m4s").body;
        let weight = body.len() * 8;
        body.extend((weight as u32 + 8).to_be_bytes());
        body.extend(b"free");
        body.resize(body.len() + weight, 0);
        let peak = body.len() as f64 * 8.0 / duration(s, 2);
        let bytes: usize = (0..SEGMENTS).map(|n| s.at(&format!("/aac-64/{n}.m4s")).body.len()).sum();
        let average = bytes as f64 * 8.0 / (0..SEGMENTS).map(|n| duration(s, n)).sum::<f64>();
        set(s, "BANDWIDTH", peak.ceil() as u64);
        set(s, "AVERAGE-BANDWIDTH", average.ceil() as u64);
    }),
];

const CODECS: &[Defect] = &[
    ("no CODECS", &["Apple 9.1"], |s| s.edit(INDEX, ",CODECS=\"mp4a.40.2\"\naac-64", "\naac-64")),
    ("CODECS of another codec", &["RFC 4.3.4.2"], |s| s.edit(INDEX, "CODECS=\"mp4a.40.2\"\naac-64", "CODECS=\"Opus\"\naac-64")),
    ("HE-AAC that the init section does not announce", &["RFC 4.3.4.2", "Apple 2.24"], |s| {
        s.edit(INDEX, "CODECS=\"mp4a.40.2\"\naac-64", "CODECS=\"mp4a.40.5\"\naac-64");
    }),
    ("HE-AAC at twice 64 kbit/s", &["Apple 2.4"], |s| {
        s.edit(INDEX, "CODECS=\"mp4a.40.2\"\naac-128", "CODECS=\"mp4a.40.5\"\naac-128");
        // The AudioSpecificConfig: object type 2 becomes 5, with the same rate and channels.
        s.patch("/aac-128/init.mp4", &[5, 2], 0, &[0x2a, 0x10]);
    }),
    ("mono only", &["Apple 2.3"], |s| {
        // Channel configuration 2 becomes 1; of 44.1 kHz AAC-LC nothing else is in these bytes.
        RUNGS.iter().for_each(|rung| s.patch(&format!("/{rung}/init.mp4"), &[5, 2], 0, &[0x12, 0x08]));
    }),
];

const MEDIA_BYTES: &[Defect] = &[
    ("a hole in the decode times", &["Apple 7.3"], |s| {
        RUNGS.iter().for_each(|rung| shift(s, rung, 2, 1024));
    }),
    ("one rendition that begins its segments later", &["Apple 8.22"], |s| {
        (0..SEGMENTS).for_each(|n| shift(s, "aac-64", n, 1024));
    }),
    ("segments of 12 s", &["Apple 7.7", "RFC 4.3.3.1"], |s| RUNGS.iter().for_each(|rung| join(s, rung))),
    ("an init section with samples", &["CMAF init"], |s| s.at("/aac-64/init.mp4").body.extend(b"\0\0\0\x0cmdat\0\0\0\0")),
    ("a sample table that disagrees with its data", &["CMAF chunk"], |s| {
        let body = &s.at("/aac-64/1.m4s").body;
        let at = body.windows(4).position(|window| window == b"trun").unwrap() + 4 + 12;
        let size = u32::from_be_bytes(body[at..at + 4].try_into().unwrap()) + 1;
        s.patch("/aac-64/1.m4s", b"trun", 12, &size.to_be_bytes());
    }),
    ("a data offset that leads elsewhere", &["CMAF chunk"], |s| s.patch("/aac-64/1.m4s", b"trun", 8, &[0, 0, 0, 9])),
    ("offsets that do not count from the moof box", &["CMAF chunk"], |s| s.patch("/aac-64/1.m4s", b"tfhd", 1, &[0])),
    ("a segment that cannot be begun with", &["RFC 4.3.5.1"], |s| {
        // The default flags of the track's samples, the last field of `trex`.
        s.patch("/aac-64/init.mp4", b"trex", 20, &[0x01, 0x01, 0, 0]);
    }),
    ("a priming of its own", &["CMAF edit"], |s| s.patch("/aac-64/init.mp4", b"elst", 16, &2048_u64.to_be_bytes())),
    ("a second track", &["Apple 2.17"], second_track),
    ("no loudness", &["Apple 2.18, 2.19"], |s| RUNGS.iter().for_each(|rung| s.patch(&format!("/{rung}/init.mp4"), b"ludt", 4, b"free"))),
    ("a loudness that was never measured", &["Apple 2.23"], |s| {
        // Version and flags, ids, peaks, how the peak was measured, count and method come before the value.
        RUNGS.iter().for_each(|rung| s.patch(&format!("/{rung}/init.mp4"), b"tlou", 12, &[40]));
    }),
    ("a segment that is not there", &["RFC 6.2.1"], |s| s.at("/aac-64/1.m4s").status = 404),
    ("a segment that is cut off", &["RFC 6.2.1"], |s| s.at("/aac-64/1.m4s").body.truncate(20_000)),
];

const DELIVERY: &[Defect] = &[
    ("a segment that is elsewhere", &["Apple 8.18"], |s| {
        let moved = s.at("/aac-64/1.m4s").clone();
        s.put("/moved.m4s", moved);
        s.put("/aac-64/1.m4s", Object::redirect("/moved.m4s"));
    }),
    ("a segment that leads to itself", &["Apple 8.18", "RFC 6.2.1"], |s| s.put("/aac-64/1.m4s", Object::redirect("1.m4s"))),
    ("a playlist that is not gzipped", &["Apple 10.1"], |s| s.at(MEDIA).gzip = false),
    ("a playlist that says gzip and is not", &["RFC 6.2.1"], |s| {
        s.at(MEDIA).gzip = false;
        s.at(MEDIA).headers.insert("content-encoding", "gzip".to_owned());
    }),
    ("a playlist that unpacks to more than anyone reads", &["RFC 6.2.1"], |s| s.at(MEDIA).body = vec![b'\n'; 9 << 20]),
    ("a playlist with another type", &["Apple 10.4"], |s| retype(s, MEDIA, "text/plain")),
    ("media with another type", &["Apple 10.4"], |s| retype(s, "/aac-64/1.m4s", "application/octet-stream")),
    ("media that no page may read", &["Fetch CORS"], |s| {
        s.at("/aac-64/1.m4s").headers.remove("access-control-allow-origin");
    }),
];

const STEERING: &[Defect] = &[
    ("a steering manifest that is none", &["Steering manifest"], |s| s.put("/steering.json", Object::json("{\"VERSION\": 1}"))),
    ("a steering manifest that is not there", &["Steering manifest", "RFC 6.2.1"], |s| s.at("/steering.json").status = 404),
    ("a steering manifest that names a pathway without variants", &["Steering manifest"], |s| {
        s.edit("/steering.json", "\"gateway\"", "\"third\"")
    }),
    ("a steering manifest that players would ask for without end", &["Steering manifest"], |s| s.edit("/steering.json", "300", "0")),
    ("a start on a pathway without variants", &["Steering tag"], |s| {
        s.edit(INDEX, "json\",PATHWAY-ID=\"edge\"", "json\",PATHWAY-ID=\"third\"")
    }),
    ("steering without a start", &["Apple 9.18"], |s| s.edit(INDEX, "json\",PATHWAY-ID=\"edge\"", "json\"")),
    ("a pathway that offers less", &["Steering variants", "Apple 10.2"], |s| {
        let text = s.text(INDEX);
        let last = text.rfind("#EXT-X-STREAM-INF").unwrap();
        s.at(INDEX).body.truncate(last);
    }),
    ("a pathway with other bytes", &["Steering media"], |s| {
        let body = &mut s.at("/second/aac-64/3.m4s").body;
        let last = body.last_mut().unwrap();
        *last ^= 1;
    }),
];

#[tokio::test]
async fn what_we_publish_keeps_every_rule_but_those_we_mean_to_leave() {
    let report = check(published()).await;
    assert_eq!(off(&report), BTreeSet::from(BASELINE), "{report:#?}");
    assert!(report.passes());
    assert_eq!((report.renditions, report.segments), (2 * RUNGS.len(), 2 * RUNGS.len() * SEGMENTS));
    let judged = report.findings.iter().filter(|finding| finding.rule.starts_with("Steering") && finding.verdict == Verdict::Kept);
    assert_eq!(judged.count(), 4);
}

#[tokio::test]
async fn one_pathway_keeps_the_same_rules_but_has_no_second() {
    let report = check(good()).await;
    assert_eq!(off(&report), BASELINE.into_iter().chain([ALONE]).collect(), "{report:#?}");
}

#[tokio::test]
async fn a_defect_of_a_playlist_is_found_under_its_rule_and_no_other() {
    each(PLAYLISTS, good).await;
}

#[tokio::test]
async fn a_defect_of_a_bit_rate_is_found_under_its_rule_and_no_other() {
    each(RATES, good).await;
}

#[tokio::test]
async fn a_defect_of_a_codec_is_found_under_its_rule_and_no_other() {
    each(CODECS, good).await;
}

#[tokio::test]
async fn a_defect_of_the_media_is_found_under_its_rule_and_no_other() {
    each(MEDIA_BYTES, good).await;
}

#[tokio::test]
async fn a_defect_of_the_delivery_is_found_under_its_rule_and_no_other() {
    each(DELIVERY, good).await;
}

#[tokio::test]
async fn a_defect_of_content_steering_is_found_under_its_rule_and_no_other() {
    each(STEERING, published).await;
}

#[tokio::test]
async fn a_source_of_any_length_and_loudness_is_published_by_the_rules() {
    let chord = "0.2*sin(2*PI*440*t)+0.1*(random(0)-0.5)";
    // What a source may bring with it: silence weighs next to nothing.
    let sources: [(String, &[&str]); 6] = [
        (format!("aevalsrc={chord}:s=48000:d=3"), &[]),
        (format!("aevalsrc={chord}|{chord}:s=44100:d=7"), &[]),
        (format!("aevalsrc={chord}:s=96000:d=8.3"), &[]),
        (format!("aevalsrc='if(lt(t,24),0,{chord})':s=44100:d=30"), &["Apple 1.30"]),
        ("anullsrc=r=44100:cl=stereo:d=15".to_owned(), &[]),
        ("aevalsrc=0.9*(random(0)*2-1):s=44100:d=15".to_owned(), &[]),
    ];
    let mut wrong = Vec::new();
    for (sound, brought) in &sources {
        let report = check(publish(sound)).await;
        let is_unexpected = |rule: &str| !BASELINE.contains(&rule) && !brought.contains(&rule);
        let found: Vec<_> =
            report.findings.iter().filter(|finding| off(&report).contains(finding.rule) && is_unexpected(finding.rule)).collect();
        if !found.is_empty() {
            wrong.push(format!("{sound}: {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn each(defects: &[Defect], sample: fn() -> Shelf) {
    let mut wrong = Vec::new();
    for (name, rules, break_it) in defects {
        let mut shelf = sample();
        break_it(&mut shelf);
        let report = check(shelf).await;
        let expected: BTreeSet<_> = rules.iter().copied().collect();
        let found: BTreeSet<_> =
            off(&report).into_iter().filter(|rule| !BASELINE.contains(rule) && (*rule != ALONE || expected.contains(ALONE))).collect();
        if found != expected {
            let said: Vec<_> =
                report.findings.iter().filter(|finding| found.contains(finding.rule) != expected.contains(finding.rule)).collect();
            wrong.push(format!("{name}: expected {rules:?}, differs in {said:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `EXTINF` of a segment of the first rendition.
fn duration(shelf: &Shelf, n: usize) -> f64 {
    let text = shelf.text(MEDIA);
    text.lines().filter_map(|line| line.strip_prefix("#EXTINF:")?.strip_suffix(',')).nth(n).unwrap().parse().unwrap()
}

/// Moves `seconds` from the `EXTINF` of segment `n + 1` to that of segment `n`.
fn stretch(shelf: &mut Shelf, n: usize, seconds: f64) {
    for (n, by) in [(n, seconds), (n + 1, -seconds)] {
        let old = duration(shelf, n);
        shelf.edit(MEDIA, &format!("#EXTINF:{old:.6},\naac-64/{n}."), &format!("#EXTINF:{:.6},\naac-64/{n}.", old + by));
    }
}

fn extend_last(shelf: &mut Shelf, seconds: f64) {
    let (n, old) = (SEGMENTS - 1, duration(shelf, SEGMENTS - 1));
    shelf.edit(MEDIA, &format!("#EXTINF:{old:.6},\naac-64/{n}."), &format!("#EXTINF:{:.6},\naac-64/{n}.", old + seconds));
}

/// The line of the first rendition's variant.
fn variant(shelf: &Shelf) -> String {
    let text = shelf.text(INDEX);
    let uri = text.lines().position(|line| line == "aac-64.m3u8").unwrap();
    text.lines().nth(uri - 1).unwrap().to_owned()
}

fn value(shelf: &Shelf, attribute: &str) -> u64 {
    let line = variant(shelf);
    let start = line.find(&format!(":{attribute}=")).or_else(|| line.find(&format!(",{attribute}="))).unwrap() + attribute.len() + 2;
    line[start..].split(',').next().unwrap().parse().unwrap()
}

fn set(shelf: &mut Shelf, attribute: &str, to: u64) {
    let (line, old) = (variant(shelf), value(shelf, attribute));
    let [colon, comma] = [":", ","].map(|before| (format!("{before}{attribute}={old}"), format!("{before}{attribute}={to}")));
    let new = line.replace(&colon.0, &colon.1).replace(&comma.0, &comma.1);
    shelf.edit(INDEX, &line, &new);
}

fn scale(shelf: &mut Shelf, attribute: &str, by: f64) {
    let old = value(shelf, attribute) as f64;
    set(shelf, attribute, (old * by) as u64);
}

/// Moves a segment's decode time.
fn shift(shelf: &mut Shelf, rung: &str, n: usize, by: u64) {
    let path = format!("/{rung}/{n}.m4s");
    let body = &shelf.at(&path).body;
    let at = body.windows(4).position(|window| window == b"tfdt").unwrap() + 8;
    let time = u64::from_be_bytes(body[at..at + 8].try_into().unwrap()) + by;
    shelf.patch(&path, b"tfdt", 4, &time.to_be_bytes());
}

/// Makes one segment of the second and the third.
fn join(shelf: &mut Shelf, rung: &str) {
    let more = shelf.at(&format!("/{rung}/2.m4s")).body.clone();
    shelf.at(&format!("/{rung}/1.m4s")).body.extend(more);
    let path = format!("/{rung}.m3u8");
    let lines: Vec<String> = shelf.text(&path).lines().map(str::to_owned).collect();
    let seconds = |uri: &str| -> f64 {
        let at = lines.iter().position(|line| line == uri).unwrap();
        lines[at - 1].strip_prefix("#EXTINF:").unwrap().strip_suffix(',').unwrap().parse().unwrap()
    };
    let (one, two) = (seconds(&format!("{rung}/1.m4s")), seconds(&format!("{rung}/2.m4s")));
    shelf.edit(&path, &format!("#EXTINF:{two:.6},\n{rung}/2.m4s\n"), "");
    shelf.edit(&path, &format!("#EXTINF:{one:.6},\n{rung}/1.m4s\n"), &format!("#EXTINF:{:.6},\n{rung}/1.m4s\n", one + two));
}

fn retype(shelf: &mut Shelf, path: &str, content_type: &str) {
    shelf.at(path).headers.insert("content-type", content_type.to_owned());
}

/// Puts a second, empty `traf` into a segment, and moves its data offset by as much.
fn second_track(shelf: &mut Shelf) {
    const TRAF: &[u8] = b"\0\0\0\x18traf\0\0\0\x10tfhd\0\x02\0\0\0\0\0\x02";
    let path = "/aac-64/1.m4s";
    let body = shelf.at(path).body.clone();
    let word = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
    let trun = body.windows(4).position(|window| window == b"trun").unwrap();
    let (moof, offset) = (word(0), word(trun + 12));
    let grown = TRAF.len() as u32;
    let (head, mdat) = body.split_at(moof as usize);
    let mut with = [head, TRAF, mdat].concat();
    with[..4].copy_from_slice(&(moof + grown).to_be_bytes());
    with[trun + 12..trun + 16].copy_from_slice(&(offset + grown).to_be_bytes());
    shelf.at(path).body = with;
    // It weighs 24 bytes more, which BANDWIDTH has no room for.
    scale(shelf, "BANDWIDTH", 1.01);
}
