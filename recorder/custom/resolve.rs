//! From the words of a probe to its places, and to where its arguments are there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use lookback_schemas::TableId;
use lookback_schemas::manifest;
use lookback_schemas::wire::{self, ARGUMENTS, Operand, Operands};

use super::chars;
use super::kernel::{self, Functions, Signature};
use super::spec::{self, Argument, KernelHook, Place, Spec};
use crate::probes::files::CodeFile;
use crate::probes::operand::{self, Type};
use crate::probes::placement;
use crate::probes::usdt::{self, Note};
use crate::probes::{elf, placement::Kind};
use crate::sites::{At, Site};
use crate::types::Types;

/// Finds the files that probes name, and what the kernel tells of its functions, once.
pub struct Files {
    /// What the recorded processes have mapped, or will map.
    mapped: Vec<CodeFile>,
    /// The root directories of the recorded processes.
    roots: Vec<PathBuf>,
    /// A file with the kernel's types.
    btf: Option<PathBuf>,
    functions: Option<Functions>,
    /// What the user should know of probes that were found.
    pub warnings: BTreeSet<String>,
}

impl Files {
    /// `mapped` are the files of the processes `pids`; `btf` one with the kernel's types, in place of its own.
    pub fn new(mapped: Vec<CodeFile>, pids: &[i32], btf: Option<PathBuf>) -> Files {
        let roots = pids.iter().map(|pid| PathBuf::from(format!("/proc/{pid}/root"))).collect();
        Files { mapped, roots, btf, functions: None, warnings: BTreeSet::new() }
    }

    /// The file that is meant: by its path, as the recorded processes see it or as we do, or a library by
    /// its name alone.
    pub fn find(&self, name: &str) -> Result<CodeFile> {
        if !name.contains('/') {
            return self.by_name(name);
        }
        let absolute = name.starts_with('/');
        for root in self.roots.iter().filter(|_| absolute) {
            let path = root.join(name.trim_start_matches('/'));
            if path.is_file() {
                return Ok(CodeFile { path, shown: name.to_owned(), root: root.clone() });
            }
        }
        let path = Path::new(name).canonicalize();
        let path = path.with_context(|| format!("there is no such file: {name}"))?;
        ensure!(path.is_file(), "{name} is no file");
        let shown = path.display().to_string();
        Ok(CodeFile { path, shown, root: PathBuf::from("/") })
    }

    /// `libc.so.6`, `libc` or `c`, and programs on the PATH.
    fn by_name(&self, name: &str) -> Result<CodeFile> {
        let library = |file: &&CodeFile| {
            let base = file.shown.rsplit('/').next().unwrap_or_default();
            let stem = base.split(".so").next().unwrap_or_default();
            base == name || stem == name || stem.strip_prefix("lib") == Some(name)
        };
        if let Some(file) = self.mapped.iter().find(library) {
            return Ok(file.clone());
        }
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&folders).map(|folder| folder.join(name));
        match on_path.filter_map(|path| path.canonicalize().ok()).find(|path| path.is_file()) {
            Some(path) => {
                let shown = path.display().to_string();
                Ok(CodeFile { path, shown, root: PathBuf::from("/") })
            }
            None => bail!(
                "there is no such file: no recorded process has mapped a library `{name}`, \
                           and no such program is on the PATH; give its path"
            ),
        }
    }

    fn functions(&mut self) -> Result<&Functions> {
        if self.functions.is_none() {
            self.functions = Some(Functions::read(&Types::find(self.btf.as_deref())?)?);
        }
        self.functions.as_ref().context("they were read")
    }
}

/// The places of a probe, which is called `name` in the recording. A USDT probe can have several.
///
/// # Errors
/// If there is no such place, or no such argument there.
pub fn sites(spec: &Spec, name: &str, files: &mut Files) -> Result<Vec<Site>> {
    match &spec.place {
        Place::Usdt { path, provider, name: probe } => {
            let file = files.find(path)?;
            let notes = usdt::notes(&file.path)?;
            let its = |note: &&Note| note.provider == *provider && note.name == *probe;
            let found: Vec<&Note> = notes.iter().filter(its).collect();
            ensure!(!found.is_empty(), "{}", no_note(&file, provider, probe, &notes));
            found.into_iter().map(|note| of_note(spec, name, &file, note)).collect()
        }
        Place::Uprobe { path, function, offset } => {
            let file = files.find(path)?;
            let function = &find_function(&file, function)?;
            let place = within(function, *offset)?;
            let within = Within { function, place, at: Moment::of(*offset) };
            Ok(vec![in_function(spec, name, &file, within)?])
        }
        Place::Uretprobe { path, function } => {
            let file = files.find(path)?;
            let function = &find_function(&file, function)?;
            if !spec.at_ret && elf::throws(&file.path)? {
                files.warnings.insert(format!(
                    "an exception or panic that passes a return probe ends the program ({}); at=ret puts none, \
                     at ten times the cost of a hit",
                    file.shown
                ));
            }
            at_return(spec, name, &file, function)
        }
        Place::Kernel { by, function } => Ok(vec![in_kernel(spec, name, files, *by, function)?]),
        Place::Tracepoint { category, name: event } => {
            let fields = kernel::fields(category, event)?;
            let values = Values::read(spec, |argument| {
                kernel::of_field(&fields, argument).map(|operand| (operand, Type::of(&operand)))
            })?;
            let at = At::Tracepoint { category: category.clone(), name: event.clone() };
            let settings = values.settings(spec, name);
            let report = values.report(name, "tracepoint", &format!("{category}:{event}"));
            Ok(vec![Site {
                at,
                programs: &["by_tracepoint"],
                table: TableId::Probe,
                ends: false,
                settings,
                report,
            }])
        }
    }
}

fn no_note(file: &CodeFile, provider: &str, probe: &str, notes: &[Note]) -> String {
    if notes.is_empty() {
        return format!("{} was built without USDT probes", file.shown);
    }
    let mut names: Vec<String> =
        notes.iter().map(|note| format!("{}:{}", note.provider, note.name)).collect();
    names.sort();
    names.dedup();
    const SHOWN: usize = 8;
    let more = if names.len() > SHOWN { ", … (record --list-probes shows all)" } else { "" };
    names.truncate(SHOWN);
    format!("{} has no probe {provider}:{probe}; it has {}{more}", file.shown, names.join(", "))
}

fn of_note(spec: &Spec, name: &str, file: &CodeFile, note: &Note) -> Result<Site> {
    let values = Values::read(spec, |argument| {
        let count = note.arguments.len();
        let text = argument.number().and_then(|number| note.arguments.get(number));
        let text = text.with_context(|| match count {
            0 => format!("it has no argument `{}`: it has none at all", argument.name),
            1 => format!("it has no argument `{}`, only arg0", argument.name),
            _ => format!("it has no argument `{}`, only arg0 to arg{}", argument.name, count - 1),
        })?;
        let operand = operand::of_note(text).with_context(|| argument.name.clone())?;
        Ok((operand, Type::of(&operand)))
    })?;
    let mut settings = values.settings(spec, name);
    settings.user = 1;
    let mut report = values.report(name, note.place.kind.name(), &note.name);
    report.file.clone_from(&file.shown);
    report.offset = note.offset;
    let at = At::File {
        file: file.clone(),
        offset: note.offset,
        place: note.place.clone(),
        semaphore: note.semaphore,
        returns: false,
    };
    Ok(Site {
        at,
        programs: values.programs(),
        table: TableId::Probe,
        ends: false,
        settings,
        report,
    })
}

/// A place in a function of a file.
struct Within<'a> {
    function: &'a elf::Function,
    place: placement::Place,
    at: Moment,
}

/// When a thread comes by there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// The function was just called.
    Entry,
    /// It runs.
    Inside,
    /// It is about to return.
    Ret,
    /// It has returned.
    Returned,
}

impl Moment {
    fn of(offset: u64) -> Moment {
        if offset == 0 { Moment::Entry } else { Moment::Inside }
    }
}

/// The place so many bytes behind a function's start. At the start itself it is where it costs least.
fn within(function: &elf::Function, offset: u64) -> Result<placement::Place> {
    let code = &function.code;
    if offset == 0 {
        return Ok(placement::of_function(code, ARGUMENTS));
    }
    if cfg!(target_arch = "x86_64") {
        ensure!(offset < code.len() as u64, "the function has only {} bytes", code.len());
        ensure!(placement::begins_at(code, offset), "no instruction begins at +{offset:#x}");
        return Ok(placement::at(code, offset));
    }
    Ok(placement::Place { into: offset, kind: Kind::SingleStepped, instruction: Vec::new() })
}

/// By a return probe, or on each instruction by which the function returns.
fn at_return(
    spec: &Spec,
    name: &str,
    file: &CodeFile,
    function: &elf::Function,
) -> Result<Vec<Site>> {
    let site = |place, at| in_function(spec, name, file, Within { function, place, at });
    if spec.at_ret {
        let places = placement::returns(&function.code).filter(|places| !places.is_empty());
        let places = places.context("the function has other ways out than to return")?;
        return places.into_iter().map(|place| site(place, Moment::Ret)).collect();
    }
    Ok(vec![site(placement::of_function(&function.code, 0), Moment::Returned)?])
}

fn in_function(spec: &Spec, name: &str, file: &CodeFile, within: Within<'_>) -> Result<Site> {
    let Within { function, place, at } = within;
    let values =
        Values::read(spec, |argument| match (argument.name.as_str(), argument.number(), at) {
            ("retval", _, Moment::Ret | Moment::Returned) => operand::returned().map(with_type),
            ("retval", ..) => bail!("retval is known when the function returns: uretprobe"),
            (other, None, _) => bail!("there is no argument `{other}`; there are arg0 to arg5"),
            (_, Some(number), Moment::Entry) => operand::argument(number).map(with_type),
            (_, Some(_), Moment::Inside) => {
                bail!("arguments are in their registers only at the function's start")
            }
            (_, Some(_), Moment::Ret | Moment::Returned) => {
                bail!("a function's arguments are gone when it returns; only retval is known")
            }
        })?;
    let mut settings = values.settings(spec, name);
    settings.user = 1;
    settings.returned = i32::from(at == Moment::Returned);
    // There the address that it returns to is on top of the stack.
    settings.at_entry = i32::from(matches!(at, Moment::Entry | Moment::Ret));
    let mut report = values.report(name, place.kind.name(), &function.name);
    report.file.clone_from(&file.shown);
    report.offset = function.offset + place.into;
    report.into_function = place.into;
    let at = At::File {
        file: file.clone(),
        offset: function.offset,
        place,
        semaphore: 0,
        returns: at == Moment::Returned,
    };
    Ok(Site {
        at,
        programs: values.programs(),
        table: TableId::Probe,
        ends: false,
        settings,
        report,
    })
}

fn find_function(file: &CodeFile, name: &str) -> Result<elf::Function> {
    if name.starts_with("0x") {
        let address = spec::number(name).with_context(|| format!("`{name}` is no address"))?;
        return elf::code_at_address(&file.path, address);
    }
    let mut found = elf::functions(&file.path, &file.root, |known| known == name)?;
    if let Some(function) = found.pop() {
        return Ok(function);
    }
    let stripped = elf::is_stripped(&file.path, &file.root)?;
    let hint = if stripped {
        "; it is stripped: install its debug symbols, or give the function's address as 0x…"
    } else {
        "; record --list-probes shows those there are"
    };
    bail!("{} has no function `{name}`{hint}", file.shown)
}

fn in_kernel(
    spec: &Spec,
    name: &str,
    files: &mut Files,
    by: KernelHook,
    function: &str,
) -> Result<Site> {
    let report = |values: &Values| values.report(name, by.name(), function);
    match by {
        KernelHook::Kprobe | KernelHook::Kretprobe => {
            let returns = by == KernelHook::Kretprobe;
            let known = kernel::can_have_kprobe(function);
            ensure!(known != Some(false), "this kernel has no function `{function}`");
            let values =
                Values::read(spec, |argument| match (argument.name.as_str(), argument.number()) {
                    ("retval", _) if returns => operand::returned().map(with_type),
                    ("retval", _) => bail!("retval is known when the function returns: kretprobe"),
                    (_, Some(_)) if returns => {
                        bail!(
                            "a function's arguments are gone when it returns; only retval is known"
                        )
                    }
                    (_, Some(number)) => operand::argument(number).map(with_type),
                    (other, None) => {
                        bail!("there is no argument `{other}`; there are arg0 to arg5")
                    }
                })?;
            let at = At::Kprobe { function: function.to_owned(), returns };
            let settings = values.settings(spec, name);
            Ok(Site {
                at,
                programs: &["by_registers"],
                table: TableId::Probe,
                ends: false,
                settings,
                report: report(&values),
            })
        }
        KernelHook::Fentry | KernelHook::Fexit => {
            let signature: Signature = files.functions()?.signature(function)?;
            let values =
                Values::read(spec, |argument| kernel::of_trampoline(&signature, by, argument))?;
            let at = At::Trampoline { function: function.to_owned() };
            let programs: &[&str] =
                if by == KernelHook::Fexit { &["by_exit"] } else { &["by_entry"] };
            let settings = values.settings(spec, name);
            Ok(Site {
                at,
                programs,
                table: TableId::Probe,
                ends: false,
                settings,
                report: report(&values),
            })
        }
    }
}

fn with_type(operand: Operand) -> (Operand, Type) {
    (operand, Type::of(&operand))
}

/// The values that a probe asks for, where they are at one of its places.
struct Values {
    operands: Operands,
    texts: i32,
    arguments: Vec<manifest::Argument>,
}

impl Values {
    /// `find` gives an argument's operand, and the type that it is by itself.
    fn read(spec: &Spec, find: impl Fn(&Argument) -> Result<(Operand, Type)>) -> Result<Values> {
        let mut values = Values { operands: Operands::default(), texts: 0, arguments: Vec::new() };
        let see = |argument: &Argument| {
            let (operand, own) = find(argument)?;
            let kind = argument.kind.unwrap_or(own);
            let seen =
                kind.see(operand).with_context(|| format!("wrong type of {}", argument.name))?;
            anyhow::Ok((seen, kind))
        };
        for (number, argument) in spec.arguments.iter().enumerate() {
            let (operand, kind) = see(argument)?;
            values.operands.0[number] = operand;
            values.texts += i32::from(kind.is_text());
            let column = if kind.is_text() { "text" } else { "arg" };
            values.arguments.push(manifest::Argument {
                column: format!("{column}{number}"),
                name: argument.name.clone(),
                kind: kind.name().to_owned(),
            });
        }
        if let Some(key) = &spec.key {
            let (operand, kind) = see(key)?;
            ensure!(!kind.is_text(), "a key must be a number");
            values.operands.0[ARGUMENTS] = operand;
        }
        Ok(values)
    }

    /// The programs for a place in a file: texts may have to be waited for.
    fn programs(&self) -> &'static [&'static str] {
        if self.texts > 0 { &["by_registers_sleeping", "by_registers"] } else { &["by_registers"] }
    }

    fn settings(&self, spec: &Spec, name: &str) -> wire::Site {
        wire::Site {
            name: chars(name),
            operands: self.operands,
            texts: self.texts,
            rows: 1,
            stack: i32::from(spec.stack),
            kernel_stack: i32::from(spec.kernel_stack),
            ..wire::Site::default()
        }
    }

    fn report(&self, name: &str, kind: &str, function: &str) -> manifest::Probe {
        manifest::Probe {
            file: "[kernel]".to_owned(),
            function: function.to_owned(),
            kind: kind.to_owned(),
            name: Some(name.to_owned()),
            arguments: self.arguments.clone(),
            ..manifest::Probe::default()
        }
    }
}
