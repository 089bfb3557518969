//! The recipes of `RECIPES.md`: its code blocks are the regions of this file, which is tested.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by them, also in its helpers"
)]

mod support;

#[path = "recipes/batch.rs"]
mod batch;
#[path = "recipes/chat.rs"]
mod chat;
#[path = "recipes/http.rs"]
mod http;
#[path = "recipes/throttling.rs"]
mod throttling;
#[path = "recipes/tracing.rs"]
mod tracing;

use std::collections::BTreeMap;

/// The regions of the recipes, without their indentation.
fn regions() -> BTreeMap<String, String> {
    let mut regions = BTreeMap::new();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recipes");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let after = text.split_once("// region\n").unwrap().1;
        let region = after.split_once("// endregion").unwrap().0;
        regions.insert(name, region.trim_end().to_owned());
    }
    regions
}

#[test]
fn the_code_of_the_page_is_the_code_that_is_tested() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/RECIPES.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut blocks = BTreeMap::new();
    for part in page.split("<!-- from tests/recipes/").skip(1) {
        let (name, rest) = part.split_once(".rs -->\n```rust\n").unwrap();
        let (code, _) = rest.split_once("\n```").unwrap();
        blocks.insert(name.to_owned(), code.to_owned());
    }
    let regions = regions();
    assert_eq!(
        blocks.keys().collect::<Vec<_>>(),
        regions.keys().collect::<Vec<_>>()
    );
    for (name, code) in regions {
        assert_eq!(blocks[&name], code, "{name}: copy the region to RECIPES.md");
    }
}
