//! The order of answers, a pure rule: the whole name, then all words, then beginnings, then slips of the finger; among equals what is listened
//! to most. The index only proposes; this decides, and says what matched where.

use std::cmp::Reverse;

use crate::{
    entry::Entry,
    fold::{self, Word},
};

/// Words of a query that count.
const WORDS_MAX: usize = 10;

/// What is looked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) words: Vec<String>,
    pub(crate) joined: String,
}

impl Wanted {
    /// `None` when there is nothing to look for.
    pub(crate) fn from(text: &str) -> Option<Self> {
        let mut words = fold::words(text);
        words.truncate(WORDS_MAX);
        let joined = fold::joined(&words);
        (!joined.is_empty()).then(|| Self { words: words.into_iter().map(|word| word.text).collect(), joined })
    }

    /// The words, each with whether more letters may follow: the last one is still being typed.
    pub(crate) fn open_words(&self) -> impl Iterator<Item = (&str, bool)> {
        let last = self.words.len().saturating_sub(1);
        self.words.iter().enumerate().map(move |(n, word)| (word.as_str(), n == last))
    }
}

/// Slips forgiven in a word: none in a short one, where a slip makes another word.
pub(crate) fn typos_allowed(word: &str) -> usize {
    match word.chars().count() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    }
}

/// How well an entry answers. Smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    class: Class,
    typos: usize,
    /// Title 0, artist 1, album 2, summed over the words.
    fields: usize,
    listens: Reverse<u64>,
    letters: usize,
    newest: Reverse<uuid::Uuid>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Whole,
    Words,
    Beginning,
    Typo,
}

impl Rank {
    /// The rank as a number from 0 to 1, for clients that like to see one.
    pub(crate) fn score(&self) -> f64 {
        let class = match self.class {
            Class::Whole => 1.0,
            Class::Words => 0.9,
            Class::Beginning => 0.7,
            Class::Typo => 0.5,
        };
        let small = |count: usize| u32::try_from(count.min(9)).map_or(0.0, f64::from);
        let score = class - 0.1 * small(self.typos.saturating_sub(1)).min(4.0) - 0.01 * small(self.fields);
        (score * 1000.0).round() / 1000.0
    }
}

/// Where the query matched, `[from, to)` in UTF-16 code units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Matches {
    pub(crate) title: Vec<(usize, usize)>,
    pub(crate) artist: Vec<(usize, usize)>,
    pub(crate) album: Vec<(usize, usize)>,
}

/// How one word of the query is met by one word of an entry; smaller is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Met {
    Exactly,
    AsBeginning,
    WithTypos(usize),
}

/// Ranks an entry, or says that it is no answer.
pub(crate) fn rank(wanted: &Wanted, entry: &Entry, listens: u64) -> Option<(Rank, Matches)> {
    let title = fold::words(&entry.title);
    let artist = entry.artist.as_ref().map(|artist| fold::words(&artist.name)).unwrap_or_default();
    let album = entry.album.as_deref().map(fold::words).unwrap_or_default();
    let title_joined = fold::joined(&title);
    let rank = |class, typos, fields| Rank {
        class,
        typos,
        fields,
        listens: Reverse(listens),
        letters: title_joined.chars().count(),
        newest: Reverse(entry.id),
    };

    let by_words = by_words(wanted, [&title, &artist, &album]);
    if title_joined == wanted.joined {
        let matches = by_words.map(|(.., matches)| matches).unwrap_or_else(|| whole(&title));
        return Some((rank(Class::Whole, 0, 0), matches));
    }
    if let Some((worst, typos, fields, matches)) = by_words {
        let class = match worst {
            Met::Exactly => Class::Words,
            Met::AsBeginning => Class::Beginning,
            Met::WithTypos(_) => Class::Typo,
        };
        return Some((rank(class, typos, fields), matches));
    }
    // Spaces set otherwise than they are written: "acdc", "back inblack".
    match met(&wanted.joined, true, &title_joined)? {
        Met::Exactly | Met::AsBeginning => Some((rank(Class::Beginning, 0, 0), whole(&title))),
        Met::WithTypos(typos) => Some((rank(Class::Typo, typos, 0), whole(&title))),
    }
}

/// Every word of the query met somewhere, or `None`. Gives the worst meeting, all typos, and where.
fn by_words(wanted: &Wanted, fields: [&[Word]; 3]) -> Option<(Met, usize, usize, Matches)> {
    let (mut worst, mut typos, mut field_sum) = (Met::Exactly, 0, 0);
    let mut matches = Matches::default();
    for (text, open) in wanted.open_words() {
        let meetings = fields
            .iter()
            .enumerate()
            .flat_map(|(field, words)| words.iter().filter_map(move |word| met(text, open, &word.text).map(|met| (met, field, word))));
        let (met, field, word) = meetings.min_by_key(|(met, field, _)| (*met, *field))?;
        worst = worst.max(met);
        typos += if let Met::WithTypos(typos) = met { typos } else { 0 };
        field_sum += field;
        let letters = if met == Met::AsBeginning { text.chars().count() } else { usize::MAX };
        let spans = match field {
            0 => &mut matches.title,
            1 => &mut matches.artist,
            _ => &mut matches.album,
        };
        spans.extend(word.span(letters));
    }
    for spans in [&mut matches.title, &mut matches.artist, &mut matches.album] {
        spans.sort_unstable();
        spans.dedup();
    }
    Some((worst, typos, field_sum, matches))
}

fn met(wanted: &str, open: bool, word: &str) -> Option<Met> {
    if wanted == word {
        return Some(Met::Exactly);
    }
    if open && word.starts_with(wanted) {
        return Some(Met::AsBeginning);
    }
    let allowed = typos_allowed(wanted);
    if allowed == 0 {
        return None;
    }
    let whole = strsim::osa_distance(wanted, word);
    let beginning = if open { beginning_distance(wanted, word, allowed) } else { usize::MAX };
    let typos = whole.min(beginning);
    (typos <= allowed).then_some(Met::WithTypos(typos))
}

/// The distance to the nearest beginning of `word`, which can only be about as long as what is wanted.
fn beginning_distance(wanted: &str, word: &str, allowed: usize) -> usize {
    let length = wanted.chars().count();
    let ends = word.char_indices().map(|(at, _)| at).skip(length.saturating_sub(allowed)).take(2 * allowed + 1);
    ends.filter_map(|end| word.get(..end)).map(|beginning| strsim::osa_distance(wanted, beginning)).min().unwrap_or(usize::MAX)
}

fn whole(title: &[Word]) -> Matches {
    let span = title.first().zip(title.last()).and_then(|(first, last)| Some((first.span(1)?.0, last.span(usize::MAX)?.1)));
    Matches { title: span.into_iter().collect(), ..Matches::default() }
}

#[cfg(test)]
mod tests {
    use platform::feed::ArtistDoc;
    use protocol::ArtistId;
    use uuid::Uuid;

    use super::*;
    use crate::entry::Kind;

    fn entry(title: &str, artist: &str) -> Entry {
        let artist = ArtistDoc { id: ArtistId(Uuid::nil()), name: artist.to_owned() };
        Entry {
            kind: Kind::Track,
            id: Uuid::nil(),
            title: title.to_owned(),
            artist: Some(artist),
            album: None,
            duration_ms: Some(1),
            visible_from_ms: 0,
        }
    }

    fn order(query: &str, titles: &[&str]) -> Vec<String> {
        let wanted = Wanted::from(query).unwrap();
        let mut found: Vec<_> = titles
            .iter()
            .filter_map(|title| rank(&wanted, &entry(title, "Nobody"), 0).map(|(rank, _)| (rank, (*title).to_owned())))
            .collect();
        found.sort();
        found.into_iter().map(|(_, title)| title).collect()
    }

    #[test]
    fn exact_goes_before_beginnings_and_beginnings_before_typos() {
        let titles = ["Sigmal", "Signals", "Lost Signal", "Signal", "Sonata"];
        assert_eq!(order("signal", &titles), ["Signal", "Lost Signal", "Signals", "Sigmal"]);
    }

    #[test]
    fn typos_are_forgiven_by_length() {
        let table = [
            ("up", "Us", false),
            ("love", "Lovr", true),
            ("love", "Lxxe", false),
            ("senorta", "Señorita", true),
            ("snorta", "Señorita", true),
            ("wrold", "World", true),
            ("beyonse", "Beyoncé", true),
            ("xylophone", "Signal", false),
        ];
        for (query, title, found) in table {
            assert_eq!(!order(query, &[title]).is_empty(), found, "{query} {title}");
        }
    }

    #[test]
    fn each_key_stroke_finds_it() {
        let title = "Back in Black";
        for end in 1..=title.len() {
            assert_eq!(order(&title[..end], &[title]).len(), 1, "{}", &title[..end]);
        }
        for otherwise in ["backinblack", "back inblack", "BACK-IN-BLACK", "back in blakc"] {
            assert_eq!(order(otherwise, &[title]).len(), 1, "{otherwise}");
        }
    }

    #[test]
    fn words_may_come_from_title_and_artist_and_titles_come_first() {
        let wanted = Wanted::from("thriller jackson").unwrap();
        assert!(rank(&wanted, &entry("Thriller", "Michael Jackson"), 0).is_some());
        assert!(rank(&wanted, &entry("Thriller", "Someone Else"), 0).is_none());
        let wanted = Wanted::from("jackson").unwrap();
        let by = |title, artist| rank(&wanted, &entry(title, artist), 0).unwrap().0;
        assert!(by("Jackson", "Johnny Cash") < by("Thriller", "Michael Jackson"));
    }

    #[test]
    fn among_equals_the_one_that_is_listened_to_wins() {
        let wanted = Wanted::from("intro").unwrap();
        let heard = |listens| rank(&wanted, &entry("Intro", "Nobody"), listens).unwrap().0;
        assert!(heard(9) < heard(3));
    }

    #[test]
    fn what_matched_is_shown_where_it_stands() {
        let wanted = Wanted::from("beyo").unwrap();
        let (_, matches) = rank(&wanted, &entry("Halo", "Beyoncé"), 0).unwrap();
        assert_eq!((matches.title, matches.artist), (vec![], vec![(0, 4)]));
        let wanted = Wanted::from("black ba").unwrap();
        let (_, matches) = rank(&wanted, &entry("Back in Black", ""), 0).unwrap();
        assert_eq!(matches.title, [(0, 2), (8, 13)]);
    }

    #[test]
    fn signs_without_spaces_are_found_by_any_of_them() {
        assert_eq!(order("東京", &["東京タワー", "京都", "東京"]), ["東京", "東京タワー"]);
    }
}
