//! `/api/v2/…`: the API of Alertmanager, so that `amtool`, Prometheus, Grafana and karma take labstat
//! for one. The same is below `/alertmanager`, for clients that expect it there.
//!
//! - [`body`]: what clients send; [`view`]: what they are answered; [`refusal`]: what they are refused.
//!
//! Not here: who hears of an alert and what keeps it quiet, which is `labstat-alerts`'.

mod body;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod refusal;
mod time;
mod view;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use labstat_alerts::manners::matchers::Matchers;
use labstat_alerts::manners::{
    AlertsFilter, Manners, Posted, Silence, SilenceError, SilenceMatcher, SilenceState,
};

use regex::{Regex, RegexBuilder};
use serde::Serialize;
use serde_json::json;

use self::body::WholeSilence;
use self::refusal::Refusal;
use super::error::Json;
use super::params::Params;
use crate::app::App;

/// Where Mimir and Cortex have the API.
const MIMIR_ROOT: &str = "/alertmanager/api/v2";

/// Where the API is.
pub(crate) const ROOTS: [&str; 2] = ["/api/v2", MIMIR_ROOT];

/// The Alertmanager whose API this is, which is Debian's: `amtool` warns of another.
pub(crate) const API_VERSION: &str = "0.25.0";

/// What stands beside it as the revision.
pub(crate) const API_REVISION: &str = concat!("labstat-", env!("CARGO_PKG_VERSION"));

/// Bytes that the pattern of a receiver's name may take once it is compiled.
const PATTERN_SIZE_MAX: usize = 1 << 20;

/// Matchers of one request; each may be a pattern. Grafana sends a handful.
const FILTERS_MAX: usize = 64;

type Answer = Result<Response, Refusal>;

/// All paths, below both roots.
pub(super) fn router() -> Router<Arc<App>> {
    let mut router = Router::new();
    for root in ROOTS {
        for (path, methods) in paths() {
            // Grafana takes whoever tells its state in both places for the wrong one of the two.
            if (root, path) == (MIMIR_ROOT, "/status") {
                continue;
            }
            // Alertmanager takes a slash at the end for nothing.
            router = router
                .route(&format!("{root}{path}"), methods.clone())
                .route(&format!("{root}{path}/"), methods);
        }
        router = router.route(&format!("{root}/"), axum::routing::any(unknown));
        router = router.route(&format!("{root}/{{*rest}}"), axum::routing::any(unknown));
    }
    router.layer(from_fn(acceptable))
}

fn paths() -> [(&'static str, MethodRouter<Arc<App>>); 6] {
    [
        ("/status", only(get(status), "GET")),
        ("/receivers", only(get(receivers), "GET")),
        ("/alerts", only(get(alerts).post(post_alerts), "GET,POST")),
        ("/alerts/groups", only(get(groups), "GET")),
        ("/silences", only(get(silences).post(post_silence), "GET,POST")),
        ("/silence/{id}", only(get(silence).delete(expire_silence), "GET,DELETE")),
    ]
}

/// These methods, and to all others an answer that names them.
fn only(methods: MethodRouter<Arc<App>>, allowed: &'static str) -> MethodRouter<Arc<App>> {
    let refuse =
        move |method: Method| async move { Refusal::Method { used: method.to_string(), allowed } };
    methods.head(refuse).fallback(refuse)
}

/// Refuses those who want something else than JSON.
async fn acceptable(headers: HeaderMap, request: Request<Body>, next: Next) -> Response {
    let accepted =
        headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    let kinds = accepted.split(',').map(|kind| kind.split(';').next().unwrap_or("").trim());
    let is_json = |kind: &str| matches!(kind, "" | "*/*" | "application/*" | "application/json");
    if kinds.clone().any(is_json) {
        return next.run(request).await;
    }
    let text = "unsupported media type requested, only [application/json] are available";
    Refusal::coded(StatusCode::NOT_ACCEPTABLE, text).into_response()
}

async fn unknown(uri: Uri) -> Refusal {
    Refusal::coded(StatusCode::NOT_FOUND, format!("path {} was not found", uri.path()))
}

fn answer(value: &impl Serialize) -> Answer {
    let mut text =
        serde_json::to_string(value).map_err(|error| Refusal::internal(error.to_string()))?;
    text.push('\n');
    Ok(Json(text).into_response())
}

/// What runs, since when, and the routes as Alertmanager would write them.
async fn status(State(app): State<Arc<App>>) -> Answer {
    let original = app.alerting.look(|manners, _| manners.config().to_alertmanager_yaml());
    answer(&json!({
        "cluster": { "peers": [], "status": "disabled" },
        "config": { "original": original },
        "uptime": time::format(app.start_ms),
        "versionInfo": {
            "branch": "labstat",
            "buildDate": "",
            "buildUser": "",
            "goVersion": "",
            "revision": API_REVISION,
            "version": API_VERSION,
        },
    }))
}

async fn receivers(State(app): State<Arc<App>>) -> Answer {
    let names = app.alerting.look(|manners, _| manners.receivers());
    let receivers: Vec<_> = names.iter().map(|name| view::receiver(name)).collect();
    answer(&receivers)
}

async fn alerts(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Answer {
    let filter = filter(query.as_deref())?;
    let alerts = app.alerting.look(|manners, now_ms| manners.alerts(&filter, now_ms));
    let alerts: Vec<_> = alerts.iter().map(view::alert).collect();
    answer(&alerts)
}

async fn groups(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Answer {
    let filter = filter(query.as_deref())?;
    let groups = app.alerting.look(|manners, now_ms| manners.groups(&filter, now_ms));
    answer(&view::groups(&groups))
}

async fn post_alerts(State(app): State<Arc<App>>, request: Request<Body>) -> Answer {
    let body = body::alerts(request).await?;
    // Alerts take many times the bytes of their text: those of few requests are there at a time.
    let place = Arc::clone(&app.posting).acquire_owned().await;
    let alerts: Vec<Posted> = body::read_alerts(&body)?.into_iter().map(posted).collect();
    drop(body);
    if alerts.is_empty() {
        return Ok(StatusCode::OK.into_response());
    }
    let done = app.alerting.change(move |manners, now_ms| {
        let (step, problems) = manners.post(&alerts, now_ms);
        drop((alerts, place));
        (problems, step)
    });
    // Those that are sound have been taken all the same.
    match done.await.map_err(Refusal::internal)? {
        problems if problems.is_empty() => Ok(StatusCode::OK.into_response()),
        problems => Err(Refusal::bad(problems.join("; "))),
    }
}

fn posted(alert: body::PostedAlert) -> Posted {
    let known = |time: Option<time::Time>| time.and_then(time::Time::known_ms);
    Posted {
        labels: alert.labels.unwrap_or_default(),
        annotations: alert.annotations.unwrap_or_default(),
        starts_at_ms: known(alert.starts_at),
        ends_at_ms: known(alert.ends_at),
        generator_url: alert.generator_url.unwrap_or_default(),
    }
}

async fn silences(State(app): State<Arc<App>>, RawQuery(query): RawQuery) -> Answer {
    let params = params(query.as_deref());
    let wanted = matchers(&params)?;
    let mut silences = app.alerting.look(Manners::silences);
    silences.retain(|(silence, _)| asks_for(silence, &wanted));
    let silences: Vec<_> =
        silences.iter().map(|(silence, state)| view::silence(silence, *state)).collect();
    answer(&silences)
}

/// Whether a silence has each of these matchers, word for word.
fn asks_for(silence: &Silence, wanted: &Matchers) -> bool {
    wanted.iter().all(|wanted| {
        silence.matchers.iter().any(|matcher| *matcher == SilenceMatcher::from_matcher(wanted))
    })
}

async fn post_silence(State(app): State<Arc<App>>, request: Request<Body>) -> Answer {
    let silence = wanted(body::silence(request).await?);
    let made =
        app.alerting.change(move |manners, now_ms| match manners.put_silence(silence, now_ms) {
            Ok((id, step)) => (Ok(id), step),
            Err(error) => (Err(error), labstat_alerts::manners::Step::default()),
        });
    let id = made.await.map_err(Refusal::internal)?.map_err(refused)?;
    answer(&json!({ "silenceID": id }))
}

fn wanted(silence: WholeSilence) -> Silence {
    let WholeSilence { id, matchers, starts_ms, ends_ms, created_by, comment } = silence;
    let matcher = |matcher: body::WholeMatcher| {
        let body::WholeMatcher { name, value, is_regex, is_equal } = matcher;
        SilenceMatcher { name, value, is_regex, is_equal }
    };
    Silence {
        id: id.unwrap_or_default(),
        matchers: matchers.into_iter().map(matcher).collect(),
        starts_at_ms: starts_ms,
        ends_at_ms: ends_ms,
        updated_at_ms: 0,
        created_by,
        comment,
    }
}

fn refused(error: SilenceError) -> Refusal {
    match error {
        SilenceError::NotFound(_) => {
            Refusal::Said(StatusCode::NOT_FOUND, "silence not found".to_owned())
        }
        SilenceError::EndsBeforeStart | SilenceError::EndsInThePast => {
            Refusal::bad(format!("Failed to create silence: {error}"))
        }
        SilenceError::Invalid(why) => Refusal::bad(format!("silence invalid: {why}")),
        SilenceError::AlreadyExpired(_) | SilenceError::TooMany => Refusal::bad(error.to_string()),
    }
}

async fn silence(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    let id = uuid(id)?;
    let found = app.alerting.look(|manners, now_ms| manners.silence(&id, now_ms));
    let (silence, state): (Silence, SilenceState) = found.ok_or(Refusal::Unknown)?;
    answer(&view::silence(&silence, state))
}

async fn expire_silence(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    let id = uuid(id)?;
    let done =
        app.alerting.change(move |manners, now_ms| match manners.expire_silence(&id, now_ms) {
            Ok(step) => (Ok(()), step),
            Err(error) => (Err(error), labstat_alerts::manners::Step::default()),
        });
    match done.await.map_err(Refusal::internal)? {
        // What is over already is what was asked for.
        Ok(()) | Err(SilenceError::AlreadyExpired(_)) => Ok(StatusCode::OK.into_response()),
        Err(SilenceError::NotFound(_)) => Err(Refusal::Unknown),
        Err(error) => Err(refused(error)),
    }
}

/// An id of the form of a UUID, with its hyphens or without.
fn uuid(id: String) -> Result<String, Refusal> {
    let digits = |part: &str, len: usize| {
        part.len() == len && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let parts: Vec<&str> = id.split('-').collect();
    let is_whole = match parts.as_slice() {
        [all] => digits(all, 32),
        [a, b, c, d, e] => {
            digits(a, 8) && digits(b, 4) && digits(c, 4) && digits(d, 4) && digits(e, 12)
        }
        _ => false,
    };
    if is_whole { Ok(id) } else { Err(Refusal::format("silenceID", "path", "uuid", &id)) }
}

fn params(query: Option<&str>) -> Params {
    Params::parse(query.unwrap_or("").as_bytes())
}

/// Which alerts are asked for.
fn filter(query: Option<&str>) -> Result<AlertsFilter, Refusal> {
    let params = params(query);
    let wanted = |name: &str| params.get(name).is_none_or(is_yes);
    Ok(AlertsFilter {
        matchers: matchers(&params)?,
        receiver: params.get("receiver").map(receiver_pattern).transpose()?,
        active: wanted("active"),
        silenced: wanted("silenced"),
        inhibited: wanted("inhibited"),
        muted: wanted("muted"),
    })
}

/// Yes in any of the words that Alertmanager takes for it; all others are no.
fn is_yes(text: &str) -> bool {
    const YES: [&str; 10] =
        ["true", "1", "yes", "ok", "y", "on", "selected", "checked", "t", "enabled"];
    YES.contains(&text.to_ascii_lowercase().as_str())
}

/// The matchers of all `filter` parameters, each of which must hold.
fn matchers(params: &Params) -> Result<Matchers, Refusal> {
    let texts: Vec<&str> = params.all("filter").collect();
    if texts.len() > FILTERS_MAX {
        return Err(Refusal::bad(format!("more than {FILTERS_MAX} filters")));
    }
    if texts.iter().any(|text| text.trim().is_empty()) {
        return Err(Refusal::bad("bad matcher format: "));
    }
    Matchers::parse_all(texts).map_err(|error| Refusal::bad(error.to_string()))
}

fn receiver_pattern(text: &str) -> Result<Regex, Refusal> {
    let whole = format!("^(?:{text})$");
    let pattern = RegexBuilder::new(&whole).size_limit(PATTERN_SIZE_MAX).build();
    pattern.map_err(|_| {
        Refusal::bad(format!("failed to parse receiver param: error parsing regexp: `{whole}`"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids() {
        for good in ["50f6d5fa-c9f0-4d9b-8889-c7ae5ee7cc2d", "50F6D5FAC9F04D9B8889C7AE5EE7CC2D"] {
            assert!(uuid(good.to_owned()).is_ok(), "{good}");
        }
        for wrong in ["", "nonsense", "50f6d5fa-c9f0-4d9b-8889-c7ae5ee7cc2", "../../../etc/passwd"]
        {
            let expected = Refusal::format("silenceID", "path", "uuid", wrong);
            assert_eq!(uuid(wrong.to_owned()), Err(expected));
        }
    }

    #[test]
    fn filters_are_read_and_refused() {
        let filter = |query: &str| super::filter(Some(query));
        let all = filter("").unwrap();
        assert!(all.active && all.silenced && all.inhibited && all.muted);
        assert!(all.matchers.is_empty() && all.receiver.is_none());
        let some = filter(
            "active=maybe&silenced=1&inhibited=ON&muted=false&unprocessed=false\
                           &receiver=pa%7Cpager&filter=a%3Db&filter=c%3D~%22d%7Ce%22",
        )
        .unwrap();
        assert!(!some.active && some.silenced && some.inhibited && !some.muted);
        assert_eq!(some.matchers.iter().count(), 2);
        let receiver = some.receiver.unwrap();
        assert!(receiver.is_match("pager") && receiver.is_match("pa") && !receiver.is_match("p"));
        for wrong in ["filter=a", "filter=", "filter=a%3D~%22(%22", "receiver=("] {
            assert!(
                matches!(filter(wrong), Err(Refusal::Said(StatusCode::BAD_REQUEST, _))),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_silence_is_found_by_the_matchers_it_has() {
        let matchers = Matchers::parse("a=b, c=~d, e!=f").unwrap();
        let silence = Silence {
            id: String::new(),
            matchers: matchers.iter().map(SilenceMatcher::from_matcher).collect(),
            starts_at_ms: 0,
            ends_at_ms: 1,
            updated_at_ms: 0,
            created_by: String::new(),
            comment: String::new(),
        };
        for (text, expected) in [
            ("a=b", true),
            ("a=b, e!=f", true),
            ("c=~d", true),
            ("c=d", false),
            ("a=b, x=y", false),
            ("e=f", false),
        ] {
            assert_eq!(asks_for(&silence, &Matchers::parse(text).unwrap()), expected, "{text}");
        }
    }
}
