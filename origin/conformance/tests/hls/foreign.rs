//! HLS that nobody here packaged: ffmpeg's.
use std::collections::BTreeSet;

use conformance::hls::{self, Options};

use super::{
    off,
    sample::{SOUND, ffmpeg},
    shelf::{Object, Shelf},
};

/// What ffmpeg writes, behind a playlist with one variant of these attributes.
fn packaged(codec: &[&str], how: &[&str], attributes: &str) -> Shelf {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (playlist, segments) = (path("media.m3u8"), path("s%d.m4s"));
    let mut arguments = vec!["-f", "lavfi", "-i", SOUND];
    arguments.extend(codec);
    arguments.extend([
        "-f",
        "hls",
        "-hls_segment_type",
        "fmp4",
        "-hls_time",
        "6",
        "-hls_playlist_type",
        "vod",
        "-hls_segment_filename",
        &segments,
    ]);
    arguments.extend(how);
    arguments.push(&playlist);
    ffmpeg(&arguments);
    let mut shelf = Shelf::default();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        let (name, body) = (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
        let object = if name.ends_with("m3u8") { Object::playlist(&String::from_utf8(body).unwrap()) } else { Object::media(body) };
        shelf.put(&format!("/{name}"), object);
    }
    shelf.put(
        "/index.m3u8",
        Object::playlist(&format!("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:{attributes}\nmedia.m3u8\n")),
    );
    shelf
}

#[tokio::test]
async fn aac_by_ffmpeg_is_read_whether_in_files_or_in_ranges_of_one() {
    for how in [&[][..], &["-hls_flags", "single_file"]] {
        let shelf = packaged(&["-c:a", "aac", "-b:a", "128k"], how, "BANDWIDTH=140000,AVERAGE-BANDWIDTH=132000,CODECS=\"mp4a.40.2\"");
        let base = shelf.serve().await;
        let report = hls::check(&format!("{base}/index.m3u8"), &Options::default()).await.unwrap();
        println!("{report:#?}");
        assert!(report.segments >= 4, "{report:#?}");
        assert_eq!(off(&report), BTreeSet::from(["Apple 2.18, 2.19", "Apple 9.20", "Apple 10.2"]), "{how:?} {report:#?}");
    }
}

#[tokio::test]
async fn flac_alone_breaks_what_asks_for_aac_and_for_little() {
    let shelf = packaged(&["-c:a", "flac", "-strict", "experimental"], &[], "BANDWIDTH=1000000,AVERAGE-BANDWIDTH=1000000,CODECS=\"fLaC\"");
    let base = shelf.serve().await;
    let report = hls::check(&format!("{base}/index.m3u8"), &Options::default()).await.unwrap();
    let found = off(&report);
    for rule in ["Apple 2.3", "Apple 9.21", "hls.js start"] {
        assert!(found.contains(rule), "{rule}: {report:#?}");
    }
    for rule in ["Apple 2.25", "RFC 4.3.4.2", "Apple 7.3", "Apple 8.1", "CMAF chunk", "RFC 6.2.1"] {
        assert!(!found.contains(rule), "{rule}: {report:#?}");
    }
}
