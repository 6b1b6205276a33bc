//! `platform.js`: what the Worker asks of the platform for every request, each in one crossing into JavaScript. A crossing costs more than what most
//! calls do, and so do the objects that calls one by one would make on the other side.

use wasm_bindgen::{JsValue, prelude::wasm_bindgen};
use worker::{
    js_sys::{Array, Promise},
    web_sys::{Headers, Request, Response},
};

#[wasm_bindgen(module = "/src/platform.js")]
extern "C" {
    /// Method, URL, and the headers of `names`, a line each.
    pub(crate) fn told(request: &Request, names: &Array) -> String;
    /// The headers of `names`, each after the end of a line.
    pub(crate) fn values(request: &Request, names: &Array) -> String;
    /// Country, accepted codings, round trip by TCP and by QUIC, delivery rate, each after the end of a line.
    pub(crate) fn measured(request: &Request) -> String;
    /// A response with the headers of `like` and those of `fields`.
    #[wasm_bindgen(catch)]
    pub(crate) fn respond(status: u16, like: &Headers, fields: &str, body: &JsValue) -> Result<Response, JsValue>;
    /// The cached entry under `key` as `respond` would answer it, else what `otherwise` makes of the other three.
    pub(crate) fn cached(
        key: &str,
        like: &Headers,
        fields: &str,
        otherwise: &JsValue,
        request: &Request,
        env: &JsValue,
        context: &JsValue,
    ) -> Promise;
    /// How often `cached` found an entry since the last call, and their milliseconds.
    pub(crate) fn taken() -> Vec<f64>;
}

/// `names` for [`told`] and [`values`], to be made once.
pub(crate) fn names(names: &[&str]) -> Array {
    names.iter().map(|name| JsValue::from_str(name)).collect()
}
