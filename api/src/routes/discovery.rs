//! The discovery document, which Google's client libraries read before they call Perspective's methods.
//!
//! In the format of Google's API discovery service. The methods are in `perspective.rs`.

use poem::{
    Endpoint, Request, Response, Result,
    http::{StatusCode, header, uri::Scheme},
};
use serde_json::json;

/// The document that Google's client libraries read first: `/$discovery/rest?version=v1alpha1`.
///
/// Its URLs point to the host that the client used.
pub(crate) struct Discovery;

impl Endpoint for Discovery {
    type Output = Response;

    async fn call(&self, request: Request) -> Result<Response> {
        let is_https = *request.scheme() == Scheme::HTTPS
            || request.header("x-forwarded-proto").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
        let host = request.header(header::HOST).unwrap_or_default();
        let root = format!("{}://{host}/", if is_https { "https" } else { "http" });
        let document = discovery(&root).to_string();
        Ok(Response::builder().status(StatusCode::OK).content_type("application/json").body(document))
    }
}

fn discovery(root: &str) -> serde_json::Value {
    let text = || json!({ "type": "string" });
    let a = |schema: &str| json!({ "$ref": schema });
    let list = |items: serde_json::Value| json!({ "type": "array", "items": items });
    let map = |of: &str| json!({ "type": "object", "additionalProperties": a(of) });
    let object =
        |id: &str, properties: serde_json::Value| json!({ "id": id, "type": "object", "properties": properties });
    let call = |name: &str, request: &str, response: &str| {
        json!({
            "id": format!("commentanalyzer.comments.{name}"),
            "path": format!("v1alpha1/comments:{name}"),
            "flatPath": format!("v1alpha1/comments:{name}"),
            "httpMethod": "POST",
            "parameters": {},
            "parameterOrder": [],
            "request": a(request),
            "response": a(response),
        })
    };
    json!({
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "commentanalyzer:v1alpha1",
        "name": "commentanalyzer",
        "version": "v1alpha1",
        "title": "threatwatch, as a Comment Analyzer",
        "protocol": "rest",
        "rootUrl": root,
        "servicePath": "",
        "baseUrl": root,
        "batchPath": "batch",
        "parameters": {
            "key": { "type": "string", "location": "query" },
            "alt": { "type": "string", "location": "query", "default": "json" },
            "prettyPrint": { "type": "boolean", "location": "query", "default": "true" },
        },
        "resources": { "comments": { "methods": {
            "analyze": call("analyze", "AnalyzeCommentRequest", "AnalyzeCommentResponse"),
            "suggestscore": call("suggestscore", "SuggestCommentScoreRequest", "SuggestCommentScoreResponse"),
        } } },
        "schemas": {
            "TextEntry": object("TextEntry", json!({ "text": text(), "type": text() })),
            "ArticleAndParentComment":
                object("ArticleAndParentComment", json!({ "article": a("TextEntry"), "parentComment": a("TextEntry") })),
            "Context": object("Context", json!({
                "entries": list(a("TextEntry")),
                "articleAndParentComment": a("ArticleAndParentComment"),
            })),
            "AttributeParameters": object("AttributeParameters", json!({
                "scoreType": text(),
                "scoreThreshold": { "type": "number", "format": "float" },
            })),
            "Score": object("Score", json!({ "value": { "type": "number", "format": "float" }, "type": text() })),
            "SpanScore": object("SpanScore", json!({
                "begin": { "type": "integer", "format": "int32" },
                "end": { "type": "integer", "format": "int32" },
                "score": a("Score"),
            })),
            "AttributeScores":
                object("AttributeScores", json!({ "summaryScore": a("Score"), "spanScores": list(a("SpanScore")) })),
            "AnalyzeCommentRequest": object("AnalyzeCommentRequest", json!({
                "comment": a("TextEntry"),
                "context": a("Context"),
                "requestedAttributes": map("AttributeParameters"),
                "languages": list(text()),
                "spanAnnotations": { "type": "boolean" },
                "doNotStore": { "type": "boolean" },
                "dropUnsupportedAttributes": { "type": "boolean" },
                "clientToken": text(),
                "sessionId": text(),
                "communityId": text(),
            })),
            "AnalyzeCommentResponse": object("AnalyzeCommentResponse", json!({
                "attributeScores": map("AttributeScores"),
                "languages": list(text()),
                "detectedLanguages": list(text()),
                "clientToken": text(),
            })),
            "SuggestCommentScoreRequest": object("SuggestCommentScoreRequest", json!({
                "comment": a("TextEntry"),
                "context": a("Context"),
                "attributeScores": map("AttributeScores"),
                "languages": list(text()),
                "clientToken": text(),
                "sessionId": text(),
                "communityId": text(),
            })),
            "SuggestCommentScoreResponse": object("SuggestCommentScoreResponse", json!({
                "clientToken": text(),
                "detectedLanguages": list(text()),
                "requestedLanguages": list(text()),
            })),
        },
    })
}
