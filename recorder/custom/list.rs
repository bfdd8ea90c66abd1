//! What can be probed here, in the words of `--probe`.

use std::io::{ErrorKind, Write as _};

use anyhow::{Context as _, Result, bail, ensure};
use glob::Pattern;
use lookback_schemas::wire::ARGUMENTS;

use super::kernel::{self, Functions};
use super::resolve::Files;
use super::spec::KernelHook;
use crate::cli::Args;
use crate::probes::files::CodeFile;
use crate::probes::operand::{self, Type};
use crate::probes::{elf, usdt};
use crate::sites::check_kprobes;
use crate::types::Types;

/// Prints what matches the pattern, one to a line.
///
/// # Errors
/// If the pattern is none, or nothing matches it.
pub fn list(args: &Args, pattern: &str) -> Result<u8> {
    const FORM: &str = "--list-probes: patterns are usdt:PATH[:PROVIDER:NAME], uprobe:PATH[:FUNCTION], \
                        uretprobe:…, kprobe:FUNCTION, kretprobe:…, fentry:FUNCTION, fexit:…, \
                        tracepoint:[CATEGORY[:NAME]], with * and ? in names";
    let (kind, rest) = pattern.split_once(':').context(FORM)?;
    let files = Files::new(super::mapped(args, &args.pid), &args.pid, None);
    let lines = match (kind, KernelHook::ALL.iter().any(|hook| hook.name() == kind)) {
        ("usdt", _) => usdt_probes(&files, rest)?,
        ("uprobe" | "uretprobe", _) => functions(&files, kind, rest)?,
        ("tracepoint", _) => tracepoints(rest)?,
        ("kprobe" | "kretprobe", _) => {
            check_kprobes()?;
            let names =
                kernel::kprobe_functions().context("the kernel does not tell its symbols")?;
            matching(kind, rest, names)?
        }
        (_, true) => {
            let types = Types::find(args.btf.as_deref())?;
            matching(kind, rest, Functions::read(&types)?.names())?
        }
        _ => bail!(FORM),
    };
    ensure!(!lines.is_empty(), "--list-probes: nothing matches {pattern}");
    let mut output = std::io::stdout().lock();
    for line in lines {
        match writeln!(output, "{line}") {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            result => result.context("standard output")?,
        }
    }
    Ok(0)
}

fn glob(text: &str) -> Result<Pattern> {
    let text = if text.is_empty() { "*" } else { text };
    Pattern::new(text).with_context(|| format!("`{text}` is no pattern"))
}

fn matching(kind: &str, pattern: &str, names: impl Iterator<Item = String>) -> Result<Vec<String>> {
    let pattern = glob(pattern)?;
    let mut lines: Vec<String> =
        names.filter(|name| pattern.matches(name)).map(|name| format!("{kind}:{name}")).collect();
    lines.sort();
    lines.dedup();
    Ok(lines)
}

/// The file that a pattern begins with, and the rest: the longest beginning that is a file.
fn file_and_rest<'p>(files: &Files, text: &'p str) -> Result<(CodeFile, &'p str)> {
    let ends = text.match_indices(':').map(|(at, _)| at);
    let mut candidates: Vec<usize> = ends.chain([text.len()]).collect();
    candidates.reverse();
    let found = candidates.iter().find_map(|end| Some((files.find(&text[..*end]).ok()?, *end)));
    match found {
        Some((file, end)) => Ok((file, text[end..].trim_start_matches(':'))),
        // The message is that of what was most likely meant.
        None => {
            let shortest = candidates.last().map_or(text, |end| &text[..*end]);
            files.find(shortest).map(|file| (file, ""))
        }
    }
}

fn usdt_probes(files: &Files, text: &str) -> Result<Vec<String>> {
    let (file, rest) = file_and_rest(files, text)?;
    let pattern = glob(rest)?;
    let mut lines = Vec::new();
    for note in usdt::notes(&file.path)? {
        let name = format!("{}:{}", note.provider, note.name);
        // Without a colon it may mean either.
        let either =
            [&note.provider, &note.name, &name].into_iter().any(|text| pattern.matches(text));
        if !either {
            continue;
        }
        let kept = note.arguments.iter().take(ARGUMENTS).enumerate();
        let arguments: String = kept
            .filter_map(|(number, text)| {
                let kind = Type::of(&operand::of_note(text).ok()?).name();
                Some(format!(",arg{number}:{kind}"))
            })
            .collect();
        lines.push(format!("usdt:{}:{name}{arguments}", file.shown));
    }
    lines.sort();
    lines.dedup();
    Ok(lines)
}

fn functions(files: &Files, kind: &str, text: &str) -> Result<Vec<String>> {
    let (file, rest) = file_and_rest(files, text)?;
    let pattern = glob(rest)?;
    let found = elf::functions(&file.path, &file.root, |name| pattern.matches(name))?;
    let prefix = format!("{kind}:{}", file.shown);
    matching(&prefix, "*", found.into_iter().map(|function| function.name))
}

fn tracepoints(text: &str) -> Result<Vec<String>> {
    let (category, name) = text.split_once(':').unwrap_or((text, "*"));
    let (category, name) = (glob(category)?, glob(name)?);
    let events = crate::hooks::tracing_events()
        .context("tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing")?;
    let mut lines = Vec::new();
    for folder in folders(events.as_ref())?.into_iter().filter(|name| category.matches(name)) {
        let inside = folders(&std::path::Path::new(events).join(&folder))?;
        for event in inside.into_iter().filter(|event| name.matches(event)) {
            // Some, such as ftrace's own, are none that programs can be attached to.
            let Ok(fields) = kernel::fields(&folder, &event) else { continue };
            let kept = fields.iter().filter_map(|field| {
                Some(format!(",{}:{}", field.name, Type::of(field.operand.as_ref()?).name()))
            });
            let arguments: String = kept.take(ARGUMENTS).collect();
            lines.push(format!("tracepoint:{folder}:{event}{arguments}"));
        }
    }
    lines.sort();
    Ok(lines)
}

fn folders(path: &std::path::Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
    let names = entries.flatten().filter(|entry| entry.path().is_dir());
    Ok(names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}
