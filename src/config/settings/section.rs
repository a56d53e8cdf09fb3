//! Descriptions of sections and settings: key, text, example and reload scope.

/// The time from which a new value of a key is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadScope {
    /// In force as soon as it is read.
    Live,
    /// In force after a restart.
    Restart,
}

/// One key.
#[derive(Debug)]
pub struct Setting {
    /// The dotted key: `turn.realm`.
    pub key: &'static str,
    /// The lines of the field's doc comment. `config.toml` has the first paragraph, the reference all of
    /// them.
    pub doc: &'static [&'static str],
    /// The text that `config.toml` shows for a key that is unset by default.
    pub example: Option<&'static str>,
    pub scope: ReloadScope,
}

/// One section and its keys, in the order of `config.toml`.
#[derive(Debug)]
pub struct Section {
    pub name: &'static str,
    /// The lines of the struct's doc comment.
    pub doc: &'static [&'static str],
    pub settings: &'static [Setting],
}
