//! One object on its way through the shield: bytes are appended by the one who fills it and read, from the start and at their own
//! speed, by everyone who asked meanwhile. Finished, it is what the memory tier holds.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

use super::ShieldError;

/// Bytes that are there, and whether more will come.
pub(crate) struct Object {
    parts: Mutex<Parts>,
    /// Told after each change.
    changed: watch::Sender<()>,
}

/// Where an object came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Disk,
    Store,
}

#[derive(Default)]
struct Parts {
    source: Option<Source>,
    chunks: Vec<Bytes>,
    bytes: u64,
    end: Option<Result<(), ShieldError>>,
}

impl Object {
    pub(crate) fn empty() -> Self {
        Self { parts: Mutex::default(), changed: watch::Sender::new(()) }
    }

    pub(crate) fn failed(error: ShieldError) -> Self {
        let object = Self::empty();
        object.end(Err(error));
        object
    }

    pub(crate) fn append(&self, source: Source, chunk: Bytes) {
        self.change(|parts| {
            parts.source = Some(source);
            parts.bytes += chunk.len() as u64;
            parts.chunks.push(chunk);
        });
    }

    /// No more bytes. The first end holds. A good end also joins the chunks, each of which may have kept a larger network buffer alive.
    pub(crate) fn end(&self, end: Result<(), ShieldError>) {
        self.change(|parts| {
            if parts.end.is_none() {
                parts.end = Some(end);
                parts.join();
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        change(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.send_replace(());
    }

    /// Bytes so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }

    /// Whether no more bytes will come.
    pub(crate) fn has_ended(&self) -> bool {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).end.is_some()
    }

    /// The whole, once it has ended well.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(parts.end, Some(Ok(()))).then(|| parts.chunks.first().cloned().unwrap_or_default())
    }
}

impl Parts {
    fn join(&mut self) {
        if self.chunks.len() > 1 {
            let mut joined = BytesMut::with_capacity(usize::try_from(self.bytes).unwrap_or_default());
            self.chunks.iter().for_each(|chunk| joined.extend_from_slice(chunk));
            self.chunks = vec![joined.freeze()];
        }
    }

    /// The bytes from `at` to the end of the chunk that holds it.
    fn from(&self, at: u64) -> Option<Bytes> {
        let mut start = 0;
        for chunk in &self.chunks {
            let end = start + chunk.len() as u64;
            if at < end {
                return usize::try_from(at - start).ok().map(|skip| chunk.slice(skip..));
            }
            start = end;
        }
        None
    }
}

/// How a reader came to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was in memory.
    Memory,
    /// Another reader had begun to fetch it.
    Joined,
    /// This reader began to fetch it.
    Fetched,
}

/// Reads one object, or a range of it.
pub(crate) struct Reader {
    object: Arc<Object>,
    taken: Taken,
    changed: watch::Receiver<()>,
    at: u64,
    end: u64,
}

impl Reader {
    pub(crate) fn new(object: Arc<Object>, taken: Taken) -> Self {
        let changed = object.changed.subscribe();
        Self { object, taken, changed, at: 0, end: u64::MAX }
    }

    /// What became of the read, once begun, for the `Cache-Status` header (RFC 9211).
    pub(crate) fn cache_status(&self) -> &'static str {
        let source = self.object.parts.lock().unwrap_or_else(PoisonError::into_inner).source;
        match (self.taken, source) {
            (Taken::Memory, _) => "antiphon-shield; hit; detail=memory",
            (_, Some(Source::Disk)) => "antiphon-shield; hit; detail=disk",
            (Taken::Joined, _) => "antiphon-shield; fwd=miss; stored; collapsed",
            (Taken::Fetched, _) => "antiphon-shield; fwd=miss; stored",
        }
    }

    /// Reads only `[from, to)`.
    pub(crate) fn within(mut self, from: u64, to: u64) -> Self {
        (self.at, self.end) = (from, to);
        self
    }

    /// Waits until there is a first byte or a reason why there is none: from then on an answer's status is known.
    pub(crate) async fn begun(&mut self) -> Result<(), ShieldError> {
        self.poll(|parts| match &parts.end {
            _ if parts.bytes > 0 => Some(Ok(())),
            Some(end) => Some(end.clone()),
            None => None,
        })
        .await
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ShieldError> {
        let (at, end) = (self.at, self.end);
        if at >= end {
            return Ok(None);
        }
        let chunk = self
            .poll(|parts| match (parts.from(at), &parts.end) {
                (Some(chunk), _) => Some(Ok(Some(chunk))),
                (None, Some(end)) => Some(end.clone().map(|()| None)),
                (None, None) => None,
            })
            .await?;
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX);
        let chunk = chunk.map(|chunk| if chunk.len() > wanted { chunk.slice(..wanted) } else { chunk });
        self.at += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        Ok(chunk)
    }

    /// All of a small object.
    pub(crate) async fn whole(mut self) -> Result<Bytes, ShieldError> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.next().await? {
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    async fn poll<T>(&mut self, look: impl Fn(&Parts) -> Option<Result<T, ShieldError>>) -> Result<T, ShieldError> {
        loop {
            // Marked as seen before looking, so that a change in between is not missed.
            self.changed.borrow_and_update();
            if let Some(found) = look(&self.object.parts.lock().unwrap_or_else(PoisonError::into_inner)) {
                return found;
            }
            // The sender is in the object, which this reader holds: it cannot be gone.
            self.changed.changed().await.map_err(|_| ShieldError::Unavailable)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_that_come_early_late_and_for_a_part_all_get_their_bytes() {
        let object = Arc::new(Object::empty());
        let early = tokio::spawn(Reader::new(object.clone(), Taken::Joined).whole());
        let part = tokio::spawn(Reader::new(object.clone(), Taken::Joined).within(2, 5).whole());
        object.append(Source::Store, Bytes::from_static(b"abc"));
        tokio::task::yield_now().await;
        let mut between = Reader::new(object.clone(), Taken::Joined);
        between.begun().await.unwrap();
        assert_eq!(between.next().await.unwrap().unwrap(), "abc");
        object.append(Source::Store, Bytes::from_static(b"def"));
        object.end(Ok(()));
        assert_eq!(between.whole().await.unwrap(), "def");
        assert_eq!(early.await.unwrap().unwrap(), "abcdef");
        assert_eq!(part.await.unwrap().unwrap(), "cde");
        assert_eq!(Reader::new(object.clone(), Taken::Joined).whole().await.unwrap(), "abcdef");
        assert_eq!(object.whole().unwrap(), "abcdef");
    }

    #[tokio::test]
    async fn a_failure_is_told_before_the_first_byte_and_after_it() {
        let object = Arc::new(Object::failed(ShieldError::NotFound));
        assert_eq!(Reader::new(object, Taken::Joined).begun().await, Err(ShieldError::NotFound));
        let object = Arc::new(Object::empty());
        object.append(Source::Store, Bytes::from_static(b"abc"));
        object.end(Err(ShieldError::Unavailable));
        object.end(Ok(()));
        let mut reader = Reader::new(object.clone(), Taken::Joined);
        assert_eq!(reader.begun().await, Ok(()));
        assert_eq!(reader.next().await.unwrap().unwrap(), "abc");
        assert_eq!(reader.next().await, Err(ShieldError::Unavailable));
        assert_eq!(object.whole(), None);
    }
}
