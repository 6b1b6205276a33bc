//! The size of what is deployed, and what of it weighs. Sizes come from edge/build; weights from the module as rustc left it, the last that has
//! names: wasm-bindgen and wasm-opt then make everything smaller, and nothing larger than it was beside the rest.

use std::{collections::BTreeMap, fs, io::Write as _, path::Path};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;
use wasmparser::{KnownCustom, Name, Parser, Payload, TypeRef};

/// Sizes in bytes.
#[derive(Debug, Serialize)]
pub(crate) struct Bundle {
    /// The module.
    pub(crate) wasm_bytes: usize,
    /// The module, gzipped.
    pub(crate) wasm_gzip_bytes: usize,
    /// The glue.
    pub(crate) js_bytes: usize,
    /// The glue, gzipped.
    pub(crate) js_gzip_bytes: usize,
    /// Code and data by crate, heaviest first; empty without a named module.
    pub(crate) weights: Vec<Weight>,
}

/// What one crate brings.
#[derive(Debug, Serialize)]
pub(crate) struct Weight {
    /// The crate.
    pub(crate) name: String,
    /// Bytes of its functions.
    pub(crate) bytes: usize,
    /// How many functions.
    pub(crate) functions: usize,
}

/// Reads edge/build and, when there is one, the named module.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn weigh(root: &Path, named: Option<&Path>) -> Result<Bundle> {
    let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
    let (wasm, js) = (read(&root.join("edge/build/index_bg.wasm"))?, read(&root.join("edge/build/index.js"))?);
    let weights = match named {
        Some(path) => weights(&read(path)?)?,
        None => Vec::new(),
    };
    Ok(Bundle { wasm_bytes: wasm.len(), wasm_gzip_bytes: gzipped(&wasm)?, js_bytes: js.len(), js_gzip_bytes: gzipped(&js)?, weights })
}

fn gzipped(bytes: &[u8]) -> Result<usize> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len())
}

fn weights(module: &[u8]) -> Result<Vec<Weight>> {
    let (mut imported, mut sizes, mut data_bytes) = (0_u32, Vec::new(), 0);
    let mut names = BTreeMap::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                }
            }
            Payload::CodeSectionEntry(body) => sizes.push(body.range().len()),
            Payload::DataSection(data) => data_bytes = data.range().len(),
            Payload::CustomSection(section) => {
                if let KnownCustom::Name(sections) = section.as_known() {
                    for section in sections {
                        if let Name::Function(map) = section? {
                            for naming in map {
                                let naming = naming?;
                                names.insert(naming.index, naming.name.to_owned());
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
    let mut by_crate: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    by_crate.insert("(constants)".to_owned(), (data_bytes, 0));
    for (place, bytes) in (imported..).zip(sizes) {
        let (total, functions) = by_crate.entry(crate_of(names.get(&place).map(String::as_str))).or_default();
        *total += bytes;
        *functions += 1;
    }
    let mut weights: Vec<Weight> = by_crate.into_iter().map(|(name, (bytes, functions))| Weight { name, bytes, functions }).collect();
    weights.sort_by_key(|weight| std::cmp::Reverse(weight.bytes));
    Ok(weights)
}

/// The crate a function belongs to: the first in its path, which for an `impl` is that of the type.
fn crate_of(name: Option<&str>) -> String {
    let Some(name) = name else { return "(without a name)".to_owned() };
    if name.starts_with("__wbindgen_describe") {
        return "(wasm-bindgen's descriptions, which it takes out)".to_owned();
    }
    let demangled = format!("{:#}", rustc_demangle::demangle(name));
    let first = demangled.split("::").next().unwrap_or_default();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let found = first.rsplit(|c| !is_name(c)).next().unwrap_or_default();
    if demangled.contains("::") && !found.is_empty() { found.to_owned() } else { "(runtime and glue)".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_belongs_to_the_crate_of_its_type() {
        let table = [
            ("_ZN8protocol5token6verify17h0123456789abcdefE", "protocol"),
            ("_ZN4core3ptr13drop_in_place17h0123456789abcdefE", "core"),
            ("_ZN65_$LT$serde_json..error..Error$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE", "serde_json"),
            ("memcpy", "(runtime and glue)"),
            ("__wbindgen_describe___wbg_now", "(wasm-bindgen's descriptions, which it takes out)"),
        ];
        for (name, expected) in table {
            assert_eq!(crate_of(Some(name)), expected, "{name}");
        }
        assert_eq!(crate_of(None), "(without a name)");
    }
}
