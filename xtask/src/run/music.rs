//! The music a system starts with: a handful of pieces from Debian's Wesnoth music package, else pieces that ffmpeg
//! makes up. They go in as any artist's would, through `antiphon import` and the public API.
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::state::State;
use crate::{setup::debian, shell};

/// Written once the demo's music is in, so that taking a piece down keeps it down.
const DONE: &str = "demo-imported";
/// Short ones first: something can be heard while the rest is encoded.
const PIECES: &[&str] = &["elf-land", "revelation", "sad", "transience", "main_menu", "battle-epic", "loyalists", "love_theme"];
const MADE_UP: &[(&str, &str)] = &[
    ("First Voice", "0.25*sin(2*PI*220*t)+0.15*sin(2*PI*(330+2*sin(2*PI*0.1*t))*t)"),
    ("Second Voice", "0.25*sin(2*PI*196*t)+0.15*sin(2*PI*294*t)*sin(2*PI*0.25*t)"),
    ("Both Voices", "0.2*sin(2*PI*(220+110*floor(mod(t,4)/2))*t)+0.15*sin(2*PI*147*t)"),
];

/// The demo's pieces, the first time a state directory is used; afterwards none.
pub(crate) fn demo(state: &State, ffmpeg: &Path) -> Result<Vec<PathBuf>> {
    if state.read(DONE)?.is_some() {
        return Ok(Vec::new());
    }
    let files: Vec<PathBuf> = debian::music()
        .map(|folder| PIECES.iter().map(|piece| folder.join(format!("{piece}.ogg"))).filter(|file| file.is_file()).collect())
        .unwrap_or_default();
    if files.is_empty() { make_up(state, ffmpeg) } else { Ok(files) }
}

/// Remembers that the demo's pieces are in.
pub(crate) fn demo_is_in(state: &State) -> Result<()> {
    state.write(DONE, "")
}

fn make_up(state: &State, ffmpeg: &Path) -> Result<Vec<PathBuf>> {
    let folder = state.path("made-up");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    MADE_UP
        .iter()
        .map(|(title, sound)| {
            let file = folder.join(format!("{title}.flac"));
            shell::output(
                Command::new(ffmpeg)
                    .args([
                        "-hide_banner",
                        "-loglevel",
                        "error",
                        "-y",
                        "-f",
                        "lavfi",
                        "-i",
                        &format!("aevalsrc='{sound}|{sound}':s=44100:d=45"),
                    ])
                    .args(["-metadata", &format!("title={title}"), "-metadata", "artist=Antiphon", "-metadata", "album=Made Up"])
                    .arg(&file),
            )?;
            Ok(file)
        })
        .collect()
}
