//! What the OpenAPI documents of all services have in common: the version, the bearer scheme, the shape of a refusal.

use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

/// The document a service's routes are added to, by `OpenApiRouter::with_openapi`. Handlers that need a session say
/// `security(("session" = []))`.
#[must_use]
pub fn base(title: &str, description: &str) -> OpenApi {
    let session = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
    OpenApiBuilder::new()
        .info(InfoBuilder::new().title(title).description(Some(description)).version(env!("CARGO_PKG_VERSION")).build())
        .components(Some(
            ComponentsBuilder::new()
                .schema_from::<crate::problem::ProblemDocument>()
                .schema_from::<crate::problem::ProblemField>()
                .security_scheme("session", SecurityScheme::Http(session))
                .build(),
        ))
        .build()
}
