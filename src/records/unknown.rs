//! Fields of stored sessions that this build does not know. A newer build wrote them. This build writes them back with
//! every change, so that no field is lost during a rolling upgrade.

use std::sync::Arc;

use rmpv::Value;

/// Values that a change replaces as a whole. Unknown fields in the old value say nothing about the new one.
const REPLACED_WHOLE: [&str; 4] = ["client", "join_params", "password", "startup_params"];
/// Fields that differ between an entry and a later entry at the same place: the next platform session of a platform,
/// the next instance, the new entry of a player who has come back.
const IDENTITY: [&str; 3] = ["id", "instance_id", "sequence"];

/// The unknown fields of a session, each with its place in the session. Outside of upgrades there are none; `None` then
/// needs no allocation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UnknownFields(Option<Arc<Node>>);

/// The unknown fields of a map or list of the session, and of the maps and lists inside it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    /// Names and values of unknown fields. Empty for a list.
    fields: Vec<(Value, Value)>,
    /// The maps and lists inside that have unknown fields.
    inside: Vec<Inside>,
}

/// A map or list with unknown fields, inside another one.
#[derive(Clone, Debug, PartialEq)]
struct Inside {
    /// The key in the outer map, or the index in the outer list.
    key: Value,
    /// What was at this place; see [`identity`].
    identity: Vec<Value>,
    node: Node,
}

impl Node {
    fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.inside.is_empty()
    }
}

impl UnknownFields {
    /// Whether there are no unknown fields.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The fields that `stored` has and `known` does not. Both are MessagePack with named fields: `stored` as another
    /// build wrote it, `known` the same session as this build writes it.
    ///
    /// This build leaves out some fields that have their default value. If another build wrote such a field, the result
    /// has it too. That is harmless: [`insert_into`](Self::insert_into) never replaces a field, and drops this one once
    /// the session has a value for it.
    ///
    /// # Errors
    /// If `stored` is not MessagePack.
    pub(super) fn between(stored: &[u8], known: &[u8]) -> Result<Self, rmpv::decode::Error> {
        let root = difference(&read(stored)?, &read(known)?);
        Ok(Self((!root.is_empty()).then(|| Arc::new(root))))
    }

    /// Inserts these fields into `known`, a session as this build packs it. Returns the packed result and the fields
    /// that were inserted. Fields are dropped if what they belong to is gone, such as the entry of a player who left,
    /// or if something else has taken its place. Items of lists are told apart by their index alone.
    pub(super) fn insert_into(&self, known: &[u8]) -> (Vec<u8>, Self) {
        let Some(root) = &self.0 else { return (known.to_vec(), Self::default()) };
        let mut session = read(known).expect("this build can read what it packs");
        let kept = insert(&mut session, root);
        let mut packed = Vec::with_capacity(known.len());
        rmpv::encode::write_value(&mut packed, &session).expect("a write to memory does not fail");
        (packed, Self((!kept.is_empty()).then(|| Arc::new(kept))))
    }
}

fn read(mut packed: &[u8]) -> Result<Value, rmpv::decode::Error> {
    rmpv::decode::read_value(&mut packed)
}

/// The fields that `stored` has and `known` does not, at every depth. Only fields with a name count: other keys of a
/// map, such as those of players, are data and not fields.
fn difference(stored: &Value, known: &Value) -> Node {
    let mut node = Node::default();
    for (key, stored) in entries(stored) {
        match entry(known, &key) {
            Some(known) => {
                let inside = difference(stored, known);
                if !inside.is_empty() {
                    let identity = identity(&key, known);
                    node.inside.push(Inside { key, identity, node: inside });
                }
            }
            None if key.is_str() => node.fields.push((key, stored.clone())),
            None => {}
        }
    }
    node
}

/// What tells the value at a key from another value that a change may put there.
fn identity(key: &Value, known: &Value) -> Vec<Value> {
    if key.as_str().is_some_and(|key| REPLACED_WHOLE.contains(&key)) {
        return vec![known.clone()];
    }
    IDENTITY.iter().filter_map(|&field| entry(known, &field.into())).cloned().collect()
}

/// Inserts fields into the maps that still exist, unless the map has a field of that name. Returns the inserted fields.
fn insert(to: &mut Value, node: &Node) -> Node {
    let mut kept = Node::default();
    for Inside { key, identity: before, node } in &node.inside {
        let Some(value) = entry_mut(to, key) else { continue };
        if identity(key, value) != *before {
            continue;
        }
        let kept_inside = insert(value, node);
        if !kept_inside.is_empty() {
            kept.inside.push(Inside { key: key.clone(), identity: before.clone(), node: kept_inside });
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

/// The values in a map with their keys, or in a list with their indices. Nothing for other values.
fn entries(value: &Value) -> Vec<(Value, &Value)> {
    match value {
        Value::Map(fields) => fields.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| (Value::from(index), item)).collect()
        }
        _ => Vec::new(),
    }
}

/// The value at a key of a map or an index of a list.
fn entry<'v>(value: &'v Value, key: &Value) -> Option<&'v Value> {
    match value {
        Value::Map(fields) => fields.iter().find(|(known, _)| known == key).map(|(_, value)| value),
        Value::Array(items) => items.get(usize::try_from(key.as_u64()?).ok()?),
        _ => None,
    }
}

/// Like [`entry`], for changes.
fn entry_mut<'v>(value: &'v mut Value, key: &Value) -> Option<&'v mut Value> {
    match value {
        Value::Map(fields) => fields.iter_mut().find(|(known, _)| known == key).map(|(_, value)| value),
        Value::Array(items) => items.get_mut(usize::try_from(key.as_u64()?).ok()?),
        _ => None,
    }
}
