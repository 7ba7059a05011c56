//! The format of stored templates: JSON, as in the configuration. Every node stores the templates of its configuration,
//! so that other nodes, and later configurations, know the templates of the stored sessions.

use bytes::Bytes;

use crate::document::Document;
use crate::domain::template::Template;
use crate::store::StoreError;

/// Encodes a template.
pub fn encode(template: &Template) -> Bytes {
    Document::render(template)
}

/// Decodes a stored template.
///
/// # Errors
/// [`StoreError::Corrupt`] if the bytes are not a template, or one of a newer build with fields that this build does
/// not know.
pub fn decode(value: &[u8]) -> Result<Template, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Corrupt(format!("a stored template: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_keep_every_field() {
        let party = Template {
            player_culling_timeout: Some(180),
            min_session_count: 3,
            custom_data: [("a".into(), "b".into())].into(),
            ..Template::default()
        };
        for template in [Template::default(), party] {
            assert_eq!(decode(&encode(&template)).unwrap(), template);
        }
        assert!(decode(b"{\"new_field\": 1}").is_err());
    }
}
