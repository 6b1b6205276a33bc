//! From an uploaded file to interleaved stereo samples, exactly those a listener should hear.
//!
//! Reads the raw object from the job's folder with safe Rust only (symphonia), through the one demuxer that `sniff` named. Its samples
//! go to the loudness meter and, as raw PCM, to the encoder: no byte of an upload ever reaches ffmpeg.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use symphonia::core::{
    codecs::{
        audio::{AudioDecoder, AudioDecoderOptions},
        registry::CodecRegistry,
    },
    common::Limit,
    errors::Error,
    formats::{FormatOptions, FormatReader, TrackType, probe::Hint, probe::Probe},
    io::MediaSourceStream,
    meta::MetadataOptions,
};
use symphonia::default::{codecs, formats, meta};

use super::{
    downmix::Downmix,
    edits::Edit,
    reject::{MediaError, RejectCode, Rejection},
    sniff::{ACCEPTED, Container, sniff},
};

/// What a source may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Length, seconds.
    pub seconds_max: u64,
    /// Length, ms, at least.
    pub ms_min: u64,
    /// Channels.
    pub channels_max: usize,
    /// Samples a second.
    pub rate_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { seconds_max: 12 * 3600, ms_min: 1_000, channels_max: 8, rate_max: 192_000 }
    }
}

/// An encoder pads the last frame of an MP3, and some count the header frame too: this much less than announced is not a cut.
const MPEG_SLACK: u64 = 2 * 1152;
/// Damaged packets tolerated in a lossy stream, one in this many: a glitch is the artist's, a ruin is not music.
const DAMAGE_ONE_IN: u64 = 100;

/// A source being decoded.
pub(crate) struct Source {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    container: Container,
    track: u32,
    rate: u32,
    downmix: Downmix,
    limits: Limits,
    /// Samples the container announces; absent when it does not know.
    announced: Option<u64>,
    /// The part of the decoded stream that is presented (MP4 edit list).
    edit: Edit,
    decoded: u64,
    /// Where the last packet ends on the container's own timeline.
    reached: u64,
    packets: u64,
    damaged: u64,
    scratch: Vec<f32>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("container", &self.container).field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Source {
    /// Opens `file`, of which `size` bytes are known to be there.
    ///
    /// # Errors
    /// A refusal when it is not audio that is accepted; a failure when the disk cannot be read.
    pub(crate) fn open(mut file: File, size: u64, limits: Limits) -> Result<Self, MediaError> {
        if size == 0 {
            return Err(Rejection::new(RejectCode::Empty, "the file is empty: 0 bytes were uploaded").into());
        }
        let container = sniff(&mut file)??;
        let edit = match container {
            Container::Mp4 => {
                let (edit, whole) = Edit::read(&mut file)?;
                if !whole {
                    return Err(truncated("it ends in the middle of a box").into());
                }
                edit
            }
            Container::Ogg => {
                must_end(&mut file, size)?;
                Edit::default()
            }
            _ => Edit::default(),
        };
        file.seek(SeekFrom::Start(0))?;

        let stream = MediaSourceStream::new(Box::new(file), Default::default());
        let tags = MetadataOptions::default().limit_tag_bytes(Limit::Maximum(64 * 1024)).limit_visual_bytes(Limit::Maximum(0));
        let format =
            demuxers(container).probe(&Hint::new(), stream, FormatOptions::default(), tags).map_err(|error| refuse(container, &error))?;
        let track = format.default_track(TrackType::Audio).or_else(|| format.first_track(TrackType::Audio));
        let Some((track, params)) = track.and_then(|track| Some((track, track.codec_params.as_ref()?.audio()?))) else {
            return Err(Rejection::new(RejectCode::NotAudio, format!("the file has no audio track: {ACCEPTED}")).into());
        };

        let options = AudioDecoderOptions::default().gapless(true).verify(true);
        let decoder = decoders().make_audio_decoder(params, &options).map_err(|error| {
            let detail = format!("the audio inside is in a codec that is not accepted ({error}): {ACCEPTED}");
            Rejection::new(RejectCode::UnsupportedCodec, detail)
        })?;
        let rate = decoder.codec_params().sample_rate.or(params.sample_rate).unwrap_or(0);
        if rate < 8_000 || rate > limits.rate_max {
            let detail = format!("the sampling rate is {rate} Hz; 8,000 to {} Hz are accepted", limits.rate_max);
            return Err(Rejection::new(RejectCode::UnsupportedCodec, detail).into());
        }

        // Without a Xing, Info or VBRI header, an MP3's length is only symphonia's estimate, which is wrong for a variable bit rate.
        let sure = container != Container::Mpeg || track.delay.is_some();
        let announced = track.num_frames.filter(|_| sure && container != Container::Adts && container != Container::Mp4);
        if announced.is_some_and(|frames| frames / u64::from(rate) > limits.seconds_max) {
            return Err(too_long(limits).into());
        }
        let (track, edit) = (track.id, edit.at_rate(rate));
        Ok(Self {
            format,
            decoder,
            container,
            track,
            rate,
            downmix: Downmix::default(),
            limits,
            announced,
            edit,
            decoded: 0,
            reached: 0,
            packets: 0,
            damaged: 0,
            scratch: Vec::new(),
        })
    }

    /// Samples a second.
    #[must_use]
    pub(crate) const fn rate(&self) -> u32 {
        self.rate
    }

    /// How many samples there will be, when the container says; for progress only.
    #[must_use]
    pub(crate) fn expected(&self) -> Option<u64> {
        self.announced.or_else(|| self.format.tracks().first().and_then(|track| track.num_frames))
    }

    /// Appends the next samples, interleaved stereo, to `out`; `false` at the end of an intact source.
    ///
    /// # Errors
    /// A refusal when the source is cut off, damaged, too long or not what it said.
    pub(crate) fn next(&mut self, out: &mut Vec<f32>) -> Result<bool, MediaError> {
        let packet = loop {
            match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => break packet,
                Ok(Some(_)) => {}
                Ok(None) => return self.finish().map(|()| false),
                Err(error) => return Err(refuse(self.container, &error).into()),
            }
        };
        self.packets += 1;
        self.reached = u64::try_from(packet.pts.get()).unwrap_or(0).saturating_add(packet.block_dur().get());
        let before = out.len();
        match self.decoder.decode(&packet) {
            Ok(buffer) => {
                let spec = buffer.spec();
                let channels = spec.channels().count();
                if channels == 0 || channels > self.limits.channels_max {
                    let detail = format!("the file has {channels} channels; 1 to {} are accepted", self.limits.channels_max);
                    return Err(Rejection::new(RejectCode::UnsupportedCodec, detail).into());
                }
                if spec.rate() != self.rate {
                    return Err(Rejection::new(RejectCode::Corrupt, "the sampling rate changes in the middle of the file").into());
                }
                self.downmix.set(spec.channels());
                self.scratch.clear();
                self.scratch.resize(buffer.samples_interleaved(), 0.0);
                buffer.copy_to_slice_interleaved(&mut self.scratch);
                self.downmix.append(&self.scratch, out);
            }
            // Silence in its place keeps the rest of the track where it was.
            Err(Error::DecodeError(_) | Error::IoError(_)) => {
                self.damaged += 1;
                let silent = usize::try_from(packet.dur.get()).unwrap_or(0).min(1 << 16);
                out.resize(before + silent * 2, 0.0);
            }
            Err(error) => return Err(refuse(self.container, &error).into()),
        }
        let frames = (out.len() - before) / 2;
        self.edit.keep(self.decoded, out, before);
        self.decoded += frames as u64;
        if self.decoded / u64::from(self.rate) > self.limits.seconds_max {
            return Err(too_long(self.limits).into());
        }
        Ok(true)
    }

    /// Whether what was decoded is what was encoded.
    fn finish(&mut self) -> Result<(), MediaError> {
        let slack = if self.container == Container::Mpeg { MPEG_SLACK } else { 0 };
        if let Some(announced) = self.announced.filter(|announced| self.decoded.max(self.reached) + slack < *announced) {
            return Err(truncated(&format!("it holds {} of the {announced} samples its header announces", self.decoded)).into());
        }
        let lossless = matches!(self.container, Container::Flac | Container::Wav);
        let tolerated = if lossless { 0 } else { 1 + self.packets / DAMAGE_ONE_IN };
        let lost = self.announced.map_or(0, |announced| announced.saturating_sub(self.decoded + slack));
        if self.damaged > tolerated || (lossless && lost > 0) {
            let detail = format!(
                "parts of the audio are damaged ({} of {} packets, {lost} samples lost): export the file again and upload that",
                self.damaged, self.packets
            );
            return Err(Rejection::new(RejectCode::Corrupt, detail).into());
        }
        if self.decoder.finalize().verify_ok == Some(false) {
            let detail = "the audio does not match the checksum inside the file (FLAC MD5): export the file again and upload that";
            return Err(Rejection::new(RejectCode::Corrupt, detail).into());
        }
        let presented = self.edit.presented(self.decoded);
        if presented * 1000 < self.limits.ms_min * u64::from(self.rate) {
            let detail = format!(
                "the file holds {} ms of sound; a track has at least {} ms",
                presented * 1000 / u64::from(self.rate),
                self.limits.ms_min
            );
            return Err(Rejection::new(RejectCode::TooShort, detail).into());
        }
        Ok(())
    }
}

fn too_long(limits: Limits) -> Rejection {
    Rejection::new(RejectCode::TooLong, format!("the file lasts longer than {} hours: split it into tracks", limits.seconds_max / 3600))
}

fn truncated(how: &str) -> Rejection {
    Rejection::new(RejectCode::Truncated, format!("the file is cut off: {how}. Upload the whole file"))
}

/// A demuxer's or decoder's error, as the artist should read it.
fn refuse(container: Container, error: &Error) -> Rejection {
    match error {
        Error::IoError(io) if io.kind() == std::io::ErrorKind::UnexpectedEof => truncated("it ends in the middle of its data"),
        Error::Unsupported(what) => Rejection::new(RejectCode::UnsupportedCodec, format!("not accepted ({what}): {ACCEPTED}")),
        Error::ResetRequired => {
            Rejection::new(RejectCode::UnsupportedCodec, "several recordings are chained in one file: upload them one by one")
        }
        other => {
            Rejection::new(RejectCode::Corrupt, format!("the {container:?} file cannot be read ({other}): export it again and upload that"))
        }
    }
}

/// Only the reader of `container`: a file is never offered to a parser of another format.
fn demuxers(container: Container) -> Probe {
    let mut probe = Probe::new();
    match container {
        Container::Flac => probe.register_format::<formats::FlacReader<'_>>(),
        Container::Mpeg => probe.register_format::<formats::MpaReader<'_>>(),
        Container::Adts => probe.register_format::<formats::AdtsReader<'_>>(),
        Container::Ogg => probe.register_format::<formats::OggReader<'_>>(),
        Container::Wav => probe.register_format::<formats::WavReader<'_>>(),
        Container::Mp4 => probe.register_format::<formats::IsoMp4Reader<'_>>(),
    }
    probe.register_metadata::<meta::Id3v2Reader<'_>>();
    probe.register_metadata::<meta::Id3v1Reader<'_>>();
    probe.register_metadata::<meta::ApeReader<'_>>();
    probe
}

fn decoders() -> CodecRegistry {
    let mut registry = CodecRegistry::new();
    registry.register_audio_decoder::<codecs::FlacDecoder>();
    registry.register_audio_decoder::<codecs::MpaDecoder>();
    registry.register_audio_decoder::<codecs::AacDecoder>();
    registry.register_audio_decoder::<codecs::AlacDecoder>();
    registry.register_audio_decoder::<codecs::VorbisDecoder>();
    registry.register_audio_decoder::<codecs::PcmDecoder>();
    registry
}

/// The last page of an Ogg stream carries the end-of-stream flag (RFC 3533 section 6). The demuxer takes its length from the last page it
/// finds, so without this a cut file would pass as a shorter one.
fn must_end(file: &mut File, size: u64) -> Result<(), MediaError> {
    const PAGE_MAX: u64 = 65_307;
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(size.saturating_sub(PAGE_MAX * 2)))?;
    file.by_ref().take(PAGE_MAX * 2).read_to_end(&mut tail)?;
    let last = tail.windows(27).enumerate().rev().find(|(_, header)| header.starts_with(b"OggS\0"));
    let whole = last.is_some_and(|(at, header)| {
        let segments = usize::from(header.get(26).copied().unwrap_or(0));
        let table = tail.get(at + 27..at + 27 + segments).unwrap_or_default();
        let end = at + 27 + segments + table.iter().copied().map(usize::from).sum::<usize>();
        header.get(5).is_some_and(|flags| flags & 4 != 0) && table.len() == segments && end <= tail.len()
    });
    if whole { Ok(()) } else { Err(truncated("the page that ends an Ogg stream is missing").into()) }
}
