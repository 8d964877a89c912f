//! Mailpit's API, as far as its clients use it.

use crate::api::App;
use axum::Router;
use std::sync::Arc;

/// The routes under `/api/v1` and `/view`.
pub(crate) fn routes(_app: Arc<App>) -> Router {
    Router::new()
}
