//! Words and sentences of a text, lower-cased, hashed and located. No allocation per word.
//!
//! - **In**: the text of a comment or a sentence.
//! - **Out**: places of sentences, words and runs, in bytes of that text.
//! - **Callers**: features, and scoring by a linear model. A corpus is already split into sentences.

/// Which runs of characters count as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WordRule {
    /// One or more letters, digits or underscores.
    Word,
    /// Two or more: scikit-learn's default token pattern, `(?u)\b\w\w+\b`.
    TwoOrMore,
}

/// One word of a text: the hash of its lower-cased form, and its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// FNV-1a (64 bits) of the lower-cased word's UTF-8 bytes.
    pub hash: u64,
    /// The same hash of its first [`STEM`] characters, or of all if it has fewer.
    pub stem: u64,
    /// First byte in the text.
    pub start: u32,
    /// One past the last byte in the text.
    pub end: u32,
}

impl Word {
    /// The same word in a text with so many bytes before this one.
    #[inline]
    pub(crate) fn after(self, bytes: usize) -> Self {
        Self { start: self.start + bytes as u32, end: self.end + bytes as u32, ..self }
    }
}

/// Characters of a stem.
///
/// Enough to distinguish words, and few enough that `kill`, `kills` and `killing` share one.
pub const STEM: u32 = 4;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Lower-cased form of an ASCII word byte; 0 for any other byte.
const ASCII_WORD: [u8; 128] = {
    let mut table = [0_u8; 128];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            table[byte as usize] = byte.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// Whether a character is part of a word.
#[must_use]
pub fn is_word(c: char) -> bool {
    if c.is_ascii() { ASCII_WORD[c as usize] != 0 } else { c.is_alphanumeric() }
}

/// ASCII white space by Unicode and Python: tab to carriage return, the four separators, space.
#[inline]
pub(crate) const fn is_ascii_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | 0x1c..=0x1f | b' ')
}

/// The bytes of the runs of characters that are not white space, in order.
///
/// `padded` is the text and then at least [`RUNS_AT_ONCE`] zeros.
pub(crate) fn runs<'a>(text: &'a str, padded: &'a [u8]) -> Runs<'a> {
    Runs { text, padded, at: 0 }
}

/// The bytes that [`runs`] looks at in one step.
pub(crate) const RUNS_AT_ONCE: usize = 8;

/// See [`runs`].
pub(crate) struct Runs<'a> {
    text: &'a str,
    padded: &'a [u8],
    at: usize,
}

impl Runs<'_> {
    /// The length of the white space that starts at a byte; 0 for other characters.
    #[inline]
    fn space_at(&self, at: usize) -> usize {
        let byte = self.padded[at];
        if byte.is_ascii() { usize::from(is_ascii_space(byte)) } else { self.wide_space_at(at) }
    }

    #[cold]
    fn wide_space_at(&self, at: usize) -> usize {
        let first = self.text.get(at..).and_then(|rest| rest.chars().next());
        first.filter(|c| c.is_whitespace()).map_or(0, char::len_utf8)
    }

    /// The first byte from `at` on that is not a visible ASCII character: a space, a control or part of a wide one.
    #[inline]
    fn skip_plain(&self, mut at: usize) -> usize {
        const HIGH: u64 = u64::from_le_bytes([0x80; RUNS_AT_ONCE]);
        const PLAIN: u64 = u64::from_le_bytes([b'!'; RUNS_AT_ONCE]);
        loop {
            let bytes = self.padded[at..at + RUNS_AT_ONCE].try_into().expect("as many");
            let bytes = u64::from_le_bytes(bytes);
            let is_plain = ((bytes | HIGH) - PLAIN) & !bytes & HIGH;
            let others = is_plain ^ HIGH;
            if others != 0 {
                return at + others.trailing_zeros() as usize / 8;
            }
            at += RUNS_AT_ONCE;
        }
    }
}

impl Iterator for Runs<'_> {
    type Item = std::ops::Range<usize>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let end = self.text.len();
        let mut start = self.at;
        while start < end {
            match self.space_at(start) {
                0 => break,
                length => start += length,
            }
        }
        if start >= end {
            return None;
        }
        let mut at = start;
        loop {
            at = self.skip_plain(at);
            if at >= end {
                self.at = end;
                return Some(start..end);
            }
            match self.space_at(at) {
                0 => at += 1,
                length => {
                    self.at = at + length;
                    return Some(start..at);
                }
            }
        }
    }
}

/// Appends the words of `text` to `words`.
///
/// Lower-casing follows Unicode, character by character. A longer text is cut at 4 GiB.
///
/// ```
/// use model::text::{WordRule, words};
///
/// let mut found = Vec::new();
/// words("Kill, kills: KILL", WordRule::Word, &mut found);
/// assert_eq!(found.len(), 3);
/// assert!(found[0].hash == found[2].hash && found[0].hash != found[1].hash);
/// assert!(found[0].stem == found[1].stem);
/// ```
pub fn words(text: &str, rule: WordRule, words: &mut Vec<Word>) {
    let text = text.get(..u32::MAX as usize).unwrap_or(text);
    let bytes = text.as_bytes();
    let mut word = WordInProgress::default();
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte < 128 {
            let lower = ASCII_WORD[byte as usize];
            if lower == 0 {
                word.finish(at, rule, words);
            } else {
                word.push_char(at);
                word.push_byte(lower);
            }
            at += 1;
            continue;
        }
        let c = text[at..].chars().next().expect("a lead byte starts a character");
        for lower in c.to_lowercase() {
            if is_word(lower) {
                word.push_char(at);
                let mut buffer = [0; 4];
                for &b in lower.encode_utf8(&mut buffer).as_bytes() {
                    word.push_byte(b);
                }
            } else {
                word.finish(at, rule, words);
            }
        }
        at += c.len_utf8();
    }
    word.finish(bytes.len(), rule, words);
}

/// The word at the current position of the scan, if any.
#[derive(Default)]
struct WordInProgress {
    hash: u64,
    stem: u64,
    start: usize,
    chars: u32,
}

impl WordInProgress {
    #[inline]
    fn push_char(&mut self, at: usize) {
        if self.chars == 0 {
            self.hash = FNV_OFFSET;
            self.start = at;
        }
        if self.chars == STEM {
            self.stem = self.hash;
        }
        self.chars += 1;
    }

    #[inline]
    fn push_byte(&mut self, byte: u8) {
        self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    }

    #[inline]
    fn finish(&mut self, end: usize, rule: WordRule, words: &mut Vec<Word>) {
        let least = match rule {
            WordRule::Word => 1,
            WordRule::TwoOrMore => 2,
        };
        if self.chars >= least {
            let stem = if self.chars > STEM { self.stem } else { self.hash };
            words.push(Word { hash: self.hash, stem, start: self.start as u32, end: end as u32 });
        }
        self.chars = 0;
    }
}

/// Byte ranges of the sentences of a comment, trimmed, in order.
///
/// A sentence ends at a line break, or after `.`, `!`, `?` or `…` (and any closing quotes) before white space.
/// Every character that is not white space is in exactly one sentence.
///
/// ```
/// let comment = "Nice song! I will find you.";
/// let sentences: Vec<&str> = model::text::sentences(comment).into_iter().map(|place| &comment[place]).collect();
/// assert_eq!(sentences, ["Nice song!", "I will find you."]);
/// ```
#[must_use]
pub fn sentences(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    let mut ended = false;
    for (at, c) in text.char_indices() {
        match c {
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => {
                push_trimmed(text, start..at, &mut found);
                start = at;
                ended = false;
            }
            '.' | '!' | '?' | '…' => ended = true,
            '"' | '\'' | ')' | ']' | '”' | '’' | '»' if ended => {}
            c if c.is_whitespace() && ended => {
                push_trimmed(text, start..at, &mut found);
                start = at;
                ended = false;
            }
            _ => ended = false,
        }
    }
    push_trimmed(text, start..text.len(), &mut found);
    found
}

fn push_trimmed(text: &str, range: std::ops::Range<usize>, found: &mut Vec<std::ops::Range<usize>>) {
    let piece = &text[range.clone()];
    let start = range.start + (piece.len() - piece.trim_start().len());
    let end = start + piece.trim().len();
    if start < end {
        found.push(start..end);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_what_stands_between_white_space(
            pieces in proptest::collection::vec(
                prop_oneof![
                    "[a-zA-Z!-~]{0,20}",
                    "[ \\t\\r\\n\\x00-\\x1f]{0,3}",
                    "[\u{a0}\u{2003}\u{2028}\u{3000}\u{85}]{0,2}",
                    "\\PC{0,4}",
                ],
                0..12,
            ),
        ) {
            let text = pieces.concat();
            let padded = [text.as_bytes(), &[0; RUNS_AT_ONCE]].concat();
            let found: Vec<&str> = runs(&text, &padded).map(|place| &text[place]).collect();
            let is_space = |c: char| if c.is_ascii() { is_ascii_space(c as u8) } else { c.is_whitespace() };
            let expected: Vec<&str> = text.split(is_space).filter(|run| !run.is_empty()).collect();
            prop_assert_eq!(found, expected);
        }
    }

    fn cut(text: &str, rule: WordRule) -> Vec<&str> {
        let mut found = Vec::new();
        words(text, rule, &mut found);
        found.iter().map(|w| &text[w.start as usize..w.end as usize]).collect()
    }

    #[test]
    fn words_are_runs_of_letters_digits_and_underscores() {
        for (text, expected) in [
            ("I'll be there", vec!["I", "ll", "be", "there"]),
            ("snake_case x2, naïve CAFÉ!", vec!["snake_case", "x2", "naïve", "CAFÉ"]),
            ("Привет, мир… 你好", vec!["Привет", "мир", "你好"]),
            ("", vec![]),
            (" \0 \u{1F600} ", vec![]),
        ] {
            assert_eq!(cut(text, WordRule::Word), expected, "{text}");
        }
        assert_eq!(cut("I am a b cd", WordRule::TwoOrMore), ["am", "cd"]);
    }

    #[test]
    fn case_does_not_change_a_hash() {
        let hash = |text| {
            let mut found = Vec::new();
            words(text, WordRule::Word, &mut found);
            found.iter().map(|w| w.hash).collect::<Vec<_>>()
        };
        assert_eq!(hash("KILL Über ΑΒΓ"), hash("kill über αβγ"));
        assert_ne!(hash("kill"), hash("kilt"));
    }

    #[test]
    fn words_that_begin_alike_share_a_stem() {
        let stems = |text| {
            let mut found = Vec::new();
            words(text, WordRule::Word, &mut found);
            found.iter().map(|w| w.stem).collect::<Vec<_>>()
        };
        let [of_kill] = stems("kill")[..] else { panic!("one word has one stem") };
        assert_eq!(stems("kills KILLING Killed"), [of_kill; 3]);
        assert_ne!(stems("kil")[0], of_kill);
        assert_eq!(stems("\u{c4}\u{d6}\u{dc}\u{e4}\u{f6}"), stems("\u{e4}\u{f6}\u{fc}\u{e4}xyz"));
    }

    #[test]
    fn sentences_keep_every_visible_character() {
        let text = " First one. \"Second!\" third?? No.5 stays\nLine two… end ";
        let parts: Vec<&str> = sentences(text).into_iter().map(|r| &text[r]).collect();
        assert_eq!(parts, ["First one.", "\"Second!\"", "third??", "No.5 stays", "Line two…", "end"]);
        assert!(sentences(" \n ").is_empty());
    }
}
