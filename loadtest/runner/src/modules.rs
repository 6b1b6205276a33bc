//! What a script may import: the k6 modules below, and its own files beside it.

use std::path::{Component, Path, PathBuf};

use rquickjs::{
    Ctx, Error, Module, Result,
    loader::{ImportAttributes, Loader, Resolver},
    module::Declared,
};

const SHIMS: [(&str, &str); 3] =
    [("k6", include_str!("shims/k6.js")), ("k6/http", include_str!("shims/http.js")), ("k6/metrics", include_str!("shims/metrics.js"))];

/// Finds modules.
#[derive(Debug)]
pub(crate) struct Modules;

impl Resolver for Modules {
    fn resolve<'js>(&mut self, _: &Ctx<'js>, base: &str, name: &str, _: Option<ImportAttributes<'js>>) -> Result<String> {
        if SHIMS.iter().any(|(shim, _)| *shim == name) {
            return Ok(name.to_owned());
        }
        if !name.starts_with("./") && !name.starts_with("../") {
            let known: Vec<_> = SHIMS.iter().map(|(shim, _)| *shim).collect();
            let why = format!("loadtest-runner has {} and files beside the script; {name:?} needs k6 itself", known.join(", "));
            return Err(Error::new_resolving_message(base, name, why));
        }
        let folder = Path::new(base).parent().unwrap_or_else(|| Path::new("."));
        Ok(normal(&folder.join(name)).to_string_lossy().into_owned())
    }
}

impl Loader for Modules {
    fn load<'js>(&mut self, ctx: &Ctx<'js>, name: &str, _: Option<ImportAttributes<'js>>) -> Result<Module<'js, Declared>> {
        let source = match SHIMS.iter().find(|(shim, _)| *shim == name) {
            Some((_, source)) => (*source).to_owned(),
            None => std::fs::read_to_string(name).map_err(|error| Error::new_loading_message(name, error.to_string()))?,
        };
        Module::declare(ctx.clone(), name, source)
    }
}

/// Without `.` and `..`, so that a file is one module however it is named.
fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(clean.components().next_back(), Some(Component::Normal(_))) => {
                clean.pop();
            }
            other => clean.push(other),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_name() {
        assert_eq!(normal(Path::new("/a/b/../c/./d.js")), Path::new("/a/c/d.js"));
        assert_eq!(normal(Path::new("../x/y.js")), Path::new("../x/y.js"));
    }
}
