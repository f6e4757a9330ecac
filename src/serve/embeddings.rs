//! Sentence embeddings.
use super::app::{Admitted, Answered, Shared, Waiting, aside_until, json_response};
use super::chat::unknown_model;
use super::error::ApiError;
use super::fields::Fields;
use axum::extract::{Request, State};
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
        true => json!(in_base64(&vector.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())),
        false => json!(vector),
    };
    let one = |(index, vector): (usize, &Vec<f32>)| json!({"object": "embedding", "index": index, "embedding": numbers(vector)});
    let data: Vec<Value> = vectors.iter().enumerate().map(one).collect();
    let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
    Ok(json_response(&json!({"object": "list", "data": data, "model": model, "usage": usage})))
}

/// RFC 4648, §4.
fn in_base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = three.iter().enumerate().fold(0u32, |bits, (i, byte)| bits | u32::from(*byte) << (16 - 8 * i));
        for i in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * i)) as usize & 63] as char;
            out.push(if i <= three.len() { letter } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, want) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(in_base64(text.as_bytes()), want);
        }
    }
}
