//! A request as it came. What most requests are asked for crosses from JavaScript once, the rest when somebody looks.

use worker::{
    FromRequest, Method,
    js_sys::Reflect,
    wasm_bindgen::JsValue,
    web_sys::{self, Headers},
};

use crate::route;

/// Methods that any address here may answer.
pub(crate) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The request.
pub(crate) struct Asked {
    raw: web_sys::Request,
    headers: Headers,
    url: String,
    /// `None` for a method that nothing here answers. (The crate's own `Method` would take it for a GET.)
    pub(crate) method: Option<Method>,
}

impl FromRequest for Asked {
    fn from_raw(raw: web_sys::Request) -> Result<Self, impl Into<Box<dyn std::error::Error>>> {
        let method = raw.method();
        let method = METHODS.contains(&method.as_str()).then(|| Method::from(method));
        Ok::<_, worker::Error>(Self { headers: raw.headers(), url: raw.url(), method, raw })
    }
}

impl Asked {
    /// The path, as the platform has normalised it: dot segments are gone, percent-encoding is not.
    pub(crate) fn path(&self) -> &str {
        route::path_and_query(&self.url).0
    }

    /// The query string, undecoded.
    pub(crate) fn query(&self) -> Option<&str> {
        route::path_and_query(&self.url).1
    }

    /// `host[:port]`, lower-case, a default port left out: the URL parser's canonical form.
    pub(crate) fn host(&self) -> &str {
        route::host(&self.url)
    }

    /// Whether it asks for an answer's head alone.
    pub(crate) fn is_head(&self) -> bool {
        self.method == Some(Method::Head)
    }

    /// Whether it only reads.
    pub(crate) fn reads(&self) -> bool {
        matches!(self.method, Some(Method::Get | Method::Head))
    }

    /// A header's value; a value that is not text counts as absent.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).ok().flatten()
    }

    /// A copy of its headers, to change.
    pub(crate) fn copied_headers(&self) -> worker::Result<worker::Headers> {
        Headers::new_with_headers(&self.headers).map(worker::Headers).map_err(worker::Error::from)
    }

    /// What the platform says about the connection (`request.cf`).
    pub(crate) fn platform(&self, property: &str) -> Option<JsValue> {
        let cf = Reflect::get(&self.raw, &"cf".into()).ok()?;
        Reflect::get(&cf, &property.into()).ok()
    }

    /// The request itself, for its body.
    pub(crate) fn raw(&self) -> &web_sys::Request {
        &self.raw
    }
}
