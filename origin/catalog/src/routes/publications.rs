//! `/internal/publications`: where ingest hands over a track whose artefacts are complete.

use axum::extract::State;
use platform::{Json, Problem};

use crate::{
    Catalog,
    publication::{Outcome, Publication, Published, Refused},
    store::publish::{self, PublishError},
};

/// Publish a track, or a new version of it. Once for each (track, version), however often it is sent.
#[utoipa::path(
    post,
    path = "/internal/publications",
    tag = "internal",
    request_body = Publication,
    responses(
        (status = 200, body = Published),
        (status = 400, description = "`bad_publication`, with `errors`"),
        (status = 409, description = "`fenced_out`: a later lease has published; `not_the_owner`"),
    )
)]
pub(crate) async fn create(State(catalog): State<Catalog>, Json(publication): Json<Publication>) -> Result<Json<Published>, Problem> {
    let publication = publication
        .validate()
        .map_err(|wrong| Problem::bad_request("bad_publication", "the publication cannot be accepted; see `errors`").with_errors(wrong))?;
    let published = publish::publish(&catalog.pool, &publication, catalog.clock.now()).await?;
    if published.outcome == Outcome::Published {
        tracing::info!(track = %published.track, version = %published.version, fence = publication.fence, "published");
        catalog.outbox_grew();
    }
    Ok(Json(published))
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Sql(error) => error.into(),
            PublishError::Refused(refused) => {
                let code = match refused {
                    Refused::NotTheOwner => "not_the_owner",
                    Refused::FencedOut { .. } => "fenced_out",
                };
                Self::conflict(code, refused.to_string())
            }
        }
    }
}
