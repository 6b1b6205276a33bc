//! A good presentation: 21 s through the real packager, with the playlists that edge and gateway answer.
use std::{
    path::PathBuf,
    process::Command,
    sync::{Arc, OnceLock, atomic::AtomicBool},
};

use ingest::media::{Studio, Take};
use protocol::{
    Rung, RungSet,
    playlist::{self, Bases},
};

use super::shelf::{Object, Shelf};

/// Segments of the sample: 2 s, three of 6 s, and the rest.
pub(crate) const SEGMENTS: usize = 5;
pub(crate) const RUNGS: [&str; 3] = ["aac-64", "aac-128", "aac-256"];

/// A copy of the sample as it is published, on two pathways: the second is under `/second`, by an absolute address.
pub(crate) fn published() -> Shelf {
    static PUBLISHED: OnceLock<Shelf> = OnceLock::new();
    PUBLISHED.get_or_init(|| publish(SOUND)).clone()
}

/// A copy of its first pathway, as if there were no other.
pub(crate) fn good() -> Shelf {
    let mut shelf = published();
    let text = shelf.text("/index.m3u8").replace(",PATHWAY-ID=\"edge\"", "");
    // A variant is a tag and its URI.
    let lines: Vec<&str> = text.lines().collect();
    let is_kept =
        |n: usize| !lines[n].contains("STEERING") && !lines[n].contains("gateway") && (n == 0 || !lines[n - 1].contains("gateway"));
    let kept: String = (0..lines.len()).filter(|n| is_kept(*n)).map(|n| format!("{}\n", lines[n])).collect();
    shelf.put("/index.m3u8", Object::playlist(&kept));
    shelf
}

pub(crate) fn ffmpeg(arguments: &[&str]) {
    let program = std::env::var_os("FFMPEG_BIN").map_or_else(|| "ffmpeg".into(), PathBuf::from);
    let output = Command::new(program).args(["-v", "error", "-y"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "ffmpeg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Noise over a chord: as hard to encode at its start as at its end, so that its bit rate hardly moves.
pub(crate) const SOUND: &str = "aevalsrc=0.2*sin(2*PI*440*t)+0.1*(random(0)-0.5)|0.2*sin(2*PI*330*t)+0.1*(random(1)-0.5):s=44100:d=21";

/// What ffmpeg's filter `sound` becomes when an artist uploads it.
pub(crate) fn publish(sound: &str) -> Shelf {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.flac");
    ffmpeg(&["-f", "lavfi", "-i", sound, source.to_str().unwrap()]);
    let studio = Studio::new(std::env::var_os("FFMPEG_BIN").map_or_else(|| "ffmpeg".into(), PathBuf::from), 600).unwrap();
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let take = Take { source: &source, size: std::fs::metadata(&source).unwrap().len(), sha256: &[7; 32], folder: &work };
    let master = studio.make(take, &|_| {}, &Arc::new(AtomicBool::new(false))).unwrap();
    let sheet = &master.sheet;

    let mut shelf = Shelf::default();
    let mut put = |path: &str, object: Object| {
        shelf.put(path, object.clone());
        shelf.put(&format!("/second{path}"), object);
    };
    let bases = Bases { near: "", gateway: "{base}/second/" };
    put("/index.m3u8", Object::playlist(&playlist::multivariant(sheet, RungSet::of(&Rung::LOSSY), Rung::Aac128, bases)));
    put("/steering.json", Object::json(&playlist::steering()));
    for (rung, file) in &master.files {
        let file = std::fs::read(file).unwrap();
        let part = |(offset, length): (u64, u32)| file[offset as usize..][..length as usize].to_vec();
        put(&format!("/{rung}.m3u8"), Object::playlist(&playlist::media(sheet, *rung).unwrap()));
        put(&format!("/{rung}/init.mp4"), Object::media(part(sheet.init_range(*rung).unwrap())));
        for n in 0..sheet.segments() {
            put(&format!("/{rung}/{n}.m4s"), Object::media(part(sheet.segment_range(*rung, n).unwrap())));
        }
    }
    shelf
}
