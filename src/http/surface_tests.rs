//! A second surface: its own format of failures, operations without a token, and what its rows can say.

use std::sync::Arc;

use http::header::HeaderValue;
use http::{HeaderMap, HeaderName, Method, Request};
use http_body_util::BodyExt as _;
use schemars::{JsonSchema, SchemaGenerator};
use serde::Serialize;
use serde_json::json;

use super::*;
use crate::api;
use crate::api::wire::CustomDataBody;
use crate::app::launches::LaunchSettings;
use crate::auth::{Caller, DevelopmentKey, KeyRing, Permission, Policy};
use crate::config::Config;
use crate::document::Document;
use crate::env::{Clock, Entropy};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::operation::Input;
use crate::http::reply::{Answer, EmptyObject, Reply, Versioned};
use crate::http::{Pipeline, openapi};
use crate::runtime::{server, settings};
use crate::store::{Memory, Store};

/// The body of every failure of the second surface.
#[derive(Serialize, JsonSchema)]
struct Problem {
    title: String,
    code: &'static str,
}

/// The body of a failure that one operation of the second surface has.
#[derive(Serialize, JsonSchema)]
struct OwnProblem {
    title: String,
    code: &'static str,
    hint: Option<&'static str>,
}

/// A body of success.
#[derive(Serialize, JsonSchema)]
struct Said {
    said: String,
}

fn problem(error: &Error) -> Answer {
    let (status, code) = error.parts();
    Answer::json(status, &Problem { title: error.to_string(), code })
}

async fn greet(_: Arc<App>, _: Caller, _: Input) -> Result<Reply<Versioned<Said>>, Error> {
    Ok(Reply::document(&Document::of(&Said { said: "hello".into() })))
}

async fn name(
    _: Arc<App>,
    caller: Caller,
    _: Input<(), (), Json<CustomDataBody>>,
) -> Result<Reply<EmptyObject>, Error> {
    assert_eq!((caller.player(), caller.may(Permission::SessionAll)), (None, false));
    let id = caller.basic().map_or("nobody", |basic| &basic.id);
    let header = HeaderValue::from_str(id).unwrap();
    Ok(Reply::empty_object().with_header(HeaderName::from_static("x-name"), header))
}

fn surface() -> Surface {
    let closed = Policy::any(&[Permission::SessionAll]);
    let operations = vec![
        Operation::new(Method::GET, "greet", "/greet", greet, Policy::PUBLIC, "Greets"),
        Operation::new(Method::GET, "greet_friends", "/friends", greet, closed, "Greets those with a token"),
        Operation::new(Method::POST, "name", "/name", name, Policy::PUBLIC_WITH_BASIC, "Names the client")
            .body_at_most(64)
            .may_fail(&[StatusCode::FORBIDDEN])
            .fails_with::<OwnProblem>(StatusCode::FORBIDDEN)
            .answers_with(&[("x-name", "Id of the client.")]),
    ];
    let errors = ErrorFormat {
        answer: problem,
        body: SchemaGenerator::subschema_for::<Problem>,
        ..ErrorFormat::default()
    };
    Surface::new("/own", vec![Group::new(Tag::new("Own", "Another surface"), operations)]).with_errors(errors)
}

fn pipeline() -> Arc<Pipeline> {
    let config = Config::default();
    let dir = tempfile::tempdir().unwrap();
    let key = DevelopmentKey::load_or_create(dir.path(), &Entropy::System).unwrap();
    let ring = Arc::new(KeyRing::new(key.key_set()));
    let store = Store::Memory(Memory::default());
    let app = server::new_app(
        &config,
        store,
        ring,
        LaunchSettings::default(),
        (Clock::System, Entropy::System),
        Arc::default(),
    );
    let surfaces = vec![api::surface(), surface()];
    Arc::new(Pipeline::new(Arc::new(app), surfaces, settings::pipeline_settings(&config, false)))
}

async fn send(
    pipeline: &Arc<Pipeline>,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> (u16, HeaderMap, Value) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::<Bytes>::from(body.into())).unwrap();
    let (parts, body) = pipeline.handle(request, None).await.response().await.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), parts.headers, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn failures_below_a_prefix_have_the_format_of_the_surface() {
    let pipeline = pipeline();
    let field = async |method, path, field: &str| {
        let (status, _, body) = send(&pipeline, method, path, &[], "").await;
        (status, body[field].clone())
    };
    for (method, path, status, code) in [
        (Method::GET, "/own/friends", 403, "token_missing"),
        (Method::GET, "/own/nothing", 404, "path_not_found"),
        (Method::GET, "/own", 404, "path_not_found"),
        (Method::PUT, "/own/greet", 405, "method_not_allowed"),
        (Method::POST, "/own/openapi.json", 405, "method_not_allowed"),
    ] {
        assert_eq!(field(method, path, "code").await, (status, json!(code)), "{path}");
    }
    for path in ["/session/v1/nothing", "/ownership", "/nothing", "/"] {
        assert_eq!(field(Method::DELETE, path, "code").await.1, Value::Null, "{path}");
    }
    assert_eq!(
        field(Method::GET, "/session/v1/player/me/session", "error_code").await,
        (403, json!("token_missing"))
    );
}

#[tokio::test]
async fn a_public_operation_ignores_tokens_and_answers_304() {
    let pipeline = pipeline();
    for headers in [&[][..], &[("authorization", "Bearer x")], &[("cookie", "access_token=x")]] {
        let (status, headers, body) = send(&pipeline, Method::GET, "/own/greet", headers, "").await;
        assert_eq!((status, &headers["content-type"]), (200, &HeaderValue::from_static("application/json")));
        assert_eq!(body, json!({ "said": "hello" }));
        let etag = headers["etag"].to_str().unwrap();
        let (status, _, _) = send(&pipeline, Method::GET, "/own/greet", &[("if-none-match", etag)], "").await;
        assert_eq!(status, 304);
    }
}

#[tokio::test]
async fn a_client_names_itself_with_basic_only_where_the_policy_says_so() {
    let pipeline = pipeline();
    for (authorization, id) in
        [("Basic YTpiOmM=", "a"), ("basic YTpiOmM", "a"), ("Basic %", "nobody"), ("Bearer YTpi", "nobody")]
    {
        let headers = [("authorization", authorization)];
        let (status, headers, body) = send(&pipeline, Method::POST, "/own/name", &headers, "{}").await;
        assert_eq!((status, body), (200, json!({})), "{authorization}");
        assert_eq!(headers["x-name"], id, "{authorization}");
    }
    let headers = [("authorization", "Basic YTpiOmM=")];
    assert_eq!(send(&pipeline, Method::GET, "/own/friends", &headers, "").await.0, 403);
}

#[tokio::test]
async fn an_operation_has_a_lower_limit_of_its_body() {
    let pipeline = pipeline();
    let (status, _, body) = send(&pipeline, Method::POST, "/own/name", &[], " ".repeat(65)).await;
    assert_eq!((status, &body["title"]), (413, &json!("the body is larger than 64 bytes")));
    assert_eq!(send(&pipeline, Method::POST, "/own/name", &[], " ".repeat(64)).await.0, 422);
}

#[tokio::test]
async fn the_documents_describe_each_surface_as_it_is() {
    let document =
        openapi::document(&surface(), openapi::DocumentSettings { cookie: "access_token", keep_s: 3_600 });
    let operation = |path: &str, method: &str| document["paths"][path][method].clone();
    assert_eq!(operation("/greet", "get")["security"], json!([]));
    assert_eq!(operation("/greet", "get")["responses"].get("403"), None);
    let described = operation("/name", "post");
    assert_eq!(described["security"], json!([{}, { "basic": [] }]));
    let schema = |status: &str| {
        described["responses"][status]["content"]["application/json"]["schema"]["$ref"].clone()
    };
    assert_eq!(schema("403"), "#/components/schemas/OwnProblem");
    assert_eq!(schema("default"), "#/components/schemas/Problem");
    assert_eq!(schema("422"), "#/components/schemas/HTTPValidationError");
    assert_eq!(described["responses"]["200"]["headers"]["x-name"]["description"], "Id of the client.");
    assert_eq!(document["components"]["securitySchemes"]["basic"]["scheme"], "basic");

    let pipeline = pipeline();
    assert_eq!(send(&pipeline, Method::GET, "/own/openapi.json", &[], "").await.2, document);
    let request = Request::get("/docs/swagger-initializer.js").body(Full::<Bytes>::default()).unwrap();
    let page =
        pipeline.handle(request, None).await.response().await.into_body().collect().await.unwrap().to_bytes();
    let page = str::from_utf8(&page).unwrap();
    assert!(page.contains("\"/openapi.json\"") && page.contains("\"/own/openapi.json\""), "{page}");
}
