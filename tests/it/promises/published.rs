//! Compares the API documents with the published RallyHere contracts. `contract_facts.txt` holds the contracts as facts.
//! `contract_differences.txt` holds each difference with its reason. Both files are meant to be read.

mod facts;
mod permissions;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use expect_test::expect_file;
use rallypoint::api;
use rallypoint::http::surface::Surface;
use rallypoint::notifications;
use rallypoint::runtime::server::all_surfaces;
use serde_json::{Value, json};

use crate::harness::document;
use facts::{Facts, IN_REQUESTS};

const FACTS_HEAD: &str = "# What the published contracts say of the operations that we have. Written from copies of them by\n\
                          # UPDATE_EXPECT=1 cargo test, see published.rs.\n";

/// Surfaces whose contracts are not compared: what clients read of their answers is known from the clients alone.
const NOT_COMPARED: [&str; 2] = ["inventory", "match"];

/// A difference: which document has the fact (`-` the contract, `+` ours), the subject, and the fact.
type Difference = (char, String, String);

/// Copies of the published contracts, from the files that `RALLYPOINT_CONTRACT` lists, separated by colons. A file has
/// one OpenAPI document, or parts of several, by name.
pub fn published_contracts() -> Option<Vec<Value>> {
    let paths = std::env::var_os("RALLYPOINT_CONTRACT")?;
    let mut contracts = Vec::new();
    for path in std::env::split_paths(&paths) {
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let document: Value = serde_json::from_slice(&text).unwrap();
        match document.get("paths") {
            Some(_) => contracts.push(document),
            None => contracts.extend(document.as_object().unwrap().values().map(|part| {
                let components = json!({ "schemas": part["schemas"] });
                json!({ "servers": part["servers"], "paths": part["paths"], "components": components })
            })),
        }
    }
    Some(contracts)
}

/// The contract of a surface: the one with its prefix.
fn contract_of<'a>(surface: &Surface, contracts: &'a [Value]) -> &'a Value {
    let has_prefix = |contract: &&Value| contract["servers"][0]["url"] == surface.prefix;
    contracts.iter().find(has_prefix).unwrap_or_else(|| panic!("no contract has {}", surface.prefix))
}

/// The surfaces that have a published contract.
fn compared_surfaces() -> impl Iterator<Item = Surface> {
    all_surfaces().into_iter().filter(|surface| !NOT_COMPARED.contains(&surface.name()))
}

/// The facts of a surface. Their subjects begin with its name, unless it is the session API.
fn named(surface: &Surface, facts: Facts) -> impl Iterator<Item = (String, String)> {
    let name = surface.name();
    let is_session = surface.prefix == api::PREFIX;
    facts.into_iter().map(move |(subject, fact)| match is_session {
        true => (subject, fact),
        false => (format!("{name}/{subject}"), fact),
    })
}

#[test]
fn the_facts_match_the_published_contract() {
    let Some(contracts) = published_contracts() else {
        println!("not checked: RALLYPOINT_CONTRACT names no copies of the published contracts");
        return;
    };
    let mut found = Facts::new();
    for surface in compared_surfaces() {
        let ids: BTreeSet<_> = surface.operations.iter().map(|operation| operation.id).collect();
        // Only these contracts describe permissions in sentences that can be read.
        let permissions = |_: &str, operation: &Value| match surface.prefix {
            api::PREFIX | notifications::PREFIX => {
                permissions::of_description(operation["description"].as_str().unwrap())
            }
            _ => Vec::new(),
        };
        let facts = facts::of(contract_of(&surface, &contracts), |id| ids.contains(id), permissions);
        found.extend(named(&surface, facts));
    }
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
         `UPDATE_EXPECT=1 cargo test` with copies of the published contracts"
    );
}

/// The facts of our API documents, with the permissions that the server enforces.
fn our_facts() -> Facts {
    let mut found = Facts::new();
    for surface in compared_surfaces() {
        let policy = |id: &str, _: &Value| {
            let row = surface.operations.iter().find(|operation| operation.id == id).unwrap();
            permissions::of_policy(&row.policy)
        };
        let facts = facts::of(&document(&surface), |_| true, policy);
        found.extend(named(&surface, facts));
    }
    found
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
