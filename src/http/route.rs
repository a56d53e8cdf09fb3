//! One route: a method, a path and its handler.

use std::pin::Pin;

use hyper::Method;

use super::error::Error;
use super::request::Request;
use super::response::Response;

/// The future of a handler.
pub type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>;

/// Starts handling one request.
pub type Handler = fn(Request) -> ResponseFuture;
pub type Params = Vec<(String, String)>;

/// One method of one path. `{name}` in a path is one segment, `{*name}` the rest.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub handler: Handler,
}

impl Route {
    pub const fn new(method: Method, path: &'static str, handler: Handler) -> Route {
        Route {
            method,
            path,
            handler,
        }
    }
}
