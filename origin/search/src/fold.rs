//! Text as it is compared: case, diacritics, width, apostrophes and punctuation do not tell two names apart. The same folding makes the words
//! of the index and the words of a query, and remembers where each letter stood, so that an answer can show what matched.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// Letters of a word beyond which it is cut: nobody types further.
const WORD_CHARS_MAX: usize = 64;

/// A word, folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// For each letter of `text`, where its source stood, in UTF-16 code units `[from, to)`: what a browser counts in.
    spans: Vec<(usize, usize)>,
}

impl Word {
    /// Where the first `letters` of the word stood in the source, `[from, to)`.
    pub(crate) fn span(&self, letters: usize) -> Option<(usize, usize)> {
        let (from, _) = self.spans.first()?;
        let (_, to) = self.spans.get(letters.max(1) - 1).or(self.spans.last())?;
        Some((*from, *to))
    }

    fn push(&mut self, letter: char, span: (usize, usize)) {
        if self.spans.len() < WORD_CHARS_MAX {
            self.text.push(letter);
            self.spans.push(span);
        }
    }
}

/// The words of a text. A text of nothing but symbols (there are such titles) is one word.
pub(crate) fn words(text: &str) -> Vec<Word> {
    let mut words = Words::default();
    let mut at = 0;
    for source in text.chars() {
        let span = (at, at + source.len_utf16());
        at = span.1;
        match source {
            // "Don't" and "dont" are one word.
            '\'' | '`' | '´' | '‘' | '’' | 'ʼ' | '＇' => {}
            '&' | '＆' => words.whole("and", span),
            _ => decompose_compatible(source, |part| {
                if !is_stripped(part) {
                    part.to_lowercase().for_each(|letter| words.letter(letter, span));
                }
            }),
        }
    }
    words.end();
    if words.done.is_empty() {
        for (n, letter) in text.trim().chars().take(WORD_CHARS_MAX).enumerate() {
            words.current().push(letter, (n, n + 1));
        }
        words.end();
    }
    words.done
}

/// All words written together: the form in which spacing does not matter.
pub(crate) fn joined(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect()
}

/// The words with a space between them.
pub(crate) fn spaced(words: &[Word]) -> String {
    words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
}

#[derive(Default)]
struct Words {
    done: Vec<Word>,
    current: Option<Word>,
}

impl Words {
    fn current(&mut self) -> &mut Word {
        self.current.get_or_insert_with(|| Word { text: String::new(), spans: Vec::new() })
    }

    fn end(&mut self) {
        self.done.extend(self.current.take());
    }

    fn letter(&mut self, letter: char, span: (usize, usize)) {
        if is_ideographic(letter) {
            // Written without spaces: each sign is a word, and a query's signs must all occur.
            self.end();
            self.current().push(letter, span);
            self.done.extend(self.current.take());
        } else if let Some(letters) = spelled(letter) {
            letters.chars().for_each(|letter| self.current().push(letter, span));
        } else if letter.is_alphanumeric() {
            self.current().push(letter, span);
        } else if is_combining_mark(letter) {
            // A mark of another script belongs to the letter before it.
            match self.done.last_mut().filter(|_| self.current.is_none()) {
                Some(sign) => sign.push(letter, span),
                None => self.current().push(letter, span),
            }
        } else {
            self.end();
        }
    }

    fn whole(&mut self, text: &str, span: (usize, usize)) {
        self.end();
        text.chars().for_each(|letter| self.current().push(letter, span));
        self.end();
    }
}

/// Marks that people leave out when they type: Latin, Greek, Cyrillic accents; Hebrew points; Arabic vowels. Marks of other scripts
/// (Japanese voicing, Indic vowels) make another letter and stay.
const fn is_stripped(part: char) -> bool {
    matches!(part, '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5c7}' | '\u{64b}'..='\u{65f}' | '\u{670}')
}

/// Han, Hiragana, Katakana.
const fn is_ideographic(letter: char) -> bool {
    matches!(letter, '\u{3040}'..='\u{3098}' | '\u{309d}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{2fa1f}')
}

/// Letters that have no decomposition and are typed otherwise.
const fn spelled(letter: char) -> Option<&'static str> {
    Some(match letter {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ł' => "l",
        'ħ' => "h",
        'ı' => "i",
        'þ' => "th",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_and_what_is_written_fold_to_one() {
        let table = [
            ("Beyoncé", "beyonce"),
            ("Señorita", "senorita"),
            ("Don’t Stop", "dont stop"),
            ("AC/DC", "ac dc"),
            ("Sigur Rós", "sigur ros"),
            ("MÖTLEY CRÜE", "motley crue"),
            ("Straße", "strasse"),
            ("Røyksopp", "royksopp"),
            ("Simon & Garfunkel", "simon and garfunkel"),
            ("ＴＯＫＩＯ　ｄｏｇ", "tokio dog"),
            ("  spaces…and–dashes ", "spaces and dashes"),
            ("東京", "東 京"),
            ("Ё", "е"),
            ("÷", "÷"),
            ("???", "???"),
            ("", ""),
            ("한국", "\u{1112}\u{1161}\u{11ab}\u{1100}\u{116e}\u{11a8}"),
        ];
        for (text, folded) in table {
            assert_eq!(spaced(&words(text)), folded, "{text}");
        }
    }

    #[test]
    fn voiced_kana_stay_apart_from_unvoiced() {
        assert_ne!(spaced(&words("が")), spaced(&words("か")));
        assert_eq!(words("がか").len(), 2);
    }

    #[test]
    fn a_letter_knows_where_it_stood() {
        let words = words("𝄞 Straße");
        let word = words.last().cloned().unwrap_or_else(|| unreachable!("there is a word"));
        // The clef is two UTF-16 units; "ss" came from one letter.
        assert_eq!((word.span(4), word.span(5), word.span(7)), (Some((3, 7)), Some((3, 8)), Some((3, 9))));
    }
}
