//! The cookie that stands for a token or API key in a browser.

use warp::http::{HeaderValue, Method, Response, StatusCode, header};

use crate::http::answer::{self, Answer, Body};
use crate::http::call::Call;
use crate::http::query::Query;

/// `POST` and `DELETE /api/cookie`
pub async fn cookie(call: Call) -> Answer {
    call.only("POST, DELETE")?;
    Query::strict(&call.query, &[])?;
    let none = answer::bare(StatusCode::NO_CONTENT);
    if call.method == Method::DELETE {
        return Ok(setting(none, &call.gate.end_cookie(&call.forwarded()).await?));
    }
    let set = call.gate.make_cookie(&call.forwarded(), call.caller()?).await?;
    Ok(match set {
        Some(set) => setting(none, &set),
        None => none,
    })
}

fn setting(mut response: Response<Body>, set: &str) -> Response<Body> {
    if let Ok(set) = HeaderValue::from_str(set) {
        response.headers_mut().append(header::SET_COOKIE, set);
    }
    answer::private(response)
}
