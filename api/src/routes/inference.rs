//! The Open Inference Protocol, version 2, over HTTP, with its extension for binary tensors.
//!
//! Shapes are from the protocol's specification (github.com/kserve/open-inference-protocol, `inference_rest.md`) and
//! from Triton's binary data extension (`extension_binary_data.md`), which `tritonclient` uses by default. There is one
//! model, `threatwatch`. Input: texts, as BYTES. Outputs: probabilities, as FP64; labels and decisions, as BYTES.

use poem::{IntoResponse, Request, RequestBody, Response, Result, http::header};
use poem_openapi::{
    ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions, Object, OpenApi,
    param::Path,
    payload::Json,
    registry::{MetaMediaType, MetaRequest, MetaResponses, MetaSchema, MetaSchemaRef, Registry},
    types::{Any, ToJSON as _, Type as _},
};
use serde_json::{Value, json};

use super::{Tag, batch::MOST, dialect_answers};
use crate::{
    body::{self, Body},
    caller::{self, By},
    context::Context,
    judging::{Judged, label},
    many::Item,
    problem::Problem,
    serving::Live,
};

/// The name of the model.
const NAME: &str = "threatwatch";
/// The header with the length of the JSON, after which the tensors begin.
const JSON_LENGTH: &str = "inference-header-content-length";
const BINARY: &str = "application/octet-stream";

pub(crate) struct Inference(pub(crate) Context);

#[derive(Debug, Object)]
struct ServerMetadata {
    name: String,
    version: String,
    extensions: Vec<String>,
}

#[derive(Debug, Object)]
struct Liveness {
    live: bool,
}

#[derive(Debug, Object)]
struct Readiness {
    ready: bool,
}

#[derive(Debug, Object)]
struct ModelReadiness {
    name: String,
    ready: bool,
}

#[derive(Debug, Object)]
struct ModelMetadata {
    name: String,
    /// The version that judges.
    versions: Vec<String>,
    platform: String,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

#[derive(Debug, Object)]
struct TensorMetadata {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

impl TensorMetadata {
    fn of(name: &str, datatype: &str) -> Self {
        Self { name: name.to_owned(), datatype: datatype.to_owned(), shape: vec![-1] }
    }
}

/// Texts to judge.
#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct InferRequest {
    /// Returned in the answer.
    id: Option<String>,
    /// `binary_data_output`: return all outputs as binary tensors.
    parameters: Option<Any<Value>>,
    /// One tensor, `text`.
    #[oai(validator(min_items = 1, max_items = 1))]
    inputs: Vec<InferInput>,
    /// The outputs to return. Without it, all outputs.
    outputs: Option<Vec<InferRequestedOutput>>,
}

#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct InferInput {
    /// `text`.
    name: String,
    /// The dimensions. Their product is the number of texts, at most 1000.
    shape: Vec<u64>,
    /// `BYTES`.
    datatype: String,
    /// `binary_data_size`, if the texts follow the JSON.
    parameters: Option<Any<Value>>,
    /// The texts, row by row.
    data: Option<Any<Value>>,
}

#[derive(Debug, Object)]
#[oai(deny_unknown_fields)]
struct InferRequestedOutput {
    /// `probability`, `label` or `decision`.
    name: String,
    /// `binary_data`: return this output as a binary tensor.
    parameters: Option<Any<Value>>,
}

#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct InferResponse {
    model_name: String,
    model_version: String,
    id: Option<String>,
    outputs: Vec<InferOutput>,
}

#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
struct InferOutput {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    parameters: Option<Any<Value>>,
    data: Option<Any<Value>>,
}

/// The protocol's error.
#[derive(Debug, Object)]
#[oai(rename = "InferenceError")]
struct ErrorBody {
    error: String,
}

dialect_answers!(Told, ServerMetadata, ErrorBody);
dialect_answers!(IsLive, Liveness, ErrorBody);
dialect_answers!(IsReady, Readiness, ErrorBody);
dialect_answers!(IsModelReady, ModelReadiness, ErrorBody);
dialect_answers!(Described, ModelMetadata, ErrorBody);
dialect_answers!(InJson, InferResponse, ErrorBody);

/// An answer as JSON, or as JSON followed by binary tensors.
enum Inferred {
    Json(InJson),
    Binary(Response),
}

impl ApiResponse for Inferred {
    fn meta() -> MetaResponses {
        let mut meta = InJson::meta();
        let ok = meta.responses.iter_mut().filter(|response| response.status == Some(200));
        ok.for_each(|ok| ok.content.push(binary()));
        meta
    }

    fn register(registry: &mut Registry) {
        InJson::register(registry);
    }
}

impl IntoResponse for Inferred {
    fn into_response(self) -> Response {
        match self {
            Self::Json(answer) => answer.into_response(),
            Self::Binary(response) => response,
        }
    }
}

fn binary() -> MetaMediaType {
    let schema = MetaSchema { format: Some("binary"), ..MetaSchema::new("string") };
    MetaMediaType { content_type: BINARY, schema: MetaSchemaRef::Inline(Box::new(schema)) }
}

/// A request: the JSON, and the bytes after it.
struct Tensors {
    request: InferRequest,
    behind: Vec<u8>,
}

impl<'a> ApiExtractor<'a> for Tensors {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        InferRequest::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let mut meta = Body::<InferRequest>::request_meta()?;
        meta.content.push(binary());
        Some(meta)
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> Result<Self> {
        let mut bytes = body.take()?.into_vec().await?;
        let mut behind = Vec::new();
        if let Some(length) = request.header(JSON_LENGTH) {
            let length = length.parse().ok().filter(|length| *length <= bytes.len());
            let Some(length) = length else {
                return Err(Problem::malformed("Inference-Header-Content-Length is longer than the body.").into());
            };
            behind = bytes.split_off(length);
        }
        let Body(request) = Body::<InferRequest>::of(body::read_object(&bytes)?)?;
        Ok(Self { request, behind })
    }
}

/// A text of a tensor.
struct Element(String);

impl Item for Element {
    type Answer = (f64, &'static str, &'static str);

    fn text(&self) -> Option<&str> {
        Some(&self.0)
    }

    fn answer(self, judged: Option<Judged>, _: &Live, _: bool) -> Self::Answer {
        let verdict = judged.expect("every element has a text").verdict;
        let decision = verdict.band.decide(verdict.probability).name();
        (verdict.probability, label(verdict.is_threat), decision)
    }
}

#[OpenApi]
impl Inference {
    /// Describe this server.
    #[oai(path = "/v2", method = "get", tag = "Tag::Dialects")]
    async fn server(&self) -> Told {
        Told::Ok(Json(ServerMetadata {
            name: NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: vec!["binary_tensor_data".to_owned()],
        }))
    }

    /// Check that the server is alive.
    #[oai(path = "/v2/health/live", method = "get", tag = "Tag::Dialects")]
    async fn live(&self) -> IsLive {
        IsLive::Ok(Json(Liveness { live: true }))
    }

    /// Check that there is a model to judge with.
    #[oai(path = "/v2/health/ready", method = "get", tag = "Tag::Dialects")]
    async fn ready(&self) -> Result<IsReady> {
        if *self.0.stopping.borrow() {
            return Err(Problem::stopping().into());
        }
        self.0.model(None).await?;
        Ok(IsReady::Ok(Json(Readiness { ready: true })))
    }

    /// Describe the model in production.
    #[oai(path = "/v2/models/:model", method = "get", tag = "Tag::Dialects")]
    async fn model(&self, _by: By<caller::Read>, model: Path<String>) -> Result<Described> {
        self.describe(&model, None).await
    }

    /// Describe a version.
    #[oai(path = "/v2/models/:model/versions/:version", method = "get", tag = "Tag::Dialects")]
    async fn version(&self, _by: By<caller::Read>, model: Path<String>, version: Path<String>) -> Result<Described> {
        self.describe(&model, Some(&version)).await
    }

    /// Check that the model in production can judge.
    #[oai(path = "/v2/models/:model/ready", method = "get", tag = "Tag::Dialects")]
    async fn model_ready(&self, _by: By<caller::Read>, model: Path<String>) -> Result<IsModelReady> {
        self.is_ready(&model, None).await
    }

    /// Check that a version can judge.
    #[oai(path = "/v2/models/:model/versions/:version/ready", method = "get", tag = "Tag::Dialects")]
    async fn version_ready(
        &self,
        _by: By<caller::Read>,
        model: Path<String>,
        version: Path<String>,
    ) -> Result<IsModelReady> {
        self.is_ready(&model, Some(&version)).await
    }

    /// Judge texts with the model in production.
    #[oai(path = "/v2/models/:model/infer", method = "post", tag = "Tag::Dialects")]
    async fn infer(&self, _by: By<caller::Predict>, model: Path<String>, body: Tensors) -> Result<Inferred> {
        self.judge(&model, None, body).await
    }

    /// Judge texts with a version.
    #[oai(path = "/v2/models/:model/versions/:version/infer", method = "post", tag = "Tag::Dialects")]
    async fn infer_version(
        &self,
        _by: By<caller::Predict>,
        model: Path<String>,
        version: Path<String>,
        body: Tensors,
    ) -> Result<Inferred> {
        self.judge(&model, Some(&version), body).await
    }
}

impl Inference {
    async fn live_of(&self, model: &str, version: Option<&str>) -> Result<std::sync::Arc<Live>, Problem> {
        if model != NAME {
            return Err(Problem::not_found(format!("There is no such model. The only model is `{NAME}`.")));
        }
        self.0.model(version).await
    }

    async fn describe(&self, model: &str, version: Option<&str>) -> Result<Described> {
        let live = self.live_of(model, version).await?;
        Ok(Described::Ok(Json(ModelMetadata {
            name: NAME.to_owned(),
            versions: vec![live.manifest.version.to_string()],
            platform: NAME.to_owned(),
            inputs: vec![TensorMetadata::of("text", "BYTES")],
            outputs: OUTPUTS.map(|output| TensorMetadata::of(output.name(), output.datatype())).into(),
        })))
    }

    async fn is_ready(&self, model: &str, version: Option<&str>) -> Result<IsModelReady> {
        self.live_of(model, version).await?;
        Ok(IsModelReady::Ok(Json(ModelReadiness { name: NAME.to_owned(), ready: true })))
    }

    async fn judge(&self, model: &str, version: Option<&str>, body: Tensors) -> Result<Inferred> {
        let live = self.live_of(model, version).await?;
        let Tensors { request: InferRequest { id, parameters, inputs, outputs }, behind } = body;
        let wanted = wanted(outputs, parameters)?;
        let input = inputs.into_iter().next().expect("it was checked that there is one");
        let shape = input.shape.clone();
        let texts = texts(input, &behind)?;
        self.0.check_texts(&texts)?;
        let answers = self.0.judge_list(&live, false, texts.into_iter().map(Element).collect()).await;
        let mut tensors = Vec::new();
        let outputs = wanted.into_iter().map(|(output, is_binary)| {
            let before = tensors.len();
            let (parameters, data) = if is_binary {
                for answer in &answers {
                    output.write(answer, &mut tensors);
                }
                (Some(json!({ "binary_data_size": tensors.len() - before })), None)
            } else {
                (None, Some(answers.iter().map(|answer| output.json(answer)).collect()))
            };
            let (name, datatype) = (output.name().to_owned(), output.datatype().to_owned());
            InferOutput { name, shape: shape.clone(), datatype, parameters: parameters.map(Any), data: data.map(Any) }
        });
        let outputs = outputs.collect();
        let model_version = live.manifest.version.to_string();
        let answer = InferResponse { model_name: NAME.to_owned(), model_version, id, outputs };
        if tensors.is_empty() {
            return Ok(Inferred::Json(InJson::Ok(Json(answer))));
        }
        let mut bytes = answer.to_json_string().into_bytes();
        let length = bytes.len().to_string();
        bytes.extend(tensors);
        let response = Response::builder().header(header::CONTENT_TYPE, BINARY).header(JSON_LENGTH, length);
        Ok(Inferred::Binary(response.body(bytes)))
    }
}

/// The outputs for each text.
#[derive(Clone, Copy)]
enum Output {
    Probability,
    Label,
    Decision,
}

const OUTPUTS: [Output; 3] = [Output::Probability, Output::Label, Output::Decision];

impl Output {
    fn name(self) -> &'static str {
        match self {
            Self::Probability => "probability",
            Self::Label => "label",
            Self::Decision => "decision",
        }
    }

    fn datatype(self) -> &'static str {
        match self {
            Self::Probability => "FP64",
            Self::Label | Self::Decision => "BYTES",
        }
    }

    fn json(self, (probability, label, decision): &(f64, &str, &str)) -> Value {
        match self {
            Self::Probability => (*probability).into(),
            Self::Label => (*label).into(),
            Self::Decision => (*decision).into(),
        }
    }

    /// Numbers are little-endian. A text follows its length in four bytes.
    fn write(self, (probability, label, decision): &(f64, &str, &str), bytes: &mut Vec<u8>) {
        let text = match self {
            Self::Probability => return bytes.extend(probability.to_le_bytes()),
            Self::Label => label,
            Self::Decision => decision,
        };
        bytes.extend((text.len() as u32).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
}

/// The requested outputs, and whether each is binary.
fn wanted(
    outputs: Option<Vec<InferRequestedOutput>>,
    parameters: Option<Any<Value>>,
) -> Result<Vec<(Output, bool)>, Problem> {
    let asks = |parameters: &Option<Any<Value>>, name: &str| {
        parameters.as_ref().and_then(|Any(parameters)| parameters.get(name)?.as_bool())
    };
    let all_binary = asks(&parameters, "binary_data_output").unwrap_or(false);
    let outputs = outputs.unwrap_or_default();
    if outputs.is_empty() {
        return Ok(OUTPUTS.map(|output| (output, all_binary)).into());
    }
    let each = outputs.into_iter().map(|asked| {
        let found = OUTPUTS.into_iter().find(|output| output.name() == asked.name);
        let output = found.ok_or_else(|| Problem::invalid("The outputs are `probability`, `label` and `decision`."))?;
        Ok((output, asks(&asked.parameters, "binary_data").unwrap_or(all_binary)))
    });
    each.collect()
}

/// The texts of the input.
fn texts(input: InferInput, behind: &[u8]) -> Result<Vec<String>, Problem> {
    if input.name != "text" || input.datatype != "BYTES" {
        return Err(Problem::invalid("The input must be `text`, with datatype BYTES."));
    }
    let count = input.shape.iter().try_fold(1_u64, |count, length| count.checked_mul(*length));
    let count = count.filter(|count| !input.shape.is_empty() && (1..=MOST as u64).contains(count));
    let count = count.ok_or_else(|| Problem::invalid(format!("`shape` must give 1 to {MOST} elements.")))?;
    let size = input.parameters.as_ref().and_then(|Any(parameters)| parameters.get("binary_data_size"));
    let texts = match (input.data, size) {
        (Some(Any(data)), None) if behind.is_empty() => in_json(data, &mut 0),
        (None, Some(size)) if size.as_u64() == Some(behind.len() as u64) => in_binary(behind),
        _ => {
            let detail = "Send the texts in `data`, or after the JSON with their size in `binary_data_size`.";
            return Err(Problem::invalid(detail));
        }
    };
    let texts = texts.ok_or_else(|| Problem::invalid("The texts do not match `datatype`, or a length is wrong."))?;
    if texts.len() as u64 == count {
        Ok(texts)
    } else {
        Err(Problem::invalid(format!("`shape` gives {count} elements, but there are {}.", texts.len())))
    }
}

/// The texts of a list, which may be nested.
fn in_json(data: Value, depth: &mut usize) -> Option<Vec<String>> {
    /// Most dimensions.
    const DEEPEST: usize = 8;
    match data {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) if *depth < DEEPEST => {
            *depth += 1;
            let texts = items.into_iter().map(|item| in_json(item, depth)).collect::<Option<Vec<_>>>();
            *depth -= 1;
            texts.map(|texts| texts.concat())
        }
        _ => None,
    }
}

/// The texts of a binary tensor: the length of each in four bytes, little-endian, then its bytes.
fn in_binary(mut bytes: &[u8]) -> Option<Vec<String>> {
    let mut texts = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        texts.push(String::from_utf8(text.to_vec()).ok()?);
        bytes = rest;
    }
    Some(texts)
}
