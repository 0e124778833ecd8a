//! `threatwatch experiment --report` and `evaluate --report`: one complete page without a script or a comment.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};
use serde_json::Value;

/// An element of a page with its content.
#[derive(Debug, Default)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Element>,
    text: String,
}

impl Element {
    fn of(start: &BytesStart<'_>) -> Self {
        let attributes = start.attributes().map(|attribute| {
            let attribute = attribute.unwrap();
            let name = String::from_utf8(attribute.key.as_ref().to_vec()).unwrap();
            (name, attribute.unescape_value().unwrap().into_owned())
        });
        let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
        Self { name, attributes: attributes.collect(), ..Self::default() }
    }

    /// The page in some bytes, which must be well formed.
    fn parse(page: &str) -> Self {
        let mut reader = Reader::from_str(page);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => open.push(Self::of(&start)),
                Event::Empty(start) => open.last_mut().unwrap().children.push(Self::of(&start)),
                Event::End(_) => {
                    let done = open.pop().unwrap();
                    let parent = open.last_mut().unwrap();
                    parent.text += &done.text;
                    parent.children.push(done);
                }
                Event::Text(text) => open.last_mut().unwrap().text += &text.unescape().unwrap(),
                Event::DocType(_) => {}
                Event::Eof => break,
                other => panic!("a page has no {other:?}"),
            }
        }
        assert_eq!(open.len(), 1, "an element is not closed");
        open.remove(0)
    }

    fn all(&self) -> Vec<&Self> {
        std::iter::once(self).chain(self.children.iter().flat_map(Self::all)).collect()
    }

    fn named(&self, name: &str) -> Vec<&Self> {
        self.all().into_iter().filter(|element| element.name == name).collect()
    }

    fn by_id(&self, id: &str) -> &Self {
        self.all().into_iter().find(|element| element.attributes.get("id").is_some_and(|found| found == id)).unwrap()
    }

    /// The numbers in the rows of a table, as they are in full.
    fn numbers(&self) -> Vec<Vec<f64>> {
        let body = self.named("tbody")[0];
        let numbers =
            |row: &&Self| row.named("data").iter().map(|data| data.attributes["value"].parse().unwrap()).collect();
        body.named("tr").iter().map(numbers).collect()
    }
}

/// What each kind of page must be.
fn check(page: &str, figures: &Value) {
    let root = Element::parse(page);
    assert!(page.starts_with("<!DOCTYPE html>"));

    // Nothing runs, nothing is fetched.
    for name in ["script", "link", "img", "iframe", "object", "embed", "base", "form", "a"] {
        assert!(root.named(name).is_empty(), "<{name}>");
    }
    for element in root.all() {
        for (name, value) in &element.attributes {
            let is_active = name.starts_with("on") || ["src", "href", "style", "srcset"].contains(&name.as_str());
            assert!(!is_active, "{name}={value}");
        }
    }
    for outside in ["http:", "https:", "//", "url(", "@import", "javascript:"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'") && page.contains("prefers-color-scheme: dark"));

    // The report has no comment and no commenter's name.
    for row in model::corpus::sample().rows.iter().filter(|row| row.text.len() > 12) {
        assert!(!root.text.contains(row.text.as_str()), "a comment is on the page");
    }

    // The figures are those of the JSON, to the last digit.
    let keys = ["precision", "recall", "f1", "roc_auc", "pr_auc", "recall_at_fpr_5", "brier", "ece"];
    let rows = root.by_id("figures").numbers();
    for (key, row) in keys.iter().zip(&rows[1..]) {
        let of = |unit: &str| {
            let (value, interval) = (&figures[unit][key], &figures[unit]["intervals"][key]);
            [value, &interval[0], &interval[1]].map(|number| number.as_f64().unwrap())
        };
        assert_eq!(*row, [of("sentence"), of("comment")].concat(), "{key}");
    }
    let curve = |name: &str, columns: &[&str]| -> Vec<Vec<f64>> {
        let points = figures[name].as_array().unwrap();
        points.iter().map(|point| columns.iter().map(|column| point[column].as_f64().unwrap()).collect()).collect()
    };
    assert_eq!(root.by_id("pr-curve").numbers(), curve("pr_curve", &["threshold", "precision", "recall"]));
    assert_eq!(root.by_id("calibration-curve").numbers(), curve("calibration_curve", &["said", "seen", "n"]));
    assert_eq!(
        root.by_id("flagged-comments").numbers(),
        curve("flagged_comments", &["share", "threshold", "precision", "recall"])
    );
    let thresholds = root.by_id("thresholds").numbers();
    assert_eq!(thresholds.len(), figures["thresholds"].as_array().unwrap().len());
    for (row, found) in thresholds.iter().zip(figures["thresholds"].as_array().unwrap()) {
        assert_eq!(
            (row[0], row[1]),
            (found["threshold"].as_f64().unwrap(), found["sentence"]["flagged"].as_f64().unwrap())
        );
        assert_eq!(row[7], found["comment"]["precision"].as_f64().unwrap());
    }
    let bins = root.by_id("probability").numbers();
    let count = |at: usize| bins.iter().map(|bin| bin[at]).sum::<f64>();
    let (n, positives) =
        (figures["sentence"]["n"].as_f64().unwrap(), figures["sentence"]["positives"].as_f64().unwrap());
    assert_eq!((count(2), count(3)), (positives, n - positives));
    assert!(root.by_id("thresholds").text.contains("best_f1"));

    // Whoever does not see a curve has its words and its table.
    let drawings = root.named("svg");
    assert_eq!(drawings.len(), 4);
    assert!(drawings.iter().all(|svg| svg.attributes["role"] == "img" && svg.attributes["aria-label"].len() > 20));
    for figure in root.named("figure") {
        assert_eq!((figure.named("figcaption").len(), figure.named("table").len()), (1, 1));
    }
    for table in root.named("table") {
        assert_eq!(table.named("caption").len(), 1);
        assert!(table.named("th").iter().all(|head| head.attributes.contains_key("scope")));
    }
}

fn run(arguments: &[&str]) -> Output {
    // Whoever has parts running would be asked otherwise.
    let output = Command::new(common::BINARY).args(arguments).args(["--state-dir", "/nowhere"]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", common::both(&output));
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_report_is_one_page_with_the_figures_of_the_json_and_no_comment() {
    let dir = tempfile::tempdir().unwrap();
    // A name that must stay text.
    let (corpus, out) = (dir.path().join("<b>'mine' & \"yours\".txt"), dir.path().join("out.html"));
    // One row in a thousand is malformed.
    fs::write(&corpus, [model::SAMPLE_CORPUS, b"9\tnobody reads this sentence\n"].concat()).unwrap();
    let (corpus, report) = (corpus.to_str().unwrap(), out.to_str().unwrap());

    let cv = run(&["experiment", "--train", corpus, "--cv", "5", "--json", "--report", report]);
    let page = fs::read_to_string(&out).unwrap();
    check(&page, &json(&cv)["cv"]);
    assert!(page.contains("&lt;b&gt;&#39;mine&#39; &amp; &quot;yours&quot;.txt") && !page.contains("<b>"));
    assert!(page.contains("1 malformed rows set aside") && !page.contains("nobody reads"), "what was set aside");
    assert!(page.contains("multinomial_nb") && page.contains("experiment --train"), "configuration and command");
    assert_eq!(json(&cv)["data"]["train"]["quarantined"], 1);

    // Written over, whole; nothing else is left behind.
    let test = run(&["experiment", "--train", corpus, "--test", corpus, "--json", "--report", report]);
    let page = fs::read_to_string(&out).unwrap();
    check(&page, &json(&test));
    assert!(page.contains("too good"), "judged on what it learned from");
    assert_eq!(names(dir.path()).len(), 2, "{:?}", names(dir.path()));

    // The command refuses before it trains, and the existing file stays.
    let nowhere = dir.path().join("nowhere/out.html");
    let mut command = Command::new(common::BINARY);
    command.args(["experiment", "--train", corpus, "--report", nowhere.to_str().unwrap()]);
    let refused = command.output().unwrap();
    assert!(!refused.status.success() && common::both(&refused).contains("no folder"), "{}", common::both(&refused));
}

#[test]
fn a_file_is_evaluated_by_the_file_of_a_model_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let rows = model::corpus::sample().rows;
    let trainer = model::trainers::find("multinomial_nb").unwrap();
    let config = model::experiment::Config::default();
    let trained = model::experiment::train(trainer, &rows, &config, &|_, _| {}).unwrap();
    let artifact = file("model.bin", &model::artifact::encode(&trained.model));
    let corpus = file("corpus.txt", model::SAMPLE_CORPUS);
    let out = dir.path().join("out.html");

    let told = run(&["evaluate", "--data", &corpus, "--model", &artifact, "--json", "--report", out.to_str().unwrap()]);
    let figures = json(&told);
    let expected = serde_json::to_value(model::experiment::evaluate(&trained.model, &rows)).unwrap();
    assert_eq!((&figures["sentence"], &figures["comment"]), (&expected["sentence"], &expected["comment"]));
    assert_eq!(figures["sentence"]["threshold"].as_f64(), Some(trained.model.threshold()), "its operating point");
    assert_eq!((&figures["training_data"], &figures["model"]["version"]), (&"unknown".into(), &Value::Null));
    check(&fs::read_to_string(&out).unwrap(), &figures);

    // What is judged is the same in each format; the same model judges the same file alike in `experiment`.
    let line = |row: &model::Row| {
        let comment = format!("{}", row.comment);
        serde_json::json!({ "text": row.text, "label": row.label, "commenter": row.commenter, "comment": comment })
    };
    let lines: String = rows.iter().map(|row| format!("{}\n", line(row))).collect();
    let jsonl = file("corpus.jsonl", lines.as_bytes());
    let by_jsonl = json(&run(&["evaluate", "--data", &jsonl, "--model", &artifact, "--json"]));
    assert_eq!(by_jsonl["sentence"], figures["sentence"]);
    let tried = json(&run(&["experiment", "--train", &corpus, "--test", &corpus, "--json"]));
    assert_eq!(tried["sentence"], figures["sentence"]);

    // Without `--json` the answer is text. Malformed rows are reported by line.
    let spoiled = file("spoiled.jsonl", format!("{lines}{{\"text\": 7}}\n").as_bytes());
    let words = run(&["evaluate", "--data", &spoiled, "--model", &artifact]);
    let words = String::from_utf8(words.stdout).unwrap();
    let malformed = format!("line {}: ", rows.len() + 1);
    for part in ["PR-AUC", "by comment", "1 malformed rows set aside", &malformed, "too good"] {
        assert!(words.contains(part), "{part}: {words}");
    }

    // Wrong names are reported. A wrong command line has its own exit code.
    for (arguments, words, code) in [
        (vec!["evaluate", "--data", "nonsense", "--model", &artifact], "neither a file nor a dataset", 1),
        (vec!["evaluate", "--data", &corpus, "--model", "nonsense"], "neither a file nor a version", 1),
        (vec!["evaluate", "--data", &corpus, "--model", &corpus], "is not a model", 1),
        (vec!["evaluate", "--data", &corpus], "--model", 2),
        (vec!["experiment", "--train", &corpus, "--trainer", "nobody"], "nobody", 2),
        (vec!["shadow", "start", "nonsense"], "model version", 2),
        (vec!["completions", "tcsh"], "possible values", 2),
    ] {
        let refused = Command::new(common::BINARY).args(&arguments).output().unwrap();
        let both = common::both(&refused);
        assert!(refused.status.code() == Some(code) && both.contains(words), "{arguments:?}: {both}");
        assert!(refused.stdout.is_empty(), "{arguments:?}");
    }
}
