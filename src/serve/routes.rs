//! Routes, the small ones of them, and what stands around every answer: the name that the server is asked under, headers, counts.
use super::app::{App, Shared, bearer, json_response, told, typed};
use super::chat::{Kind, unknown_model};
use super::completions::completions;
use super::diagnoses::diagnose;
use super::embeddings::embeddings;
use super::error::ApiError;
use super::page;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::{get, post};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Every route of the server.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::show).post(page::submit))
        .route("/page.css", get(page::style))
        .route("/page.js", get(page::script))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
        .route("/v1/models", get(models))
        .route("/v1/models/{*id}", get(one_model))
        .route("/v1/chat/completions", post(|app, request| async { told(completions(Kind::Chat, app, request).await) }))
        .route("/v1/completions", post(|app, request| async { told(completions(Kind::Text, app, request).await) }))
        .route("/v1/embeddings", post(|app, request| async { told(embeddings(app, request).await) }))
        .route("/terms", get(terms))
        .route("/v1/diagnose", post(|app, request| async { told(diagnose(app, request).await) }))
        .fallback(nowhere)
        .method_not_allowed_fallback(otherwise)
        .layer(from_fn_with_state(app.clone(), around))
        .with_state(app)
}

async fn nowhere() -> Response<Body> {
    ApiError::new(StatusCode::NOT_FOUND, "nothing is served here: GET /openapi.json lists what is").response()
}

async fn otherwise() -> Response<Body> {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "another method is served here: see /openapi.json").response()
}

/// The route of a path, for metrics: a path itself is text that a client chose.
fn route_of(path: &str) -> &'static str {
    const ROUTES: [&str; 12] = [
        "/",
        "/page.css",
        "/page.js",
        "/health",
        "/metrics",
        "/openapi.json",
        "/terms",
        "/v1/models",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/diagnose",
    ];
    let known = ROUTES.into_iter().find(|route| *route == path);
    known.unwrap_or(if path.starts_with("/v1/models/") { "/v1/models/{id}" } else { "other" })
}

/// Before and after every request.
async fn around(State(app): Shared, request: Request, next: Next) -> Response<Body> {
    let (started, route) = (Instant::now(), route_of(request.uri().path()));
    let mut response = match allowed_host(&app, request.headers()) {
        true => next.run(request).await,
        false => {
            let what = "this server answers under the name of this machine only: see `dxlab serve --allow-host`";
            ApiError::new(StatusCode::FORBIDDEN, what).response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("content-security-policy", page::POLICY),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let (status, time) = (response.status().as_u16(), started.elapsed());
    app.metrics.request(route, status, time);
    if app.log {
        crate::process::tell(&format!("{route} {status} {:.3} s", time.as_secs_f64()));
    }
    response
}

/// A page of another site that has its name point to this machine does not get in (DNS rebinding).
fn allowed_host(app: &App, headers: &HeaderMap) -> bool {
    let Some(more) = &app.hosts else { return true };
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) => name,
        _ => host,
    };
    let own = name.eq_ignore_ascii_case("localhost")
        || name == "[::1]"
        || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback());
    own || more.iter().any(|known| known.eq_ignore_ascii_case(name))
}

async fn health(State(app): Shared) -> Response<Body> {
    let stopping = *app.stopped.borrow();
    let mut response = json_response(&json!({"status": if stopping { "stopping" } else { "ok" }}));
    if stopping {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    response
}

async fn metrics(State(app): Shared, headers: HeaderMap) -> Response<Body> {
    match app.keys.account(bearer(&headers)) {
        Ok(_) => typed("text/plain; version=0.0.4; charset=utf-8", app.metrics.text(app.worker.done())),
        Err(error) => error.response(),
    }
}

/// The description, with the names that are served here.
async fn openapi(State(app): Shared) -> Response<Body> {
    let listed = |names: Vec<&str>| names.iter().map(|name| json!(name).to_string()).collect::<Vec<_>>().join(", ");
    let models = listed(app.served.entries.iter().map(|entry| entry.name.as_str()).collect());
    let tasks = listed(app.diagnosers.iter().map(|diagnoser| diagnoser.task()).collect());
    let text = include_str!("openapi.json")
        .replace("VERSION", env!("CARGO_PKG_VERSION"))
        .replace("\"MODELS\"", &models)
        .replace("\"TASKS\"", if tasks.is_empty() { "null" } else { &tasks })
        .replace("\"ENCODERS\"", &listed(vec![app.served.encoder_name().unwrap_or("none is served")]))
        .replace("987654321", &app.samples.to_string());
    typed("application/json", text)
}

/// Terms of a task that go on like a text (`/terms?task=rare-disease&query=arach`), for a form that is being filled in.
async fn terms(State(app): Shared, request: Request) -> Response<Body> {
    let found = app.keys.account(bearer(request.headers())).and_then(|_| {
        let query = request.uri().query().unwrap_or_default().as_bytes();
        let fields: std::collections::BTreeMap<_, _> = url::form_urlencoded::parse(query).into_owned().collect();
        let diagnoser = app.diagnoser(fields.get("task").map(String::as_str))?;
        let typed = fields.get("query").map_or("", String::as_str);
        Ok(json_response(&json!({"object": "list", "data": diagnoser.terms(typed)})))
    });
    told(found)
}

async fn models(State(app): Shared, headers: HeaderMap) -> Response<Body> {
    told(app.keys.account(bearer(&headers)).map(|_| json_response(&json!({"object": "list", "data": app.listed()}))))
}

async fn one_model(State(app): Shared, Path(id): Path<String>, headers: HeaderMap) -> Response<Body> {
    let found = |_| app.listed().into_iter().find(|model| model["id"] == id.as_str()).ok_or_else(|| unknown_model(&id));
    told(app.keys.account(bearer(&headers)).and_then(found).map(|model| json_response(&model)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_not_the_text_of_a_path() {
        assert_eq!(route_of("/v1/models/a/b"), "/v1/models/{id}");
        assert_eq!(route_of("/v1/other"), "other");
    }
}
