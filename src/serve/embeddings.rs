//! Sentence embeddings.
use super::app::{Admitted, Answered, Shared, Waiting, aside_until, json_response};
use super::chat::unknown_model;
use super::error::ApiError;
use super::fields::Fields;
use axum::extract::{Request, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Texts of one request for embeddings.
const MOST_TEXTS: usize = 256;

/// `/v1/embeddings`.
pub async fn embeddings(State(app): Shared, request: Request) -> Answered {
    let Admitted { account, permit, body, deadline } = app.admit(request).await?;
    let mut fields = Fields::of(&body)?;
    let model = fields.text("model")?.ok_or_else(|| ApiError::field("model", "`model` is missing"))?;
    if app.served.encoder_name() != Some(model.as_str()) {
        return Err(unknown_model(&model));
    }
    let texts = fields.texts("input")?.ok_or_else(|| ApiError::field("input", "`input` is missing"))?;
    if texts.is_empty() || texts.len() > MOST_TEXTS || texts.iter().any(String::is_empty) {
        return Err(ApiError::field("input", format!("`input`: expected 1 to {MOST_TEXTS} texts, none empty")));
    }
    let base64 = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(ApiError::field("encoding_format", "`encoding_format`: expected `float` or `base64`")),
    };
    fields.unserved("dimensions", |_| false)?;
    fields.finish()?;
    let (served, gone) = (app.served.clone(), Arc::new(AtomicBool::new(false)));
    let _waiting = Waiting(gone.clone());
    let work = move || {
        let tokens = served.text_tokens(&texts)?;
        let mut charge = account.charge(tokens as u64)?;
        charge.used = tokens as u64;
        Ok((served.embed(&texts, &gone)?, tokens))
    };
    let ((vectors, tokens), _permit) = aside_until(&app.bounds, deadline, permit, work).await?;
    let numbers = |vector: &[f32]| match base64 {
        true => json!(STANDARD.encode(vector.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())),
        false => json!(vector),
    };
    let one = |(index, vector): (usize, &Vec<f32>)| json!({"object": "embedding", "index": index, "embedding": numbers(vector)});
    let data: Vec<Value> = vectors.iter().enumerate().map(one).collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json_response(&json!({"object": "list", "data": data, "model": model, "usage": usage})))
}
