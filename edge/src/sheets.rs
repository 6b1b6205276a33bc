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
    if let Some(sheet) = at_hand(edge, version).await {
        return Ok(sheet);
    }
    let text = origin::sheet(edge, version).await?;
    let sheet = read(edge, version, &text)?;
    let key = cache::sheet_key(&edge.host, version);
    edge.later(async move {
        let headers = [("content-type", "application/json"), ("cache-control", cache::IMMUTABLE)];
        cache::put(key, &headers, Content::Text(text)).await;
    });
    Ok(sheet)
}

/// The sheet of a media version, when this isolate remembers it.
pub(crate) fn remembered(host: &Rc<str>, version: MediaVersion) -> Option<Rc<Sheet>> {
    SHEETS.with_borrow(|sheets| sheets.get(&(Rc::clone(host), version)))
}

/// The sheet of a media version, unless only the origin has it.
pub(crate) async fn at_hand(edge: &Rc<Edge>, version: MediaVersion) -> Option<Rc<Sheet>> {
    if let Some(sheet) = remembered(&edge.host, version) {
        return Some(sheet);
    }
    let cached = cache::get(&cache::sheet_key(&edge.host, version)).await?;
    read(edge, version, &origin::text_of(&cached).await.ok()?).ok()
}

fn read(edge: &Rc<Edge>, version: MediaVersion, text: &str) -> Result<Rc<Sheet>, Problem> {
    let sheet: Rc<Sheet> = Rc::new(serde_json::from_str(text).map_err(|error| answer::fault("reading a sheet", &error))?);
    if sheet.version != version {
        return Err(answer::fault("reading a sheet", &"it belongs to another media version"));
    }
    SHEETS.with_borrow_mut(|sheets| sheets.insert((Rc::clone(&edge.host), version), Rc::clone(&sheet)));
    Ok(sheet)
}
