//! How loud a rendition really is: decoded by symphonia, measured by EBU R 128.
//!
//! Takes the init section and the segments one after another, which are a file; gives one number for the rule that compares it with what the
//! init section claims.

use std::io::Cursor;

use ebur128::{EbuR128, Mode};
use symphonia::core::{
    codecs::audio::AudioDecoderOptions,
    errors::Error,
    formats::{FormatOptions, TrackType, probe::Hint},
    io::MediaSourceStream,
    meta::MetadataOptions,
};

/// Integrated loudness, LUFS.
///
/// # Errors
/// When the bytes are not audio that can be decoded here.
pub(crate) fn integrated(file: Vec<u8>) -> Result<f64, String> {
    let told = |error: Error| error.to_string();
    let stream = MediaSourceStream::new(Box::new(Cursor::new(file)), Default::default());
    let mut format =
        symphonia::default::get_probe().probe(&Hint::new(), stream, FormatOptions::default(), MetadataOptions::default()).map_err(told)?;
    let track = format.default_track(TrackType::Audio).ok_or("it has no audio track")?;
    let (id, params) = (track.id, track.codec_params.as_ref().and_then(|params| params.audio()).cloned().ok_or("its codec is unknown")?);
    let mut decoder = symphonia::default::get_codecs().make_audio_decoder(&params, &AudioDecoderOptions::default()).map_err(told)?;
    let mut meter: Option<EbuR128> = None;
    let mut samples = Vec::new();
    while let Some(packet) = format.next_packet().map_err(told)? {
        if packet.track_id != id {
            continue;
        }
        let decoded = decoder.decode(&packet).map_err(told)?;
        let channels = u32::try_from(decoded.spec().channels().count()).unwrap_or(0);
        let meter = match &mut meter {
            Some(meter) => meter,
            None => {
                meter.insert(EbuR128::new(channels, decoded.spec().rate(), Mode::I | Mode::HISTOGRAM).map_err(|error| error.to_string())?)
            }
        };
        samples.clear();
        samples.resize(decoded.samples_interleaved(), 0.0_f32);
        decoded.copy_to_slice_interleaved(&mut samples);
        meter.add_frames_f32(&samples).map_err(|error| error.to_string())?;
    }
    meter.ok_or("it is empty")?.loudness_global().map_err(|error| error.to_string())
}
