//! Reads which file of `src` uses which other, from the syntax trees of all of them.
//!
//! A file uses another when it names an item that the other defines; a re-export (`pub use` in a
//! parent module) leads to the file that defines the item, and neither declaring a child module nor
//! re-exporting its items counts. Code that is compiled for tests only is left out. Items that
//! macros make, and methods, are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility};

use crate::files;

/// A path in the source from below the crate: `relay`, `udp`, `Batch`.
type Segments = Vec<String>;

/// One file that names an item of another.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    /// From the top of the project, as in `src/http/mod.rs`.
    pub from: String,
    pub to: String,
    /// The item, or the module where nothing more is named.
    pub name: String,
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} imports {} of {}", self.from, self.name, self.to)
    }
}

impl Import {
    /// The module right below the crate that the importing file is part of.
    pub(crate) fn importer(&self) -> &str {
        top_module(&self.from)
    }

    /// The module right below the crate that the imported file is part of.
    pub(crate) fn imported(&self) -> &str {
        top_module(&self.to)
    }
}

fn top_module(file: &str) -> &str {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    let end = inner.find(['/', '.']).unwrap_or(inner.len());
    &inner[..end]
}

/// All imports between the files of `src`, sorted. The files are parsed once for all tests.
pub(crate) fn of_project() -> &'static BTreeSet<Import> {
    static IMPORTS: LazyLock<BTreeSet<Import>> = LazyLock::new(|| {
        let sources = files::sources().into_iter();
        let modules = sources.map(|(name, text)| {
            let path = module_path(&name);
            (path.clone(), Module::parse(name, path, &text))
        });
        Graph {
            modules: modules.collect(),
        }
        .imports()
    });
    &IMPORTS
}

/// Groups of files that import each other, each with the imports inside it.
pub(crate) fn cycles(imports: &BTreeSet<Import>) -> Vec<Vec<&Import>> {
    let mut reached: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for import in imports {
        reached.entry(&import.from).or_default().insert(&import.to);
    }
    let all: Vec<&str> = reached.keys().copied().collect();
    // Transitive closure; a few hundred files make this a matter of milliseconds.
    for &middle in &all {
        let beyond = reached[middle].clone();
        for targets in reached.values_mut() {
            if targets.contains(middle) {
                targets.extend(&beyond);
            }
        }
    }
    let mutual = |a: &str, b: &str| {
        let leads = |a, b| reached.get(a).is_some_and(|to| to.contains(b));
        leads(a, b) && leads(b, a)
    };
    let mut groups: Vec<Vec<&Import>> = Vec::new();
    for import in imports.iter().filter(|i| mutual(&i.from, &i.to)) {
        match groups.iter_mut().find(|g| mutual(&g[0].from, &import.from)) {
            Some(group) => group.push(import),
            None => groups.push(vec![import]),
        }
    }
    groups
}

/// `src/relay/udp/mod.rs` is `relay::udp`, `src/lib.rs` the crate itself.
pub(crate) fn module_path(file: &str) -> Segments {
    let inner = file.strip_prefix("src/").unwrap_or(file);
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    let inner = inner.strip_suffix("/mod").unwrap_or(inner);
    if inner == "lib" {
        return Vec::new();
    }
    inner.split('/').map(str::to_owned).collect()
}

/// The contents of one file that matter for imports.
#[derive(Default)]
struct Module {
    file: String,
    path: Segments,
    /// Child modules in files of their own, and whether they are for tests only.
    children: BTreeMap<String, bool>,
    /// Names that `use` brings in, with the absolute path of each, and whether it is a re-export.
    names: BTreeMap<String, (Segments, bool)>,
    /// Modules whose every name is brought in (`use x::*`).
    globs: Vec<Segments>,
    /// Paths of two segments or more in code, as written.
    paths: BTreeSet<Segments>,
}

impl Module {
    fn parse(file: String, path: Segments, text: &str) -> Self {
        let tree = syn::parse_file(text).expect("the source compiles");
        let mut module = Self {
            file,
            path,
            ..Self::default()
        };
        // Child modules first: a `use` may begin with the name of one.
        for item in &tree.items {
            if let Item::Mod(child) = item
                && child.content.is_none()
            {
                let name = child.ident.to_string();
                module.children.insert(name, is_for_tests(&child.attrs));
            }
        }
        module.visit_file(&tree);
        module
    }

    /// Absolute path of one that a `use` names, if it leads into the crate.
    fn absolute(&self, written: &[String]) -> Option<Segments> {
        let (first, rest) = written.split_first()?;
        let mut base = match first.as_str() {
            "crate" | "parlor" => Vec::new(),
            "self" => self.path.clone(),
            "super" => {
                let mut base = self.path.clone();
                base.pop()?;
                base
            }
            name if self.children.contains_key(name) => {
                let mut base = self.path.clone();
                base.push(name.to_owned());
                base
            }
            name => self.names.get(name)?.0.clone(),
        };
        let mut rest = rest;
        while first == "super" && rest.first().is_some_and(|next| next == "super") {
            base.pop()?;
            rest = &rest[1..];
        }
        base.extend(rest.iter().filter(|segment| *segment != "self").cloned());
        Some(base)
    }

    fn add_use(&mut self, tree: &UseTree, before: &[String], exported: bool) {
        let mut path = before.to_vec();
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.add_use(&part.tree, &path, exported);
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                path.push(name.clone());
                let alias = if name == "self" {
                    before.last().cloned()
                } else {
                    Some(name)
                };
                self.add_name(alias.unwrap_or_default(), &path, exported);
            }
            UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                self.add_name(name.rename.to_string(), &path, exported);
            }
            UseTree::Glob(_) => {
                if let Some(absolute) = self.absolute(&path) {
                    self.globs.push(absolute);
                }
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_use(tree, before, exported);
                }
            }
        }
    }

    fn add_name(&mut self, alias: String, written: &[String], exported: bool) {
        if let Some(absolute) = self.absolute(written) {
            self.names.insert(alias, (absolute, exported));
        }
    }

    fn add_path(&mut self, path: Segments) {
        if path.len() > 1 {
            self.paths.insert(path);
        }
    }

    /// Paths in the arguments of a macro, which is not parsed.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add_path(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => colons += 1,
                other => {
                    self.add_path(std::mem::take(&mut path));
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        self.add_path(path);
    }
}

impl<'a> Visit<'a> for Module {
    fn visit_item(&mut self, item: &'a Item) {
        if !attributes(item).is_some_and(is_for_tests) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'a ItemMod) {
        // The modules inside a file are not told apart.
        visit::visit_item_mod(self, module);
    }

    fn visit_item_use(&mut self, item: &'a ItemUse) {
        let exported = !matches!(item.vis, Visibility::Inherited);
        self.add_use(&item.tree, &[], exported);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments = path.segments.iter().map(|part| part.ident.to_string());
        self.add_path(segments.collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, called: &'a Macro) {
        self.add_tokens(called.tokens.clone());
        visit::visit_macro(self, called);
    }
}

fn attributes(item: &Item) -> Option<&[Attribute]> {
    Some(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return None,
    })
}

/// Whether an attribute is `#[cfg(test)]` or `#[test]`.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        path.is_ident("test")
            || path.is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|argument| argument == "test")
    })
}

struct Graph {
    modules: BTreeMap<Segments, Module>,
}

impl Graph {
    fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for module in self
            .modules
            .values()
            .filter(|module| self.is_built(&module.path))
        {
            let named = module.names.values();
            let named =
                named.filter(|(path, exported)| !exported || !path.starts_with(&module.path));
            let used = named.map(|(path, _)| path.clone());
            let written = module.paths.iter().filter_map(|path| module.absolute(path));
            for path in used.chain(written) {
                if let Some(import) = self.import(module, &path) {
                    imports.insert(import);
                }
            }
        }
        imports
    }

    /// The import that a path means for the module that holds it; nothing where it leads to a module as such.
    fn import(&self, from: &Module, path: &[String]) -> Option<Import> {
        let (target, name) = self.resolve(path, 0)?;
        let outside = target.file != from.file && self.is_built(&target.path);
        outside.then(|| Import {
            from: from.file.clone(),
            to: target.file.clone(),
            name,
        })
    }

    /// The module that defines the item at an absolute path, and the item's name.
    fn resolve(&self, path: &[String], depth: usize) -> Option<(&Module, String)> {
        let known = (0..=path.len())
            .rev()
            .find(|&n| self.modules.contains_key(&path[..n]))?;
        let module = &self.modules[&path[..known]];
        let (name, rest) = path[known..].split_first()?;
        if depth > 8 {
            return None;
        }
        if let Some((target, _)) = module.names.get(name) {
            let target = [target, rest].concat();
            return self.resolve(&target, depth + 1);
        }
        for glob in module.globs.iter().filter(|glob| **glob != module.path) {
            if self
                .modules
                .get(glob)
                .is_some_and(|inner| inner.names.contains_key(name))
            {
                let target = [&glob[..], &path[known..]].concat();
                return self.resolve(&target, depth + 1);
            }
        }
        Some((module, name.clone()))
    }

    /// Whether a module is part of what is built for use: no parent declares it for tests only.
    fn is_built(&self, path: &[String]) -> bool {
        (1..=path.len()).all(|n| {
            let parent = self.modules.get(&path[..n - 1]);
            let declared = parent.and_then(|parent| parent.children.get(&path[n - 1]));
            declared != Some(&true)
        })
    }
}

/// A source tree of a test's own, with a file for each pair of name and text.
fn imports_of(files: &[(&str, &str)]) -> BTreeSet<Import> {
    let module = |(name, text): &(&str, &str)| {
        let path = module_path(name);
        (path.clone(), Module::parse((*name).to_owned(), path, text))
    };
    let modules = files.iter().map(module).collect();
    Graph { modules }.imports()
}

#[test]
fn every_way_of_writing_an_import_is_seen() {
    let imports = imports_of(&[
        (
            "src/lib.rs",
            "pub mod a; pub mod b; pub mod c; pub mod d; pub mod e; pub mod f;",
        ),
        ("src/a.rs", "use crate::{b, c::C}; fn f() { b::call(); }"),
        (
            "src/b.rs",
            "use super::c::C as Other; pub fn call() { crate::d::call() }",
        ),
        ("src/c.rs", "pub struct C;"),
        (
            "src/d.rs",
            "pub fn call() { assert!(crate::e::is_well(1)); }",
        ),
        ("src/e/mod.rs", "mod inner; pub use inner::is_well;"),
        ("src/e/inner.rs", "pub fn is_well(_: u8) -> bool { true }"),
        ("src/f.rs", "#[cfg(test)] mod tests { use crate::a::f; }"),
    ]);
    let seen: Vec<_> = imports.iter().map(ToString::to_string).collect();
    assert_eq!(
        seen,
        [
            "src/a.rs imports call of src/b.rs",
            "src/a.rs imports C of src/c.rs",
            "src/b.rs imports C of src/c.rs",
            "src/b.rs imports call of src/d.rs",
            "src/d.rs imports is_well of src/e/inner.rs",
        ]
    );
    assert!(cycles(&imports).is_empty());
}

#[test]
fn a_cycle_is_found_and_a_file_beside_it_is_not_blamed() {
    let imports = imports_of(&[
        ("src/lib.rs", "mod a;"),
        (
            "src/a/mod.rs",
            "mod b; mod c; pub struct Shared; fn f() { b::run() }",
        ),
        ("src/a/b.rs", "use super::Shared; pub fn run() {}"),
        ("src/a/c.rs", "use super::b::run;"),
    ]);
    let found = cycles(&imports);
    let found: Vec<Vec<String>> = found
        .iter()
        .map(|cycle| cycle.iter().map(ToString::to_string).collect())
        .collect();
    let expected = [
        "src/a/b.rs imports Shared of src/a/mod.rs",
        "src/a/mod.rs imports run of src/a/b.rs",
    ];
    assert_eq!(found, [expected]);
}
