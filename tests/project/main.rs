//! The project as a whole: layers and words of its source, licences, the README.

mod architecture;
mod files;
mod imports;
mod licences;
mod readme;
#[path = "../support/mod.rs"]
mod support;
mod words;
