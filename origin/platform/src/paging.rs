//! Lists in pieces: `limit` and an opaque `cursor` in, `{"items", "next_cursor"}` out. A cursor is the sort key of the last item
//! that was given, so a page is found by its key and never by counting past what came before.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{Problem, Query};

/// Items of a page when the client does not say.
pub const LIMIT_DEFAULT: u32 = 50;
/// Most items a page can have.
pub const LIMIT_MAX: u32 = 200;

/// Which piece of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paging {
    /// How many items, 1 to [`LIMIT_MAX`].
    pub limit: u32,
    /// Where to go on, as an earlier page said.
    pub cursor: Option<String>,
}

#[derive(Deserialize)]
struct RawPaging {
    limit: Option<u32>,
    cursor: Option<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Paging {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(raw) = Query::<RawPaging>::from_request_parts(parts, state).await?;
        Self::new(raw.limit, raw.cursor)
    }
}

impl Paging {
    /// Checks what the client sent; an empty cursor is the beginning.
    ///
    /// # Errors
    /// 400 `invalid_query` for a limit out of bounds.
    pub fn new(limit: Option<u32>, cursor: Option<String>) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::bad_request("invalid_query", format!("`limit` goes from 1 to {LIMIT_MAX}")));
        }
        Ok(Self { limit, cursor: cursor.filter(|cursor| !cursor.is_empty()) })
    }

    /// The sort key after which the page begins.
    ///
    /// # Errors
    /// 400 `invalid_cursor` for a cursor that is not ours.
    pub fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let key = hex::decode(cursor).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        key.map(Some).ok_or_else(|| Problem::bad_request("invalid_cursor", "`cursor` is not one that this list gave"))
    }

    /// Rows to ask the database for: one more than the page holds, to know whether there is a next one.
    #[must_use]
    pub fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }
}

/// A piece of a list.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where to go on; null at the end.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of `rows` fetched with [`Paging::rows`]; `key` gives the sort key of an item.
    pub fn of<K: Serialize>(mut rows: Vec<T>, paging: &Paging, key: impl Fn(&T) -> K) -> Self {
        let limit = usize::try_from(paging.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|last| cursor(&key(last)));
        Self { items: rows, next_cursor }
    }

    /// A list that is given whole.
    #[must_use]
    pub const fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

impl<T: Serialize> axum::response::IntoResponse for Page<T> {
    fn into_response(self) -> axum::response::Response {
        crate::Json(self).into_response()
    }
}

/// A sort key as an opaque cursor.
pub fn cursor(key: &impl Serialize) -> String {
    hex::encode(serde_json::to_vec(key).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_to_the_item_after_the_last_one_given() {
        let paging = Paging::new(Some(2), None).unwrap();
        assert_eq!(paging.after::<u32>().unwrap(), None);
        let page = Page::of(vec![10, 20, 30], &paging, |item| *item);
        assert_eq!(page.items, [10, 20]);
        let next = Paging::new(Some(2), page.next_cursor).unwrap();
        assert_eq!(next.after::<u32>().unwrap(), Some(20));
        assert!(Page::of(vec![30], &next, |item| *item).next_cursor.is_none());
    }

    #[test]
    fn what_is_not_a_limit_or_a_cursor_of_ours_is_refused() {
        assert!(Paging::new(Some(0), None).is_err());
        assert!(Paging::new(Some(201), None).is_err());
        assert!(Paging::new(None, Some("zz".to_owned())).unwrap().after::<u32>().is_err());
    }
}
