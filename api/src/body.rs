//! JSON bodies, checked strictly against the schema that `/docs` shows.
//!
//! An error names a field of the schema, or a position in the JSON. It never repeats the caller's text. Values are not
//! converted: a number is not a string. A field may appear once only. An unknown field is an error.

use std::{any::TypeId, collections::BTreeMap, fmt, marker::PhantomData, sync::RwLock};

use poem::{Request, RequestBody, Result, error::ResponseError, http::StatusCode};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ExtractParamOptions,
    error::ContentTypeError,
    payload::{Json, Payload},
    registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry},
    types::{ParseFromJSON, Type},
};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value};

/// A body that is a JSON object of the form of `T`.
pub(crate) struct Body<T>(pub(crate) T);

/// Why a body does not match the schema, without the caller's text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refused(pub(crate) String);

impl ResponseError for Refused {
    fn status(&self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }
}

impl<T: ParseFromJSON + 'static> Body<T> {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        Self::of(read_object(bytes)?)
    }

    /// Checks fields that were parsed before.
    pub(crate) fn of(fields: Map<String, Value>) -> Result<Self, Refused> {
        let (schema, registry) = schema_of::<T>();
        let schema = resolved(schema, registry).expect("a body's type is an object of ours");
        check(&fields, schema, registry)?;
        // Schema and parser come from the same definition: fields that match the schema can be parsed.
        let parsed = T::parse_from_json(Some(Value::Object(fields)));
        parsed.map(Self).map_err(|_| Refused("The body does not match the schema in /docs for this path.".to_owned()))
    }
}

impl<'a, T: ParseFromJSON + 'static> ApiExtractor<'a> for Body<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: Json::<T>::CONTENT_TYPE, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        match request.content_type() {
            Some(content_type) if Json::<T>::check_content_type(content_type) => {}
            _ => return Err(ContentTypeError::ExpectContentType.into()),
        }
        Ok(Self::parse(&body.take()?.into_bytes().await?)?)
    }
}

/// The schema of a type and of the types that it refers to, made once.
fn schema_of<T: Type + 'static>() -> &'static (MetaSchemaRef, Registry) {
    static MADE: RwLock<BTreeMap<TypeId, &(MetaSchemaRef, Registry)>> = RwLock::new(BTreeMap::new());
    if let Some(made) = MADE.read().expect("no holder panics").get(&TypeId::of::<T>()) {
        return made;
    }
    let mut registry = Registry::new();
    T::register(&mut registry);
    let made = Box::leak(Box::new((T::schema_ref(), registry)));
    MADE.write().expect("no holder panics").entry(TypeId::of::<T>()).or_insert(made)
}

/// The fields of a JSON object. Each field may appear once.
pub(crate) fn read_object(bytes: &[u8]) -> Result<Map<String, Value>, Refused> {
    if bytes.is_empty() {
        return Err(Refused("The body is empty. Send a JSON object, at least `{}`.".to_owned()));
    }
    let broken = |error: serde_json::Error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Refused(match error.classify() {
            serde_json::error::Category::Eof => format!("The JSON ends too early, at {place}."),
            // `Fields` below makes the only errors of this kind.
            serde_json::error::Category::Data if error.to_string().starts_with(TWICE) => {
                format!("A field is given twice, at {place}.")
            }
            serde_json::error::Category::Data => "The body is not a JSON object.".to_owned(),
            _ if error.to_string().starts_with("recursion limit") => "The JSON is nested too deeply.".to_owned(),
            _ => format!("The JSON is broken at {place}."),
        })
    };
    let Fields(fields) = serde_json::from_slice(bytes).map_err(broken)?;
    Ok(fields)
}

const TWICE: &str = "a field is given twice";

/// A JSON object in which each field appears once.
struct Fields(Map<String, Value>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Once(PhantomData<()>);

        impl<'de> Visitor<'de> for Once {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Map::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if fields.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom(TWICE));
                    }
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(Once(PhantomData))
    }
}

/// Checks fields against an object's schema: unknown names first, then missing fields, then each value.
fn check(fields: &Map<String, Value>, schema: &MetaSchema, registry: &Registry) -> Result<(), Refused> {
    let known = |name: &str| schema.properties.iter().find(|(ours, _)| *ours == name).map(|(_, schema)| schema);
    if fields.keys().any(|name| known(name).is_none()) {
        let names: Vec<String> = schema.properties.iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(Refused(format!("A field is unknown. The known fields are {}.", names.join(", "))));
    }
    for name in &schema.required {
        if !fields.contains_key(*name) {
            return Err(Refused(format!("`{name}` is missing.")));
        }
    }
    for (name, property) in &schema.properties {
        let Some(value) = fields.get(*name) else { continue };
        let is_optional = !schema.required.contains(name);
        if is_optional && value.is_null() {
            continue;
        }
        if let Some(reason) = resolved(property, registry).and_then(|property| objection(value, property, registry)) {
            return Err(Refused(format!("`{name}` {reason}.")));
        }
    }
    Ok(())
}

fn resolved<'a>(schema: &'a MetaSchemaRef, registry: &'a Registry) -> Option<&'a MetaSchema> {
    let schema = match schema {
        MetaSchemaRef::Inline(schema) => &**schema,
        MetaSchemaRef::Reference(name) => registry.schemas.get(name)?,
    };
    // A reference with its own description or default.
    match schema.all_of.iter().find(|part| matches!(part, MetaSchemaRef::Reference(_))) {
        Some(reference) => resolved(reference, registry),
        None => Some(schema),
    }
}

/// What is wrong with a value, if anything.
fn objection(value: &Value, schema: &MetaSchema, registry: &Registry) -> Option<String> {
    if !schema.enum_items.is_empty() {
        let is_one = schema.enum_items.contains(value);
        let names: Vec<String> =
            schema.enum_items.iter().filter_map(|item| item.as_str()).map(|name| format!("`{name}`")).collect();
        return (!is_one).then(|| format!("must be one of {}", names.join(", ")));
    }
    match (schema.ty, value) {
        ("string", Value::String(text)) => text_objection(text, schema),
        ("string", _) => Some("must be a string".to_owned()),
        ("boolean", Value::Bool(_)) | ("number", Value::Number(_)) => None,
        ("object", Value::Object(fields)) => fields_objection(fields, schema, registry),
        ("boolean", _) => Some("must be true or false".to_owned()),
        ("number", _) => Some("must be a number".to_owned()),
        ("integer", value) => {
            let highest = if schema.format == Some("uint32") { u64::from(u32::MAX) } else { u64::MAX };
            let is_whole = value.as_u64().is_some_and(|number| number <= highest);
            (!is_whole).then(|| format!("must be a whole number from 0 to {highest}"))
        }
        ("array", Value::Array(items)) => {
            let most = schema.max_items.unwrap_or(usize::MAX);
            if items.len() < schema.min_items.unwrap_or(0) || items.len() > most {
                let least = schema.min_items.unwrap_or(0);
                return Some(format!("has {} entries; {least} to {most} are allowed", items.len()));
            }
            let of = schema.items.as_ref().and_then(|items| resolved(items, registry))?;
            let wrong = items.iter().enumerate();
            let mut wrong = wrong.filter_map(|(at, item)| Some((at, objection(item, of, registry)?)));
            wrong.next().map(|(at, reason)| format!("is wrong at entry {}: it {reason}", at + 1))
        }
        ("array", _) => Some("must be a list".to_owned()),
        ("object", _) => Some("must be an object".to_owned()),
        _ => None,
    }
}

/// What is wrong in a nested object.
///
/// A map's keys come from the caller and are not repeated.
fn fields_objection(fields: &Map<String, Value>, schema: &MetaSchema, registry: &Registry) -> Option<String> {
    if let Some(of) = &schema.additional_properties {
        let of = resolved(of, registry)?;
        let reason = fields.values().find_map(|value| objection(value, of, registry))?;
        return Some(format!("is wrong: an entry {reason}"));
    }
    if schema.properties.is_empty() {
        return None;
    }
    let Refused(reason) = check(fields, schema, registry).err()?;
    Some(format!("is wrong: {}", reason.trim_end_matches('.')))
}

fn text_objection(text: &str, schema: &MetaSchema) -> Option<String> {
    if let Some(most) = schema.max_length
        && text.chars().nth(most).is_some()
    {
        return Some(format!("has more than {most} characters"));
    }
    text.contains('\0').then(|| "contains the character U+0000, which is not allowed".to_owned())
}

#[cfg(test)]
mod tests {
    use poem_openapi::{Enum, Object};

    use super::*;

    #[derive(Debug, Object)]
    #[oai(deny_unknown_fields)]
    struct Sample {
        text: String,
        #[oai(default)]
        explain: bool,
        #[oai(validator(max_length = 3))]
        reason: Option<String>,
        #[oai(validator(max_items = 3))]
        names: Option<Vec<String>>,
        count: Option<u32>,
        /// A field with its own description.
        when: Option<When>,
        inner: Option<Inner>,
        by_name: Option<BTreeMap<String, Inner>>,
    }

    #[derive(Debug, Object, PartialEq, Eq)]
    #[oai(deny_unknown_fields)]
    struct Inner {
        count: u32,
    }

    #[derive(Debug, Enum, PartialEq, Eq)]
    #[oai(rename_all = "snake_case")]
    enum When {
        Never,
        AfterApproval,
    }

    #[test]
    fn a_good_body_is_read() {
        let body = r#"{"text":"a","explain":true,"names":["b"],"count":2,"when":"after_approval","reason":null}"#;
        let Body(sample) = Body::<Sample>::parse(body.as_bytes()).unwrap();
        assert_eq!((sample.text.as_str(), sample.explain, sample.count), ("a", true, Some(2)));
        assert_eq!(
            (sample.names, sample.when, sample.reason),
            (Some(vec!["b".into()]), Some(When::AfterApproval), None)
        );
    }

    #[test]
    fn what_is_wrong_is_named_and_nothing_is_repeated() {
        const INNER: &str = "`inner` is wrong: `count` must be a whole number from 0 to 4294967295.";
        let deep = format!("{{\"text\":{}", "[".repeat(100_000));
        let cases: &[(&str, &str)] = &[
            ("", "The body is empty. Send a JSON object, at least `{}`."),
            ("{}", "`text` is missing."),
            (r#"{"text":5}"#, "`text` must be a string."),
            (r#"{"text":null}"#, "`text` must be a string."),
            (r#"{"text":{"canary":1}}"#, "`text` must be a string."),
            (r#"{"text":"canary","explain":"yes"}"#, "`explain` must be true or false."),
            (r#"{"text":"a","explain":1}"#, "`explain` must be true or false."),
            (r#"{"text":"a","reason":"long"}"#, "`reason` has more than 3 characters."),
            (r#"{"text":"a","names":"canary"}"#, "`names` must be a list."),
            (r#"{"text":"a","names":["b",5]}"#, "`names` is wrong at entry 2: it must be a string."),
            (r#"{"text":"a","names":["b","c","d","e"]}"#, "`names` has 4 entries; 0 to 3 are allowed."),
            (r#"{"text":"a","inner":{"count":"canary"}}"#, INNER),
            (
                r#"{"text":"a","inner":{"canary":1}}"#,
                "`inner` is wrong: A field is unknown. The known fields are `count`.",
            ),
            (r#"{"text":"a","inner":["canary"]}"#, "`inner` must be an object."),
            (r#"{"text":"a","by_name":{"canary":{}}}"#, "`by_name` is wrong: an entry is wrong: `count` is missing."),
            (r#"{"text":"a","count":-1}"#, "`count` must be a whole number from 0 to 4294967295."),
            (r#"{"text":"a","count":1.5}"#, "`count` must be a whole number from 0 to 4294967295."),
            (r#"{"text":"a","when":"canary"}"#, "`when` must be one of `never`, `after_approval`."),
            (r#"{"text":"a\u0000canary"}"#, "`text` contains the character U+0000, which is not allowed."),
            (
                r#"{"text":"a","canary":1}"#,
                "A field is unknown. The known fields are `text`, `explain`, `reason`, `names`, `count`, \
                 `when`, `inner`, `by_name`.",
            ),
            ("{\"text\":\"a\",\n\"text\":\"b\"}", "A field is given twice, at line 2, column 11."),
            ("[\"canary\"]", "The body is not a JSON object."),
            ("\"canary\"", "The body is not a JSON object."),
            ("{\"text\":\"canary", "The JSON ends too early, at line 1, column 15."),
            ("{\"text\":\n  canary}", "The JSON is broken at line 2, column 3."),
            ("{\"text\":\"\\ud800\"}", "The JSON is broken at line 1, column 16."),
            (&deep, "The JSON is nested too deeply."),
        ];
        for (body, expected) in cases {
            let refused = Body::<Sample>::parse(body.as_bytes()).err().map(|refused| refused.0);
            assert_eq!(refused.as_deref(), Some(*expected), "{}", &body[..body.len().min(60)]);
        }
        let Err(Refused(reason)) = Body::<Sample>::parse(b"{\"text\":\"\xff\"}") else { panic!("it is no UTF-8") };
        assert!(reason.starts_with("The JSON is broken at line 1"), "{reason}");
    }
}
