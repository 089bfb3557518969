//! The programs on the page about other languages are those in `examples/languages`.

use super::{fs, read};

const PAGE: &str = "docs/other-languages.md";

/// The folder, and how many programs there are at least.
const FOLDER: &str = "examples/languages";
const FEWEST: usize = 5;

#[test]
fn every_program_on_the_page_is_the_one_in_its_file() {
    let page = read(PAGE);
    let mut shown = Vec::new();
    for part in page.split("<!-- ").skip(1) {
        let (path, rest) = part.split_once(" -->\n").expect("the end of a comment");
        let (_fence, rest) = rest.split_once('\n').expect("a block");
        let (code, _) = rest.split_once("```").expect("the end of a block");
        assert_eq!(code, read(path), "{PAGE} and {path} differ");
        shown.push(path.to_owned());
    }
    assert!(shown.len() >= FEWEST, "{shown:?}");
    for language in fs::read_dir(FOLDER).expect("the folder").flatten() {
        let folder = format!("{FOLDER}/{}/", language.file_name().to_string_lossy());
        let is_shown = shown.iter().any(|path| path.starts_with(&folder));
        assert!(is_shown, "{PAGE} does not show {folder}");
    }
}
