//! Log lines: one JSON object each, on the platform's console. No field ever holds a path, a query or a header of a client, because paths
//! hold media tokens and headers hold sessions.

use serde_json::Value;
use worker::{console_error, console_log, console_warn};

/// Something worth counting or explaining later.
pub(crate) fn info(event: &str, fields: Value) {
    console_log!("{}", line("info", event, fields));
}

/// Something that is degraded.
pub(crate) fn warn(event: &str, fields: Value) {
    console_warn!("{}", line("warn", event, fields));
}

/// Something that failed and should not have.
pub(crate) fn error(event: &str, fields: Value) {
    console_error!("{}", line("error", event, fields));
}

fn line(level: &str, event: &str, fields: Value) -> Value {
    let mut line = serde_json::Map::new();
    line.insert("level".to_owned(), level.into());
    line.insert("event".to_owned(), event.into());
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    Value::Object(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_json_object() {
        let line = line("warn", "feed", serde_json::json!({ "cause": "two\nlines", "status": 503 })).to_string();
        assert!(!line.contains('\n'));
        let read: Value = serde_json::from_str(&line).unwrap_or_default();
        assert_eq!((&read["level"], &read["event"], &read["status"]), (&"warn".into(), &"feed".into(), &503.into()));
    }
}
