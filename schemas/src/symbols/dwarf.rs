//! Names from symbol tables and debug information, by blazesym. This runs in a process of its own: see
//! [`worker`](super::worker).

use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};

use super::elf::Headers;
use super::worker::{Named, Question};

/// What has no size in the symbol table is not larger than this, in bytes.
const LARGEST_FUNCTION: usize = 1 << 20;
/// Of longer names the rest is left out, with an ellipsis in its place, in bytes.
const LONGEST_NAME: usize = 16 << 10;

/// Names each of the places that `question` asks for, and gives the answers to `answer`: the number of the
/// place, and the functions there, the outermost first. Places without names are left out.
///
/// # Errors
/// If the file cannot be read, or is no ELF file.
pub fn name(question: &Question, mut answer: impl FnMut(usize, Vec<Named>)) -> Result<(), String> {
    let headers = Headers::read(&question.path).map_err(|error| error.to_string())?;
    let mut left: Vec<(usize, u64)> = (0..)
        .zip(&question.offsets)
        .filter_map(|(place, offset)| Some((place, headers.address(*offset)?)))
        .collect();
    let mut result = Ok(());
    // What was stripped into a file of its own says more than what was left. A function that is in several
    // parts is not always found by its debug information, but by its symbol.
    let files = || question.debug.iter().chain([&question.path]);
    let with_lines = files().map(|path| (path, true)).filter(|_| !question.plain);
    for (path, lines) in with_lines.chain(files().map(|path| (path, false))) {
        if left.is_empty() {
            break;
        }
        let addresses: Vec<u64> = left.iter().map(|(_, address)| *address).collect();
        let symbolizer = Symbolizer::builder().enable_auto_reload(false).build();
        let mut elf = Elf::new(path);
        elf.debug_syms = lines;
        let named = match symbolizer.symbolize(&Source::Elf(elf), Input::VirtOffset(&addresses)) {
            Ok(named) => named,
            Err(error) => {
                result = Err(error.to_string());
                continue;
            }
        };
        let mut named = named.iter();
        left.retain(|(place, _)| match named.next().and_then(calls) {
            Some(calls) => {
                answer(*place, calls);
                false
            }
            None => true,
        });
    }
    result
}

/// The functions at a place, the outermost first.
fn calls(symbolized: &Symbolized<'_>) -> Option<Vec<Named>> {
    let Symbolized::Sym(sym) = symbolized else { return None };
    if sym.name.is_empty() || (sym.size.is_none() && sym.offset > LARGEST_FUNCTION) {
        return None;
    }
    let outermost = named(sym, &sym.name, i64::try_from(sym.offset).ok());
    let inlined = sym.inlined.iter().map(|call| {
        let code = call.code_info.as_ref();
        Named { name: shortened(&call.name), offset: None, file: file(code), line: line(code) }
    });
    Some(std::iter::once(outermost).chain(inlined).collect())
}

fn named(sym: &Sym<'_>, name: &str, offset: Option<i64>) -> Named {
    let code = sym.code_info.as_deref();
    Named { name: shortened(name), offset, file: file(code), line: line(code) }
}

fn file(code: Option<&CodeInfo<'_>>) -> Option<String> {
    let path = code?.to_path();
    Some(shortened(&path.to_string_lossy())).filter(|path| !path.is_empty())
}

fn line(code: Option<&CodeInfo<'_>>) -> Option<i32> {
    // There is no line 0: compilers say so of code that is of no line.
    code?.line.and_then(|line| i32::try_from(line).ok()).filter(|line| *line > 0)
}

fn shortened(name: &str) -> String {
    if name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    format!("{}…", &name[..name.floor_char_boundary(LONGEST_NAME)])
}
