//! One JSON object per line: `text`, `label`, and optionally `commenter` and `comment` (text or number).

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    Row,
    record::{CommentNumbers, Record, standalone},
    row::NOT_UTF8,
};

/// The state of a reader of JSON lines.
#[derive(Default)]
pub(super) struct Records {
    comments: CommentNumbers,
}

impl Records {
    /// The row of a line; `None` for a blank line.
    pub(super) fn read(&mut self, line: &[u8]) -> Option<Result<Row, &'static str>> {
        if line.trim_ascii().is_empty() {
            return None;
        }
        Some(read(line).and_then(|record| standalone(&mut self.comments, record)))
    }
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    text: Option<Field<'a>>,
    #[serde(borrow)]
    label: Option<Field<'a>>,
    #[serde(borrow)]
    commenter: Option<Field<'a>>,
    #[serde(borrow)]
    comment: Option<Field<'a>>,
}

fn read(line: &[u8]) -> Result<Record<'_>, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| NOT_UTF8)?;
    let object: Object<'_> =
        serde_json::from_str(line).map_err(|_| "the line is not a JSON object, or it repeats a field")?;
    Ok(Record {
        text: plain(object.text)?.ok_or("`text` is missing")?,
        label: plain(object.label)?.ok_or("`label` is missing")?,
        commenter: plain(object.commenter)?,
        comment: plain(object.comment)?,
    })
}

/// The value of a field.
enum Field<'a> {
    /// A text (borrowed if it has no escapes) or the digits of a number.
    Plain(Cow<'a, str>),
    /// Anything else.
    Other,
}

/// A field's text; `None` if the object does not have the field.
fn plain(field: Option<Field<'_>>) -> Result<Option<Cow<'_, str>>, &'static str> {
    match field {
        None => Ok(None),
        Some(Field::Plain(text)) => Ok(Some(text)),
        Some(Field::Other) => Err("`text`, `label`, `commenter` or `comment` is neither text nor number"),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Field<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyField)
    }
}

struct AnyField;

impl<'de> Visitor<'de> for AnyField {
    type Value = Field<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Field::Plain(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Field::Plain(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Field::Plain(Cow::Owned(number.to_string())))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Field::Plain(Cow::Owned(number.to_string())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Field::Plain(Cow::Owned(number.to_string())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Field::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Other)
    }
}
