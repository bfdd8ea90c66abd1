//! What cgroups are called, and which container one is of.
//!
//! A process's row has its cgroup's id; the table `cgroup` has the paths. A container runtime makes a cgroup for each
//! container and puts the container's id into its name, so the path tells that too.

use std::collections::HashMap;
use std::ops::Range;

use lookback_schemas::Error;
use lookback_schemas::recording::{ALL_TIME, Recording};
use lookback_schemas::tables::Cgroup;

use super::{Detail, events};

/// The names of cgroups, by id and time: ids are inode numbers, which are given out again.
#[derive(Debug, Default)]
pub struct Cgroups(HashMap<i64, Vec<(i64, String)>>);

impl Cgroups {
    /// Reads them.
    ///
    /// # Errors
    /// If the table is damaged.
    pub fn read(recording: &Recording) -> Result<Cgroups, Error> {
        let mut paths: HashMap<i64, Vec<(i64, String)>> = HashMap::new();
        events::scan::<Cgroup>(recording, Detail::Images, &[], |rows| {
            for row in 0..rows.ts.len() {
                if let Some(path) = events::text(&rows.path, row) {
                    let named = paths.entry(rows.id.value(row)).or_default();
                    named.push((rows.ts.value(row), path));
                }
            }
        })?;
        for named in paths.values_mut() {
            named.sort();
        }
        Ok(Cgroups(paths))
    }

    /// The cgroup of this path or id and all below it, each with when its id was its own. `None`
    /// where there never was such a path; an id may be one without a name.
    #[must_use]
    pub fn within(&self, path_or_id: &str) -> Option<HashMap<i64, Vec<Range<i64>>>> {
        if let Ok(id) = path_or_id.parse::<i64>() {
            let mut found = HashMap::new();
            for (_, path) in self.0.get(&id).into_iter().flatten() {
                found.extend(self.below(path));
            }
            found.insert(id, vec![ALL_TIME]);
            return Some(found);
        }
        let path = path_or_id.strip_prefix("/sys/fs/cgroup").unwrap_or(path_or_id);
        let found = self.below(path);
        (!found.is_empty()).then_some(found)
    }

    fn below(&self, path: &str) -> HashMap<i64, Vec<Range<i64>>> {
        let wanted = path.trim_matches('/');
        let inside = |path: &str| {
            let path = path.trim_matches('/');
            let rest = path.strip_prefix(wanted);
            wanted.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let mut found: HashMap<i64, Vec<Range<i64>>> = HashMap::new();
        for (id, named) in &self.0 {
            for (place, (ts, path)) in named.iter().enumerate() {
                let start = if place == 0 { i64::MIN } else { *ts };
                let end = named.get(place + 1).map_or(i64::MAX, |(next, _)| *next);
                if inside(path) {
                    found.entry(*id).or_default().push(start..end);
                }
            }
        }
        found
    }

    /// The path of the cgroup `id` at the time `ts`.
    #[must_use]
    pub fn path(&self, id: i64, ts: i64) -> Option<&str> {
        let named = self.0.get(&id)?;
        let later = named.partition_point(|(named, _)| *named <= ts);
        named.get(later.saturating_sub(1)).map(|(_, path)| path.as_str())
    }
}

/// The container that a cgroup is of, from its path: the 64 hex digits that Docker, containerd,
/// CRI-O and Podman put there, in the forms of their systemd and cgroupfs drivers. Of nested
/// containers it is the innermost.
#[must_use]
pub fn container(path: &str) -> Option<&str> {
    const RUNTIMES: [&str; 6] =
        ["docker-", "cri-containerd-", "containerd-", "crio-", "libpod-", "nerdctl-"];
    path.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        // `…slice:cri-containerd:ID` where the runtime's systemd driver is off.
        let part = part.rsplit(':').next().unwrap_or(part);
        let id = RUNTIMES.iter().find_map(|runtime| part.strip_prefix(runtime)).unwrap_or(part);
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    })
}
