//! What every page must have, and that nothing is left out.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::docs::pages::{self, Page};
use crate::recording::RECORD;
use crate::running::run;

/// What the page of a tracer tells, in this order.
const OF_A_TRACER: [&str; 4] = ["Example", "Hooks", "Cost", "Limits"];

/// The place on a page that a heading makes, as mdBook and others name it.
fn place(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept =
        kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
    kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// The path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => assert!(plain.pop(), "{}", path.display()),
            Component::CurDir => {}
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => plain.push(part),
        }
    }
    plain
}

/// What is wrong with a link.
fn wrong(page: &Page, link: &str) -> Option<String> {
    if link.contains("://") {
        return None;
    }
    let (file, fragment) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => page.path.clone(),
        file => plain(&page.path.with_file_name("").join(file)),
    };
    if page.path.starts_with("docs") && !target.starts_with("docs") {
        return Some("it leads out of the book".to_owned());
    }
    if !pages::top().join(&target).exists() {
        return Some("there is no such file".to_owned());
    }
    let there = fragment.is_empty()
        || pages::read(&target).headings.iter().any(|heading| place(heading) == fragment);
    (!there).then(|| format!("{} has no such heading", target.display()))
}

#[test]
fn links_lead_somewhere() {
    let mut all = Vec::new();
    let mut count = 0;
    for page in pages::all() {
        for link in &page.links {
            count += 1;
            if let Some(why) = wrong(&page, link) {
                all.push(format!("{}: {link}: {why}", page.path.display()));
            }
        }
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
    assert!(count > 100, "{count} links");
}

#[test]
fn the_summary_lists_every_page() {
    let summary = pages::read("docs/SUMMARY.md");
    let listed: BTreeSet<PathBuf> =
        summary.links.iter().map(|link| Path::new("docs").join(link)).collect();
    let pages = pages::all().into_iter().map(|page| page.path);
    let left_out: Vec<PathBuf> = pages
        .filter(|path| path.starts_with("docs") && *path != summary.path && !listed.contains(path))
        .collect();
    assert!(left_out.is_empty(), "docs/SUMMARY.md does not list {left_out:?}");
}

#[test]
fn every_tracer_has_a_page_of_the_same_form() {
    // What works here does not matter, and nothing that is said needs privileges.
    let ended = run(Command::new(RECORD).args(["--trace", "nosuch"]));
    let names = ended.stderr.split("there are: ").nth(1).unwrap().trim().trim_end_matches(", all");
    let mut pages = 0;
    for name in names.split(", ") {
        let page = pages::read(format!("docs/tracers/{name}.md"));
        assert_eq!(page.headings[0], name);
        let of_all = page.headings.iter().filter(|heading| OF_A_TRACER.contains(&&***heading));
        assert!(of_all.eq(OF_A_TRACER), "{name}: {:?}", page.headings);
        assert!(page.blocks.iter().any(|block| block.marked == "console"), "{name} has no example");
        assert!(page.links.iter().any(|link| link.starts_with("../tables.md#")), "{name}");
        pages += 1;
    }
    let files = std::fs::read_dir(pages::top().join("docs/tracers")).unwrap().count();
    assert_eq!(files, pages, "pages of tracers that there are not");
}

#[test]
fn every_report_is_named() {
    let ended = run(Command::new(env!("CARGO_BIN_EXE_analyze")).arg("--help"));
    let commands = ended.stdout.split("Commands:\n").nth(1).unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    // Descriptions that are longer than a line go on further right.
    let names = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<&str> = names.filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(names.len() > 20, "{names:?}");
    let book: Vec<Page> = pages::all();
    for name in names {
        let named = book.iter().any(|page| page.text.contains(&format!("analyze {name} ")));
        assert!(named, "no page has `analyze {name}`");
    }
}
