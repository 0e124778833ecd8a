//! A route of the same framework that reads and writes bodies of the size of `/predict`'s, and does nothing else: the
//! measure for what `api/benches/compare.py` measures. `cargo run --release -p api --example bare -- ADDRESS`

use poem::{Route, Server, listener::TcpListener};
use poem_openapi::{Object, OpenApi, OpenApiService, payload::Json};

struct Bare;

/// As long as a comment.
#[derive(Object)]
struct Request {
    text: String,
}

/// As long as a verdict on two sentences.
#[derive(Object)]
struct Response {
    label: String,
    probability: f64,
    threshold: f64,
    decision: String,
    review_from: f64,
    flag_from: f64,
    model_version: String,
    generation: u64,
    trainer: String,
    sentences: Vec<Sentence>,
    unknown_share: f64,
    judged_by: String,
}

/// As long as a sentence's part of it.
#[derive(Object)]
struct Sentence {
    start: u32,
    end: u32,
    probability: f64,
    label: String,
    decision: String,
    judged_by: String,
}

#[OpenApi]
impl Bare {
    /// Answers always the same, but for the length of the text.
    #[oai(path = "/predict", method = "post")]
    async fn predict(&self, request: Json<Request>) -> Json<Response> {
        let end = request.0.text.len() as u32;
        let sentence = |start, end| Sentence {
            start,
            end,
            probability: 0.279_638_299_729_031_5,
            label: "harmless".to_owned(),
            decision: "pass".to_owned(),
            judged_by: "fast".to_owned(),
        };
        Json(Response {
            label: "harmless".to_owned(),
            probability: 0.279_638_299_729_031_5,
            threshold: 0.311_286_940_295_92,
            decision: "pass".to_owned(),
            review_from: 0.143_772_547_821_416,
            flag_from: 0.479_064_643_294_257_4,
            model_version: "20261126T023709Z-a6e58330".to_owned(),
            generation: 1,
            trainer: "stacked".to_owned(),
            sentences: vec![sentence(0, end / 2), sentence(end / 2, end)],
            unknown_share: 0.079_365_079_365_079_4,
            judged_by: "fast".to_owned(),
        })
    }
}

#[tokio::main]
async fn main() -> Result<(), std::io::Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8099".to_owned());
    let api = OpenApiService::new(Bare, "bare", "1");
    Server::new(TcpListener::bind(address)).run(Route::new().nest("/", api)).await
}
