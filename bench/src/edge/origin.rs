//! A stand-in for the gateway: one card, one sheet, its media, and a feed without revocations. Signatures are not checked: nothing is
//! measured here.

use std::{net::Ipv4Addr, sync::Arc};

use anyhow::Result;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use protocol::sheet::{Card, Sheet};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};

use super::scene::Scene;

/// A running stand-in; it ends when dropped.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Where it answers.
    pub(crate) url: String,
    _runtime: Runtime,
}

impl Origin {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When no port can be had.
    pub(crate) fn start(scene: &Scene) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let url = format!("http://{}", listener.local_addr()?);
        let routes = Router::new()
            .route("/internal/cards/{track}", get(card))
            .route("/internal/sheets/{version}", get(sheet))
            .route("/internal/media/{version}/{rung}/{range}", get(media))
            .route("/internal/revocations", get(revocations))
            .with_state(Arc::new(scene.clone()));
        runtime.spawn(async move {
            // It ends with the runtime; an error then has nobody to go to.
            let _ = axum::serve(listener, routes).await;
        });
        Ok(Self { url, _runtime: runtime })
    }
}

async fn card(State(scene): State<Arc<Scene>>) -> Json<Card> {
    Json(scene.card.clone())
}

async fn sheet(State(scene): State<Arc<Scene>>) -> Json<Sheet> {
    Json(scene.sheet.clone())
}

async fn revocations() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "head": 0, "entries": [] }))
}

async fn media(State(scene): State<Arc<Scene>>, Path((_, rung, range)): Path<(String, String, String)>) -> impl IntoResponse {
    let wanted = range.split_once('-').and_then(|(offset, length)| Some((offset.parse().ok()?, length.parse().ok()?)));
    match wanted {
        Some((offset, length)) => Ok(([(header::CONTENT_TYPE, "audio/mp4")], scene.file(&rung, offset, length))),
        None => Err(StatusCode::NOT_FOUND),
    }
}
