//! The macros that define the settings.

/// Defines a section: its struct, the default of each field, its table of keys, and the comparison of
/// two configurations.
///
/// A field is `name: Type = default, Scope;`, followed by `example "text"` before the semicolon if it is
/// unset by default. Its doc comment is the text of the documents. The only other attribute is `serde`.
///
/// Fields in `derived` are no keys: loading fills them, from the files that settings name. A reload
/// reports a change of such a field by the key that the method after `as` returns.
macro_rules! settings {
    (
        $(#[doc = $section_doc:literal])+
        pub struct $struct:ident in $section:ident {
            $(
                $(#[doc = $doc:literal])+
                $(#[serde($($serde:tt)+)])?
                $field:ident: $type:ty = $default:expr, $scope:ident $(, example $example:literal)?;
            )+
        }
        $(derived {
            $(
                $(#[doc = $derived_doc:literal])+
                $derived:ident: $derived_type:ty, $derived_scope:ident, as $reported_key:ident;
            )+
        })?
    ) => {
        $(#[doc = $section_doc])+
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $struct {
            $(
                $(#[doc = $doc])+
                $(#[serde($($serde)+)])?
                pub $field: $type,
            )+
            $($(
                $(#[doc = $derived_doc])+
                #[serde(skip)]
                pub $derived: $derived_type,
            )+)?
        }

        impl Default for $struct {
            fn default() -> Self {
                $struct {
                    $($field: $default,)+
                    $($($derived: Default::default(),)+)?
                }
            }
        }

        impl $struct {
            pub(super) const SECTION: $crate::config::settings::Section =
                $crate::config::settings::Section {
                    name: stringify!($section),
                    doc: &[$($section_doc),+],
                    settings: &[$($crate::config::settings::Setting {
                        key: concat!(stringify!($section), ".", stringify!($field)),
                        doc: &[$($doc),+],
                        example: settings!(@example $($example)?),
                        scope: $crate::config::ReloadScope::$scope,
                    }),+],
                };

            /// The keys whose values differ from those of `running`, each with its reload scope.
            pub(super) fn differences(
                &self,
                running: &Self,
            ) -> Vec<(&'static str, $crate::config::ReloadScope)> {
                use $crate::config::ReloadScope;
                let mut found = Vec::new();
                $(if self.$field != running.$field {
                    let key = concat!(stringify!($section), ".", stringify!($field));
                    found.push((key, ReloadScope::$scope));
                })+
                $($(if self.$derived != running.$derived {
                    let difference = (self.$reported_key(), ReloadScope::$derived_scope);
                    if !found.contains(&difference) {
                        found.push(difference);
                    }
                })+)?
                found
            }

            /// Copies from `running` the values that need a restart.
            pub(super) fn keep_restart_values(&mut self, running: &Self) {
                use $crate::config::ReloadScope;
                $(if ReloadScope::$scope == ReloadScope::Restart {
                    self.$field.clone_from(&running.$field);
                })+
                $($(if ReloadScope::$derived_scope == ReloadScope::Restart {
                    self.$derived.clone_from(&running.$derived);
                })+)?
            }
        }
    };
    (@example) => { None };
    (@example $example:literal) => { Some($example) };
}

/// Defines the configuration: its struct, its table of sections, and the comparison of two
/// configurations.
macro_rules! sections {
    (
        $(#[doc = $doc:literal])+
        pub struct $config:ident {
            $($section:ident: $struct:ident,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $config {
            $(pub $section: $struct,)+
        }

        /// Every section, in the order of `config.toml`.
        pub const SECTIONS: &[Section] = &[$($struct::SECTION),+];

        impl $config {
            /// The keys whose values differ from those of `running`, each with its reload scope.
            pub(super) fn differences(&self, running: &Self) -> Vec<(&'static str, ReloadScope)> {
                let mut found = Vec::new();
                $(found.extend(self.$section.differences(&running.$section));)+
                found
            }

            /// Copies from `running` the values that need a restart.
            pub fn keep_restart_values(&mut self, running: &Self) {
                $(self.$section.keep_restart_values(&running.$section);)+
            }
        }
    };
}

pub(super) use {sections, settings};
