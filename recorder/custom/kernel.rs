//! Places in the kernel that can be probed, and the values there: tracepoints with their fields, from
//! tracefs; functions with their parameters, from the kernel's type information (BTF).

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use libbpf_rs::btf::types::{Func, FuncProto, Int, IntEncoding};
use libbpf_rs::btf::{Btf, TypeId};
use libbpf_rs::btf::{BtfType, ReferencesType as _};
use lookback_schemas::wire::Operand;

use super::spec::{Argument, KernelHook};
use crate::hooks::tracing_events;
use crate::probes::operand::{self, Type};
use crate::types::Types;

/// A field of a tracepoint.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where it is; `None` where it is nothing that can be kept.
    pub operand: Option<Operand>,
}

/// The folder of a tracepoint.
fn folder(category: &str, name: &str) -> Result<PathBuf> {
    let events = tracing_events()
        .context("tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing")?;
    let folder = PathBuf::from(events).join(category).join(name);
    ensure!(folder.join("format").exists(), "this kernel has no tracepoint {category}:{name}");
    Ok(folder)
}

/// The fields of a tracepoint.
///
/// # Errors
/// If the kernel has no such tracepoint, or tracefs is not mounted.
pub fn fields(category: &str, name: &str) -> Result<Vec<Field>> {
    let path = folder(category, name)?.join("format");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.lines().filter_map(field).collect())
}

/// Reads a line of a format: `field:DECLARATION;\toffset:N;\tsize:N;\tsigned:N;`. The fields that every
/// tracepoint has are left out.
fn field(line: &str) -> Option<Field> {
    let line = line.trim().strip_prefix("field:")?;
    let mut parts = line.split(';').map(str::trim);
    let declaration = parts.next()?;
    let mut number = |key: &str| -> Option<i64> { parts.next()?.strip_prefix(key)?.parse().ok() };
    let (offset, size) = (number("offset:")?, number("size:")?);
    let signed = number("signed:").unwrap_or(0) != 0;
    let (kind, name) = declaration.rsplit_once(' ')?;
    let name = name.trim_start_matches('*');
    if name.starts_with("common_") {
        return None;
    }
    let (bare, is_array) = name.split_once('[').map_or((name, false), |(bare, _)| (bare, true));
    let operand = if kind.starts_with("__data_loc") {
        kind.contains("char").then(|| operand::located(offset))
    } else if is_array {
        let text = Operand { text: 3, ..operand::field(offset, size as i32, false) };
        kind.contains("char").then_some(text)
    } else {
        [1, 2, 4, 8].contains(&size).then(|| operand::field(offset, size as i32, signed))
    };
    Some(Field { name: bare.to_owned(), operand })
}

/// The operand of a tracepoint's field.
///
/// # Errors
/// Lists the fields there are.
pub fn of_field(fields: &[Field], argument: &Argument) -> Result<Operand> {
    let Some(field) = fields.iter().find(|field| field.name == argument.name) else {
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        bail!("it has no field `{}`; its fields are {}", argument.name, names.join(", "))
    };
    field.operand.with_context(|| format!("its field `{}` is no number and no text", field.name))
}

/// The parameters of a function of the kernel, and what it returns.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    /// The parameters' names and types.
    pub parameters: Vec<(String, Type)>,
    /// The type of what it returns; `None` if that is nothing.
    pub returns: Option<Type>,
}

/// What the kernel tells of its functions.
pub struct Functions(Btf<'static>);

impl Functions {
    /// Reads it.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn read(types: &Types) -> Result<Functions> {
        types.read().map(Functions)
    }

    /// The signature of a function.
    ///
    /// # Errors
    /// If the kernel proper has no such function; it may have been inlined.
    pub fn signature(&self, function: &str) -> Result<Signature> {
        let found = self.0.type_by_name::<Func<'_>>(function);
        let func = found.with_context(|| format!("this kernel has no function `{function}`"))?;
        let prototype = FuncProto::try_from(func.next_type().context("broken type information")?);
        let prototype = prototype.map_err(|_| anyhow::anyhow!("broken type information"))?;
        let parameters = prototype.iter().map(|parameter| {
            let name = parameter.name.map(|name| name.to_string_lossy().into_owned());
            (name.unwrap_or_default(), self.kind(parameter.ty))
        });
        let returns = prototype.referenced_type_id();
        let returns = (u32::from(returns) != 0).then(|| self.kind(returns));
        Ok(Signature { parameters: parameters.collect(), returns })
    }

    /// The names of all functions.
    pub fn names(&self) -> impl Iterator<Item = String> {
        let functions = self.0.type_by_kind::<Func<'_>>();
        functions.filter_map(|function| Some(function.name()?.to_string_lossy().into_owned()))
    }

    /// The type of a value, as far as it can be kept. What is no number is taken for an address.
    fn kind(&self, id: TypeId) -> Type {
        let found = self.0.type_by_id::<BtfType<'_>>(id).map(|ty| ty.skip_mods_and_typedefs());
        match found.and_then(|ty| Int::try_from(ty).ok()) {
            Some(int) => {
                let bytes = i32::from(int.bits).div_euclid(8).clamp(1, 8);
                Type::Number { bytes, signed: matches!(int.encoding, IntEncoding::Signed) }
            }
            None => match found.map(|ty| ty.kind()) {
                Some(libbpf_rs::btf::BtfKind::Enum) => Type::Number { bytes: 4, signed: false },
                _ => Type::Pointer,
            },
        }
    }
}

/// The operand of a function's argument, where a trampoline keeps it.
///
/// # Errors
/// If there is no such argument there.
pub fn of_trampoline(
    signature: &Signature,
    by: KernelHook,
    argument: &Argument,
) -> Result<(Operand, Type)> {
    let count = signature.parameters.len();
    let at = |number: usize, kind: Type| (operand::field(8 * number as i64, 8, false), kind);
    if argument.name == "retval" {
        ensure!(by == KernelHook::Fexit, "retval is known when it returns: fexit");
        // A function that returns nothing leaves nothing there.
        let kind = signature.returns.context("it returns nothing")?;
        return Ok(at(count, kind));
    }
    let by_name = || signature.parameters.iter().position(|(name, _)| *name == argument.name);
    let number = argument.number().or_else(by_name);
    match number.and_then(|number| Some((number, signature.parameters.get(number)?))) {
        Some((number, (_, kind))) => Ok(at(number, *kind)),
        None => {
            let names: Vec<&str> =
                signature.parameters.iter().map(|(name, _)| name.as_str()).collect();
            bail!(
                "it has no argument `{}`; they are arg0 to arg5, or {}",
                argument.name,
                names.join(", ")
            )
        }
    }
}

/// Whether kprobes can be put on the function of this name; `None` where the kernel does not tell.
pub fn can_have_kprobe(function: &str) -> Option<bool> {
    kprobe_functions().map(|mut names| names.any(|name| name == function))
}

/// The functions that kprobes can be put on; `None` where the kernel does not tell.
pub fn kprobe_functions() -> Option<impl Iterator<Item = String>> {
    let text = std::fs::read_to_string("/proc/kallsyms").ok()?;
    let mut names: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (_, kind, name) = (words.next()?, words.next()?, words.next()?);
            matches!(kind, "t" | "T" | "w" | "W").then(|| name.to_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    (!names.is_empty()).then(|| names.into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_tracepoints_are_read() {
        let read = |line: &str| field(line).unwrap();
        assert!(field("\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;").is_none());
        assert!(field("print fmt: \"...\"").is_none());
        let pid = read("\tfield:pid_t prev_pid;\toffset:24;\tsize:4;\tsigned:1;");
        assert_eq!(pid.name, "prev_pid");
        let operand = pid.operand.unwrap();
        assert_eq!((operand.displacement, operand.bytes, operand.signed), (24, 4, 1));
        let comm = read("\tfield:char prev_comm[16];\toffset:8;\tsize:16;\tsigned:0;");
        assert_eq!((comm.name.as_str(), comm.operand.unwrap().text), ("prev_comm", 3));
        let file = read("\tfield:__data_loc char[] filename;\toffset:8;\tsize:4;\tsigned:1;");
        assert_eq!(Type::of(&file.operand.unwrap()), Type::Text);
        let pointer = read("\tfield:const char * buf;\toffset:24;\tsize:8;\tsigned:0;");
        assert_eq!((pointer.name.as_str(), pointer.operand.unwrap().bytes), ("buf", 8));
        let words = read("\tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;");
        assert!(words.operand.is_none());
        let argument = Argument { name: "nothing".to_owned(), kind: None };
        assert!(of_field(&[pid], &argument).unwrap_err().to_string().contains("prev_pid"));
    }
}
