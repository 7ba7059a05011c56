//! The claims of tokens: validity, issuer, audience, player and permissions.

use jsonwebtoken::Algorithm;
use serde_json::json;

use super::tests::{Fixture, NOW_S, PLAYER, claims, claims_with, secret};
use super::*;
use crate::auth::permission::Permission;
use crate::auth::test_log::logged;

#[test]
fn a_token_expires_at_exp_plus_leeway() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let at_ms = |exp: Value, now_ms: i64| {
        let fixture = Fixture::new(&[&key]);
        fixture.clock.advance(Duration::from_millis(now_ms.unsigned_abs()));
        fixture.verifier.verify(&key.token(&claims_with("exp", exp))).map(|token| token.ends_ms)
    };
    let ends_ms = (NOW_S + 65) * 1000;
    assert_eq!(at_ms(json!(NOW_S + 60), 64_999), Ok(ends_ms));
    assert_eq!(at_ms(json!(NOW_S + 60), 65_000), Err(TokenError::Expired));
    assert_eq!(at_ms(json!(NOW_S as f64 + 60.5), 65_499), Ok(ends_ms + 500));
    assert_eq!(at_ms(json!(NOW_S as f64 + 60.5), 65_500), Err(TokenError::Expired));
    for past in [json!(NOW_S - 5), json!(0), json!(-1), json!(-1e300), json!(i64::MIN)] {
        fixture.refuses(&key.token(&claims_with("exp", past)), TokenError::Expired);
    }
    for far in [json!(1e300), json!(i64::MAX), json!(u64::MAX)] {
        assert_eq!(fixture.accepts(&key.token(&claims_with("exp", far))).ends_ms, i64::MAX);
    }
}

#[test]
fn a_token_without_a_valid_exp_is_refused() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let later = (NOW_S + 60).to_string();
    for exp in [Value::Null, json!(later), json!(true), json!("never"), json!("")] {
        fixture.refuses(&key.token(&claims_with("exp", exp)), TokenError::Claim("exp"));
    }
    for exp in ["[1795435260]", "{}", "NaN", "Infinity", "1e999", "-1e999", "0x7fffffff"] {
        let token = key.token_of(Algorithm::HS256, r#"{"alg":"HS256"}"#, &format!(r#"{{"exp":{exp}}}"#));
        assert!(fixture.verifier.verify(&token).is_err(), "{exp}");
    }
}

#[test]
fn a_token_is_valid_from_nbf_minus_leeway() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    fixture.accepts(&key.token(&claims_with("nbf", json!(NOW_S + 5))));
    fixture.refuses(&key.token(&claims_with("nbf", json!(NOW_S + 6))), TokenError::NotYetValid);
    fixture.refuses(&key.token(&claims_with("nbf", json!(NOW_S as f64 + 5.001))), TokenError::NotYetValid);
    fixture.refuses(&key.token(&claims_with("nbf", json!(1e300))), TokenError::NotYetValid);
    fixture.refuses(&key.token(&claims_with("nbf", json!("now"))), TokenError::Claim("nbf"));
    let token = key.token(&claims_with("nbf", json!(NOW_S + 15)));
    fixture.refuses(&token, TokenError::NotYetValid);
    fixture.clock.advance(Duration::from_secs(10));
    fixture.accepts(&token);
}

#[test]
fn a_null_claim_counts_as_absent() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let with_null = |name: &str| {
        let mut claims = claims();
        claims[name] = Value::Null;
        key.token(&claims)
    };
    for name in ["nbf", "iat", "iss", "aud", "jti", "sub", "permissions", "player_id", "platform", "other"] {
        fixture.accepts(&with_null(name));
    }
    assert!(fixture.accepts(&with_null("permissions")).permissions.is_empty());
    assert_eq!(fixture.accepts(&with_null("sub")).player, None);
    fixture.refuses(&with_null("exp"), TokenError::Claim("exp"));
    let strict = Fixture::with(&[&key], |settings| settings.issuer = Some("us".into()));
    strict.refuses(&with_null("iss"), TokenError::Issuer);
    let strict = Fixture::with(&[&key], |settings| settings.audience = Some("us".into()));
    strict.refuses(&with_null("aud"), TokenError::Audience);
}

#[test]
fn a_claim_cannot_occur_twice() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let later = NOW_S + 60;
    for claims in
        [format!(r#"{{"exp":1,"exp":{later}}}"#), format!(r#"{{"sub":null,"exp":{later},"sub":"x"}}"#)]
    {
        fixture
            .refuses(&key.token_of(Algorithm::HS256, r#"{"alg":"HS256"}"#, &claims), TokenError::Malformed);
    }
    fixture.refuses(
        &key.token_of(Algorithm::HS256, r#"{"alg":"none","alg":"HS256"}"#, &claims().to_string()),
        TokenError::Malformed,
    );
}

#[test]
fn an_expiry_in_milliseconds_is_warned_of_once_a_minute() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let verify = |jti: u32, exp: i64| {
        let mut claims = claims_with("exp", json!(exp));
        claims["jti"] = json!(jti);
        let token = key.token(&claims);
        let lines = logged(|| drop(fixture.accepts(&token)));
        assert!(
            lines.iter().all(|line| line.contains("in milliseconds") && !line.contains(&token)),
            "{lines:?}"
        );
        lines.len()
    };
    assert_eq!(verify(0, NOW_S + 60), 0);
    assert_eq!(verify(1, (NOW_S + 60) * 1000), 1);
    assert_eq!(verify(2, (NOW_S + 61) * 1000), 0);
    fixture.clock.advance(Duration::from_secs(60));
    assert_eq!(verify(3, (NOW_S + 62) * 1000), 1);
}

#[test]
fn issuer_and_audience_are_checked_if_configured() {
    let key = secret();
    let open = Fixture::new(&[&key]);
    open.accepts(&key.token(&claims_with("iss", json!("anyone"))));
    open.accepts(&key.token(&claims_with("aud", json!("anyone"))));

    let strict = Fixture::with(&[&key], |settings| settings.issuer = Some("us".into()));
    strict.accepts(&key.token(&claims_with("iss", json!("us"))));
    for iss in [Value::Null, json!("them"), json!("us/"), json!("US"), json!(["us"]), json!(1)] {
        strict.refuses(&key.token(&claims_with("iss", iss)), TokenError::Issuer);
    }

    let strict = Fixture::with(&[&key], |settings| settings.audience = Some("us".into()));
    for aud in [json!("us"), json!(["us"]), json!(["them", "us"])] {
        strict.accepts(&key.token(&claims_with("aud", aud)));
    }
    for aud in [Value::Null, json!("them"), json!("us them"), json!(["them"]), json!([]), json!({"us": 1})] {
        strict.refuses(&key.token(&claims_with("aud", aud)), TokenError::Audience);
    }
}

#[test]
fn a_subject_that_is_not_a_uuid_is_a_server() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let player = |sub: Value| fixture.accepts(&key.token(&claims_with("sub", sub))).player;
    for uuid in [PLAYER.to_owned(), PLAYER.to_uppercase(), PLAYER.replace('-', "")] {
        assert_eq!(player(json!(uuid)).unwrap().to_string(), PLAYER);
    }
    for sub in [Value::Null, json!("match-server-1"), json!(""), json!(17), json!(true)] {
        assert_eq!(player(sub), None);
    }
    for wrong in [json!([PLAYER]), json!({ "uuid": PLAYER })] {
        fixture.refuses(&key.token(&claims_with("sub", wrong)), TokenError::Player);
    }
}

#[test]
fn permissions_are_a_list_or_a_text() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let granted = |claim: Value| {
        let token = fixture.verifier.verify(&key.token(&claims_with("permissions", claim)))?;
        let granted = Permission::ALL.iter().filter(|permission| token.permissions.contains(**permission));
        Ok(granted.map(|permission| permission.name()).collect::<Vec<_>>().join(" "))
    };
    let both = Ok("session:create session:read:self".to_owned());
    assert_eq!(granted(json!(["session:create", "session:read:self", "other"])), both);
    assert_eq!(granted(json!("session:create  other session:read:self")), both);
    for nothing in [Value::Null, json!([]), json!(""), json!("*")] {
        assert_eq!(granted(nothing), Ok(String::new()));
    }
    for wrong in
        [json!(1), json!(true), json!({"session:*": true}), json!(["session:create", 1]), json!([[]])]
    {
        assert_eq!(granted(wrong), Err(TokenError::Permissions));
    }
}

#[test]
fn invalid_numeric_ids_and_platforms_are_ignored() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let player_id = |claim| fixture.accepts(&key.token(&claims_with("player_id", claim))).player_id;
    assert_eq!((player_id(json!(17)), player_id(json!("17"))), (Some(17), Some(17)));
    for nothing in [Value::Null, json!("x"), json!(1.5), json!(""), json!([17]), json!(u64::MAX)] {
        assert_eq!(player_id(nothing), None);
    }
    let platform = |claim| fixture.accepts(&key.token(&claims_with("platform", claim))).platform;
    assert_eq!(platform(json!("PSN")), Some(Platform::PSN));
    for nothing in [Value::Null, json!("psn"), json!("Atari"), json!(9), json!(["PSN"])] {
        assert_eq!(platform(nothing), None);
    }
}

#[test]
fn the_names_of_claims_are_configurable() {
    let key = secret();
    let fixture = Fixture::with(&[&key], |settings| {
        settings.player_claim = "https://us.example/player".into();
        settings.permissions_claim = "scope".into();
        settings.player_id_claim = "pid".into();
        settings.platform_claim = "plat".into();
    });
    let token = fixture.accepts(&key.token(&json!({
        "exp": NOW_S + 60, "https://us.example/player": PLAYER, "scope": "session:create", "pid": 17, "plat": "PSN",
        "sub": "ignored", "permissions": 1, "player_id": 18, "platform": "Steam",
    })));
    assert_eq!(token.player.unwrap().to_string(), PLAYER);
    assert!(token.permissions.contains(Permission::Create));
    assert_eq!((token.player_id, token.platform), (Some(17), Some(Platform::PSN)));
}

#[test]
fn numbers_are_read_from_the_claims_that_ranks_name() {
    let key = secret();
    let fixture =
        Fixture::with(&[&key], |settings| settings.number_claims = vec!["mmr".into(), "dev".into()]);
    let numbers = |claim: Value| {
        let token = fixture.accepts(&key.token(&claims_with("mmr", claim)));
        token.claims.iter().map(|(name, number)| (name.clone(), number.get())).collect::<Vec<_>>()
    };
    assert_eq!(numbers(json!(1_500)), [("mmr".to_owned(), 1_500.0)]);
    assert_eq!(numbers(json!(-2.5)), [("mmr".to_owned(), -2.5)]);
    for other in [json!("1500"), json!([1]), Value::Null, json!(true)] {
        assert_eq!(numbers(other), []);
    }
}

#[test]
fn the_name_is_a_text_of_up_to_64_characters() {
    let key = secret();
    let fixture = Fixture::new(&[&key]);
    let name = |claim: Value| fixture.accepts(&key.token(&claims_with("name", claim))).name.clone();
    assert_eq!(fixture.accepts(&key.token(&claims())).name, None);
    assert_eq!(name(json!("Zoë \u{7}K")).as_deref(), Some("Zoë K"));
    assert_eq!(name(json!("é".repeat(65))).as_deref(), Some(&*"é".repeat(64)));
    for other in [json!(""), json!("\n"), json!(7), json!(["Zoë"]), Value::Null] {
        assert_eq!(name(other), None);
    }
}
