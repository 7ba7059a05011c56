//! Fields of stored sessions that this build does not know. A newer build wrote them; this build writes them back with
//! every change, so that a rolling upgrade loses nothing.

use std::sync::Arc;

use rmpv::Value;

/// The unknown fields of a session, by the place where they stand. There are none outside of upgrades, and none take no
/// memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnknownFields(Option<Arc<Node>>);

/// The unknown fields of a map, and those further inside it or inside a list.
#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    fields: Vec<(Value, Value)>,
    /// By the key in a map, by the index in a list.
    inside: Vec<(Value, Node)>,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.inside.is_empty()
    }
}

impl UnknownFields {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The fields that are in `stored` and not in `known`, the same session as this build writes it: MessagePack with
    /// named fields, both of them. A known field that has its default counts as well if another build wrote it out; that
    /// is harmless, since `added_to` never replaces a field, and drops those that have got a value.
    pub(super) fn between(stored: &[u8], known: &[u8]) -> Result<Self, rmpv::decode::Error> {
        let root = difference(&read(stored)?, &read(known)?);
        Ok(Self((!root.is_empty()).then(|| Arc::new(root))))
    }

    /// Packed `known` with these fields in their places. Answers the fields that found a place, too: those of a player who left
    /// have none.
    pub(super) fn added_to(&self, known: &[u8]) -> (Vec<u8>, Self) {
        let Some(root) = &self.0 else { return (known.to_vec(), Self::default()) };
        let mut whole = read(known).expect("what this build packs can be read");
        let kept = add(&mut whole, root);
        let mut packed = Vec::with_capacity(known.len());
        rmpv::encode::write_value(&mut packed, &whole).expect("memory takes what is written to it");
        (packed, Self((!kept.is_empty()).then(|| Arc::new(kept))))
    }
}

fn read(mut packed: &[u8]) -> Result<Value, rmpv::decode::Error> {
    rmpv::decode::read_value(&mut packed)
}

/// What `stored` has and `known` has not.
fn difference(stored: &Value, known: &Value) -> Node {
    let mut node = Node::default();
    for (key, stored) in entries(stored) {
        match entry(known, &key) {
            Some(known) => {
                let inside = difference(stored, known);
                if !inside.is_empty() {
                    node.inside.push((key, inside));
                }
            }
            None if key.is_str() => node.fields.push((key, stored.clone())),
            None => {}
        }
    }
    node
}

/// Adds fields where their place is there and nothing stands at it. Answers those that were added.
fn add(to: &mut Value, node: &Node) -> Node {
    let mut kept = Node::default();
    for (key, inside) in &node.inside {
        if let Some(place) = entry_mut(to, key) {
            let inside = add(place, inside);
            if !inside.is_empty() {
                kept.inside.push((key.clone(), inside));
            }
        }
    }
    if let Value::Map(fields) = to {
        for (key, value) in &node.fields {
            if fields.iter().all(|(known, _)| known != key) {
                fields.push((key.clone(), value.clone()));
                kept.fields.push((key.clone(), value.clone()));
            }
        }
    }
    kept
}

/// What is in a map, by key, or in a list, by index.
fn entries(value: &Value) -> Vec<(Value, &Value)> {
    match value {
        Value::Map(fields) => fields.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (Value::from(index), item)).collect()
        }
        _ => Vec::new(),
    }
}

fn entry<'v>(value: &'v Value, key: &Value) -> Option<&'v Value> {
    match value {
        Value::Map(fields) => fields.iter().find(|(known, _)| known == key).map(|(_, value)| value),
        Value::Array(items) => items.get(usize::try_from(key.as_u64()?).ok()?),
        _ => None,
    }
}

fn entry_mut<'v>(value: &'v mut Value, key: &Value) -> Option<&'v mut Value> {
    match value {
        Value::Map(fields) => fields.iter_mut().find(|(known, _)| known == key).map(|(_, value)| value),
        Value::Array(items) => items.get_mut(usize::try_from(key.as_u64()?).ok()?),
        _ => None,
    }
}
