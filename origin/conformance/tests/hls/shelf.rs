//! A shelf of objects behind a real HTTP server, each with its own status, headers and bytes, and ways to break them.
use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header},
    response::Response,
};

/// What is answered at one path.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<&'static str, String>,
    pub(crate) body: Vec<u8>,
    pub(crate) gzip: bool,
}

impl Object {
    fn new(content_type: &str, body: Vec<u8>, gzip: bool) -> Self {
        let headers = BTreeMap::from([("content-type", content_type.to_owned()), ("access-control-allow-origin", "*".to_owned())]);
        Self { status: 200, headers, body, gzip }
    }

    pub(crate) fn playlist(text: &str) -> Self {
        Self::new("application/vnd.apple.mpegurl", text.as_bytes().to_vec(), true)
    }

    pub(crate) fn media(body: Vec<u8>) -> Self {
        Self::new("audio/mp4", body, false)
    }

    pub(crate) fn json(text: &str) -> Self {
        Self::new("application/json", text.as_bytes().to_vec(), false)
    }

    pub(crate) fn redirect(location: &str) -> Self {
        let mut object = Self::new("text/plain", Vec::new(), false);
        object.status = 302;
        object.headers.insert("location", location.to_owned());
        object
    }
}

/// Objects by path. `{base}` in a text becomes the server's address.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf {
    objects: BTreeMap<String, Object>,
    /// A manifest at `/manifest` wants a session, and names `/1/index.m3u8`, then `/2/index.m3u8` and so on; or always the first.
    pub(crate) rotating: bool,
}

impl Shelf {
    pub(crate) fn put(&mut self, path: &str, object: Object) {
        self.objects.insert(path.to_owned(), object);
    }

    pub(crate) fn at(&mut self, path: &str) -> &mut Object {
        self.objects.get_mut(path).unwrap_or_else(|| panic!("nothing at {path}"))
    }

    pub(crate) fn text(&self, path: &str) -> String {
        String::from_utf8(self.objects[path].body.clone()).unwrap()
    }

    /// Replaces a part of a playlist, which must be there.
    pub(crate) fn edit(&mut self, path: &str, from: &str, to: &str) {
        let text = self.text(path);
        assert!(text.contains(from), "`{from}` is not in {path}:\n{text}");
        self.at(path).body = text.replace(from, to).into_bytes();
    }

    /// Writes `bytes` at `offset` behind the first place where `mark` stands.
    pub(crate) fn patch(&mut self, path: &str, mark: &[u8], offset: usize, bytes: &[u8]) {
        let body = &mut self.at(path).body;
        let found = body.windows(mark.len()).position(|window| window == mark).unwrap_or_else(|| panic!("{mark:?} is not in {path}"));
        let start = found + mark.len() + offset;
        assert_ne!(&body[start..start + bytes.len()], bytes, "{path} is not changed");
        body[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Serves until the test's runtime ends; answers with the address.
    pub(crate) async fn serve(self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Served { shelf: self, base: base.clone(), manifests: AtomicU32::new(0) });
        let router = Router::new().fallback(answer).with_state(state);
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        base
    }
}

struct Served {
    shelf: Shelf,
    base: String,
    manifests: AtomicU32,
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
    let path = request.uri().path();
    let session = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if path == "/manifest" {
        if session != "Bearer session" {
            return plain(401);
        }
        let number = if served.shelf.rotating { served.manifests.fetch_add(1, Ordering::Relaxed) + 1 } else { 1 };
        return respond(&Object::json(&format!("{{\"playlist_url\": \"/{number}/index.m3u8\"}}")), &request);
    }
    // A session that travels further than the manifest has leaked.
    if !session.is_empty() {
        return plain(500);
    }
    // A numbered folder stands for the token of a play.
    let path = path.trim_start_matches(|c: char| c == '/' || c.is_ascii_digit());
    let Some(object) = served.shelf.objects.get(&format!("/{path}")) else { return plain(404) };
    let mut object = object.clone();
    if let Some(text) = std::str::from_utf8(&object.body).ok().filter(|text| text.contains("{base}")) {
        object.body = text.replace("{base}", &served.base).into_bytes();
    }
    respond(&object, &request)
}

fn respond(object: &Object, request: &Request) -> Response {
    let mut response = Response::builder().status(object.status);
    for (name, value) in &object.headers {
        response = response.header(*name, value);
    }
    let range = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    if let Some((first, last)) = range {
        let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
        return response.status(StatusCode::PARTIAL_CONTENT).body(Body::from(object.body[first..=last].to_vec())).unwrap();
    }
    if !object.gzip {
        return response.body(Body::from(object.body.clone())).unwrap();
    }
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&object.body).unwrap();
    response.header("content-encoding", "gzip").body(Body::from(packed.finish().unwrap())).unwrap()
}

fn plain(status: u16) -> Response {
    Response::builder().status(status).body(Body::empty()).unwrap()
}
