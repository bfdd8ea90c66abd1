//! The page about the tables is the tables' own. `make docs` runs this with `LOOKBACK_WRITE_DOCS=1`.

use lookback_schemas::tables::reference;

#[test]
fn tables_page_is_up_to_date() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/tables.md");
    let tables = reference();
    let page = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; `make docs` writes it", path.display()));
    // What follows are queries with what they give: see `engines`.
    let queries = page.find("\n# Ten queries\n").map_or("", |place| &page[place..]);
    let expected = format!("{tables}{queries}");
    if std::env::var_os("LOOKBACK_WRITE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    // Not assert_eq: nobody wants to see both pages.
    let differing = page.lines().zip(expected.lines()).position(|(old, new)| old != new);
    assert!(
        page == expected,
        "docs/tables.md is not what the definitions say, from line {} on; `make docs` writes it",
        differing.unwrap_or_else(|| page.lines().count().min(expected.lines().count())) + 1,
    );
}
