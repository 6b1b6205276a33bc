//! The media pipeline against foreign tools: ffmpeg makes the sources and hears the results, mp4-atom reads the boxes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use ingest::media::{
    Master, Studio, Take,
    reject::{MediaError, RejectCode},
};
use mp4_atom::{Atom, ReadAtom, ReadFrom};
use protocol::{Rung, sheet::Sheet};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A chirp on the left, two tones on the right: anything lost, shifted or swapped shows.
const SIGNAL: &str = "aevalsrc=0.3*sin(2*PI*(200+40*t)*t)|0.25*sin(2*PI*1000*t)+0.1*sin(2*PI*333*t)";

fn studio() -> &'static Studio {
    static STUDIO: OnceLock<Studio> = OnceLock::new();
    STUDIO.get_or_init(|| Studio::new(std::env::var_os("FFMPEG_BIN").map_or_else(|| "ffmpeg".into(), PathBuf::from), 60).unwrap())
}

fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(&studio().ffmpeg).args(["-v", "error", "-y"]).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// A source of exactly `samples` samples, encoded with `how`.
fn source(folder: &Path, name: &str, rate: u32, samples: u32, how: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let (filter, trim) = (format!("{SIGNAL}:s={rate}:d=60"), format!("atrim=end_sample={samples}"));
    let mut arguments = vec!["-f", "lavfi", "-i", &filter, "-af", &trim, "-ac", "2"];
    arguments.extend(how);
    arguments.push(path.to_str().unwrap());
    ffmpeg(&arguments);
    path
}

/// What ffmpeg hears in a file, interleaved stereo. Of a fragmented file it honours the start of the edit list only when told to, and its end never.
fn heard(path: &Path) -> Vec<f32> {
    let edits: &[&str] = if path.extension().is_some_and(|name| name == "mp4") { &["-advanced_editlist", "0"] } else { &[] };
    let bytes = ffmpeg(&[edits, &["-i", path.to_str().unwrap(), "-f", "f32le", "-ac", "2", "pipe:1"]].concat());
    bytes.chunks_exact(4).map(|sample| f32::from_le_bytes(sample.try_into().unwrap())).collect()
}

fn make_in(folder: &Path, source: &Path) -> Result<Master, MediaError> {
    let bytes = std::fs::read(source).unwrap();
    let sha256: [u8; 32] = Sha256::digest(&bytes).into();
    let take = Take { source, size: bytes.len() as u64, sha256: &sha256, folder };
    studio().make(take, &|_| {}, &Arc::new(AtomicBool::new(false)))
}

fn make(source: &Path) -> (TempDir, Master) {
    let folder = tempfile::tempdir().unwrap();
    let master = make_in(folder.path(), source).unwrap();
    (folder, master)
}

fn refused(name: &str, bytes: &[u8]) -> RejectCode {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    match make_in(folder.path(), &path) {
        Err(MediaError::Rejected(rejection)) => {
            println!("{name}: {rejection}");
            rejection.code
        }
        other => panic!("{name}: {other:?}"),
    }
}

/// Signal over error, dB.
fn snr_db(expected: &[f32], got: &[f32]) -> f64 {
    let power = |samples: &mut dyn Iterator<Item = f64>| samples.map(|sample| sample * sample).sum::<f64>();
    let signal = power(&mut expected.iter().map(|s| f64::from(*s)));
    let error = power(&mut expected.iter().zip(got).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    10.0 * (signal / error.max(1e-12)).log10()
}

fn assert_faithful(source: &Path, samples: u64, least_db: [f64; 3]) {
    let mut original = heard(source);
    // ffmpeg 5 plays the padding at the end of an M4A; we do not.
    assert!((samples..samples + 1024).contains(&(original.len() as u64 / 2)), "the test's own source");
    original.truncate(samples as usize * 2);
    let (_folder, master) = make(source);
    assert_eq!(master.sheet.samples, samples);
    for ((rung, path), least) in master.files.iter().zip(least_db) {
        let result = heard(path);
        let snr = snr_db(&original, &result);
        println!("{} {rung}: {} samples of {samples}, {snr:.1} dB", source.display(), result.len() / 2);
        assert_eq!((result.len() - original.len()) as u32 / 2, master.sheet.padding, "{rung}: the source and its padding");
        assert!(snr >= least, "{rung}: {snr:.1} dB");
    }
}

#[test]
fn a_flac_is_heard_as_it_was_to_the_sample() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 44_100, 661_501, &["-c:a", "flac"]);
    assert_faithful(&flac, 661_501, [8.0, 12.0, 16.0]);
}

#[test]
fn what_we_made_is_as_long_as_the_source_when_it_comes_back_as_an_upload() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 44_100, 333_333, &[]);
    let (_first_folder, first) = make(&flac);
    let (_again_folder, again) = make(&first.files[2].1);
    assert_eq!(again.sheet.samples, 333_333, "both ends of our edit list are honoured");
    let (original, twice) = (heard(&flac), heard(&again.files[2].1));
    assert!(snr_db(&original, &twice) > 20.0);
}

#[test]
fn an_mp3_loses_its_encoder_delay_and_padding() {
    let folder = tempfile::tempdir().unwrap();
    let mp3 = source(folder.path(), "a.mp3", 44_100, 300_003, &["-c:a", "libmp3lame", "-b:a", "320k"]);
    assert_faithful(&mp3, 300_003, [8.0, 12.0, 16.0]);
}

#[test]
fn ogg_vorbis_and_wav_and_m4a_are_heard_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let ogg = source(folder.path(), "a.ogg", 48_000, 250_001, &["-c:a", "libvorbis", "-q:a", "8"]);
    assert_faithful(&ogg, 250_001, [8.0, 12.0, 16.0]);
    let wav = source(folder.path(), "a.wav", 44_100, 99_999, &["-c:a", "pcm_s24le"]);
    assert_faithful(&wav, 99_999, [8.0, 12.0, 16.0]);
    let m4a = source(folder.path(), "a.m4a", 44_100, 200_002, &["-c:a", "aac", "-b:a", "256k"]);
    assert_faithful(&m4a, 200_002, [8.0, 12.0, 16.0]);
    let alac = source(folder.path(), "b.m4a", 44_100, 100_002, &["-c:a", "alac"]);
    assert_faithful(&alac, 100_002, [8.0, 12.0, 16.0]);
}

#[test]
fn other_rates_become_48_khz_of_the_same_length() {
    let folder = tempfile::tempdir().unwrap();
    for (rate, samples) in [(96_000, 480_001), (22_050, 66_151), (32_000, 100_000)] {
        let path = source(folder.path(), &format!("{rate}.flac"), rate, samples, &["-c:a", "flac"]);
        let (_folder, master) = make(&path);
        assert_eq!(master.sheet.timescale, 48_000);
        let expected = (f64::from(samples) * 48_000.0 / f64::from(rate)).round() as u64;
        assert_eq!(master.sheet.samples, expected);
        assert_eq!(heard(&master.files[1].1).len() as u64 / 2, expected + u64::from(master.sheet.padding));
    }
}

#[test]
fn surround_and_mono_become_stereo() {
    let folder = tempfile::tempdir().unwrap();
    for (name, channels) in [("mono.flac", "1"), ("surround.flac", "6")] {
        let path = folder.path().join(name);
        ffmpeg(&["-f", "lavfi", "-i", "sine=440:d=3:r=48000", "-ac", channels, path.to_str().unwrap()]);
        let (_folder, master) = make(&path);
        assert_eq!(master.sheet.samples, 144_000);
        assert_eq!(heard(&master.files[0].1).len() as u32 / 2, 144_000 + master.sheet.padding);
    }
}

#[test]
fn the_same_source_is_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 44_100, 400_000, &[]);
    let (_first_folder, first) = make(&flac);
    let (_second_folder, second) = make(&flac);
    assert_eq!(serde_json::to_vec(&first.sheet).unwrap(), serde_json::to_vec(&second.sheet).unwrap());
    for ((_, a), (_, b)) in first.files.iter().zip(&second.files) {
        assert_eq!(std::fs::read(a).unwrap(), std::fs::read(b).unwrap());
    }
}

#[test]
fn the_sheet_says_where_every_byte_is_and_every_segment_starts_on_its_boundary() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 44_100, 800_000, &[]);
    let (_folder, master) = make(&flac);
    let sheet = &master.sheet;
    assert_eq!(u64::from(sheet.priming) + sheet.samples + u64::from(sheet.padding), *sheet.boundaries.last().unwrap());
    assert_eq!(sheet.rungs.iter().map(|rendition| rendition.rung).collect::<Vec<_>>(), Rung::LOSSY);
    for (rung, path) in &master.files {
        let bytes = std::fs::read(path).unwrap();
        let rendition = sheet.rung(*rung).unwrap();
        assert_eq!(rendition.sha256, hex::encode(Sha256::digest(&bytes)));
        check_init(&bytes[..rendition.init_bytes as usize], sheet);
        let mut end = u64::from(rendition.init_bytes);
        for n in 0..sheet.segments() {
            let (offset, length) = sheet.segment_range(*rung, n).unwrap();
            assert_eq!(offset, end);
            end += u64::from(length);
            check_segment(&bytes[offset as usize..end as usize], n, sheet);
        }
        assert_eq!(end, bytes.len() as u64);
        let nominal = f64::from(rung.nominal_bps());
        assert!(f64::from(rendition.average_bps) <= nominal * 1.25, "{rung}: {}", rendition.average_bps);
        assert!(rendition.peak_bps <= rendition.average_bps * 2, "Apple's authoring rule 1.30");
    }
}

fn check_init(init: &[u8], sheet: &Sheet) {
    let mut reader = init;
    mp4_atom::Ftyp::read_from(&mut reader).unwrap();
    let moov = mp4_atom::Moov::read_from(&mut reader).unwrap();
    assert!(reader.is_empty());
    let [track] = moov.trak.as_slice() else { panic!("one track") };
    let edits = track.edts.as_ref().unwrap().elst.as_ref().unwrap();
    assert_eq!(edits.entries[0].media_time, Some(u64::from(sheet.priming)));
    assert_eq!(edits.entries[0].segment_duration, sheet.samples);
    assert_eq!(track.mdia.mdhd.timescale, sheet.timescale);
    let mp4_atom::Codec::Mp4a(codec) = &track.mdia.minf.stbl.stsd.codecs[0] else { panic!("mp4a") };
    let config = &codec.esds.es_desc.dec_config;
    let specific = config.dec_specific.as_ref().unwrap();
    assert_eq!((config.object_type_indication, specific.profile, specific.chan_conf), (0x40, 2, 2));
    assert_eq!(moov.mvex.unwrap().trex[0].default_sample_duration, 1024);
}

fn check_segment(segment: &[u8], n: usize, sheet: &Sheet) {
    let mut reader = segment;
    let header = mp4_atom::Header::read_from(&mut reader).unwrap();
    assert_eq!(header.kind, mp4_atom::Moof::KIND);
    let moof = mp4_atom::Moof::read_atom(&header, &mut reader).unwrap();
    let traf = &moof.traf[0];
    assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, sheet.boundaries[n]);
    let run = &traf.trun[0];
    assert_eq!(run.samples.len() as u64 * 1024, sheet.boundaries[n + 1] - sheet.boundaries[n]);
    let moof_size = segment.len() - reader.len();
    assert_eq!(run.data_offset, Some(moof_size as i32 + 8));
    let sizes: u32 = run.samples.iter().map(|sample| sample.size.unwrap()).sum();
    assert_eq!(sizes as usize + 8, reader.len());
}

#[test]
fn a_segment_stands_alone_behind_its_init_section() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 48_000, 700_000, &[]);
    let (out, master) = make(&flac);
    let bytes = std::fs::read(&master.files[1].1).unwrap();
    let (offset, length) = master.sheet.segment_range(Rung::Aac128, 1).unwrap();
    let mut alone = bytes[..master.sheet.rung(Rung::Aac128).unwrap().init_bytes as usize].to_vec();
    alone.extend_from_slice(&bytes[offset as usize..][..length as usize]);
    let path = out.path().join("alone.mp4");
    std::fs::write(&path, alone).unwrap();
    let frames = (master.sheet.boundaries[2] - master.sheet.boundaries[1]) as usize;
    let samples = heard(&path).len() / 2;
    assert!(samples.abs_diff(frames) <= 1024, "{samples} of {frames}");
}

#[test]
fn ffprobe_agrees_on_codec_profile_and_length() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 44_100, 441_000, &[]);
    let (_folder, master) = make(&flac);
    let Ok(output) = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_name,profile,sample_rate,channels,codec_tag_string", "-of", "csv=p=0"])
        .arg(&master.files[2].1)
        .output()
    else {
        return;
    };
    let line = String::from_utf8_lossy(&output.stdout);
    assert_eq!(line.trim(), "aac,LC,mp4a,44100,2", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn loudness_is_what_ffmpeg_measures() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 48_000, 480_000, &[]);
    let (_folder, master) = make(&flac);
    let filter = ["-nostats", "-i", flac.to_str().unwrap(), "-af", "ebur128=peak=true", "-f", "null", "-"];
    let output = Command::new(&studio().ffmpeg).args(filter).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = said.rsplit("Summary:").next().unwrap();
    let number = |label: &str| -> f64 {
        summary.lines().find_map(|line| line.trim().strip_prefix(label)).unwrap().split_whitespace().next().unwrap().parse().unwrap()
    };
    let ours = (f64::from(master.sheet.loudness.integrated_clufs) / 100.0, f64::from(master.sheet.loudness.true_peak_cdbtp) / 100.0);
    assert!((ours.0 - number("I:")).abs() <= 0.1, "{ours:?} {summary}");
    assert!((ours.1 - number("Peak:")).abs() <= 0.3, "{ours:?} {summary}");
}

#[test]
fn what_is_not_audio_is_refused_with_the_exact_reason() {
    assert_eq!(refused("a.flac", b""), RejectCode::Empty);
    assert_eq!(refused("a.flac", b"Dear sir or madam, please find no song attached.\n"), RejectCode::NotAudio);
    assert_eq!(refused("a.mp3", b"#EXTM3U\n#EXTINF:6,\nfile:///etc/passwd\n"), RejectCode::PlaylistNotAudio);
    let noise: Vec<u8> = (0..200_000u64).map(|n| (n.wrapping_mul(6_364_136_223_846_793_005) >> 33) as u8).collect();
    assert_eq!(refused("a.wav", &noise), RejectCode::NotAudio);
}

#[test]
fn a_source_that_is_cut_off_is_refused_as_truncated() {
    let folder = tempfile::tempdir().unwrap();
    let table: [(&str, &[&str]); 5] = [
        ("a.flac", &[]),
        ("a.ogg", &["-c:a", "libvorbis"]),
        ("a.wav", &[]),
        ("a.mp3", &["-c:a", "libmp3lame"]),
        ("a.m4a", &["-c:a", "aac"]),
    ];
    for (name, how) in table {
        let path = source(folder.path(), name, 44_100, 441_000, how);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(refused(name, &bytes[..bytes.len() * 2 / 3]), RejectCode::Truncated, "{name}");
    }
    let path = source(folder.path(), "fast.m4a", 44_100, 441_000, &["-c:a", "aac", "-movflags", "+faststart"]);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(refused("fast.m4a", &bytes[..bytes.len() * 2 / 3]), RejectCode::Truncated);
}

#[test]
fn damage_too_short_and_foreign_codecs_are_refused_for_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 44_100, 441_000, &[]);
    let mut bytes = std::fs::read(&flac).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0x55);
    assert_eq!(refused("a.flac", &bytes), RejectCode::Corrupt);

    let short = source(folder.path(), "short.flac", 44_100, 20_000, &[]);
    assert_eq!(refused("short.flac", &std::fs::read(short).unwrap()), RejectCode::TooShort);

    let opus = source(folder.path(), "a.opus", 48_000, 480_000, &["-c:a", "libopus"]);
    assert_eq!(refused("a.opus", &std::fs::read(opus).unwrap()), RejectCode::UnsupportedCodec);
    let aiff = source(folder.path(), "a.aiff", 48_000, 480_000, &[]);
    assert_eq!(refused("a.aiff", &std::fs::read(aiff).unwrap()), RejectCode::UnsupportedCodec);
}

#[test]
fn a_cancelled_job_stops_and_leaves_no_encoder_behind() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 44_100, 441_000, &[]);
    let sha256 = [0; 32];
    let take = Take { source: &flac, size: std::fs::metadata(&flac).unwrap().len(), sha256: &sha256, folder: folder.path() };
    let outcome = studio().make(take, &|_| {}, &Arc::new(AtomicBool::new(true)));
    assert!(matches!(outcome, Err(MediaError::Interrupted)), "{outcome:?}");
}

#[test]
fn a_damaged_file_is_heard_or_refused_and_never_fails_the_job() {
    let folder = tempfile::tempdir().unwrap();
    let formats: [(&str, &[&str]); 6] = [
        ("a.flac", &[]),
        ("a.ogg", &["-c:a", "libvorbis"]),
        ("a.wav", &[]),
        ("a.mp3", &["-c:a", "libmp3lame"]),
        ("a.m4a", &["-c:a", "aac"]),
        ("a.aac", &["-c:a", "aac"]),
    ];
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    let tries: usize = std::env::var("INGEST_MUTATIONS").ok().and_then(|tries| tries.parse().ok()).unwrap_or(8);
    for (name, how) in formats {
        let whole = std::fs::read(source(folder.path(), name, 44_100, 60_000, how)).unwrap();
        for n in 0..tries {
            let mut bytes = whole.clone();
            // Headers are where parsers go wrong, so half of the changes are made there.
            for _ in 0..=random(12) {
                let at = if random(2) == 0 { random(bytes.len().min(200)) } else { random(bytes.len()) };
                bytes[at] = random(256) as u8;
            }
            let job = tempfile::tempdir().unwrap();
            let path = job.path().join("mutated");
            std::fs::write(&path, &bytes).unwrap();
            match make_in(job.path(), &path) {
                Ok(_) | Err(MediaError::Rejected(_)) => {}
                Err(other) => panic!("{name} {n}: {other:?}"),
            }
        }
    }
}

/// A program in ffmpeg's place.
fn stand_in(folder: &Path, script: &str) -> Studio {
    use std::os::unix::fs::PermissionsExt;
    let program = folder.join("stand-in");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    Studio { ffmpeg: program, encoder: "stand-in".to_owned(), grace_s: 1, ..studio().clone() }
}

#[test]
fn an_encoder_that_hangs_is_killed_when_its_time_is_up() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 44_100, 441_000, &[]);
    let studio = Studio { seconds_per_minute: 0, ..stand_in(folder.path(), "exec sleep 100") };
    let started = std::time::Instant::now();
    let sha256 = [0; 32];
    let take = Take { source: &flac, size: std::fs::metadata(&flac).unwrap().len(), sha256: &sha256, folder: folder.path() };
    let outcome = studio.make(take, &|_| {}, &Arc::new(AtomicBool::new(false)));
    let Err(MediaError::Failed(error)) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("longer than its 1 s"), "{error}");
    assert!(started.elapsed().as_secs_f64() < 3.0);
}

#[test]
fn an_encoder_is_limited_before_it_reads_anything_and_sees_none_of_our_environment() {
    let folder = tempfile::tempdir().unwrap();
    let flac = source(folder.path(), "a.flac", 44_100, 441_000, &[]);
    let script = "head -c 8 >/dev/null; cat /proc/self/limits >limits; env >environment; cat >/dev/null; exit 3";
    let studio = Studio { grace_s: 60, ..stand_in(folder.path(), script) };
    let sha256 = [0; 32];
    let take = Take { source: &flac, size: std::fs::metadata(&flac).unwrap().len(), sha256: &sha256, folder: folder.path() };
    let outcome = studio.make(take, &|_| {}, &Arc::new(AtomicBool::new(false)));
    assert!(matches!(outcome, Err(MediaError::Failed(_))), "{outcome:?}");
    let limits = std::fs::read_to_string(folder.path().join("limits")).unwrap();
    for name in ["Max cpu time", "Max file size", "Max open files", "Max address space"] {
        let line = limits.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert!(!line.is_empty() && !line.contains("unlimited"), "{name}: {limits}");
    }
    let environment = std::fs::read_to_string(folder.path().join("environment")).unwrap();
    assert!(!environment.contains("HOME=") && !environment.contains("CARGO"), "{environment}");
}
