//! `[allocators.<name>]`: what starts dedicated servers. Each kind of allocator has its own settings; the rules of
//! launches are the same for all of them.
//!
//! The sections are read by hand, kind first: serde reads a table whose type depends on one of its values in two steps,
//! and then its errors have no line.

mod agones;
mod process;
mod webhook;

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Deserializer, IgnoredAny, IntoDeserializer as _};
use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

pub use self::agones::AgonesSection;
pub use self::process::{OnStop, PortRange, ProcessSection};
pub use self::webhook::WebhookSection;
use super::{Config, Problem};
use crate::domain::instance::HostType;
use crate::domain::launch::LaunchRules;
use crate::domain::template::Template;
use crate::https;

/// The name of the section.
pub(super) const SECTION: &str = "allocators";
/// Most allocators.
const ALLOCATORS_MAX: usize = 16;
/// Longest name of an allocator. It is a label of metrics.
const NAME_CHARS_MAX: usize = 32;

/// `[allocators.<name>]`: an allocator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AllocatorSection {
    /// The kind, and its settings.
    #[serde(flatten)]
    pub kind: AllocatorKind,
    /// Settings that every kind has.
    #[serde(flatten)]
    pub common: CommonSection,
}

/// The settings of one kind of allocator.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum AllocatorKind {
    /// Servers are processes on this machine.
    Process(ProcessSection),
    /// Servers are allocated from a fleet in a Kubernetes cluster.
    Agones(AgonesSection),
    /// A service of the studio starts servers.
    Webhook(WebhookSection),
}

/// The settings that every kind of allocator has.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CommonSection {
    /// The address of this API as servers reach it, without a path. `None`: the address that the API listens on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The rules of launches.
    #[serde(flatten)]
    pub rules: LaunchRules,
}

/// The value of `kind`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    Process,
    Agones,
    Webhook,
}

#[derive(Deserialize)]
struct KindOnly {
    kind: KindName,
}

#[derive(Deserialize)]
struct BaseUrlOnly {
    base_url: Option<String>,
}

/// Skips the sections where the whole configuration is read. [`read`] reads them.
pub(super) fn skip<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, AllocatorSection>, D::Error> {
    IgnoredAny::deserialize(from).map(|_| BTreeMap::new())
}

/// Reads the sections from the text of the configuration file.
///
/// # Errors
/// If a section has an invalid setting, with its line.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, AllocatorSection>, Error> {
    let root = DeTable::parse(text)?;
    let Some(found) = root.get_ref().get(SECTION) else { return Ok(BTreeMap::new()) };
    let located = |mut error: Error| {
        error.set_input(Some(text));
        error
    };
    // Only to check that these are tables.
    let names = BTreeMap::<String, toml::Table>::deserialize(found.clone().into_deserializer());
    names.map_err(located)?;
    let sections = found.get_ref().as_table().into_iter().flatten();
    let tables =
        sections.filter_map(|(name, section)| Some((name, section.span(), section.get_ref().as_table()?)));
    tables
        .map(|(name, span, table)| Ok((name.get_ref().to_string(), read_section(span, table.clone())?)))
        .collect::<Result<_, Error>>()
        .map_err(located)
}

/// Reads one section: its kind, the settings that every kind has, and then those of its kind.
fn read_section(span: std::ops::Range<usize>, mut own: DeTable<'_>) -> Result<AllocatorSection, Error> {
    let KindOnly { kind } = read_table(span.clone(), take(&mut own, &["kind"]))?;
    let BaseUrlOnly { base_url } = read_table(span.clone(), take(&mut own, &["base_url"]))?;
    let written = take(&mut own, &LaunchRules::SETTINGS);
    let has_place_timeout = written.contains_key("place_timeout_s");
    let mut rules: LaunchRules = read_table(span.clone(), written)?;
    if !has_place_timeout {
        rules.place_timeout_s = kind.place_timeout_s();
    }
    let kind = match kind {
        KindName::Process => AllocatorKind::Process(read_table(span, own)?),
        KindName::Agones => AllocatorKind::Agones(read_table(span, own)?),
        KindName::Webhook => AllocatorKind::Webhook(read_table(span, own)?),
    };
    Ok(AllocatorSection { kind, common: CommonSection { base_url, rules } })
}

/// Takes these settings out of a table.
fn take<'a>(from: &mut DeTable<'a>, settings: &[&str]) -> DeTable<'a> {
    let mut taken = DeTable::new();
    for setting in settings {
        if let Some((key, value)) = from.remove_entry(*setting) {
            taken.insert(key, value);
        }
    }
    taken
}

fn read_table<T: DeserializeOwned>(span: std::ops::Range<usize>, table: DeTable<'_>) -> Result<T, Error> {
    T::deserialize(Spanned::new(span, DeValue::Table(table)).into_deserializer())
}

impl KindName {
    /// The default of `place_timeout_s`: how long a call of this kind may take.
    fn place_timeout_s(self) -> u64 {
        match self {
            Self::Process => 10,
            Self::Agones => 15,
            Self::Webhook => 30,
        }
    }
}

/// Checks the sections, and the templates that use them. Finds the first problem.
pub(super) fn check(config: &Config) -> Result<(), Problem> {
    if config.allocators.len() > ALLOCATORS_MAX {
        return Err(Problem::new(&[SECTION, ""], format!("takes at most {ALLOCATORS_MAX} allocators")));
    }
    for (name, section) in &config.allocators {
        let problem = |setting: &str, message: String| Err(Problem::new(&[SECTION, name, setting], message));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.chars().all(is_plain) {
            return problem(
                "",
                format!("a name has 1 to {NAME_CHARS_MAX} ASCII letters, digits, '-' and '_'"),
            );
        }
        if section.common.base_url.is_none() && !config.http.listen.ip().is_loopback() {
            let message = "base_url is missing: servers need an address at which they reach the API, as in \
                           \"http://192.168.1.20:7700\", because the API listens beyond loopback";
            return problem("base_url", message.into());
        }
        if let Some(Err(message)) = section.common.base_url.as_deref().map(check_base_url) {
            return problem("base_url", message);
        }
        let checked = match &section.kind {
            AllocatorKind::Process(process) => process.check(),
            // The module `allocators` checks them.
            AllocatorKind::Agones(_) | AllocatorKind::Webhook(_) => Ok(()),
        };
        if let Err((setting, message)) = checked {
            return problem(setting, format!("{setting} {message}"));
        }
    }
    check_ports(config)?;
    config.templates.iter().try_for_each(|(name, template)| check_template(config, name, template))
}

/// Two allocators on one machine cannot share ports: each one knows only those of its own servers.
fn check_ports(config: &Config) -> Result<(), Problem> {
    let mut earlier: Vec<(&str, PortRange)> = Vec::new();
    for (name, section) in &config.allocators {
        let AllocatorKind::Process(process) = &section.kind else { continue };
        let PortRange { first, last } = process.ports;
        if let Some((other, _)) = earlier.iter().find(|(_, range)| first <= range.last && range.first <= last)
        {
            let message = format!("ports has ports of [{SECTION}.{other}]: each server needs its own");
            return Err(Problem::new(&[SECTION, name, "ports"], message));
        }
        earlier.push((name, process.ports));
    }
    Ok(())
}

/// The published client takes the port 443 if an address has none, also for http.
fn check_base_url(url: &str) -> Result<(), String> {
    let is_bare = |uri: &http::Uri| {
        let has_path = uri.path() != "/" || url.ends_with('/') || uri.query().is_some();
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        is_web && uri.port().is_some() && !has_path && !https::has_user(uri)
    };
    if https::parse(url).is_some_and(|uri| is_bare(&uri)) {
        return Ok(());
    }
    Err("base_url is no address of an API, as in \"http://192.168.1.20:7700\": http or https, a host, a port, no path"
        .into())
}

/// With several allocators, a template whose sessions start with a dedicated server says which one starts it.
fn check_template(config: &Config, name: &str, template: &Template) -> Result<(), Problem> {
    let problem = |message: String| Err(Problem::new(&["templates", name, "allocator"], message));
    match &template.allocator {
        Some(allocator) if !config.allocators.contains_key(allocator) => {
            problem(format!("allocator: there is no [{SECTION}.{allocator}]"))
        }
        None if config.allocators.len() > 1 && starts_dedicated(config, template) => {
            let names: Vec<_> = config.allocators.keys().map(String::as_str).collect();
            let message = "allocator is missing: sessions of this type start with a dedicated server, and there are \
                           several allocators; name one of";
            problem(format!("{message} {}", names.join(", ")))
        }
        _ => Ok(()),
    }
}

/// Whether sessions with this template start with an instance on a dedicated server.
fn starts_dedicated(config: &Config, template: &Template) -> bool {
    let by_id = template.auto_startup_instance_template_id.and_then(|id| config.instance_templates.get(&id));
    match by_id {
        Some(template) => template.default_host_type == HostType::Dedicated,
        None => template.auto_startup_params.is_some(),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
