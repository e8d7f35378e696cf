//! Scripts, style and pictures of the page, and the client's files: compressed, and named by their content.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use std::sync::LazyLock;

use bytes::Bytes;
use rust_embed::RustEmbed;
use warp::http::header::{self, HeaderMap, HeaderValue};
use warp::http::{Response, StatusCode};
use warp::path::Tail;

use crate::http::answer::{self, Answer, Body};
use crate::http::call::Call;
use crate::http::page::client::{self, CLIENT, JOINED};
use crate::model::refusal::{Code, Refusal};

/// The sources of the page and of the client.
#[derive(RustEmbed)]
#[folder = "web/"]
#[exclude = "page/*.html"]
#[exclude = "*.toml"]
#[exclude = "client/package.json"]
#[exclude = "client/README.md"]
#[exclude = "client/LICENSE"]
#[exclude = "client/react.*"]
#[exclude = "client/element.*"]
#[exclude = "client/presently.js"]
#[exclude = "examples/*"]
struct Embedded;

/// The one file of `web/client/` that is served as it is.
const TYPES: &str = "presently.d.ts";

/// The documentation, as it was when this build was made.
const DOCS: [(&str, &str); 3] = [
    ("PROTOCOL.md", include_str!("../../PROTOCOL.md")),
    ("OPERATING.md", include_str!("../../OPERATING.md")),
    ("ARCHITECTURE.md", include_str!("../../ARCHITECTURE.md")),
];

/// For addresses that name their content: a browser never asks again.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

struct Asset {
    ty: HeaderValue,
    /// The entity tag of the content.
    hash: String,
    plain: Bytes,
    gzip: Bytes,
    etag: HeaderValue,
    /// The compressed content is another representation with a tag of its own.
    gzip_etag: HeaderValue,
}

struct Assets {
    /// `assets/`, relative to the page, and the hash of everything in it: relative imports between scripts stay within one
    /// build.
    folder: String,
    hash: String,
    by_path: HashMap<String, Asset>,
    /// The page's own modules, in order.
    modules: Vec<String>,
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let file = |path: &str| Some((address(path)?, Embedded::get(path)?));
    let mut files: Vec<_> = Embedded::iter().filter_map(|path| file(&path)).collect();
    files.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let mut modules: Vec<_> = files.iter().map(|(path, _)| path.clone()).filter(|path| is_module(path)).collect();
    modules.push(CLIENT.to_owned());
    let mut hasher = DefaultHasher::new();
    DOCS.hash(&mut hasher);
    // Browsers show plain text, and would save what is said to be Markdown.
    let docs = DOCS.map(|(file, text)| (file.to_owned(), Asset::of_text("text/plain; charset=utf-8", text.into())));
    let mut by_path = HashMap::from(docs);
    for (file, list) in JOINED {
        let script = client::joined(list, |source| Some(Embedded::get(&format!("client/{source}"))?.data));
        (file, &script).hash(&mut hasher);
        by_path.insert(file.to_owned(), Asset::of_text("text/javascript", script));
    }
    for (path, file) in files {
        (&path, file.metadata.sha256_hash()).hash(&mut hasher);
        by_path.insert(path, Asset::of(file));
    }
    let hash = format!("{:016x}", hasher.finish());
    Assets { folder: format!("assets/{hash}"), hash, by_path, modules }
});

/// The address of a file of `web/` below the assets' folder: the page's own files stand there without their folder, and the
/// sources of the client only joined.
fn address(path: &str) -> Option<String> {
    match path.strip_prefix("client/") {
        Some(file) => (file == TYPES).then(|| file.to_owned()),
        None => Some(path.strip_prefix("page/").unwrap_or(path).to_owned()),
    }
}

/// Whether the page imports this file at its start.
fn is_module(path: &str) -> bool {
    path.ends_with(".js") && !path.contains('/')
}

impl Asset {
    fn of(file: rust_embed::EmbeddedFile) -> Self {
        let hash: String = file.metadata.sha256_hash().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Asset::new(file.metadata.mimetype(), hash, file.data.into_owned().into())
    }

    fn of_text(ty: &str, text: String) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Asset::new(ty, format!("{:016x}", hasher.finish()), text.into())
    }

    fn new(ty: &str, hash: String, plain: Bytes) -> Self {
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        Asset {
            ty: value(ty),
            gzip: answer::gzip(&plain, flate2::Compression::best()),
            etag: value(&format!("\"{hash}\"")),
            gzip_etag: value(&format!("\"{hash}-gzip\"")),
            hash,
            plain,
        }
    }

    fn respond(&self, headers: &HeaderMap) -> Response<Body> {
        let gzip = answer::takes_gzip(headers) && self.gzip.len() < self.plain.len();
        let (body, etag) = if gzip { (&self.gzip, &self.gzip_etag) } else { (&self.plain, &self.etag) };
        let mut response = match headers.get(header::IF_NONE_MATCH) == Some(etag) {
            true => answer::bare(StatusCode::NOT_MODIFIED),
            false => answer::content(StatusCode::OK, "", body.clone()),
        };
        if response.status() == StatusCode::OK {
            response.headers_mut().insert(header::CONTENT_TYPE, self.ty.clone());
            if gzip {
                response = answer::with(response, header::CONTENT_ENCODING, "gzip");
            }
        }
        response.headers_mut().insert(header::ETAG, etag.clone());
        answer::with(response, header::VARY, "accept-encoding")
    }
}

/// The folder of this build's files, as the page addresses it.
pub fn folder() -> &'static str {
    &ASSETS.folder
}

/// The page's own modules. The page lists them, so that a browser fetches all of them at once.
pub fn modules() -> &'static [String] {
    &ASSETS.modules
}

/// `GET /assets/{path}`, and `GET /assets/{hash of the build}/{path}`, which caches may keep for a year
pub async fn asset(path: Tail, call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let path = path.as_str();
    let (hash, rest) = path.split_once('/').unwrap_or(("", path));
    let hashed = ASSETS.by_path.get(rest).filter(|_| hash.len() == ASSETS.hash.len());
    let Some(asset) = hashed.or_else(|| ASSETS.by_path.get(path)) else {
        return Err(Refusal::new(Code::NotFound, "there is no such file"));
    };
    let response = asset.respond(&call.headers);
    // Another build's page gets what there is now, and must not keep it under that build's name.
    Ok(if hash == ASSETS.hash { answer::with(response, header::CACHE_CONTROL, FOR_EVER) } else { response })
}

/// A file of the client, as a path names it: the latest one, or one by its hash.
pub struct Module {
    file: &'static str,
    by_hash: bool,
}

impl FromStr for Module {
    type Err = ();

    fn from_str(path: &str) -> Result<Self, ()> {
        let named = |file: &&str| *file == path || path.starts_with("presently") && hashed(file) == path;
        let file = JOINED.into_iter().map(|(file, _)| file).chain([TYPES]).find(named).ok_or(())?;
        Ok(Module { file, by_hash: file != path })
    }
}

/// `GET /openapi.json`: requests and answers, for programs
pub async fn openapi(call: Call) -> Answer {
    document("api/openapi.json", &call)
}

/// `GET /asyncapi.json`: the messages of streams, for programs
pub async fn asyncapi(call: Call) -> Answer {
    document("api/asyncapi.json", &call)
}

fn document(path: &str, call: &Call) -> Answer {
    call.only("GET, HEAD")?;
    let asset = ASSETS.by_path.get(path).ok_or_else(|| Refusal::new(Code::NotFound, "there is no such file"))?;
    Ok(asset.respond(&call.headers))
}

/// A module's name with the hash of its content: `presently.0f3a….js`.
fn hashed(file: &str) -> String {
    let (stem, ending) = file.split_once('.').unwrap_or((file, ""));
    let hash = ASSETS.by_path.get(file).map(|asset| asset.hash.as_str()).unwrap_or_default();
    format!("{stem}.{hash}.{ending}")
}

/// `GET /presently.js` and its like
pub async fn module(Module { file, by_hash }: Module, call: Call) -> Answer {
    call.only("GET, HEAD")?;
    let asset = ASSETS.by_path.get(file).ok_or_else(|| Refusal::new(Code::NotFound, "there is no such file"))?;
    // It is public, and importing a module from another origin asks for this.
    let mut response = answer::with(asset.respond(&call.headers), header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    if by_hash {
        response = answer::with(response, header::CACHE_CONTROL, FOR_EVER);
    } else if let Ok(name) = HeaderValue::from_str(&format!("{}/{}", call.forwarded().prefix(), hashed(file))) {
        response.headers_mut().insert(header::CONTENT_LOCATION, name);
    }
    Ok(if file.ends_with(".ts") && response.status() == StatusCode::OK {
        answer::with(response, header::CONTENT_TYPE, "application/typescript")
    } else {
        response
    })
}
