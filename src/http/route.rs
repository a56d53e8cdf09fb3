//! One route: a method, a path and its handler.

use std::pin::Pin;

use hyper::Method;

use super::error::Error;
use super::request::Request;
use super::response::Response;

/// The future of a handler.
pub(super) type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

/// Starts handling one request.
pub(super) type Handler = fn(Request) -> ResponseFuture;
pub(super) type Params = Vec<(String, String)>;

/// One method of one path. `{name}` in a path is one segment, `{*name}` the rest.
pub(super) struct Route {
    pub method: Method,
    pub path: &'static str,
    pub handler: Handler,
}

impl Route {
    pub(super) const fn new(method: Method, path: &'static str, handler: Handler) -> Route {
        Route {
            method,
            path,
            handler,
        }
    }
}
