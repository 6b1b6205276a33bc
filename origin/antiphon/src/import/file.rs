//! Audio files on disk: found below folders, digested, and described by their tags.
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lofty::{
    file::TaggedFileExt,
    tag::{Accessor, ItemKey},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::report::Line;

/// Endings that are taken, with the media type of each. What is in the file is for ingest to judge.
pub(super) const ENDINGS: &[(&str, &str)] = &[
    ("flac", "audio/flac"),
    ("wav", "audio/wav"),
    ("aif", "audio/aiff"),
    ("aiff", "audio/aiff"),
    ("mp3", "audio/mpeg"),
    ("m4a", "audio/mp4"),
    ("aac", "audio/aac"),
    ("ogg", "audio/ogg"),
    ("oga", "audio/ogg"),
];
const READ_BYTES: usize = 256 * 1024;
/// The longest title or name sent; a tag can hold anything.
const TEXT_CHARS_MAX: usize = 200;

/// One file, read once.
pub(super) struct AudioFile {
    /// Hex digest of the bytes.
    pub(super) sha256: String,
    size_bytes: u64,
    file_name: String,
    content_type: &'static str,
    tags: Tags,
}

/// What the file says about itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tags {
    title: Option<String>,
    artist: Option<String>,
    album: Option<String>,
    genre: Option<String>,
    isrc: Option<String>,
}

/// Every audio file among the paths and below them, each folder in the order of its names. A file that is named itself is
/// taken whatever its ending.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let metadata = path.metadata().with_context(|| format!("{} cannot be read", path.display()))?;
        if metadata.is_dir() {
            walk(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut entries = entries.collect::<Result<Vec<_>, _>>().with_context(|| format!("{} cannot be read", folder.display()))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        // Not followed when a link, so that a circle of links ends.
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), files)?;
        } else if content_type(&entry.path()).is_some() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn content_type(path: &Path) -> Option<&'static str> {
    let ending = path.extension()?.to_str()?.to_lowercase();
    ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, content_type)| *content_type)
}

impl AudioFile {
    /// Digests the bytes and reads the tags.
    pub(super) async fn read(path: &Path) -> Result<Self> {
        let mut file = tokio::fs::File::open(path).await.context("cannot be opened")?;
        let (mut digest, mut size_bytes, mut buffer) = (Sha256::new(), 0_u64, vec![0; READ_BYTES]);
        loop {
            let read = file.read(&mut buffer).await.context("cannot be read")?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            digest.update(bytes);
            size_bytes += read as u64;
        }
        let tagged = path.to_path_buf();
        // A file without readable tags may still be music: it is named for itself.
        let tags = tokio::task::spawn_blocking(move || Tags::read(&tagged).unwrap_or_default()).await?;
        let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).context("has no name")?;
        Ok(Self {
            sha256: hex::encode(digest.finalize()),
            size_bytes,
            file_name,
            content_type: content_type(path).unwrap_or("application/octet-stream"),
            tags,
        })
    }

    /// The body of `POST /v1/ingest/upload`.
    pub(super) fn upload_request(&self) -> Value {
        let title = self.tags.title.clone().unwrap_or_else(|| title_from(&self.file_name));
        let mut request = Map::new();
        request.insert("title".to_owned(), json!(title));
        for (name, tag) in
            [("artist", &self.tags.artist), ("album", &self.tags.album), ("genre", &self.tags.genre), ("isrc", &self.tags.isrc)]
        {
            if let Some(tag) = tag {
                request.insert(name.to_owned(), json!(tag));
            }
        }
        request.insert("file_name".to_owned(), json!(self.file_name));
        request.insert("content_type".to_owned(), json!(self.content_type));
        request.insert("size_bytes".to_owned(), json!(self.size_bytes));
        request.insert("sha256".to_owned(), json!(self.sha256));
        Value::Object(request)
    }

    /// The bytes, streamed from disk.
    pub(super) async fn body(&self, path: &Path, line: &Line) -> Result<reqwest::Body> {
        let file = tokio::fs::File::open(path).await.context("cannot be opened")?;
        let (line, size_bytes) = (line.clone(), self.size_bytes);
        let mut sent = 0_u64;
        let stream = futures::StreamExt::inspect(ReaderStream::with_capacity(file, READ_BYTES), move |chunk| {
            sent += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
            line.uploaded(sent, size_bytes);
        });
        Ok(reqwest::Body::wrap_stream(stream))
    }
}

impl Tags {
    fn read(path: &Path) -> Option<Self> {
        let file = lofty::probe::Probe::open(path).ok()?.guess_file_type().ok()?.read().ok()?;
        let tag = file.primary_tag().or_else(|| file.first_tag())?;
        let text = |value: Option<std::borrow::Cow<'_, str>>| value.and_then(|text| tidy(&text));
        Some(Self {
            title: text(tag.title()),
            artist: text(tag.artist()),
            album: text(tag.album()),
            genre: text(tag.genre()),
            isrc: tag.get_string(ItemKey::Isrc).and_then(isrc),
        })
    }
}

/// A tag as it may be sent: no control characters, no empty text, not endless.
fn tidy(text: &str) -> Option<String> {
    let words: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect();
    let words = words.trim();
    (!words.is_empty()).then(|| words.to_owned())
}

/// ISO 3901, as it is written without hyphens: two letters, three letters or digits, seven digits. A tag of another form
/// is left out instead of having the file refused for it.
fn isrc(tag: &str) -> Option<String> {
    let code: String = tag.chars().filter(|c| !matches!(c, '-' | ' ')).collect::<String>().to_uppercase();
    let fits = code.len() == 12
        && code.char_indices().all(|(at, c)| match at {
            0..2 => c.is_ascii_uppercase(),
            2..5 => c.is_ascii_uppercase() || c.is_ascii_digit(),
            _ => c.is_ascii_digit(),
        });
    fits.then_some(code)
}

/// `01 - the_deep_path.ogg` as `the deep path`.
fn title_from(file_name: &str) -> String {
    let stem = Path::new(file_name).file_stem().map(|stem| stem.to_string_lossy().replace('_', " ")).unwrap_or_default();
    let bare = stem.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ' ' | '.' | '-'));
    tidy(if bare.is_empty() { &stem } else { bare }).unwrap_or_else(|| "Untitled".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_tags_is_named_for_itself() {
        assert_eq!(title_from("01 - the_deep_path.ogg"), "the deep path");
        assert_eq!(title_from("1979.flac"), "1979");
        assert_eq!(title_from("07.ogg"), "07");
    }

    #[test]
    fn a_tag_that_would_have_the_file_refused_is_left_out() {
        assert_eq!(isrc("de-abc-12-34567").as_deref(), Some("DEABC1234567"));
        assert_eq!(isrc("unknown"), None);
        assert_eq!(tidy(" A\u{0}B\n"), Some("A B".to_owned()));
        assert_eq!(tidy(" \n"), None);
    }

    #[test]
    fn folders_are_walked_in_order_and_other_files_left_alone() -> Result<()> {
        let root = std::env::temp_dir().join(format!("antiphon-walk-{}", std::process::id()));
        std::fs::create_dir_all(root.join("b"))?;
        for name in ["b/2.FLAC", "b/1.mp3", "a.ogg", "cover.jpg"] {
            std::fs::write(root.join(name), "")?;
        }
        let found = find(std::slice::from_ref(&root))?;
        let names: Vec<_> = found.iter().filter_map(|path| path.strip_prefix(&root).ok()?.to_str()).collect();
        assert_eq!(names, ["a.ogg", "b/1.mp3", "b/2.FLAC"]);
        assert_eq!(find(&[root.join("cover.jpg")])?.len(), 1, "what is named is taken");
        std::fs::remove_dir_all(root)?;
        Ok(())
    }
}
