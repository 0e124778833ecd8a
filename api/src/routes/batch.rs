//! `/predict/batch`: many comments in one request, as a list or as a stream of lines.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use poem::{
    Body as Bytes, IntoResponse, Request, RequestBody, Response, Result,
    http::{StatusCode, header},
};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, OpenApi,
    error::ContentTypeError,
    param::Query,
    payload::{Json, Payload as _},
    registry::{MetaMediaType, MetaRequest, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::Type as _,
};
use registry::Role;
use serde::Serialize;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    sync::OwnedSemaphorePermit,
};

use super::{
    Tag, answers,
    predict::{Prediction, prediction},
};
use crate::{
    body::{self, Body, Refused},
    caller::{self, By, Caller},
    context::Context,
    judging::Judged,
    kind::Kind,
    limits::Streamed,
    many::{Item, SHARE},
    problem::Problem,
    serving::Live,
    written,
};

/// Most comments of a list.
pub(crate) const MOST: usize = 1000;
/// The content type of lines of JSON.
pub(crate) const LINES: &str = "application/x-ndjson";
/// How often the key of an open stream is checked again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Comments per task of a stream with explanations, which take memory.
const EXPLAINED_SHARE: usize = 4;
/// Longest pause between two lines of a caller.
const REST: Duration = Duration::from_secs(30);

pub(crate) struct Batch(pub(crate) Context);

/// A comment of a batch.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct BatchComment {
    /// The caller's id for the comment. Returned with the verdict.
    #[oai(validator(max_length = 200))]
    id: Option<String>,
    /// The comment. At most 20000 characters by default.
    text: String,
}

/// Comments to judge.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct BatchRequest {
    /// 1 to 1000 comments.
    #[oai(validator(min_items = 1, max_items = 1000))]
    comments: Vec<BatchComment>,
    /// Explain what each word adds.
    #[oai(default)]
    explain: bool,
    /// A registered version to judge with, instead of the one in production.
    version: Option<String>,
}

/// The options of a batch.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct BatchOptions {
    #[oai(default)]
    explain: bool,
    version: Option<String>,
}

/// The verdict on one comment, or what is wrong with it.
#[derive(Debug, Object, Serialize)]
#[oai(skip_serializing_if_is_none)]
struct BatchResult {
    /// The caller's id for the comment.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The verdict, as from `/predict`.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Prediction>,
    /// Why there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<Problem>,
}

/// Verdicts in the order of the comments.
#[derive(Debug, Object)]
struct BatchAnswer {
    results: Vec<BatchResult>,
}

answers! {
    /// Answers of `/predict/batch` to a list.
    #[allow(dead_code, reason = "what is good is described here and put together of texts")]
    Listed {
        /// One result per comment.
        #[oai(status = 200)]
        Ok(Json<BatchAnswer>),
    }
}

/// An answer to a list or to a stream.
/// Each result is serialised by itself, which takes less memory.
enum Batched {
    Refused(Listed),
    Ok(Response),
}

impl ApiResponse for Batched {
    fn meta() -> MetaResponses {
        let mut meta = Listed::meta();
        let ok = meta.responses.iter_mut().filter(|response| response.status == Some(200));
        ok.for_each(|ok| ok.content.push(lines_of(BatchResult::schema_ref())));
        meta
    }

    fn register(registry: &mut Registry) {
        Listed::register(registry);
        BatchResult::register(registry);
    }
}

impl IntoResponse for Batched {
    fn into_response(self) -> Response {
        match self {
            Self::Refused(answer) => answer.into_response(),
            Self::Ok(response) => response,
        }
    }
}

fn lines_of(schema: MetaSchemaRef) -> MetaMediaType {
    MetaMediaType { content_type: LINES, schema }
}

/// A comment that was read, or what is wrong with it.
struct Read {
    id: Option<String>,
    text: Result<String, Problem>,
}

impl Read {
    fn of(item: Value, context: &Context) -> Self {
        let Value::Object(fields) = item else {
            return Self { id: None, text: Err(Problem::malformed("A comment is an object with `id` and `text`.")) };
        };
        // Also for an invalid comment, if the id is valid.
        let id = fields.get("id").and_then(Value::as_str).filter(|id| id.chars().nth(200).is_none()).map(str::to_owned);
        let text = Body::<BatchComment>::of(fields).map_err(|Refused(reason)| Problem::malformed(reason));
        let text = text.and_then(|Body(comment)| context.check_text(&comment.text).map(|()| comment.text));
        Self { id, text }
    }

    fn of_line(line: Result<&[u8], TooLong>, context: &Context) -> Self {
        let Ok(line) = line else {
            let detail = format!("A line may have at most {} bytes.", context.longest_body);
            let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Kind::PayloadTooLarge, detail);
            return Self { id: None, text: Err(problem) };
        };
        match body::read_object(line) {
            Ok(fields) => Self::of(Value::Object(fields), context),
            Err(Refused(reason)) => Self { id: None, text: Err(Problem::malformed(reason)) },
        }
    }

    /// The last result of a stream that ends early.
    fn ended(problem: Problem) -> Self {
        Self { id: None, text: Err(problem) }
    }
}

impl Item for Read {
    /// A [`BatchResult`] as JSON.
    type Answer = String;

    fn text(&self) -> Option<&str> {
        self.text.as_deref().ok()
    }

    fn answer(self, judged: Option<Judged>, live: &Live, explain: bool) -> String {
        let Self { id, text } = self;
        let (verdict, problem) = match (text, judged) {
            (Ok(text), Some(judged)) => (Some(prediction(&text, judged, live, explain)), None),
            (Ok(_), None) => (None, None),
            // The answer's header has the request id.
            (Err(problem), _) => (None, Some(Problem { request_id: None, ..problem })),
        };
        written::text(&BatchResult { id, verdict, problem })
    }
}

/// The body of a batch.
enum BatchBody {
    List { comments: Vec<Value>, options: BatchOptions },
    Lines(Bytes),
}

impl<'a> ApiExtractor<'a> for BatchBody {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        BatchRequest::register(registry);
        BatchComment::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let list =
            MetaMediaType { content_type: Json::<BatchRequest>::CONTENT_TYPE, schema: BatchRequest::schema_ref() };
        let content = vec![list, lines_of(MetaSchemaRef::Inline(Box::new(MetaSchema::new("string"))))];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        match request.content_type() {
            Some(content_type) if is_lines(content_type) => Ok(Self::Lines(body.take()?)),
            Some(content_type) if Json::<BatchRequest>::check_content_type(content_type) => {
                Ok(Self::read(&body.take()?.into_bytes().await?)?)
            }
            _ => Err(ContentTypeError::ExpectContentType.into()),
        }
    }
}

/// Whether a content type is that of lines.
pub(crate) fn is_lines(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(LINES))
}

impl BatchBody {
    /// An invalid comment must not make the batch fail, so each comment is checked when it is judged.
    fn read(bytes: &[u8]) -> Result<Self, Refused> {
        let mut fields = body::read_object(bytes)?;
        let comments = fields.remove("comments").ok_or_else(|| Refused("`comments` is missing.".to_owned()))?;
        let Value::Array(comments) = comments else { return Err(Refused("`comments` must be a list.".to_owned())) };
        if comments.is_empty() || comments.len() > MOST {
            let reason = format!("`comments` has {} entries; 1 to {MOST} are allowed.", comments.len());
            return Err(Refused(reason));
        }
        if fields.keys().any(|name| name != "explain" && name != "version") {
            let reason = "A field is unknown. The known fields are `comments`, `explain`, `version`.";
            return Err(Refused(reason.to_owned()));
        }
        let Body(options) = Body::<BatchOptions>::of(fields)?;
        Ok(Self::List { comments, options })
    }
}

#[OpenApi]
impl Batch {
    /// Judge many comments.
    ///
    /// With `application/json`: a list of at most 1000 comments. With `application/x-ndjson`: a stream of any length.
    /// Each line of the request is a comment, `{"id":"a","text":"..."}`. Each line of the answer is a result, in the
    /// same order, sent as soon as it is ready. An invalid comment gets a `problem`; the others get their verdicts.
    #[oai(path = "/predict/batch", method = "post", tag = "Tag::Predict")]
    async fn post(
        &self,
        by: By<caller::Predict>,
        /// Explain what each word adds. A list may also set it in its body.
        #[oai(default)]
        explain: Query<bool>,
        /// A registered version to judge with.
        /// A version in the body of a list takes precedence.
        version: Query<Option<String>>,
        body: BatchBody,
    ) -> Batched {
        let answer = match body {
            BatchBody::List { comments, options } => {
                let (explain, version) = (explain.0 || options.explain, options.version.or(version.0));
                self.list(comments, explain, version.as_deref()).await
            }
            BatchBody::Lines(body) => self.lines(body, explain.0, version.0.as_deref(), by.caller).await,
        };
        answer.map_or_else(|problem| Batched::Refused(problem.into()), Batched::Ok)
    }
}

impl Batch {
    async fn list(&self, comments: Vec<Value>, explain: bool, version: Option<&str>) -> Result<Response, Problem> {
        let live = self.0.model(version).await?;
        let comments: Vec<Read> = comments.into_iter().map(|comment| Read::of(comment, &self.0)).collect();
        let bytes: usize = comments.iter().filter_map(|comment| comment.text().map(str::len)).sum();
        let most = self.0.longest_body;
        if explain && bytes > most {
            let detail =
                format!("With `explain`, the comments of a list may have {most} bytes in total. Use a stream.");
            return Err(Problem::invalid(detail));
        }
        let results = self.0.judge_list(&live, explain, comments).await;
        let body = format!("{{\"results\":[{}]}}", results.join(","));
        Ok(Response::builder().content_type(Json::<BatchAnswer>::CONTENT_TYPE).body(body))
    }

    async fn lines(
        &self,
        body: Bytes,
        explain: bool,
        version: Option<&str>,
        caller: Caller,
    ) -> Result<Response, Problem> {
        let place = Arc::clone(&self.0.streams).try_acquire_owned().map_err(|_| {
            let detail = "The service is at its limit of concurrent streams.";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, Kind::TooManyRequests, detail)
        })?;
        let live = self.0.model(version).await?;
        let received = Streamed::default();
        let count = Arc::clone(&received.0);
        let body = Bytes::from_bytes_stream(body.into_bytes_stream().inspect_ok(move |bytes| {
            count.fetch_add(bytes.len(), Ordering::Relaxed);
        }));
        let share = if explain { EXPLAINED_SHARE } else { SHARE };
        let shares = self.comments(body, caller).ready_chunks(share);
        let answers = self.0.judge_stream(&live, explain, shares, None).map(|results| {
            let line = |result: String| result + "\n";
            Ok::<_, std::io::Error>(results.into_iter().map(line).collect::<String>())
        });
        let mut response = Response::builder()
            .header(header::CONTENT_TYPE, LINES)
            .header("X-Model-Version", live.manifest.version.to_string())
            .body(Bytes::from_bytes_stream(Held { answers: Box::pin(answers), _place: place }));
        response.set_data(received);
        Ok(response)
    }

    /// The comments of a stream.
    ///
    /// It ends with a problem if the body is cut off, the caller pauses too long, the key was revoked meanwhile, or the
    /// service stops.
    fn comments(&self, body: Bytes, caller: Caller) -> impl Stream<Item = Read> + Send + use<> {
        let reader = BufReader::new(body.into_async_read());
        let lines = Lines { reader, line: Vec::new(), longest: self.0.longest_body };
        let (context, stopping) = (self.0.clone(), self.0.stopping.clone());
        let looked = Instant::now();
        stream::unfold(Some((lines, stopping, looked)), move |state| {
            let (context, caller) = (context.clone(), caller.clone());
            async move {
                let (mut lines, mut stopping, mut looked) = state?;
                let next = tokio::select! {
                    next = tokio::time::timeout(REST, lines.next()) => next,
                    _ = stopping.wait_for(|is_stopping| *is_stopping) => {
                        let detail = "The service is stopping. Send the comments again from this one on.";
                        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, Kind::Stopping, detail);
                        return Some((Read::ended(problem), None));
                    }
                };
                if looked.elapsed() > LOOK_AGAIN {
                    if let Err(problem) = context.keys.again(&caller).require(Some(Role::Predict)) {
                        return Some((Read::ended(problem), None));
                    }
                    looked = Instant::now();
                }
                let item = match next {
                    Ok(Ok(None)) => return None,
                    Ok(Ok(Some(line))) => Read::of_line(line, &context),
                    Ok(Err(_)) => return Some((Read::ended(Problem::malformed("The body was cut off.")), None)),
                    Err(_) => {
                        let detail = format!("No line arrived within {} s.", REST.as_secs());
                        let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, Kind::Timeout, detail);
                        return Some((Read::ended(problem), None));
                    }
                };
                Some((item, Some((lines, stopping, looked))))
            }
        })
    }
}

/// The lines of a body that are not blank.
struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    /// Most bytes of a line.
    longest: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    /// The next line, or [`TooLong`]. None at the end.
    async fn next(&mut self) -> std::io::Result<Option<Result<&[u8], TooLong>>> {
        loop {
            self.line.clear();
            let (mut is_last, mut length) = (true, 0);
            loop {
                let there = self.reader.fill_buf().await?;
                let end = there.iter().position(|byte| *byte == b'\n');
                let part = &there[..end.unwrap_or(there.len())];
                length += part.len();
                if length <= self.longest {
                    self.line.extend_from_slice(part);
                }
                let taken = part.len() + usize::from(end.is_some());
                self.reader.consume(taken);
                is_last &= taken == 0;
                if end.is_some() || taken == 0 {
                    break;
                }
            }
            if length > self.longest {
                return Ok(Some(Err(TooLong)));
            }
            if !self.line.trim_ascii().is_empty() {
                return Ok(Some(Ok(&self.line)));
            }
            if is_last {
                return Ok(None);
            }
        }
    }
}

/// A line has too many bytes.
struct TooLong;

/// A stream that keeps its slot until it ends or its reader goes away.
struct Held {
    answers: Pin<Box<dyn Stream<Item = std::io::Result<String>> + Send>>,
    _place: OwnedSemaphorePermit,
}

impl Stream for Held {
    type Item = std::io::Result<String>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.answers.as_mut().poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON;

    use super::*;

    #[test]
    fn what_is_written_is_what_the_schema_says() {
        let problem = Some(Problem { request_id: Some("a".to_owned()), ..Problem::invalid("why") });
        for (id, problem) in
            [(Some("\u{1F600}".to_owned()), problem), (None, Some(Problem::invalid("why"))), (None, None)]
        {
            let result = BatchResult { id, verdict: None, problem };
            assert_eq!(Some(serde_json::to_value(&result).unwrap()), result.to_json());
        }
    }
}
