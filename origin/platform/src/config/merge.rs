//! Putting sources over each other, key by key, against the table of all defaults, which says what keys there are and of what kind.

use toml::{Table, Value};

use super::ConfigError;

/// Refuses a table with a key that is not in `known`.
pub(super) fn known_only(table: &Table, known: &Table, source_name: &str) -> Result<(), ConfigError> {
    let mut paths = Vec::new();
    leaves(table, "", &mut paths);
    match paths.into_iter().find(|path| find(known, path).is_none()) {
        Some(key) => Err(unknown(known, key, source_name)),
        None => Ok(()),
    }
}

/// Sets `key` (`section.key`) in `into`, reading `text` as the kind of value that the default has.
pub(super) fn set(into: &mut Table, known: &Table, key: &str, text: &str, source_name: &str) -> Result<(), ConfigError> {
    let Some(default) = find(known, key).filter(|value| !value.is_table()) else {
        return Err(unknown(known, key.to_owned(), source_name));
    };
    // What cannot be read as the right kind stays text, and is refused with its key's name when the whole is read.
    let value = match default {
        Value::Integer(_) => text.parse().map(Value::Integer).unwrap_or_else(|_| Value::String(text.to_owned())),
        Value::Float(_) => text.parse().map(Value::Float).unwrap_or_else(|_| Value::String(text.to_owned())),
        Value::Boolean(_) => text.parse().map(Value::Boolean).unwrap_or_else(|_| Value::String(text.to_owned())),
        Value::Array(items) => Value::Array(list(items.first(), text)),
        _ => Value::String(text.to_owned()),
    };
    let (sections, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut section = into;
    for part in sections.split('.') {
        // A file may have put something else where a section belongs; what is set wins, and the file's own mistake is told apart.
        let inner = section.entry(part).or_insert_with(|| Value::Table(Table::new()));
        if !inner.is_table() {
            *inner = Value::Table(Table::new());
        }
        let Value::Table(inner) = inner else { return Ok(()) };
        section = inner;
    }
    section.insert(name.to_owned(), value);
    Ok(())
}

/// Items between commas, numbers where the default's are.
fn list(default: Option<&Value>, text: &str) -> Vec<Value> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let number = |item: &str| match default {
        Some(Value::Integer(_)) => item.parse().ok().map(Value::Integer),
        _ => None,
    };
    items.map(|item| number(item).unwrap_or_else(|| Value::String(item.to_owned()))).collect()
}

fn find<'a>(table: &'a Table, path: &str) -> Option<&'a Value> {
    match path.split_once('.') {
        Some((section, rest)) => find(table.get(section)?.as_table()?, rest),
        None => table.get(path),
    }
}

fn unknown(known: &Table, key: String, source_name: &str) -> ConfigError {
    let mut paths = Vec::new();
    leaves(known, "", &mut paths);
    let near = |path: &String| strsim::jaro_winkler(&key, path);
    let meant = paths.into_iter().max_by(|a, b| near(a).total_cmp(&near(b))).filter(|path| near(path) > 0.8);
    ConfigError::Unknown { source_name: source_name.to_owned(), key, meant }
}

/// Every `section.key` of a table; an empty section counts as its own name.
fn leaves(table: &Table, prefix: &str, into: &mut Vec<String>) {
    for (name, value) in table {
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) if !inner.is_empty() => leaves(inner, &path, into),
            _ => into.push(path),
        }
    }
}
