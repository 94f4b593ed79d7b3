//! `/api/labstat/v1/inventory`: what the lab is made of beside nodes and disks, what of it is missing, and
//! the way to say that something is gone for good.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::error::{ApiError, Json};
use super::status::{rfc3339, success};
use crate::app::App;
use crate::inventory::Thing;

/// All that was ever seen and is not forgotten.
pub(crate) async fn list(State(app): State<Arc<App>>) -> Json {
    let list: Vec<Value> = app.inventory().things().map(view).collect();
    success(&json!(list))
}

fn view(thing: &Thing) -> Value {
    let state = match thing.missing_ms {
        Some(_) => "missing",
        None if thing.comes_and_goes() => "comes-and-goes",
        None if thing.expected => "expected",
        None => "new",
    };
    json!({
        "kind": thing.name.kind.name(),
        "instance": thing.name.instance,
        "name": thing.name.name,
        "state": state,
        "firstSeen": rfc3339(thing.first_seen_ms),
        "lastSeen": rfc3339(thing.seen_ms),
        "missingSince": thing.missing_ms.map(rfc3339),
    })
}

/// Forgets one: it is no longer expected, until it is seen again.
pub(crate) async fn forget(
    State(app): State<Arc<App>>,
    Path((kind, instance, name)): Path<(String, String, String)>,
) -> Result<Json, ApiError> {
    let unknown = || ApiError::not_found(format!("no {kind} {instance}/{name} is known"));
    let thing = app.inventory().forget(&kind, &instance, &name).ok_or_else(unknown)?;
    for labels in thing.labels_of_alerts() {
        app.alerting.let_go(labels);
    }
    let done = tokio::task::spawn_blocking(move || {
        let kept = app.keep_inventory();
        app.tell_own();
        kept.map_err(|error| ApiError::not_kept(&error))
    });
    done.await.map_err(|_| ApiError::internal("it was not put down"))??;
    Ok(success(&json!({ "forgotten": format!("{kind} {instance}/{name}") })))
}
