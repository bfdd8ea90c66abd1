//! Probes of the user's, `--probe` and `--span`: from what the user wrote to places of programs and the
//! kernel.
//!
//! [`spec`] reads the words, [`resolve`] finds the places and the arguments that they mean in files, and
//! [`kernel`] those in the kernel. [`list`] goes the other way, from what there is to words. A probe that
//! cannot be had is told in a line of its own, and left out; the others go on.

pub mod kernel;
pub mod list;
pub mod resolve;
pub mod spec;

use std::collections::HashMap;

use anyhow::Result;
use lookback_schemas::TableId;
use lookback_schemas::manifest;
use lookback_schemas::wire::Chars;

use self::resolve::Files;
use self::spec::{Span, Spec};
use crate::cli::Args;
use crate::probes::files::{self, CodeFile};
use crate::sites::{LEFT_OUT, Site};

/// The tracer's name.
pub const TRACER: &str = "custom";

/// What the user asked for.
#[derive(Debug, Default)]
pub struct Probes {
    /// The places, those first that end a span.
    pub sites: Vec<Site>,
    /// What there is not, for the manifest.
    pub failed: Vec<manifest::Probe>,
    /// The spans' names; their numbers begin at 1.
    pub spans: Vec<String>,
}

/// A span has its number in a map of this size.
const MOST_SPANS: usize = 255;

/// Finds the places of all probes that the command line asks for. `pids` are the processes that are
/// recorded, if only some are.
pub fn find(args: &Args, pids: &[i32]) -> Probes {
    let mut files = Files::new(mapped(args, pids), pids, args.btf.clone());
    let mut probes = Probes::default();
    let mut names = Names::default();
    for text in &args.selection.probe {
        let sites = Spec::read(text).and_then(|spec| {
            let name = names.unique(&spec.short_name());
            resolve::sites(&spec, &name, &mut files)
        });
        probes.add(text, sites, args.quiet);
    }
    for text in &args.selection.span {
        let number = probes.spans.len() + 1;
        let sites = Span::read(text).and_then(|span| {
            anyhow::ensure!(number <= MOST_SPANS, "there cannot be more than {MOST_SPANS} spans");
            let sites = span_sites(&span, number, &mut names, &mut files)?;
            probes.spans.push(span.name);
            Ok(sites)
        });
        probes.add(text, sites, args.quiet);
    }
    for warning in files.warnings.iter().filter(|_| !args.quiet) {
        eprintln!("record: {warning}");
    }
    probes.sites.sort_by_key(|site| !site.ends);
    probes
}

const BEGINS: i32 = 1;
const ENDS: i32 = 2;

fn span_sites(
    span: &Span,
    number: usize,
    names: &mut Names,
    files: &mut Files,
) -> Result<Vec<Site>> {
    let mut all = Vec::new();
    for (spec, end) in [(&span.begin, BEGINS), (&span.end, ENDS)] {
        let name = names.unique(&spec.short_name());
        let mut sites = resolve::sites(spec, &name, files)?;
        for site in &mut sites {
            let settings = &mut site.settings;
            settings.span = number as i32;
            settings.span_end = end;
            site.ends = end == ENDS;
            settings.span_by_key = i32::from(spec.key.is_some());
            // What the span's row does not tell.
            let more = !spec.arguments.is_empty() || spec.stack || spec.kernel_stack;
            settings.rows = i32::from(more);
            if !more {
                site.table = TableId::Span;
            }
        }
        all.extend(sites);
    }
    Ok(all)
}

impl Probes {
    fn add(&mut self, asked: &str, sites: Result<Vec<Site>>, quiet: bool) {
        match sites {
            Ok(sites) => self.sites.extend(sites.into_iter().map(|mut site| {
                site.report.asked = Some(asked.to_owned());
                site
            })),
            Err(error) => {
                let why = format!("{error:#}");
                if !quiet {
                    eprintln!("record: {}", complaint(asked, &why));
                }
                self.failed.push(manifest::Probe {
                    kind: LEFT_OUT.to_owned(),
                    asked: Some(asked.to_owned()),
                    failed: Some(why),
                    ..manifest::Probe::default()
                });
            }
        }
    }
}

/// What is told of a probe that cannot be had.
pub fn complaint(asked: &str, why: &str) -> String {
    format!("probe `{asked}`: {why}")
}

/// The files in which libraries are looked for by their names alone: those that the processes have mapped
/// or will map.
fn mapped(args: &Args, pids: &[i32]) -> Vec<CodeFile> {
    let of_processes = pids.iter().flat_map(|pid| files::of_process(*pid).unwrap_or_default());
    let of_command = match args.command.as_slice() {
        [] => Vec::new(),
        command => files::of_command(command).unwrap_or_default(),
    };
    of_processes.chain(of_command).collect()
}

/// The names that probes have in the recording.
#[derive(Default)]
struct Names(HashMap<String, u32>);

/// The table's column has room for as many bytes, and a NUL.
const NAME_BYTES: usize = 63;

impl Names {
    /// The name, cut to what there is room for, with a number behind it if it was given before.
    fn unique(&mut self, name: &str) -> String {
        let mut unique = name[..name.floor_char_boundary(NAME_BYTES)].to_owned();
        loop {
            let times = self.0.entry(unique.clone()).or_default();
            *times += 1;
            if *times == 1 {
                return unique;
            }
            let number = format!("#{times}");
            unique =
                name[..name.floor_char_boundary(NAME_BYTES - number.len())].to_owned() + &number;
        }
    }
}

/// A name in the bytes of a record.
pub fn chars(name: &str) -> Chars<64> {
    let mut bytes = [0; 64];
    let name = name.as_bytes();
    bytes[..name.len()].copy_from_slice(name);
    Chars(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_probe_has_a_name_of_its_own() {
        let mut names = Names::default();
        assert_eq!(["a", "b", "a", "a"].map(|name| names.unique(name)), ["a", "b", "a#2", "a#3"]);
        let long = "é".repeat(40);
        assert_eq!(names.unique(&long).len(), 62);
        assert_eq!(names.unique(&long), format!("{}#2", "é".repeat(30)));
    }
}
