//! The pages, as Markdown: headings, links, code.

use std::ops::Range;
use std::path::{Path, PathBuf};

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

/// A page.
#[derive(Debug)]
pub struct Page {
    /// Its path from the top of the repository on.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
    /// The headings, without marks.
    pub headings: Vec<String>,
    /// Where links lead, as they are written.
    pub links: Vec<String>,
    /// Code in the text, between single backquotes.
    pub spans: Vec<String>,
    /// Blocks of code.
    pub blocks: Vec<Block>,
}

/// A block of code.
#[derive(Debug)]
pub struct Block {
    /// What stands behind the backquotes: the language.
    pub marked: String,
    /// What is in it.
    pub text: String,
    /// Where that is in the page.
    pub place: Range<usize>,
}

/// The top of the repository.
pub fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the book, and the README.
pub fn all() -> Vec<Page> {
    let mut paths = vec![PathBuf::from("README.md")];
    for folder in ["docs", "docs/tracers"] {
        let entries = std::fs::read_dir(top().join(folder)).unwrap();
        let names = entries.map(|entry| Path::new(folder).join(entry.unwrap().file_name()));
        paths.extend(names.filter(|path| path.extension().is_some_and(|kind| kind == "md")));
    }
    paths.sort();
    paths.into_iter().map(read).collect()
}

/// The page of this path.
pub fn read(path: impl Into<PathBuf>) -> Page {
    let path = path.into();
    let text = std::fs::read_to_string(top().join(&path))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut page = Page {
        path,
        text: String::new(),
        headings: Vec::new(),
        links: Vec::new(),
        spans: Vec::new(),
        blocks: Vec::new(),
    };
    let mut in_heading = false;
    let mut in_block = false;
    for (event, place) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
        match event {
            Event::Start(Tag::Heading { .. }) => {
                in_heading = true;
                page.headings.push(String::new());
            }
            Event::End(TagEnd::Heading(_)) => in_heading = false,
            Event::Start(Tag::Link { dest_url, .. }) => page.links.push(dest_url.into_string()),
            Event::Start(Tag::CodeBlock(kind)) => {
                in_block = true;
                let marked = match kind {
                    CodeBlockKind::Fenced(marked) => marked.into_string(),
                    CodeBlockKind::Indented => String::new(),
                };
                let place = place.start..place.start;
                page.blocks.push(Block { marked, text: String::new(), place });
            }
            Event::End(TagEnd::CodeBlock) => in_block = false,
            Event::Text(piece) | Event::Code(piece) if in_heading => {
                page.headings.last_mut().expect("a heading began").push_str(&piece);
            }
            Event::Text(piece) if in_block => {
                let block = page.blocks.last_mut().expect("a block began");
                if block.text.is_empty() {
                    block.place.start = place.start;
                }
                block.place.end = place.end;
                block.text.push_str(&piece);
            }
            Event::Code(code) => page.spans.push(code.into_string()),
            _ => {}
        }
    }
    page.text = text;
    page
}
