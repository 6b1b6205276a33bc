//! The keys of CMCD that are text. They borrow from the request, so they are read apart from [`super::Cmcd`], which is copied about.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{
    TEXT_BYTES_MAX,
    members::{Bare, Item, Member, Members},
};

/// CTA-5004: 64 characters; CTA-5004-A lets `cid` have 128.
const ID_CHARACTERS_MAX: usize = 128;

/// What a player calls things.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strings<'a> {
    /// `nor`, and `nrr` or its `r` parameter.
    pub next_object: Option<NextObject<'a>>,
    /// `cid`: the content.
    pub content: Option<Cow<'a, str>>,
    /// `sid`: the player's session.
    pub session: Option<Cow<'a, str>>,
}

/// What the player will ask for next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextObject<'a> {
    /// Relative to what it asks for now; empty when only a range of the same object is named.
    pub path: Cow<'a, str>,
    /// First and last byte; either may be missing, not both.
    pub range: Option<(Option<u64>, Option<u64>)>,
}

impl<'a> Strings<'a> {
    /// Reads one header's value or the decoded query argument.
    #[must_use]
    pub fn of(text: &'a str) -> Self {
        let mut said = Self::default();
        if text.len() > TEXT_BYTES_MAX {
            return said;
        }
        let mut range = None;
        for member in Members::of(text) {
            match member.key {
                "nor" => said.next_object = next_object(&member).or(said.next_object),
                "nrr" => range = member.one().and_then(Bare::text).and_then(byte_range).or(range),
                "cid" => said.content = id(&member).or(said.content),
                "sid" => said.session = id(&member).or(said.session),
                _ => {}
            }
        }
        // Version 1: `nrr` alone means a range of the object asked for now.
        match (&mut said.next_object, range) {
            (Some(next), Some(range)) => next.range = next.range.or(Some(range)),
            (next @ None, Some(range)) => *next = Some(NextObject { path: Cow::Borrowed(""), range: Some(range) }),
            (_, None) => {}
        }
        said
    }
}

/// Version 1 has one string, percent-encoded; version 2 a list of strings as they are, of which the first comes next.
fn next_object<'a>(member: &Member<'a>) -> Option<NextObject<'a>> {
    let item: Item<'a> = member.items().next()?;
    let text = unescaped(item.bare.text()?);
    let path = if member.is_list() { text } else { percent_decoded(text)? };
    Some(NextObject { path, range: item.parameter("r").and_then(Bare::text).and_then(byte_range) })
}

fn id<'a>(member: &Member<'a>) -> Option<Cow<'a, str>> {
    member.one().and_then(Bare::text).map(unescaped).filter(|text| text.len() <= ID_CHARACTERS_MAX)
}

/// `first-last`, `first-` or `-last`.
fn byte_range(text: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (first, last) = text.split_once('-')?;
    let bound = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
    match (bound(first)?, bound(last)?) {
        (None, None) => None,
        (Some(first), Some(last)) if first > last => None,
        range => Some(range),
    }
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        plain.extend(if c == '\\' { characters.next() } else { Some(c) });
    }
    Cow::Owned(plain)
}

/// `None` for what is no UTF-8.
fn percent_decoded(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(text);
    }
    percent_decode_str(&text).decode_utf8().ok().map(|plain| Cow::Owned(plain.into_owned()))
}
