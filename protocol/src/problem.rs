//! Errors as clients see them: RFC 9457 problem documents with a stable `code`. Edge and origin build the same document here.

use serde::Serialize;

/// One refusal, with what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// Stable and machine-readable, snake_case.
    pub code: &'static str,
    /// What is wrong with this very request, for a person.
    pub detail: String,
    /// Seconds after which trying again makes sense; the `Retry-After` header.
    pub retry_after_s: Option<u32>,
    /// Places in the request body, each with what is wrong there.
    pub errors: Vec<FieldError>,
}

/// What is wrong at one place of a request body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// A JSON Pointer (RFC 6901).
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl Problem {
    /// The media type of the document.
    pub const CONTENT_TYPE: &'static str = "application/problem+json";

    /// A refusal without further fields.
    #[must_use]
    pub fn new(status: u16, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), retry_after_s: None, errors: Vec::new() }
    }

    /// 503: try again after `retry_after_s`.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(503, code, detail) }
    }

    /// The document. `request_id` lets an operator find the request in the logs.
    #[must_use]
    pub fn json(&self, request_id: &str) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: String,
            title: &'static str,
            status: u16,
            detail: &'a str,
            code: &'a str,
            request_id: &'a str,
            #[serde(skip_serializing_if = "<[_]>::is_empty")]
            errors: &'a [FieldError],
        }
        let document = Document {
            r#type: format!("urn:antiphon:problem:{}", self.code),
            title: title(self.status),
            status: self.status,
            detail: &self.detail,
            code: self.code,
            request_id,
            errors: &self.errors,
        };
        serde_json::to_string(&document).unwrap_or_default()
    }
}

/// The reason phrase of RFC 9110 section 15 for the statuses used here.
const fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        422 => "Unprocessable Content",
        429 => "Too Many Requests",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}
