//! The members of a structured-field dictionary (RFC 8941, 3.2), each on its own: a malformed one is passed over and the next is read.
//!
//! The `sfv` crate reads the same grammar and is the oracle of this module's tests. It is not used here because a dictionary fails whole
//! there, as the RFC wants; cutting a text into members first, which is what leniency needs, is already most of the grammar. This reader
//! borrows from the text, allocates nothing, and adds nothing to the Worker.

/// A text with more members than this is not CMCD. It bounds the work: each member looks at most once at all that follows it.
const MEMBERS_MAX: usize = 64;
/// Items of an inner list that are looked at.
const ITEMS_MAX: usize = 16;
/// RFC 8941, 3.3.1: integers have up to 15 digits; 3.3.2: decimals up to 12 before the point and 3 after it.
const INTEGER_DIGITS_MAX: usize = 15;
const DECIMAL_DIGITS_MAX: (usize, usize) = (12, 3);

/// A bare item (RFC 8941, 3.3) of the kinds that CMCD has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bare<'a> {
    /// In thousandths, whole or not.
    Number {
        thousandths: i64,
        whole: bool,
    },
    /// What stands between the quotes, still escaped.
    Text(&'a str),
    Token(&'a str),
    Boolean(bool),
}

impl<'a> Bare<'a> {
    /// A whole number that is not negative; larger than `u32` is as good as the largest.
    pub(super) fn whole(self) -> Option<u32> {
        match self {
            Self::Number { thousandths, whole: true } if thousandths >= 0 => Some(u32::try_from(thousandths / 1000).unwrap_or(u32::MAX)),
            _ => None,
        }
    }

    /// A whole number of either sign; RFC 8941 has up to 15 digits.
    pub(super) fn integer(self) -> Option<i64> {
        match self {
            Self::Number { thousandths, whole: true } => Some(thousandths / 1000),
            _ => None,
        }
    }

    pub(super) fn thousandths(self) -> Option<u32> {
        match self {
            Self::Number { thousandths, .. } => u32::try_from(thousandths).ok(),
            _ => None,
        }
    }

    pub(super) fn token(self) -> Option<&'a str> {
        if let Self::Token(token) = self { Some(token) } else { None }
    }

    pub(super) fn text(self) -> Option<&'a str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn boolean(self) -> Option<bool> {
        if let Self::Boolean(value) = self { Some(value) } else { None }
    }
}

/// An item with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) bare: Bare<'a>,
    parameters: &'a str,
}

impl<'a> Item<'a> {
    /// The last parameter called `name`; one without a value is `?1`.
    pub(super) fn parameter(&self, name: &str) -> Option<Bare<'a>> {
        let mut cursor = Cursor(self.parameters);
        std::iter::from_fn(move || cursor.parameter()).take(ITEMS_MAX).filter(|(key, _)| *key == name).last().map(|(_, bare)| bare)
    }

    fn is_about(&self, object: &str) -> bool {
        self.parameter(object) == Some(Bare::Boolean(true))
    }

    fn is_about_anything(&self) -> bool {
        !["a", "v", "av", "tt", "c", "o"].iter().any(|object| self.is_about(object))
    }
}

/// A key and what it says: one item, or the items of an inner list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub(super) key: &'a str,
    first: Item<'a>,
    /// What stands in the parentheses of an inner list.
    list: Option<&'a str>,
}

impl<'a> Member<'a> {
    pub(super) fn is_list(&self) -> bool {
        self.list.is_some()
    }

    /// The items, first to last.
    pub(super) fn items(&self) -> impl Iterator<Item = Item<'a>> {
        let mut cursor = Cursor(self.list.unwrap_or_default());
        let listed = std::iter::from_fn(move || {
            cursor.skip_spaces();
            cursor.item()
        });
        let single = (!self.is_list()).then_some(self.first);
        single.into_iter().chain(listed.take(ITEMS_MAX))
    }

    /// The value where one is expected: the item, or the first of a list.
    pub(super) fn one(&self) -> Option<Bare<'a>> {
        self.items().next().map(|item| item.bare)
    }

    /// The value that concerns audio (version 2 qualifies values by object type: `br=(5000;v 320;a)`): that of audio, of audio and video
    /// in one, of no type in particular, or else the only thing said.
    pub(super) fn for_audio(&self) -> Option<Bare<'a>> {
        let about = |object| self.items().find(|item| item.is_about(object));
        let best = about("a").or_else(|| about("av")).or_else(|| self.items().find(Item::is_about_anything));
        best.map(|item| item.bare).or_else(|| self.one())
    }
}

/// The well-formed members of a text.
pub(super) struct Members<'a> {
    rest: &'a str,
    left: usize,
}

impl<'a> Members<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { rest: text, left: MEMBERS_MAX }
    }

    /// Cuts the next member off, at the first comma outside strings and lists. Where a string or list never ends, the member is what its
    /// author forgot to close: it ends at the first comma, so that those after it are still read.
    fn cut(&mut self) -> Option<&'a str> {
        if self.rest.is_empty() || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let end = closing_comma(self.rest).or_else(|| self.rest.find(',')).unwrap_or(self.rest.len());
        let (member, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.strip_prefix(',').unwrap_or(rest);
        Some(member)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        while let Some(text) = self.cut() {
            if let Some(member) = Cursor(text.trim_matches([' ', '\t'])).member() {
                return Some(member);
            }
        }
        None
    }
}

/// Where the member at the front of `text` ends: `None` when a string or a list in it does not end.
fn closing_comma(text: &str) -> Option<usize> {
    let (mut in_text, mut in_list, mut escaped) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'(' => in_list = true,
            b')' => in_list = false,
            b',' if !in_list => return Some(at),
            _ => {}
        }
    }
    (!in_text && !in_list).then_some(text.len())
}

/// What is left to read.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a str);

impl<'a> Cursor<'a> {
    fn eat(&mut self, expected: char) -> bool {
        match self.0.strip_prefix(expected) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn skip_spaces(&mut self) {
        self.0 = self.0.trim_start_matches(' ');
    }

    /// The longest beginning of what is left whose characters all `belong`.
    fn take_while(&mut self, belong: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !belong(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        taken
    }

    /// dict-member, with nothing after it.
    fn member(mut self) -> Option<Member<'a>> {
        let key = self.key()?;
        let bare = Bare::Boolean(true);
        let (first, list) = if self.eat('=') {
            if self.0.starts_with('(') { (Item { bare, parameters: "" }, Some(self.list()?)) } else { (self.item()?, None) }
        } else {
            (Item { bare, parameters: self.parameters()? }, None)
        };
        self.0.is_empty().then_some(Member { key, first, list })
    }

    /// key, RFC 8941, 3.1.2
    fn key(&mut self) -> Option<&'a str> {
        let begins = self.0.starts_with(|c: char| c.is_ascii_lowercase() || c == '*');
        begins.then(|| self.take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.' | '*')))
    }

    /// inner-list: what stands in its parentheses, after which its parameters are read past.
    fn list(&mut self) -> Option<&'a str> {
        self.eat('(').then_some(())?;
        let all = self.0;
        loop {
            self.skip_spaces();
            if self.0.starts_with(')') {
                break;
            }
            self.item()?;
            // Items are parted by spaces.
            self.0.starts_with([' ', ')']).then_some(())?;
        }
        let (inside, _) = all.split_at_checked(all.len() - self.0.len())?;
        self.eat(')').then_some(())?;
        self.parameters()?;
        Some(inside)
    }

    /// sf-item
    fn item(&mut self) -> Option<Item<'a>> {
        let bare = self.bare()?;
        Some(Item { bare, parameters: self.parameters()? })
    }

    /// parameters: the text of all of them.
    fn parameters(&mut self) -> Option<&'a str> {
        let all = self.0;
        while self.0.starts_with(';') {
            self.parameter()?;
        }
        Some(all.split_at_checked(all.len() - self.0.len())?.0)
    }

    fn parameter(&mut self) -> Option<(&'a str, Bare<'a>)> {
        self.eat(';').then_some(())?;
        self.skip_spaces();
        let key = self.key()?;
        let bare = if self.eat('=') { self.bare()? } else { Bare::Boolean(true) };
        Some((key, bare))
    }

    /// bare-item; byte sequences and dates occur in no CMCD key.
    fn bare(&mut self) -> Option<Bare<'a>> {
        match self.0.chars().next()? {
            '"' => self.text(),
            '?' => self.boolean(),
            '-' | '0'..='9' => self.number(),
            '*' | 'a'..='z' | 'A'..='Z' => {
                Some(Bare::Token(self.take_while(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~:/".contains(c))))
            }
            _ => None,
        }
    }

    /// sf-string: printable ASCII; a backslash escapes a quote or a backslash, and nothing else.
    fn text(&mut self) -> Option<Bare<'a>> {
        self.eat('"').then_some(())?;
        let all = self.0;
        loop {
            self.take_while(|c| matches!(c, ' '..='~') && c != '"' && c != '\\');
            if self.eat('\\') {
                (self.eat('"') || self.eat('\\')).then_some(())?;
                continue;
            }
            let (inside, _) = all.split_at_checked(all.len() - self.0.len())?;
            return self.eat('"').then_some(Bare::Text(inside));
        }
    }

    fn boolean(&mut self) -> Option<Bare<'a>> {
        self.eat('?').then_some(())?;
        match (self.eat('1'), self.eat('0')) {
            (true, false) => Some(Bare::Boolean(true)),
            (false, true) => Some(Bare::Boolean(false)),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Bare<'a>> {
        let sign = if self.eat('-') { -1 } else { 1 };
        let before = self.take_while(|c| c.is_ascii_digit());
        let whole = !self.eat('.');
        let after = if whole { "" } else { self.take_while(|c| c.is_ascii_digit()) };
        let fits = if whole {
            (1..=INTEGER_DIGITS_MAX).contains(&before.len())
        } else {
            (1..=DECIMAL_DIGITS_MAX.0).contains(&before.len()) && (1..=DECIMAL_DIGITS_MAX.1).contains(&after.len())
        };
        fits.then_some(())?;
        // 15 digits and 3 more fit an i64.
        let digits = |text: &str| text.bytes().fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        let fraction = after.bytes().chain(std::iter::repeat(b'0')).take(3).fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
        Some(Bare::Number { thousandths: sign * (digits(before) * 1000 + fraction), whole })
    }
}
