//! The documents against the tree: links, places in pages, files, tests and commands that they name, and their length.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Component, Path, PathBuf},
};

/// The pages of the repository itself; those of the book are all in `docs/`.
const OUTSIDE: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "grafana/README.md"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file below a folder, by its path from the root.
fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

/// Every page, by its path from the root.
fn pages() -> HashMap<String, String> {
    let of_book = files("docs").into_iter().filter(|path| has_ending(path, "md"));
    of_book.chain(OUTSIDE.map(str::to_owned)).map(|path| (path.clone(), read(&path))).collect()
}

fn has_ending(path: &str, ending: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == ending)
}

/// Lines that are no code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// Targets of `[words](target)`, also where the words go over two lines.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).collect::<Vec<_>>().join("\n");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

/// The name of a heading in a link, as code hosts and the book make it.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings =
        prose(text).filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// `docs/design/../api.md` as `docs/api.md`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(normal.pop(), "{} leads out of the tree", path.display()),
            part => normal.push(part),
        }
    }
    normal
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let (mut checked, mut dead) = (0, Vec::new());
    for (page, text) in &pages {
        for link in links(text) {
            if link.starts_with("http://") || link.starts_with("https://") {
                continue;
            }
            checked += 1;
            let (file, anchor) = link.split_once('#').map_or((&*link, None), |(file, anchor)| (file, Some(anchor)));
            let path = if file.is_empty() {
                PathBuf::from(page)
            } else {
                normal(&Path::new(page).parent().unwrap().join(file))
            };
            // The book has its own folder and nothing else.
            let leaves_book = page.starts_with("docs/") && !path.starts_with("docs");
            let is_there = root().join(&path).exists() && !leaves_book;
            let has_place = anchor.is_none_or(|anchor| {
                pages.get(path.to_str().unwrap()).is_some_and(|text| anchors(text).contains(anchor))
            });
            if !is_there || !has_place {
                dead.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    assert!(checked > 200, "{checked} links");
}

#[test]
fn every_page_is_in_the_contents_of_the_book() {
    let listed: BTreeSet<String> =
        links(&read("docs/SUMMARY.md")).into_iter().map(|link| format!("docs/{link}")).collect();
    let mut pages: BTreeSet<String> = files("docs").into_iter().filter(|path| has_ending(path, "md")).collect();
    pages.remove("docs/SUMMARY.md");
    assert_eq!(listed, pages);
}

/// A file that a page names in backticks: a path with a folder, or one of the root, and an ending that sources have.
fn named_file(words: &str) -> bool {
    let is_plain = words.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    let folder = words.split_once('/').map_or("", |(folder, _)| folder);
    let has_folder = !matches!(folder, "" | "target") && root().join(folder).is_dir();
    let is_source =
        ["rs", "toml", "md", "yml", "yaml", "py", "js", "mjs"].iter().any(|ending| has_ending(words, ending));
    // `NAME` stands for a name.
    is_plain && has_folder && is_source && !words.contains("NAME")
}

#[test]
fn every_file_that_a_page_names_is_there() {
    let (mut checked, mut gone) = (0, Vec::new());
    for (page, text) in pages() {
        // The changelog also names files that were removed later.
        if page == "CHANGELOG.md" {
            continue;
        }
        for line in prose(&text) {
            for words in line.split('`').skip(1).step_by(2).filter(|words| named_file(words)) {
                checked += 1;
                if !root().join(words).exists() {
                    gone.push(format!("{page}: {words}"));
                }
            }
        }
    }
    assert!(gone.is_empty(), "files that are not there:\n{}", gone.join("\n"));
    assert!(checked > 100, "{checked} files");
}

#[test]
fn every_test_that_holds_an_invariant_is_there() {
    let sources: String = ["src", "model", "workflows", "activities", "api", "tests"]
        .iter()
        .flat_map(|folder| files(folder))
        .filter(|path| has_ending(path, "rs") && !path.contains("/target/"))
        .map(|path| read(&path))
        .collect();
    let text = read("docs/how-it-works.md");
    let (mut invariants, mut gone) = (0, Vec::new());
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    for row in rows.filter(|row| row.split(' ').next().is_some_and(|number| number.parse::<u32>().is_ok())) {
        invariants += 1;
        let checks = row.trim_end_matches('|').rsplit(" | ").next().unwrap();
        let names =
            checks.split('`').skip(1).step_by(2).filter(|name| name.contains('_') && !name.contains(['/', '.']));
        for name in names {
            if !sources.contains(&format!("fn {name}(")) && !sources.contains(&format!("{name}:")) {
                gone.push(name.to_owned());
            }
        }
    }
    assert!(gone.is_empty(), "tests that are not there: {gone:?}");
    assert!(invariants >= 59, "{invariants} invariants");
}

#[test]
fn what_a_stranger_reads_first_is_short() {
    for (page, most) in [("README.md", 200), ("docs/how-it-works.md", 250)] {
        let lines = read(page).lines().count();
        assert!(lines <= most, "{page} has {lines} lines, {most} may be");
    }
}
