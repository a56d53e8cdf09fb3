//! Finds the handler of a request, and runs it.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use tracing::field::{self, Empty};
use tracing::{Instrument as _, Span};

use super::error::Error;
use super::request::{Request, RequestContext};
use super::response::Response;
use super::route::{Handler, Params, Route};
use super::state::State;
use super::{acme_challenge, api, health, openapi, page, ws};

/// An existing frontend knows the rooms under this name too.
const ROOMS: &str = "/api/rooms";
const ROOMS_ALIAS: &str = "/api/coworking/rooms";

/// Every route, found by path and then by method.
pub(super) struct Router {
    paths: matchit::Router<Methods>,
}

pub(super) fn public_routes() -> Vec<Route> {
    let routes = [
        health::routes(),
        api::routes(),
        openapi::routes(),
        ws::routes(),
        page::routes(),
    ];
    routes.into_iter().flatten().collect()
}

/// The handlers of one path.
struct Methods {
    /// The route's path: what metrics and logs may name.
    pattern: &'static str,
    handlers: Vec<(Method, Handler)>,
}

/// The route of a request.
pub(super) struct RouteMatch {
    pub pattern: &'static str,
    pub outcome: Result<(Handler, Params), Error>,
}

impl Router {
    /// The public routes.
    pub(super) fn public() -> Router {
        Router::of(
            [public_routes(), acme_challenge::routes()]
                .into_iter()
                .flatten()
                .collect(),
        )
    }

    /// The routes of the metrics listener.
    pub(super) fn metrics() -> Router {
        Router::of(health::metrics_routes())
    }

    fn of(routes: Vec<Route>) -> Router {
        let mut by_path: Vec<(String, Methods)> = Vec::new();
        for route in routes {
            let alias = route.path.strip_prefix(ROOMS);
            let alias = alias.map(|rest| format!("{ROOMS_ALIAS}{rest}"));
            for path in [Some(route.path.to_owned()), alias].into_iter().flatten() {
                let handler = (route.method.clone(), route.handler);
                match by_path.iter_mut().find(|(known, _)| *known == path) {
                    Some((_, methods)) => methods.handlers.push(handler),
                    None => by_path.push((
                        path,
                        Methods {
                            pattern: route.path,
                            handlers: vec![handler],
                        },
                    )),
                }
            }
        }
        let mut paths = matchit::Router::new();
        for (path, methods) in by_path {
            paths
                .insert(path, methods)
                .expect("the table of routes names each path once");
        }
        Router { paths }
    }

    pub(super) fn find(&self, method: &Method, path: &str) -> RouteMatch {
        let Ok(matched) = self.paths.at(path) else {
            return RouteMatch {
                pattern: "",
                outcome: Err(Error::not_found("There is nothing here")),
            };
        };
        let wanted = if method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let handlers = &matched.value.handlers;
        let handler = handlers.iter().find(|(known, _)| known == wanted);
        // A value that is not UTF-8 stays encoded: no id contains a `%`.
        let decoded = |value: &str| {
            let text = percent_decode_str(value).decode_utf8();
            text.map_or_else(|_| value.to_owned(), Cow::into_owned)
        };
        let params = matched.params.iter();
        let outcome = match handler {
            None => Err(not_allowed(handlers)),
            Some((_, handler)) => Ok((
                *handler,
                params
                    .map(|(key, value)| (key.to_owned(), decoded(value)))
                    .collect(),
            )),
        };
        RouteMatch {
            pattern: matched.value.pattern,
            outcome,
        }
    }

    /// Answers a request in a span of its own. The span names the route instead of the path, and has no
    /// query: both may contain secrets.
    pub(super) fn answer(
        &self,
        state: Arc<State>,
        context: RequestContext,
        request: hyper::Request<Incoming>,
    ) -> impl Future<Output = Response> + Send + use<> {
        let found = self.find(request.method(), request.uri().path());
        let client = &context.client_info;
        // The parent is explicit: hyper runs requests over HTTP/2 outside the task of the connection.
        let span = tracing::debug_span!(
            parent: &context.connection_span,
            "request",
            method = %request.method(),
            route = found.pattern,
            client = %client.address,
            alternative = client.alternative.map(field::display),
            user = Empty
        );
        handle(found, state, context, span.clone(), request).instrument(span)
    }
}

/// Runs the handler of a request; counts and logs the response.
async fn handle(
    found: RouteMatch,
    state: Arc<State>,
    context: RequestContext,
    span: Span,
    request: hyper::Request<Incoming>,
) -> Response {
    let app = state.app.clone();
    let depth = page::missing::depth(request.method(), request.uri().path(), request.headers());
    let result = match found.outcome {
        Err(error) => Err(error),
        Ok((handler, params)) => {
            let limit = app.settings().config.http.request_timeout;
            let request = Request::new(state, context, span, request, params);
            tokio::time::timeout(limit, handler(request))
                .await
                .unwrap_or_else(|_| Err(timed_out()))
        }
    };
    let code = result.as_ref().err().map(|error| error.code);
    let response = match (result, depth) {
        (Ok(response), _) => response,
        (Err(error), Some(depth)) if error.status == StatusCode::NOT_FOUND => {
            page::missing::page(depth)
        }
        (Err(error), _) => error.into_response(),
    };
    let (route, status) = (found.pattern, response.status().as_u16());
    app.metrics.http.observe_response(route, status);
    if let Some(code) = code {
        app.metrics.http.rejected(code);
    }
    tracing::debug!(status, code, "request completed");
    response
}

fn not_allowed(handlers: &[(Method, Handler)]) -> Error {
    let names: Vec<&str> = handlers.iter().map(|(method, _)| method.as_str()).collect();
    let error = Error::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method-not-allowed",
        "This path takes other methods",
    );
    match HeaderValue::from_str(&names.join(", ")) {
        Ok(allow) => error.with(header::ALLOW, allow),
        Err(_) => error,
    }
}

fn timed_out() -> Error {
    Error::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "timeout",
        "The server took too long",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: Request) -> crate::http::route::ResponseFuture {
        Box::pin(async { Err(Error::internal()) })
    }

    fn router() -> Router {
        Router::of(vec![
            Route::new(Method::GET, "/api/rooms/{room}", nothing),
            Route::new(Method::POST, "/api/rooms/{room}/join", nothing),
        ])
    }

    #[test]
    fn rooms_answer_under_both_of_their_names() {
        for path in ["/api/rooms/a%2Eb/join", "/api/coworking/rooms/a%2Eb/join"] {
            let found = router().find(&Method::POST, path);
            let (_, params) = found.outcome.expect("a handler");
            assert_eq!(params, [("room".to_owned(), "a.b".to_owned())]);
            assert_eq!(found.pattern, "/api/rooms/{room}/join");
        }
    }

    #[test]
    fn a_path_that_cannot_be_decoded_finds_its_handler() {
        for id in ["%ff", "%zz", "%", "a%2"] {
            let found = router().find(&Method::GET, &format!("/api/rooms/{id}"));
            let (_, params) = found.outcome.expect("a handler");
            assert_eq!(params, [("room".to_owned(), id.to_owned())]);
        }
    }

    #[test]
    fn a_wrong_method_gets_the_allowed_methods() {
        let error = router()
            .find(&Method::DELETE, "/api/rooms/a")
            .outcome
            .expect_err("no handler");
        assert_eq!(error.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(error.headers[0].1, "GET");
    }

    #[test]
    fn head_is_answered_as_get() {
        let found = router().find(&Method::HEAD, "/api/rooms/a");
        assert!(found.outcome.is_ok());
    }

    #[test]
    fn an_unknown_path_is_not_found() {
        let found = router().find(&Method::GET, "/nowhere");
        assert_eq!(
            found.outcome.err().map(|e| e.status),
            Some(StatusCode::NOT_FOUND)
        );
    }
}
