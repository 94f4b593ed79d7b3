//! What is asked of a server.

use std::time::Duration;

use crate::Result;

/// Longer than any answer takes; a server that was cut off ends the connection sooner.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A connection that is kept.
pub(crate) fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder();
    let config = config.http_status_as_error(false).timeout_global(Some(TIMEOUT));
    ureq::Agent::new_with_config(config.build())
}

/// Sends a body; gives the status and the text of the answer.
pub(crate) fn post(
    agent: &ureq::Agent,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<(u16, String)> {
    let mut request = agent.post(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body)?;
    Ok((answer.status().as_u16(), answer.body_mut().read_to_string()?))
}

/// The body of a GET that succeeds.
pub(crate) fn get(agent: &ureq::Agent, url: &str, query: &[(&str, &str)]) -> Result<String> {
    let mut answer = agent.get(url).query_pairs(query.iter().copied()).call()?;
    let text = answer.body_mut().with_config().limit(u64::MAX).read_to_string()?;
    match answer.status().as_u16() {
        200 => Ok(text),
        status => Err(format!("{url}: {status} {text}").into()),
    }
}
