//! Compares the API document with the published RallyHere contract. `contract_facts.txt` holds the contract as facts.
//! `contract_differences.txt` holds each difference with its reason. Both files are meant to be read.

mod facts;
mod permissions;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use expect_test::expect_file;
use rallypoint::api;
use rallypoint::http::openapi;
use serde_json::Value;

use facts::{Facts, IN_REQUESTS};

const FACTS_HEAD: &str = "# What the published contract says of the operations that we have. Written from a copy of it by\n\
                          # UPDATE_EXPECT=1 cargo test, see published.rs.\n";

/// A difference: which document has the fact (`-` the contract, `+` ours), the subject, and the fact.
type Difference = (char, String, String);

/// A copy of the published contract, from the file that `RALLYPOINT_CONTRACT` names.
fn published_contract() -> Option<Value> {
    let path = PathBuf::from(std::env::var_os("RALLYPOINT_CONTRACT")?);
    let contract = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_slice(&contract).unwrap())
}

#[test]
fn the_facts_match_the_published_contract() {
    let Some(contract) = published_contract() else {
        println!("not checked: RALLYPOINT_CONTRACT does not name a copy of the published contract");
        return;
    };
    let ids: BTreeSet<_> = api::surface().operations.iter().map(|operation| operation.id).collect();
    let found = facts::of(
        &contract,
        |id| ids.contains(id),
        |_, operation| permissions::of_description(operation["description"].as_str().unwrap()),
    );
    expect_file!["../contract_facts.txt"].assert_eq(&render(&found));
}

#[test]
fn every_difference_from_the_contract_has_a_reviewed_reason() {
    let found = differences(&parse(include_str!("../contract_facts.txt")), &our_facts());
    let entries = reviewed(include_str!("../contract_differences.txt"));
    let covers = |entry: &Difference, difference: &Difference| {
        let fits = |pattern: &String, text: &String| pattern == "*" || pattern == text;
        entry.0 == difference.0 && fits(&entry.1, &difference.1) && fits(&entry.2, &difference.2)
    };
    let line = |(sign, subject, fact): &Difference| format!("  {sign} {subject}: {fact}\n");
    let unreviewed = found.iter().filter(|found| !entries.iter().any(|entry| covers(entry, found)));
    let unreviewed: String = unreviewed.map(line).collect();
    let outdated = entries.iter().filter(|entry| !found.iter().any(|found| covers(entry, found)));
    let outdated: String = outdated.map(line).collect();
    assert!(
        unreviewed.is_empty() && outdated.is_empty(),
        "differences without a reason:\n{unreviewed}reasons without a difference:\n{outdated}\
         correct the code or contract_differences.txt; a new operation first needs a run of \
         `UPDATE_EXPECT=1 cargo test` with a copy of the published contract"
    );
}

/// The facts of our API document, with the permissions that the server enforces.
fn our_facts() -> Facts {
    let operations = api::surface().operations;
    let policy = |id: &str, _: &Value| {
        let row = operations.iter().find(|operation| operation.id == id).unwrap();
        permissions::of_policy(&row.policy)
    };
    facts::of(&openapi::document(&api::surface(), "access_token"), |_| true, policy)
}

fn differences(contract: &Facts, ours: &Facts) -> Vec<Difference> {
    let ours: BTreeSet<_> = ours.iter().cloned().collect();
    // An answer may promise more than the contract: that an optional field is always present.
    let promised = |(subject, fact): &(String, String)| {
        let is_sent = ours.contains(&(subject.clone(), IN_REQUESTS.to_owned()));
        let promised = (subject.clone(), always(fact)?);
        (!is_sent && ours.contains(&promised)).then_some(promised)
    };
    let theirs: BTreeSet<_> =
        contract.iter().map(|fact| promised(fact).unwrap_or_else(|| fact.clone())).collect();
    let signed = |sign| move |(subject, fact): &(String, String)| (sign, subject.clone(), fact.clone());
    theirs.difference(&ours).map(signed('-')).chain(ours.difference(&theirs).map(signed('+'))).collect()
}

/// The fact about an optional field, changed to a field that is always present.
fn always(fact: &str) -> Option<String> {
    let (name, value) = fact.split_once("? ")?;
    let value = value.split_once(" = ").map_or(value, |(value, _)| value);
    Some(format!("{name} {value}"))
}

fn render(facts: &Facts) -> String {
    let (mut text, mut current) = (FACTS_HEAD.to_owned(), "");
    for (subject, fact) in facts {
        if subject != current {
            write!(text, "\n{subject}\n").unwrap();
            current = subject;
        }
        writeln!(text, "  {fact}").unwrap();
    }
    text
}

fn parse(text: &str) -> Facts {
    let (mut facts, mut current) = (Facts::new(), "");
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("  ") {
            Some(fact) => facts.push((current.to_owned(), fact.to_owned())),
            None => current = line,
        }
    }
    facts
}

/// Parses the file of reviewed differences: each paragraph is a reason and then, indented, the differences it covers.
fn reviewed(text: &str) -> Vec<Difference> {
    let mut entries = Vec::new();
    for paragraph in text.split("\n\n").skip(1) {
        let (explained, reason): (Vec<_>, Vec<_>) =
            paragraph.lines().partition(|line| line.starts_with("  "));
        assert!(
            !reason.is_empty() && !explained.is_empty(),
            "a paragraph needs a reason and differences:\n{paragraph}"
        );
        entries.extend(explained.into_iter().map(|line| {
            let (sign, what) = line.trim().split_at(1);
            let (subject, fact) = what.trim().split_once(": ").expect(line);
            (sign.chars().next().unwrap(), subject.to_owned(), fact.to_owned())
        }));
    }
    entries
}
