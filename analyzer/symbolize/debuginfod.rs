//! Asking a debuginfod server for binaries and debug information, by build id.
//!
//! The protocol is HTTP: `GET URL/buildid/BUILDID/executable`, or `/debuginfo`; see debuginfod(8) of
//! elfutils. What comes is kept where elfutils keeps it, in `$DEBUGINFOD_CACHE_PATH`, or below
//! `$XDG_CACHE_HOME` or `~/.cache` in `debuginfod_client/BUILDID/`, so other tools find it too. A server is
//! not trusted: what it sends must be an ELF file of the build id that was asked for, of a size and within
//! a time that are bounded.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use lookback_schemas::symbols::elf;
use lookback_schemas::symbols::tree::{self, Kind};

use crate::render::escaped;

/// No larger file is taken, in bytes.
#[cfg(feature = "debuginfod")]
const LARGEST: u64 = 4 << 30;
/// A server that could not be reached so often is not asked again.
const MOST_FAILURES: u32 = 3;

/// Stands for the servers of the environment.
const ENVIRONMENT: &str = "env";

/// The servers to ask: those of the command line. Distributions set DEBUGINFOD_URLS for everybody, so it says
/// whom to ask, but not whether to.
#[must_use]
pub fn servers(given: &[String]) -> Vec<String> {
    let mut servers = Vec::new();
    for server in given {
        if server == ENVIRONMENT {
            let urls = std::env::var("DEBUGINFOD_URLS").unwrap_or_default();
            servers.extend(urls.split_whitespace().map(str::to_owned));
        } else {
            servers.push(server.clone());
        }
    }
    servers
}

/// Who asks.
#[derive(Debug)]
pub struct Client {
    servers: Vec<Server>,
    cache: PathBuf,
    #[cfg(feature = "debuginfod")]
    agent: ureq::Agent,
}

#[derive(Debug)]
struct Server {
    url: String,
    failures: u32,
}

impl Client {
    /// Says whom it is going to ask; `None` if nobody.
    ///
    /// # Errors
    /// If there is nowhere to keep what comes, or a server is no HTTP server.
    pub fn new(urls: &[String]) -> anyhow::Result<Option<Client>> {
        if urls.is_empty() {
            return Ok(None);
        }
        let mut servers = Vec::new();
        for url in urls {
            let url = url.trim_end_matches('/').to_owned();
            if !url.starts_with("http://") && !url.starts_with("https://") {
                bail!("debuginfod: {url} is no http or https URL");
            }
            servers.push(Server { url, failures: 0 });
        }
        let cache = cache().context("debuginfod: neither DEBUGINFOD_CACHE_PATH nor HOME is set")?;
        let named: Vec<&str> = servers.iter().map(|server| server.url.as_str()).collect();
        let client = Client::asking(cache, &named)?;
        eprintln!(
            "analyze: what is not on this machine is asked of {}",
            escaped(&named.join(", "))
        );
        Ok(Some(Client { servers, ..client }))
    }

    #[cfg(feature = "debuginfod")]
    #[expect(clippy::unnecessary_wraps, reason = "as without the feature")]
    fn asking(cache: PathBuf, _servers: &[&str]) -> anyhow::Result<Client> {
        use std::time::Duration;
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(90)))
            .timeout_global(Some(Duration::from_mins(15)))
            .user_agent(concat!("lookback/", env!("CARGO_PKG_VERSION")));
        Ok(Client { servers: Vec::new(), cache, agent: config.build().into() })
    }

    #[cfg(not(feature = "debuginfod"))]
    fn asking(_cache: PathBuf, servers: &[&str]) -> anyhow::Result<Client> {
        bail!("{} cannot be asked: this was built without `debuginfod`", servers.join(", "));
    }

    /// The file of a build id, if it is kept already, or a server has it.
    pub fn fetch(&mut self, build_id: &str, kind: Kind) -> Option<PathBuf> {
        // What is in a recording may be anything.
        tree::place(build_id, kind)?;
        let name = match kind {
            Kind::Executable => "executable",
            Kind::Debug => "debuginfo",
        };
        let path = self.cache.join(build_id).join(name);
        if elf::build_id(&path).as_deref() == Some(build_id) {
            return Some(path);
        }
        for place in 0..self.servers.len() {
            let server = &self.servers[place];
            if server.failures >= MOST_FAILURES {
                continue;
            }
            let url = format!("{}/buildid/{build_id}/{name}", server.url);
            match self.download(&url, build_id, &path) {
                Ok(true) => return Some(path),
                Ok(false) => {}
                Err(error) => {
                    eprintln!("analyze: {}: {}", escaped(&url), escaped(&format!("{error:#}")));
                    self.servers[place].failures += 1;
                }
            }
        }
        None
    }

    /// Gets a file; `false` if the server has none.
    #[cfg(feature = "debuginfod")]
    fn download(&self, url: &str, build_id: &str, path: &Path) -> anyhow::Result<bool> {
        use std::fs;
        use std::io::{Read as _, copy};
        let mut response = match self.agent.get(url).call() {
            Ok(response) => response,
            Err(ureq::Error::StatusCode(404)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let folder = path.parent().context("it has a folder")?;
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let mut take = || -> anyhow::Result<()> {
            let mut file = fs::File::create(&new)?;
            let mut body = response.body_mut().as_reader().take(LARGEST + 1);
            if copy(&mut body, &mut file)? > LARGEST {
                bail!("it is larger than {LARGEST} bytes");
            }
            if elf::build_id(&new).as_deref() != Some(build_id) {
                bail!("what came does not have this build id");
            }
            Ok(fs::rename(&new, path)?)
        };
        take().inspect_err(|_| {
            // Best effort: the error that matters is the first one.
            let _ = fs::remove_file(&new);
        })?;
        Ok(true)
    }

    #[cfg(not(feature = "debuginfod"))]
    fn download(&self, _url: &str, _build_id: &str, _path: &Path) -> anyhow::Result<bool> {
        Ok(false)
    }
}

/// Where elfutils keeps what it got.
fn cache() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    if let Some(path) = variable("DEBUGINFOD_CACHE_PATH") {
        return Some(path.into());
    }
    let below = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&variable("HOME")?).join(".cache")))?;
    Some(below.join("debuginfod_client"))
}
