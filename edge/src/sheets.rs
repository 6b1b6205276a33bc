//! Sheets, which never change: from this isolate, else the colo's cache, else the gateway's shield.

use std::{cell::RefCell, rc::Rc};

use protocol::{MediaVersion, Problem, sheet::Sheet};

use crate::{
    Edge, answer,
    cache::{self, Content},
    origin,
    remembered::Remembered,
};

/// Sheets that an isolate remembers; one is at most a few kilobytes.
const REMEMBERED_MAX: usize = 512;

/// A version and the host through which it was asked for.
type Name = (Rc<str>, MediaVersion);

thread_local! {
    static SHEETS: RefCell<Remembered<Name, Rc<Sheet>>> = RefCell::new(Remembered::of(REMEMBERED_MAX));
}

/// The sheet of a media version.
pub(crate) async fn sheet(edge: &Rc<Edge>, version: MediaVersion) -> Result<Rc<Sheet>, Problem> {
    let name = (Rc::clone(&edge.host), version);
    if let Some(sheet) = SHEETS.with_borrow(|sheets| sheets.get(&name)) {
        return Ok(sheet);
    }
    let key = cache::sheet_key(&edge.host, version);
    let cached = match cache::get(&key).await {
        Some(response) => origin::text_of(&response).await.ok(),
        None => None,
    };
    let (text, is_new) = match cached {
        Some(text) => (text, false),
        None => (origin::sheet(edge, version).await?, true),
    };
    let sheet: Rc<Sheet> = Rc::new(serde_json::from_str(&text).map_err(|error| answer::fault("reading a sheet", &error))?);
    if sheet.version != version {
        return Err(answer::fault("reading a sheet", &"it belongs to another media version"));
    }
    if is_new {
        edge.later(async move {
            let headers = [("content-type", "application/json"), ("cache-control", cache::IMMUTABLE)];
            cache::put(key, &headers, Content::Text(text)).await;
        });
    }
    SHEETS.with_borrow_mut(|sheets| sheets.insert(name, Rc::clone(&sheet)));
    Ok(sheet)
}
