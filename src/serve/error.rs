//! Errors as OpenAI's API words them: `{"error": {"message", "type", "param", "code"}}`, with the status that belongs to them.
use crate::error::Error;
use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// What a request is answered with when it cannot be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub status: StatusCode,
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    pub code: Option<&'static str>,
    /// Seconds after which another try makes sense.
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: None, retry_after: None }
    }

    /// 400: the request is wrong.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 400 for a field.
    pub fn field(name: &str, message: impl Into<String>) -> Self {
        Self { param: Some(name.into()), ..Self::bad(message) }
    }

    pub fn code(self, code: &'static str) -> Self {
        Self { code: Some(code), ..self }
    }

    pub fn retry(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 | 403 => "authentication_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    pub fn body(&self) -> Value {
        json!({"error": {"message": self.message, "type": self.kind(), "param": self.param, "code": self.code}})
    }

    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(Body::from(self.body().to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// What is the asker's to mend is a 400; anything else is ours.
impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Input(what) if what.contains("positions") => Self::bad(what).code("context_length_exceeded"),
            Error::Input(what) => Self::bad(what),
            other => Self::new(StatusCode::INTERNAL_SERVER_ERROR, other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_openais_shape_and_their_headers() {
        let error = ApiError::field("top_p", "top_p 2: expected at most 1");
        assert_eq!(
            error.body(),
            json!({"error": {"message": "top_p 2: expected at most 1", "type": "invalid_request_error", "param": "top_p", "code": null}})
        );
        let busy = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "full").code("queue_full").retry(3);
        assert_eq!(busy.body()["error"]["type"], "rate_limit_error");
        assert_eq!(busy.response().headers()["retry-after"], "3");
        assert_eq!(ApiError::from(Error::failed("x")).status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(ApiError::from(Error::input("x")).status, StatusCode::BAD_REQUEST);
    }
}
