//! The lobby's simple API: the login tracker that Presently grew from, unchanged on the wire.

use warp::http::{Method, StatusCode};

use crate::access::verb::Verb;
use crate::delivery::step::Follower;
use crate::http::answer::{self, Answer};
use crate::http::call::{Call, Segment};
use crate::http::query::Query;
use crate::http::stream::options::StreamOptions;
use crate::http::stream::sse;
use crate::model::command::Command;
use crate::model::name::Name;
use crate::model::refusal::Refusal;
use crate::wire::dialect::Dialect;

/// `GET` and `POST /api/login/{user}`
pub async fn login(user: Segment, call: Call) -> Answer {
    call.only(methods(&call))?;
    let user = user.name("user")?;
    change(&user, Command::sign_in(user.clone()), &call).await
}

/// `GET` and `POST /api/logout/{user}`
pub async fn logout(user: Segment, call: Call) -> Answer {
    call.only(methods(&call))?;
    let user = user.name("user")?;
    change(&user, Command::sign_out(user.clone()), &call).await
}

/// `POST /api/login` with `user=` in a form
pub async fn login_form(mut call: Call) -> Answer {
    call.only("POST")?;
    let user = user_of_form(&mut call).await?;
    change(&user, Command::sign_in(user.clone()), &call).await
}

/// `POST /api/logout` with `user=` in a form
pub async fn logout_form(mut call: Call) -> Answer {
    call.only("POST")?;
    let user = user_of_form(&mut call).await?;
    change(&user, Command::sign_out(user.clone()), &call).await
}

/// The user that a form names.
pub async fn user_of_form(call: &mut Call) -> Result<Name, Refusal> {
    let form = call.form().await?;
    Name::new("user", Query::strict(&form, &["user"])?.get("user").unwrap_or_default())
}

/// The methods that change the set. With keys, a GET changes nothing: a link or a picture on any page could send it.
fn methods(call: &Call) -> &'static str {
    if call.gate.config().has_keys() { "POST" } else { "GET, HEAD, POST" }
}

async fn change(user: &Name, command: Command, call: &Call) -> Answer {
    if call.method == Method::HEAD {
        return call.redirect(StatusCode::FOUND, "/users");
    }
    call.may_change(&Name::lobby(), Some((user, Verb::SignIn)))?.apply(vec![command]).await?;
    if call.method == Method::GET {
        return call.redirect(StatusCode::FOUND, "/users");
    }
    // A browser's form needs a page to show next; a program needs none.
    match *answer::preferred(&call.headers, &[answer::NOTHING, answer::HTML]) == answer::HTML {
        true => call.redirect(StatusCode::SEE_OTHER, "/users"),
        false => Ok(answer::bare(StatusCode::NO_CONTENT)),
    }
}

/// `GET /user-stream`
pub async fn stream(call: Call) -> Answer {
    let last = sse::last_event_id(&call);
    let options = StreamOptions { since: last.and_then(|id| id.parse().ok()), ..StreamOptions::default() };
    sse::answer(&call, Dialect::Exercise, (Name::lobby(), Verb::Watch), options, |following, cursor, at_least| {
        match last {
            Some(_) => Follower::resume(following, cursor, at_least),
            None => Follower::from_now_on(following),
        }
    })
    .await
}
