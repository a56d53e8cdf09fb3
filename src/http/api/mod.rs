//! The JSON API: accounts, rooms, memberships, messages and ICE servers.
//!
//! Responses with a token or a credential are `no-store`. A change takes effect completely, even if the
//! client disconnects meanwhile.

mod access;
mod errors;
mod guest;
mod ice;
mod invite;
mod json;
mod login;
mod membership;
mod messages;
mod moderation;
mod moderation_frames;
mod parameters;
mod people;
mod preview;
pub(super) mod rate_limits;
mod refresh;
mod rooms;

use hyper::Method;

pub(super) use self::errors::not_a_participant;
pub(super) use self::ice::{BoundTo, Offer, host as ice_host};
pub(super) use self::messages::{
    delete_by as delete_message, participated as require_participant, post as post_message,
};
pub(super) use self::moderation_frames::moderate;
pub(super) use self::refresh::WARNING_SECONDS;
use super::route::Route;

pub(super) fn routes() -> Vec<Route> {
    let (get, post) = (Method::GET, Method::POST);
    vec![
        Route::new(post.clone(), "/api/auth/guest", |r| {
            Box::pin(guest::sign_in_guest(r))
        }),
        Route::new(post.clone(), "/api/auth/login", |r| {
            Box::pin(login::login(r))
        }),
        Route::new(post.clone(), "/api/auth/refresh", |r| {
            Box::pin(refresh::refresh(r))
        }),
        Route::new(get.clone(), "/api/auth/me", |r| Box::pin(people::me(r))),
        Route::new(get.clone(), "/api/ice-servers", |r| {
            Box::pin(ice::servers(r))
        }),
        Route::new(get.clone(), "/api/rooms", |r| Box::pin(rooms::list(r))),
        Route::new(post.clone(), "/api/rooms", |r| Box::pin(rooms::create(r))),
        Route::new(get.clone(), "/api/rooms/{room}", |r| {
            Box::pin(rooms::read(r))
        }),
        Route::new(Method::PATCH, "/api/rooms/{room}", |r| {
            Box::pin(rooms::change(r))
        }),
        Route::new(Method::DELETE, "/api/rooms/{room}", |r| {
            Box::pin(rooms::close(r))
        }),
        Route::new(get.clone(), "/api/rooms/{room}/messages", |r| {
            Box::pin(messages::read(r))
        }),
        Route::new(post.clone(), "/api/rooms/{room}/messages", |r| {
            Box::pin(messages::write(r))
        }),
        Route::new(
            Method::DELETE,
            "/api/rooms/{room}/messages/{message}",
            |r| Box::pin(messages::delete(r)),
        ),
        Route::new(post.clone(), "/api/rooms/{room}/join", |r| {
            Box::pin(membership::join(r))
        }),
        Route::new(post.clone(), "/api/rooms/{room}/leave", |r| {
            Box::pin(membership::leave(r))
        }),
        Route::new(get.clone(), "/api/rooms/{room}/participants", |r| {
            Box::pin(people::participants(r))
        }),
        Route::new(get.clone(), "/api/rooms/{room}/preview", |r| {
            Box::pin(preview::preview(r))
        }),
        Route::new(
            post.clone(),
            "/api/rooms/{room}/participants/{user}/kick",
            |r| Box::pin(moderation::kick(r)),
        ),
        Route::new(
            post.clone(),
            "/api/rooms/{room}/participants/{user}/mute",
            |r| Box::pin(moderation::mute(r)),
        ),
        Route::new(
            post.clone(),
            "/api/rooms/{room}/participants/{user}/role",
            |r| Box::pin(moderation::set_role(r)),
        ),
        Route::new(get.clone(), "/api/rooms/{room}/bans", |r| {
            Box::pin(moderation::bans(r))
        }),
        Route::new(post.clone(), "/api/rooms/{room}/bans", |r| {
            Box::pin(moderation::ban(r))
        }),
        Route::new(Method::DELETE, "/api/rooms/{room}/bans/{user}", |r| {
            Box::pin(moderation::unban(r))
        }),
        Route::new(post.clone(), "/api/rooms/{room}/lock", |r| {
            Box::pin(moderation::lock(r))
        }),
        Route::new(post.clone(), "/api/rooms/{room}/unlock", |r| {
            Box::pin(moderation::unlock(r))
        }),
        Route::new(get.clone(), "/api/rooms/{room}/audit", |r| {
            Box::pin(moderation::audit(r))
        }),
        Route::new(get, "/api/rooms/{room}/invites", |r| {
            Box::pin(invite::list(r))
        }),
        Route::new(post, "/api/rooms/{room}/invites", |r| {
            Box::pin(invite::create(r))
        }),
        Route::new(Method::DELETE, "/api/rooms/{room}/invites/{invite}", |r| {
            Box::pin(invite::revoke(r))
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_routes_of_rooms_are_those_of_the_documentation() {
        let documented: Vec<&str> = include_str!("../../../docs/build/http-api.md")
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
            .map(|(route, _)| route)
            .filter(|route| route.contains("/api/rooms"))
            .collect();
        let routes = routes();
        let built = routes
            .iter()
            .filter(|route| route.path.starts_with("/api/rooms"))
            .map(|route| format!("{} {}", route.method, route.path));
        assert_eq!(
            built.collect::<std::collections::BTreeSet<_>>(),
            documented.into_iter().map(str::to_owned).collect()
        );
    }
}
