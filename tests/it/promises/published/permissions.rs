//! The permissions of an operation as facts: from our policies, and from the sentences of the published contract.

use std::collections::BTreeSet;

use rallypoint::auth::Policy;

/// Where a list of permissions allows an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// On any player and session.
    Any,
    /// On the caller, or on a session in which the caller is active.
    Own,
    /// On a session that the caller leads.
    Led,
}

/// Ends of sentences that narrow the list before them to the scope [`Scope::Own`].
const OWN_SCOPES: [&str; 3] =
    ["a session you are part of", "for sessions you are a member of", "audit information about yourself"];

/// The facts of a policy.
pub fn of_policy(policy: &Policy) -> Vec<String> {
    let names = |permissions: &[rallypoint::auth::Permission]| {
        permissions.iter().map(|permission| permission.name()).collect::<BTreeSet<_>>()
    };
    facts(&names(policy.any_of()), &names(policy.own_of()), false)
}

fn facts(any: &BTreeSet<&str>, own: &BTreeSet<&str>, leaders_need_none: bool) -> Vec<String> {
    let list = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(" ");
    let mut facts = Vec::new();
    if !any.is_empty() {
        facts.push(format!("permission any {}", list(any)));
    }
    if !own.is_empty() {
        facts.push(format!("permission own {}", list(own)));
    }
    if leaders_need_none {
        facts.push("permission leader none".into());
    }
    facts
}

/// The facts of a published description. It has lists of permissions, each under a sentence with its scope. If
/// callers without a certain permission need a right in the session, the other permissions of the list have the scope
/// `Own`.
pub fn of_description(description: &str) -> Vec<String> {
    let mut lists: Vec<(Scope, BTreeSet<&str>)> = Vec::new();
    let (mut under, mut leaders_need_none, mut without_right) = (Scope::Any, false, None);
    for line in description.lines().map(str::trim) {
        let names: BTreeSet<_> =
            line.split('`').skip(1).step_by(2).filter(|name| name.contains(':')).collect();
        match line {
            "For all sessions:" => under = Scope::Any,
            "For sessions you are actively in:" => under = Scope::Own,
            "For sessions you are an admin in:" => under = Scope::Led,
            "* None" => leaders_need_none |= under == Scope::Led,
            _ if line.starts_with("- For any player") => lists.push((Scope::Any, names)),
            _ if line.starts_with("- For the player themselves") => lists.push((Scope::Own, names)),
            _ if line.starts_with("* Required auth permissions are") => lists.push((under, names)),
            _ if line.starts_with("Required Auth Permissions:") => lists.push((Scope::Own, names)),
            _ if line.starts_with("Required Session Permissions: `") => {
                without_right = names.first().copied()
            }
            _ if OWN_SCOPES.iter().any(|end| line.ends_with(end)) => {
                lists.last_mut().expect("a list comes before this sentence").0 = Scope::Own;
            }
            _ => assert!(names.is_empty() || is_exempt(line), "unknown form of sentence: {line}"),
        }
    }
    let of =
        |scope: Scope| lists.iter().filter(move |list| list.0 == scope).flat_map(|list| &list.1).copied();
    let (mut any, mut own): (BTreeSet<_>, BTreeSet<_>) = (of(Scope::Any).collect(), of(Scope::Own).collect());
    if let Some(without_right) = without_right.filter(|name| any.contains(name)) {
        own.extend(any.iter().filter(|name| !["session:*", without_right].contains(name)));
        any.retain(|name| ["session:*", without_right].contains(name));
    }
    own.retain(|name| !any.contains(name));
    facts(&any, &own, leaders_need_none)
}

/// Whether a sentence is about the content of the answer, not about permissions to call.
fn is_exempt(line: &str) -> bool {
    line.starts_with("Required Session Permissions: None for limited results.")
}

#[test]
fn every_form_of_permission_sentence_is_parsed() {
    let any = "- For any player any of: `a:*`, `a:any`, `a:self`";
    for (description, expected) in [
        (any.to_owned(), &["permission any a:* a:any a:self"][..]),
        (format!("{any}\n\n- For the player themselves : `a:me`"), &["permission any a:* a:any a:self", "permission own a:me"]),
        (format!("{any}\n\n to do it to a session you are part of"), &["permission own a:* a:any a:self"]),
        (
            "For all sessions:\n* Required auth permissions are any of: `a:any`\nFor sessions you are actively in:\n\
             * Required auth permissions are any of: `a:any`, `a:self`\nFor sessions you are an admin in:\n* None"
                .to_owned(),
            &["permission any a:any", "permission own a:self", "permission leader none"],
        ),
        ("Required Auth Permissions: `a:self`".to_owned(), &["permission own a:self"]),
    ] {
        assert_eq!(of_description(&description), expected, "{description}");
    }
    let right = "- For any player any of: `session:*`, `a:any`, `a:self`\n\
                 Required Session Permissions: `session_admin` if user does not have the `a:any` auth permission";
    assert_eq!(of_description(right), ["permission any a:any session:*", "permission own a:self"]);
}
