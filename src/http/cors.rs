//! Which pages of other origins may read answers (Fetch, 3.3: CORS): those of `--allow-origin`, exactly. Without an answer's
//! headers about it, a browser hides the answer from the page's script.

use warp::http::header::{self, HeaderName, HeaderValue};
use warp::http::{HeaderMap, Method, StatusCode};

use crate::http::answer::{self, Answer};
use crate::http::origin;
use crate::model::origin::Origin;

/// All methods of all paths.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// The headers of requests that browsers ask about. Each by its name, because `*` stands neither for `Authorization` nor for
/// any header of a request with cookies.
const HEADERS: &str = "Authorization, Content-Type, Last-Event-ID, Presently-Client, Presently-Session, Presently-Seq";

/// The headers of answers that scripts may read, beside those that browsers always show.
const EXPOSED: &str = "Retry-After, WWW-Authenticate, X-Request-Id";

/// How long a browser may skip the question, in seconds: as long as Chromium keeps an answer at most (WebKit: 10 min). An origin
/// that is no longer allowed is refused all the same, since every change is judged, and every answer marked, by itself.
const MAX_AGE: &str = "7200";

/// The question whether a public page may reach a private address (Private Network Access), and its answer. Only some Chromium
/// versions before the permission prompt of 2025 ask; allowing an origin allows its pages wherever the gateway stands.
const PRIVATE: (HeaderName, HeaderName) = (
    HeaderName::from_static("access-control-request-private-network"),
    HeaderName::from_static("access-control-allow-private-network"),
);

/// What the answer to one request says about the page that sent it.
#[derive(Debug)]
pub struct Sharing {
    /// The page's origin as sent, if the page may read the answer.
    origin: Option<HeaderValue>,
    /// Whether another origin's page would get another answer.
    varies: bool,
}

impl Sharing {
    /// How to answer a request with these headers, where the `allowed` origins may read.
    pub fn of(request: &HeaderMap, allowed: &[Origin]) -> Self {
        Sharing { origin: origin::allowed(request, allowed).cloned(), varies: !allowed.is_empty() }
    }

    /// Says it in the headers of the answer. A file that everybody may read stays so.
    pub fn mark(&self, answer: &mut HeaderMap) {
        if !self.varies || answer.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        let others = answer.get(header::VARY).and_then(|vary| vary.to_str().ok());
        let vary = others.map_or_else(|| "Origin".to_owned(), |others| format!("{others}, Origin"));
        if let Ok(vary) = HeaderValue::from_str(&vary) {
            answer.insert(header::VARY, vary);
        }
        if let Some(origin) = &self.origin {
            answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

/// The answer to a preflight, by which a browser asks whether a page may send a request; `None` for any other request. Browsers
/// ask without credentials, and an answer of success shows nothing of the path: what is there or not is the request's matter.
pub fn preflight(method: &Method, request: &HeaderMap, allowed: &[Origin]) -> Option<Answer> {
    let asks = method == Method::OPTIONS
        && request.contains_key(header::ORIGIN)
        && request.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    asks.then(|| {
        if origin::allowed(request, allowed).is_none() {
            return Err(origin::not_allowed(request));
        }
        let mut granted = answer::bare(StatusCode::NO_CONTENT);
        granted = answer::with(granted, header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        granted = answer::with(granted, header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        granted = answer::with(granted, header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        let (asked, allowed) = PRIVATE;
        Ok(if request.contains_key(asked) { answer::with(granted, allowed, "true") } else { granted })
    })
}
