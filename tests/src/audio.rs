//! Audio in and out: a known signal made by ffmpeg, and ffmpeg as an HLS client that decodes what the edge serves.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;

/// Samples per second of every test signal.
pub const RATE: u32 = 44_100;

/// A signal of `seconds`: two tones that are never silent and never repeat, so that a lost or moved sample shows.
///
/// # Errors
/// When ffmpeg fails.
pub async fn signal(path: &Path, seconds: u32, codec: &[&str]) -> Result<()> {
    let left = format!("0.3*sin(2*PI*(220*t+{}*t*t))", 3);
    let right = "0.3*sin(2*PI*(330*t+2*t*t))";
    let source = format!("aevalsrc={left}|{right}:s={RATE}:d={seconds}");
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-f", "lavfi", "-i", &source])
        .args(codec)
        .args(["-metadata", "title=Signal"])
        .arg(path)
        .output()
        .await
        .context("ffmpeg is needed for the tests")?;
    ensure!(output.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Decodes a file or an HLS URL to interleaved stereo samples at [`RATE`], from the presentation time 0 on.
///
/// The edit list gives an encoder's priming negative times, and a player does not present those. ffmpeg's command line would shift the whole
/// timeline instead, so it is told to keep the times and to cut at 0. What it plays of the last frame's padding stays in.
///
/// # Errors
/// When ffmpeg fails or warns: a warning about timestamps or gaps is a fault of the stream.
pub async fn decode(input: &str) -> Result<Vec<i16>> {
    // Edge and gateway are two hosts in one playlist, and ffmpeg complains when it cannot keep one connection for both.
    let over_http: &[&str] = if input.starts_with("http") { &["-http_persistent", "0"] } else { &[] };
    let output = Command::new("ffmpeg")
        .args(["-v", "warning", "-copyts"])
        .args(over_http)
        .args(["-i", input, "-map", "0:a:0", "-af", "atrim=start=0", "-f", "s16le", "-ac", "2", "-ar", &RATE.to_string(), "-"])
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ffmpeg: {said}");
    let complaints: Vec<_> = said.lines().filter(|line| !line.contains("Estimating duration") && !line.trim().is_empty()).collect();
    ensure!(complaints.is_empty(), "ffmpeg complains about {input}: {complaints:?}");
    Ok(output.stdout.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(i16::from_le_bytes)).collect())
}

/// Frames (a sample of each channel).
#[must_use]
pub fn frames(samples: &[i16]) -> usize {
    samples.len() / 2
}

/// Signal-to-noise ratio of `decoded` against `original`, dB, over the frames both have and without the first and last tenth of a
/// second, where an encoder's window has no neighbour.
#[must_use]
pub fn snr_db(original: &[i16], decoded: &[i16]) -> f64 {
    let edge = RATE as usize / 10 * 2;
    let length = original.len().min(decoded.len()).saturating_sub(edge);
    let pairs = original.iter().zip(decoded).take(length).skip(edge);
    let (mut signal, mut noise) = (0.0, f64::EPSILON);
    for (original, decoded) in pairs {
        let (original, decoded) = (f64::from(*original), f64::from(*decoded));
        signal += original * original;
        noise += (original - decoded) * (original - decoded);
    }
    10.0 * (signal / noise).log10()
}
