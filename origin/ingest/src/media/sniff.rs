//! What a file is, from its own first bytes. Names and declared content types come from the client and are not asked.
//!
//! Reads the raw object's head; its answer picks the one demuxer that `decode` may use, so that no file is ever offered to a parser
//! of another format.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use super::reject::{RejectCode, Rejection};

/// A container this service accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    /// Native FLAC.
    Flac,
    /// MPEG audio frames: MP3.
    Mpeg,
    /// AAC in ADTS frames.
    Adts,
    /// Ogg: Vorbis or FLAC.
    Ogg,
    /// RIFF WAVE.
    Wav,
    /// ISO base media: M4A, MP4.
    Mp4,
}

/// What may be sent, for refusals.
pub(crate) const ACCEPTED: &str = "send FLAC, WAV, MP3, Ogg Vorbis or AAC (M4A)";

/// Bytes examined after any ID3 tag.
const WINDOW: u64 = 64 * 1024;
/// Junk tolerated before the first MPEG frame: some taggers leave padding.
const MPEG_JUNK: usize = 8 * 1024;

/// The container of `file`.
///
/// # Errors
/// A refusal when it is none that is accepted; an I/O error of the disk.
pub(crate) fn sniff(file: &mut File) -> std::io::Result<Result<Container, Rejection>> {
    let audio_at = skip_id3(file)?;
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(audio_at))?;
    file.by_ref().take(WINDOW).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    Ok(name(&head))
}

/// Where the audio begins: behind ID3v2 tags (id3.org, "ID3v2 header"), at most four of them.
fn skip_id3(file: &mut File) -> std::io::Result<u64> {
    let mut at = 0;
    for _ in 0..4 {
        let mut header = [0; 10];
        file.seek(SeekFrom::Start(at))?;
        if file.read_exact(&mut header).is_err() {
            return Ok(at);
        }
        let [b'I', b'D', b'3', _, _, flags, a, b, c, d] = header else { return Ok(at) };
        let size = [a, b, c, d].iter().fold(0, |size, byte| (size << 7) | u64::from(byte & 0x7f));
        at += 10 + size + if flags & 0x10 != 0 { 10 } else { 0 };
    }
    Ok(at)
}

fn name(head: &[u8]) -> Result<Container, Rejection> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if head.is_empty() {
        return Err(Rejection::new(RejectCode::NotAudio, format!("the file holds tags but no sound: {ACCEPTED}")));
    }
    if at(0, b"fLaC") {
        return Ok(Container::Flac);
    }
    if at(0, b"OggS") {
        return Ok(Container::Ogg);
    }
    if (at(0, b"RIFF") || at(0, b"RIFX")) && at(8, b"WAVE") {
        return Ok(Container::Wav);
    }
    if at(4, b"ftyp") {
        return Ok(Container::Mp4);
    }
    if let Some(kind) = playlist(head) {
        let detail =
            format!("the file is a playlist ({kind}): a list of addresses, not the music itself. Upload the audio file it points to");
        return Err(Rejection::new(RejectCode::PlaylistNotAudio, detail));
    }
    if let Some(format) = other_audio(head) {
        return Err(Rejection::new(RejectCode::UnsupportedCodec, format!("{format} is not accepted: {ACCEPTED}")));
    }
    mpeg(head).ok_or_else(|| Rejection::new(RejectCode::NotAudio, format!("no audio was found in the file: {ACCEPTED}")))
}

/// Text formats that name media elsewhere. A demuxer that followed them would fetch what an uploader chose (SSRF).
fn playlist(head: &[u8]) -> Option<&'static str> {
    let head = head.get(..head.len().min(1024))?;
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let table = [
        ("#extm3u", "M3U"),
        ("#ext-x-", "M3U"),
        ("#extinf", "M3U"),
        ("[playlist]", "PLS"),
        ("ffconcat version", "concat"),
        ("<asx", "ASX"),
        ("http://", "list of URLs"),
        ("https://", "list of URLs"),
    ];
    let by_prefix = table.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, kind)| *kind);
    by_prefix.or_else(|| text.starts_with("<?xml").then(|| ["xspf", "<mpd"].into_iter().find(|tag| text.contains(tag))).flatten())
}

fn other_audio(head: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let table: [(&[u8], &str); 10] = [
        (b"caff", "CAF"),
        (&[0x1a, 0x45, 0xdf, 0xa3], "Matroska or WebM"),
        (&[0x30, 0x26, 0xb2, 0x75], "Windows Media"),
        (b"MAC ", "Monkey's Audio"),
        (b"wvpk", "WavPack"),
        (b"TTA1", "True Audio"),
        (b"MThd", "MIDI"),
        (b"RF64", "RF64"),
        (b".snd", "AU"),
        (b"DSD ", "DSD"),
    ];
    let aiff = at(0, b"FORM") && (at(8, b"AIFF") || at(8, b"AIFC"));
    if aiff { Some("AIFF") } else { table.iter().find(|(magic, _)| at(0, magic)).map(|(_, name)| *name) }
}

/// MPEG frames have a weak signature (11 bits), so two consecutive headers that agree are asked for.
fn mpeg(head: &[u8]) -> Option<Container> {
    (0..head.len().min(MPEG_JUNK)).find_map(|start| {
        let rest = head.get(start..)?;
        let (container, length) = frame(rest)?;
        // The frame after it must look the same; a stream of one frame is not a track.
        let (next, _) = frame(rest.get(length..)?)?;
        (next == container).then_some(container)
    })
}

/// The kind and length of the frame at the start of `bytes` (ISO/IEC 11172-3 2.4.1.3, 13818-3, and ADTS of 13818-7).
fn frame(bytes: &[u8]) -> Option<(Container, usize)> {
    const MPEG1_LAYER3: [u32; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
    const MPEG2_LAYER3: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let [0xff, second, third, fourth, fifth, sixth, ..] = *bytes else { return None };
    if second & 0xf6 == 0xf0 {
        let length = usize::from(fourth & 3) << 11 | usize::from(fifth) << 3 | usize::from(sixth >> 5);
        return (third >> 2 & 0xf < 13 && length > 7).then_some((Container::Adts, length));
    }
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    if second & 0xe0 != 0xe0 || version == 1 || layer == 0 || third >> 2 & 3 == 3 {
        return None;
    }
    if layer != 1 {
        // Layers I and II: told apart by the decoder, which says so; here it is enough that it is MPEG audio.
        return None;
    }
    let rate_index = usize::from(third >> 2 & 3);
    let rates: [u32; 3] = match version {
        3 => [44_100, 48_000, 32_000],
        2 => [22_050, 24_000, 16_000],
        _ => [11_025, 12_000, 8_000],
    };
    let kbps = *(if version == 3 { MPEG1_LAYER3 } else { MPEG2_LAYER3 }).get(usize::from(third >> 4))?;
    if kbps == 0 {
        return None;
    }
    let samples_per_8_bits = if version == 3 { 144 } else { 72 };
    let length = samples_per_8_bits * kbps * 1000 / rates.get(rate_index)? + u32::from(third >> 1 & 1);
    Some((Container::Mpeg, usize::try_from(length).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(head: &[u8]) -> RejectCode {
        name(head).unwrap_err().code
    }

    #[test]
    fn text_archives_and_pictures_are_not_audio() {
        assert_eq!(refusal(b"Dear listener, this is not a song at all."), RejectCode::NotAudio);
        assert_eq!(refusal(b"PK\x03\x04aaaaaaaaaaaaaaaaaaaaaaaaaaaa"), RejectCode::NotAudio);
        assert_eq!(refusal(b"\x89PNG\r\n\x1a\naaaaaaaaaaaaaaaaa"), RejectCode::NotAudio);
        assert_eq!(refusal(&[0xff; 4096]), RejectCode::NotAudio);
    }

    #[test]
    fn a_playlist_is_named_as_one() {
        let lists =
            ["#EXTM3U\n#EXTINF:10,\nhttp://169.254.169.254/a.ts\n", "\u{feff}  [playlist]\nFile1=x", "ffconcat version 1.0\nfile x"];
        for list in lists {
            assert_eq!(refusal(list.as_bytes()), RejectCode::PlaylistNotAudio);
        }
        assert_eq!(refusal(b"<?xml version='1.0'?><playlist xmlns='http://xspf.org/ns/0/'>"), RejectCode::PlaylistNotAudio);
    }

    #[test]
    fn audio_in_another_format_is_told_what_to_send() {
        assert_eq!(refusal(b"FORM\0\0\0\0AIFFCOMM"), RejectCode::UnsupportedCodec);
        assert_eq!(refusal(&[0x1a, 0x45, 0xdf, 0xa3, 0, 0]), RejectCode::UnsupportedCodec);
    }
}
