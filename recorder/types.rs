//! The kernel's types: BTF.
//!
//! The BPF programs are compiled once and run on every kernel: they name the fields that they read, and libbpf
//! looks up where this kernel has them (CO-RE, "compile once, run everywhere"; `tools/lib/bpf/relo_core.c`). A
//! kernel tells its types in `/sys/kernel/btf/vmlinux` where it was built with `CONFIG_DEBUG_INFO_BTF`. For one
//! that was not, they can be made on another machine from its debug information (`pahole
//! --btf_encode_detached`), or had from a collection such as BTFHub, and given with `--btf`. What hooks into
//! typed places of the kernel itself is still missing then, since it is the kernel that checks those types:
//! `fentry`, typed tracepoints, security modules.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::Struct;
use libbpf_rs::{ObjectBuilder, OpenObject};

/// Where the types are from.
#[derive(Clone, Debug, Default)]
pub struct Types {
    /// A file, in place of the kernel's own.
    file: Option<PathBuf>,
}

impl Types {
    /// Those of this kernel, or in a file: BTF as it is, or an ELF file with a section `.BTF`.
    ///
    /// # Errors
    /// If there are none, or they are not a kernel's; with what to do about it.
    pub fn find(file: Option<&Path>) -> Result<Types> {
        let types = Types { file: file.map(Path::to_owned) };
        let btf = types.read()?;
        if btf.type_by_name::<Struct<'_>>("task_struct").is_none() {
            match file {
                Some(file) => bail!("--btf {}: these are no types of a kernel", file.display()),
                None => bail!("the kernel's types lack task_struct"),
            }
        }
        Ok(types)
    }

    /// All of them.
    ///
    /// # Errors
    /// As [`find`](Types::find).
    pub fn read(&self) -> Result<Btf<'static>> {
        match &self.file {
            Some(file) => Btf::from_path(file)
                .with_context(|| format!("--btf {}: it has no BTF", file.display())),
            None => Btf::from_vmlinux().context(
                "this kernel does not tell its types: /sys/kernel/btf/vmlinux is missing \
                 (CONFIG_DEBUG_INFO_BTF). Give a file that has them: --btf FILE",
            ),
        }
    }

    /// Whether a structure has a member of this name.
    ///
    /// # Errors
    /// As [`find`](Types::find).
    pub fn has_member(&self, structure: &str, member: &str) -> Result<bool> {
        let btf = self.read()?;
        let found = btf.type_by_name::<Struct<'_>>(structure);
        let is_it = |name: Option<&OsStr>| name.is_some_and(|name| name == member);
        Ok(found.is_some_and(|found| found.iter().any(|its| is_it(its.name))))
    }

    /// Opens a BPF object, which then finds the kernel's types here.
    ///
    /// # Errors
    /// If it is none.
    pub fn open(&self, name: &str, object: &'static [u8]) -> Result<OpenObject> {
        let mut builder = ObjectBuilder::default();
        builder.name(name)?;
        if let Some(file) = &self.file {
            builder.btf_custom_path(file)?;
        }
        builder.open_memory(object).context("cannot read the BPF object")
    }
}
