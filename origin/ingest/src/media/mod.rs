//! From the bytes an artist uploaded to the bytes a listener fetches.
//!
//! ```text
//!  raw object ──► sniff ──► decode ──► downmix ──┬──► loudness ─────────────┐
//!                (what is it)  (symphonia)       │                          ▼
//!                                                └──► encode ──► adts ──► package ──► one CMAF file a rung, and the sheet
//!                                                    (ffmpeg, PCM in)      (ladder, boxes)
//! ```
//!
//! No clock, no network, no database: a folder, a file and limits go in, files and a [`Sheet`] come out, the same bytes for the same source.

mod adts;
mod boxes;
mod decode;
mod downmix;
mod edits;
pub mod encode;
pub mod ladder;
mod loudness;
mod package;
pub mod reject;
mod sniff;

use std::{
    fs::File,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
};

use protocol::{
    MediaVersion, Rung,
    sheet::{Loudness, Sheet},
};

pub use self::decode::Limits;
use self::{
    adts::Frames,
    decode::Source,
    encode::{Budget, Encoders},
    ladder::{FRAME, PACKAGER, PRIMING, Timeline, output_rate, output_samples},
    loudness::Meter,
    package::{Coded, package},
    reject::{MediaError, RejectCode, Rejection},
};

/// What stands still for every job of this process.
#[derive(Debug, Clone)]
pub struct Studio {
    /// The encoder's program.
    pub ffmpeg: PathBuf,
    /// What it says it is ([`encode::identity`]).
    pub encoder: String,
    /// What a source may be at most.
    pub limits: Limits,
    /// Seconds of wall clock granted to every job, however short its music.
    pub grace_s: u64,
    /// Seconds of wall clock granted per minute of music, on top of that.
    pub seconds_per_minute: u64,
}

/// The usual [`Studio::grace_s`].
const GRACE_S: u64 = 60;
/// Frames, of one channel, gathered before they are passed on.
const BATCH: usize = 1 << 14;

/// One source to encode.
#[derive(Debug, Clone, Copy)]
pub struct Take<'a> {
    /// The raw object, whole, on disk.
    pub source: &'a Path,
    /// Its length, bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: &'a [u8; 32],
    /// An empty folder for everything that is made.
    pub folder: &'a Path,
}

/// A finished encoding.
#[derive(Debug)]
pub struct Master {
    /// The sheet.
    pub sheet: Sheet,
    /// The CMAF file of each rung.
    pub files: Vec<(Rung, PathBuf)>,
}

impl Studio {
    /// A studio around the ffmpeg at `ffmpeg`.
    ///
    /// # Errors
    /// When there is no such ffmpeg, or it has no AAC encoder.
    pub fn new(ffmpeg: PathBuf, seconds_per_minute: u64) -> anyhow::Result<Self> {
        let encoder = encode::identity(&ffmpeg)?;
        Ok(Self { ffmpeg, encoder, limits: Limits::default(), grace_s: GRACE_S, seconds_per_minute })
    }

    /// The name of what [`Self::make`] will make of a source with this digest.
    #[must_use]
    pub fn version(&self, source_sha256: &[u8; 32]) -> MediaVersion {
        ladder::media_version(source_sha256, &self.encoder)
    }

    /// Makes every rung of `take`, telling `progress` how many hundredths are done, until `cancelled`.
    ///
    /// # Errors
    /// A refusal the artist can act on, an interruption, or a failure worth another try.
    pub fn make(&self, take: Take<'_>, progress: &dyn Fn(u8), cancelled: &Arc<AtomicBool>) -> Result<Master, MediaError> {
        // Hostile headers make some demuxers overflow, which panics in a checked build. It would do so again, so it is the file's fault. What unwinds is
        // owned by the call: nothing outside can be left half changed.
        std::panic::catch_unwind(AssertUnwindSafe(|| self.make_unguarded(take, progress, cancelled))).unwrap_or_else(|_| {
            let detail = "the file could not be decoded: export it again, and upload that";
            Err(Rejection::new(RejectCode::Corrupt, detail).into())
        })
    }

    fn make_unguarded(&self, take: Take<'_>, progress: &dyn Fn(u8), cancelled: &Arc<AtomicBool>) -> Result<Master, MediaError> {
        let mut source = Source::open(File::open(take.source)?, take.size, self.limits)?;
        let rate = source.rate();
        let budget = self.budget(source.expected(), rate);
        let mut meter = Meter::new(rate)?;
        let mut encoders = Encoders::start(&self.ffmpeg, rate, take.folder, budget, Arc::clone(cancelled))?;

        let (mut heard, mut batch) = (0, Vec::with_capacity(BATCH * 4));
        loop {
            let more = source.next(&mut batch)?;
            if batch.len() >= BATCH * 2 || !more {
                heard += (batch.len() / 2) as u64;
                meter.add(&batch)?;
                encoders.feed(&batch)?;
                batch.clear();
                progress(hundredths(heard, source.expected()));
            }
            if !more {
                break;
            }
        }
        let (integrated_clufs, true_peak_cdbtp) = meter.read()?;
        let loudness = Loudness { integrated_clufs, true_peak_cdbtp };

        let out_rate = output_rate(rate);
        let coded: Vec<Coded> = encoders
            .finish()?
            .into_iter()
            .map(|(rung, adts)| Ok(Coded { rung, frames: Frames::open(&adts, out_rate)?.lengths()?, adts }))
            .collect::<anyhow::Result<_>>()?;
        let timeline = timeline(&coded, out_rate, output_samples(heard, rate))?;

        let mut sheet = Sheet {
            version: self.version(take.sha256),
            source_sha256: hex::encode(take.sha256),
            packager: format!("{PACKAGER} ({})", self.encoder),
            timescale: out_rate,
            boundaries: timeline.boundaries.clone(),
            priming: PRIMING,
            samples: timeline.samples,
            padding: timeline.padding,
            rungs: Vec::new(),
            loudness,
        };
        let mut files = Vec::new();
        for coded in &coded {
            let path = take.folder.join(format!("{}.mp4", coded.rung));
            sheet.rungs.push(package(coded, &timeline, loudness, &path)?);
            std::fs::remove_file(&coded.adts)?;
            files.push((coded.rung, path));
        }
        progress(100);
        Ok(Master { sheet, files })
    }

    fn budget(&self, expected: Option<u64>, rate: u32) -> Budget {
        let music_seconds =
            expected.map_or(self.limits.seconds_max, |samples| (samples / u64::from(rate.max(1))).min(self.limits.seconds_max));
        // An estimate of an MP3's length may be far off; the music's own limit is the bound of what may be written.
        Budget { seconds: self.grace_s + music_seconds * self.seconds_per_minute / 60, music_seconds_max: self.limits.seconds_max }
    }
}

/// The timeline all rungs share.
fn timeline(coded: &[Coded], rate: u32, samples: u64) -> anyhow::Result<Timeline> {
    let frames = coded.iter().map(|coded| coded.frames.len() as u64).min().unwrap_or(0);
    // A resampler may round the end one sample away from arithmetic; never promise more than was coded.
    let coded_samples = (frames * FRAME).saturating_sub(u64::from(PRIMING));
    anyhow::ensure!(coded_samples + FRAME >= samples, "the encoder lost music: {samples} samples became {frames} frames");
    Ok(Timeline::new(rate, samples.min(coded_samples)))
}

/// Decoding and encoding are nine tenths of the work; packaging is the rest.
fn hundredths(heard: u64, expected: Option<u64>) -> u8 {
    let Some(expected) = expected.filter(|expected| *expected > 0) else { return 0 };
    u8::try_from((heard.saturating_mul(90) / expected).min(90)).unwrap_or(90)
}

/// The refusal of a source whose bytes are not those that were declared.
#[must_use]
pub fn mismatch(declared_size: u64, declared_sha256: &[u8; 32], size: u64, sha256: &[u8; 32]) -> Option<Rejection> {
    if size != declared_size {
        let detail = format!("{size} bytes arrived, {declared_size} were declared: start the upload again");
        return Some(Rejection::new(RejectCode::SizeMismatch, detail));
    }
    (sha256 != declared_sha256).then(|| {
        let detail = format!(
            "the bytes that arrived have SHA-256 {}, {} was declared: start the upload again",
            hex::encode(sha256),
            hex::encode(declared_sha256)
        );
        Rejection::new(RejectCode::DigestMismatch, detail)
    })
}
