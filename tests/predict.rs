//! `threatwatch predict` on files, with the API and with a model alone.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{fs, process::Output};

use serde_json::{Value, json};

use common::{Up, block_on, both};

const COMMENTS: [&str; 4] =
    ["I will come to your house and kill you.", "Nice song, \"really\"!", "\u{1F600} caf\u{e9}, you will die", "ok"];

fn lines(output: &Output) -> Vec<Value> {
    std::str::from_utf8(&output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn files_are_judged_in_order_and_alike_by_the_api_and_by_a_model_alone() {
    let up = Up::start();
    let file = |name: &str, text: &[u8]| {
        let path = up.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let version = up.get_json("/models/production")["version"].as_str().unwrap().to_owned();
    let artifact = block_on(async {
        let registry = up.settings().registry().await.unwrap();
        let (manifest, _) = registry.manifest(&model::Version::parse(&version).unwrap()).await.unwrap();
        registry.artifact(&manifest.artifact).await.unwrap()
    });
    let artifact = file("model.bin", &artifact);

    let objects: Vec<Value> =
        COMMENTS.iter().zip(["a", "b", "c", "d"]).map(|(text, id)| json!({ "id": id, "text": text })).collect();
    let jsonl: String = objects.iter().map(|object| format!("{object}\n")).collect();
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let csv: String = COMMENTS.iter().map(|text| format!("x,{}\r\n", quoted(text))).collect();
    let files = [
        (file("c.jsonl", jsonl.as_bytes()), ["a", "b", "c", "d"]),
        (file("c.csv", format!("when,Text\r\n{csv}").as_bytes()), ["1", "2", "3", "4"]),
        (file("c.txt", COMMENTS.join("\n\n").as_bytes()), ["1", "3", "5", "7"]),
    ];
    let expected: Vec<Value> =
        COMMENTS.iter().map(|text| up.post_json("/predict", &json!({ "text": text })).1).collect();
    for (file, ids) in &files {
        for model in [vec![], vec!["--model", version.as_str()], vec!["--model", artifact.as_str()]] {
            let output = up.run(&[&["predict", "--file", file.as_str()], &model[..]].concat());
            assert!(output.status.success(), "{}", both(&output));
            let told = lines(&output);
            assert_eq!(told.iter().map(|line| line["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
            for (line, expected) in told.iter().zip(&expected) {
                for name in ["label", "probability", "decision", "judged_by"] {
                    assert_eq!(line[name], expected[name], "{file} {model:?}");
                }
            }
            assert!(both(&output).contains("4 comments judged, "), "{}", both(&output));
        }
    }

    // A wrong comment gets a problem at its place. The others are still judged.
    let wrong = file(
        "wrong.jsonl",
        b"{\"text\":\"ok\"}\n[1]\n{\"id\":7}\n{\"text\":\" \"}\n\xff\n{\"id\":9,\"text\":\"ok\"}\n",
    );
    for model in [vec![], vec!["--model", artifact.as_str()]] {
        let output = up.run(&[&["predict", "--file", wrong.as_str()], &model[..]].concat());
        assert_eq!(output.status.code(), Some(3), "{}", both(&output));
        let told = lines(&output);
        let is_judged: Vec<bool> = told.iter().map(|line| line["label"].is_string()).collect();
        assert_eq!(is_judged, [true, false, false, false, false, true], "{told:?}");
        assert_eq!((&told[2]["id"], &told[5]["id"]), (&json!("7"), &json!("9")));
        assert!(told[1]["problem"].is_string() && told[3]["problem"].as_str().unwrap().contains("empty"), "{told:?}");
    }
    let table = up.run(&["predict", "--file", &wrong, "--output", "csv", "--model", &artifact]);
    let table = String::from_utf8(table.stdout).unwrap();
    let mut rows = table.lines();
    assert_eq!(rows.next(), Some("id,label,probability,decision,judged_by,problem"));
    assert!(rows.next().unwrap().starts_with("1,harmless,0."), "{table}");
    assert_eq!(rows.next(), Some("2,,,,,the line is not a JSON object"));

    // An open quote and a line that is too long are reported. The rest is judged as far as possible.
    let open = file("open.csv", format!("text\nok\n\"open\n{}", "row\n".repeat(300)).as_bytes());
    let output = up.run(&["predict", "--file", &open, "--model", &artifact]);
    let told = lines(&output);
    assert_eq!((output.status.code(), told.len()), (Some(3), 2), "{told:?}");
    assert!(told[1]["problem"].as_str().unwrap().contains("from line 3 on: a quote is not closed"), "{told:?}");
    let long = file("long.txt", format!("{}\nok\n{}\n", "a".repeat(3 << 20), "b".repeat(300 << 10)).as_bytes());
    let told = lines(&up.run(&["predict", "--file", &long]));
    let is_judged: Vec<bool> = told.iter().map(|line| line["label"].is_string()).collect();
    assert_eq!(is_judged, [false, true, false], "{told:?}");

    // A thousand and some: several requests, in order, and nothing lost.
    let many: String = (0..1777).map(|number| format!("comment number {number}\n")).collect();
    let many = file("many.txt", many.as_bytes());
    let (there, here) =
        (up.run(&["predict", "--file", &many]), up.run(&["predict", "--file", &many, "--model", &version]));
    assert_eq!(lines(&there).len(), 1777);
    assert_eq!(lines(&there), lines(&here));

    what_to_label_next(&up, &many, &artifact);

    for (arguments, words) in [
        (vec!["predict"], "<TEXT>"),
        (vec!["predict", "--file", "/nowhere.txt"], "/nowhere.txt"),
        (vec!["predict", " ", "--model", artifact.as_str()], "the comment is empty"),
        (vec!["predict", "a", "--model", "nonsense"], "neither a file nor a version"),
        (vec!["predict", "a", "--model", wrong.as_str()], "is not a model"),
        (vec!["predict", "--file", wrong.as_str(), "--format", "csv"], "no column `text`"),
    ] {
        let refused = up.run(&arguments);
        assert!(!refused.status.success() && both(&refused).contains(words), "{}", both(&refused));
    }
    let alone = up.succeed(&["predict", COMMENTS[0], "--model", &artifact]);
    assert!(alone.starts_with("threat: "), "{alone}");
}

/// Comments are chosen by the model in production or by one in a file. Labelled comments are left out.
fn what_to_label_next(up: &Up, many: &str, artifact: &str) {
    let chosen = up.run(&["label", many, "--take", "40"]);
    assert!(chosen.status.success(), "{}", both(&chosen));
    let first = lines(&chosen);
    let random = first.iter().filter(|line| line["why"] == "random").count();
    assert_eq!((first.len(), random), (40, 4));
    assert!(both(&chosen).contains("40 of 1777 comments"), "{}", both(&chosen));
    assert_eq!(lines(&up.run(&["label", many, "--take", "40", "--model", artifact])), first);
    for line in &first[..10] {
        let (status, _) = up.post_json("/feedback", &json!({ "text": line["text"], "label": "harmless" }));
        assert_eq!(status, 201);
    }
    let next = up.run(&["label", many, "--take", "40"]);
    let ids = |lines: &[Value]| lines.iter().map(|line| line["id"].clone()).collect::<Vec<_>>();
    let next_ids = ids(&lines(&next));
    assert!(ids(&first[..10]).iter().all(|id| !next_ids.contains(id)), "{next_ids:?}");
    assert!(both(&next).contains("10 labelled before"), "{}", both(&next));
    let again = lines(&up.run(&["label", many, "--take", "40", "--again"]));
    assert_eq!(ids(&again), ids(&first));
    let refused = up.run(&["label", many, "--random-share", "1.5"]);
    assert!(!refused.status.success() && both(&refused).contains("not from 0 to 1"), "{}", both(&refused));
}
