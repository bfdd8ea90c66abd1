//! Which files a process has mapped, or will map when it begins.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use procfs::process::{MMPermissions, MMapPath, Process};

use super::elf;

/// A program or a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeFile {
    /// Where this process finds it.
    pub path: PathBuf,
    /// Its path as the process that maps it sees it.
    pub shown: String,
    /// The root directory of that process.
    pub root: PathBuf,
}

impl CodeFile {
    /// A file of our own root.
    pub fn here(path: PathBuf) -> CodeFile {
        let shown = path.display().to_string();
        CodeFile { path, shown, root: PathBuf::from("/") }
    }

    /// Its name, without its folder.
    pub fn name(&self) -> &str {
        self.shown.rsplit('/').next().unwrap_or_default()
    }

    /// What tells the file from all others.
    pub fn identity(&self) -> Option<(u64, u64)> {
        std::fs::metadata(&self.path).ok().map(|file| (file.dev(), file.ino()))
    }
}

/// The files that process `pid` has mapped as code. Of one that was replaced or deleted since, it is the
/// old one that counts.
///
/// # Errors
/// If the process is gone, or may not be looked at.
pub fn of_process(pid: i32) -> Result<Vec<CodeFile>> {
    let maps = Process::new(pid).and_then(|process| process.maps());
    let maps = maps.with_context(|| format!("cannot read the memory map of process {pid}"))?;
    let root = PathBuf::from(format!("/proc/{pid}/root"));
    let mut files = BTreeMap::new();
    for map in maps {
        let MMapPath::Path(shown) = &map.pathname else { continue };
        if !map.perms.contains(MMPermissions::EXECUTE) {
            continue;
        }
        files.entry((map.dev, map.inode)).or_insert_with(|| {
            let below = shown.strip_prefix("/").unwrap_or(shown);
            let by_name = root.join(below);
            let same = std::fs::metadata(&by_name).is_ok_and(|file| file.ino() == map.inode);
            let (start, end) = map.address;
            let by_map = PathBuf::from(format!("/proc/{pid}/map_files/{start:x}-{end:x}"));
            CodeFile {
                path: if same { by_name } else { by_map },
                shown: shown.to_string_lossy().into_owned(),
                root: root.clone(),
            }
        });
    }
    Ok(files.into_values().collect())
}

/// The files that a command will map before its first instruction runs: the program, what loads it, and
/// the libraries that this will load, in the environment that the command will have.
///
/// # Errors
/// If there is no such program, or what loads it does not tell.
pub fn of_command(command: &[String]) -> Result<Vec<CodeFile>> {
    of_program(program(Path::new(&command[0]))?, |_| {})
}

/// The same for process `pid`, which has called exec and stands before its first instruction.
///
/// # Errors
/// If the process is gone, or what loads the program does not tell.
pub fn of_image(pid: i32) -> Result<Vec<CodeFile>> {
    let process = Process::new(pid).with_context(|| format!("process {pid} is gone"))?;
    let (program, environment) = (process.exe()?, process.environ()?);
    of_program(program, |loader| _ = loader.env_clear().envs(environment))
}

/// The files that a program will map; `prepare` gives what loads it the right environment.
fn of_program(program: PathBuf, prepare: impl FnOnce(&mut Command)) -> Result<Vec<CodeFile>> {
    let Some(loader) = elf::interpreter(&program)? else {
        return Ok(vec![CodeFile::here(program)]);
    };
    // Both glibc's and musl's loader know this; it runs nothing of the program.
    let mut list = Command::new(&loader);
    prepare(&mut list);
    let listed = list.arg("--list").arg(&program).output();
    let listed = listed.with_context(|| format!("cannot run {}", loader.display()))?;
    if !listed.status.success() {
        bail!(
            "{} does not list the libraries of {}: {}",
            loader.display(),
            program.display(),
            String::from_utf8_lossy(&listed.stderr).trim()
        );
    }
    let text = String::from_utf8_lossy(&listed.stdout);
    let libraries = text.lines().filter_map(listed_path);
    let mut files: Vec<CodeFile> = Vec::new();
    for path in [program, loader].into_iter().chain(libraries) {
        let file = CodeFile::here(path);
        let identity = file.identity();
        if identity.is_some() && files.iter().all(|other| other.identity() != identity) {
            files.push(file);
        }
    }
    Ok(files)
}

/// A line such as `libc.so.6 => /lib/libc.so.6 (0x7f…)` or `/lib64/ld-linux-x86-64.so.2 (0x7f…)`.
fn listed_path(line: &str) -> Option<PathBuf> {
    let line = line.trim();
    let path = line.split_once(" => ").map_or(line, |(_, path)| path);
    let path = path.rsplit_once(" (").map_or(path, |(path, _)| path);
    path.starts_with('/').then(|| PathBuf::from(path))
}

/// Scripts that name scripts; the kernel gives up after as many.
const MOST_INTERPRETERS: usize = 5;

/// The program that the kernel will run for the name of a command: found as `execvp` finds it, and if it
/// is a script, what interprets it.
fn program(name: &Path) -> Result<PathBuf> {
    let mut path = found(name)?;
    for _ in 0..MOST_INTERPRETERS {
        let start = first_bytes(&path)?;
        let Some(line) = start.strip_prefix(b"#!") else {
            // What loads it looks for libraries beside the file itself, not beside a link to it.
            return path.canonicalize().with_context(|| path.display().to_string());
        };
        let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = String::from_utf8_lossy(line).into_owned();
        let interpreter = line.split_whitespace().next().map(PathBuf::from);
        path = interpreter.with_context(|| format!("{}: no interpreter", path.display()))?;
    }
    bail!("{}: too many interpreters", name.display())
}

fn found(name: &Path) -> Result<PathBuf> {
    if name.components().count() > 1 || name.is_absolute() {
        return Ok(name.to_owned());
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let runs = |path: &PathBuf| {
        std::fs::metadata(path)
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(runs);
    found.with_context(|| format!("cannot run `{}`: it is not on the PATH", name.display()))
}

fn first_bytes(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    const LINE: u64 = 256;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    let read = file.and_then(|file| file.take(LINE).read_to_end(&mut bytes));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_loaders_lists_are_read() {
        assert_eq!(listed_path("\tlinux-vdso.so.1 (0x00007ffd0)"), None);
        let library = Some(PathBuf::from("/lib/libc.so.6"));
        assert_eq!(listed_path("\tlibc.so.6 => /lib/libc.so.6 (0x00007f)"), library);
        assert_eq!(listed_path("\tlibc.so.6 => not found"), None);
        let loader = Some(PathBuf::from("/lib/ld-musl-x86_64.so.1"));
        assert_eq!(listed_path("\t/lib/ld-musl-x86_64.so.1 (0x7f0)"), loader);
    }

    #[test]
    fn this_process_maps_what_it_was_made_of() {
        let own = std::env::current_exe().unwrap();
        let mapped = of_process(std::process::id() as i32).unwrap();
        let identity = CodeFile::here(own.clone()).identity();
        assert!(mapped.iter().any(|file| file.identity() == identity));
        let command = of_command(&[own.display().to_string()]).unwrap();
        let has = |files: &[CodeFile], name: &str| files.iter().any(|f| f.shown.contains(name));
        assert!(has(&mapped, "libc.so") && has(&command, "libc.so"), "{command:?}");
    }

    #[test]
    fn a_script_runs_what_its_first_line_says() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("script");
        std::fs::write(&script, "#!/bin/sh -e\necho\n").unwrap();
        assert_eq!(program(&script).unwrap(), Path::new("/bin/sh").canonicalize().unwrap());
        assert!(of_command(&["no-such-program".to_owned()]).is_err());
    }
}
