//! Backtests of a version, newest first.

use model::{
    Digest, Generation, Version,
    backtest::{Backtest, BacktestId, Case, Report, Said, Source},
    calibration::Decision,
};
use serde_json::{Value, json};
use std::time::Duration;

use crate::{Preset, problem, start};

fn case(candidate: bool, incumbent: bool, label: Option<bool>) -> Case {
    let said = |is_threat| {
        let decision = if is_threat { Decision::Review } else { Decision::Pass };
        Said { is_threat, decision }
    };
    Case {
        candidate: said(candidate),
        incumbent: said(incumbent),
        label,
        commenter: None,
        sentences: Vec::new(),
        learnt: false,
    }
}

#[tokio::test]
async fn the_backtests_of_a_version_are_listed_newest_first() {
    let service = start().await;
    service.promote(Preset::Default).await;
    assert!(service.serves(Generation(1), Duration::from_secs(5)).await);
    let version = service.predict("a").await["model_version"].as_str().unwrap().to_owned();
    let path = format!("/models/{version}/backtests");
    let list = async || service.get(&path).await.json::<Value>().await.unwrap();
    assert_eq!(list().await, json!({ "items": [] }));

    let candidate = Version::parse(&version).unwrap();
    let done = |number: i64, source, cases: &[Case]| Backtest {
        id: BacktestId::derive(number, "backtest", "run"),
        candidate: candidate.clone(),
        incumbent: Version::derive(0, "other", "run", "multinomial_nb"),
        source,
        at: 1_795_399_809_000 + number,
        code_version: "test".to_owned(),
        report: Report::of(cases),
    };
    let labelled = [
        case(true, false, Some(true)),
        case(true, false, Some(false)),
        case(false, true, Some(false)),
        case(false, false, Some(false)),
    ];
    let first = done(1, Source::Feedback, &labelled);
    let second = done(2, Source::File(Digest::of(b"comments.txt")), &[case(true, true, None)]);
    for backtest in [&first, &second] {
        service.registry.put_backtest(backtest).await.unwrap();
    }
    let told = list().await;
    let [newest, oldest] = &told["items"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!((&newest["id"], &newest["source"]), (&json!(second.id.as_str()), &json!("file")));
    assert_eq!((&newest["comments"], &newest["changed"], &newest["labelled"]), (&json!(1), &json!(0), &json!(0)));
    assert!(newest.get("accuracy_difference").is_none() && newest.get("corrected").is_none(), "{newest}");
    for (name, value) in [
        ("candidate", json!(version)),
        ("incumbent", json!(first.incumbent)),
        ("source", json!("feedback")),
        ("at", json!("2026-11-23T02:10:09.001Z")),
        ("comments", json!(4)),
        ("changed", json!(3)),
        ("to_threat", json!(2)),
        ("to_harmless", json!(1)),
        ("handled_otherwise", json!(3)),
        ("changed_share", json!(0.75)),
        ("changed_interval", json!(first.report.changed_interval)),
        ("labelled", json!(4)),
        ("corrected", json!(2)),
        ("broken", json!(1)),
        ("p_value", json!(1.0)),
        ("accuracy_difference", json!(0.25)),
    ] {
        assert_eq!(oldest[name], value, "{name}: {oldest}");
    }
    assert_eq!(oldest["accuracy_interval"].as_array().unwrap().len(), 2);
    problem(service.get("/models/20200101T000000Z-00000000/backtests").await, 404).await;
    problem(service.get("/models/canary/backtests").await, 422).await;
}
