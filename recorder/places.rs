//! The places of all tracers that are attached to single ones, found before they are attached.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use lookback_schemas::manifest;

use crate::cli::Args;
use crate::custom;
use crate::finder::{self, Finder, SEARCHES};
use crate::hooks::Places;
use crate::tracers::Choice;

/// What was found.
pub struct Found {
    /// The places.
    pub places: Places,
    /// Those who go on looking.
    pub finders: Vec<Finder>,
    /// Tracers that have nothing to attach to, and probes that there are not.
    pub left_out: Vec<manifest::Tracer>,
}

/// Finds them. A tracer that has nothing to attach to is left out of `choices`.
///
/// # Errors
/// If no other tracer that the user asked for is left.
pub fn find(args: &Args, started: Option<i32>, choices: &mut Vec<Choice>) -> Result<Found> {
    let places = Places::in_reach(finder::reach(args, started));
    let mut found = Found { places, finders: Vec::new(), left_out: Vec::new() };
    for search in SEARCHES {
        if !choices.iter().any(|choice| choice.tracer.name == search.tracer) {
            continue;
        }
        let mut finder = Finder::new(search, args.quiet);
        let sites = finder.begin(args);
        // What was named has none. But another process may come to have some.
        if sites.is_empty() && !args.pid.is_empty() && args.command.is_empty() {
            let why = format!("no process of --pid has a {}", search.what);
            found.leave_out(search.tracer, choices, &why, Vec::new())?;
            continue;
        }
        found.places.of_tracer.insert(search.tracer, sites);
        found.finders.push(finder);
    }
    if choices.iter().any(|choice| choice.tracer.name == custom::TRACER) {
        let probes = custom::find(args, &args.pid);
        if probes.sites.is_empty() {
            let why = "none of its probes can be attached";
            found.leave_out(custom::TRACER, choices, why, probes.failed)?;
        } else {
            found.left_out.extend((!probes.failed.is_empty()).then(|| manifest::Tracer {
                name: custom::TRACER.to_owned(),
                probes: probes.failed,
                ..manifest::Tracer::default()
            }));
            found.places.of_tracer.insert(custom::TRACER, probes.sites);
            found.places.spans = probes.spans;
            let alone = !others(choices, custom::TRACER);
            choices
                .iter_mut()
                .filter(|choice| choice.tracer.name == custom::TRACER)
                .for_each(|choice| choice.by_name = alone);
        }
    }
    Ok(found)
}

/// Whether there are tracers beside `name` that the user can want something of. `process` comes along by
/// itself.
fn others(choices: &[Choice], name: &str) -> bool {
    choices.iter().any(|choice| ![name, "process"].contains(&choice.tracer.name))
}

impl Found {
    fn leave_out(
        &mut self,
        name: &str,
        choices: &mut Vec<Choice>,
        why: &str,
        probes: Vec<manifest::Probe>,
    ) -> Result<()> {
        if !others(choices, name) {
            bail!("{name}: {why}");
        }
        eprintln!("record: going on without `{name}`: {why}");
        self.left_out.push(manifest::Tracer {
            name: name.to_owned(),
            failed: Some(why.to_owned()),
            probes,
            ..manifest::Tracer::default()
        });
        choices.retain(|choice| choice.tracer.name != name);
        Ok(())
    }
}

/// Says what the probes of single places cost, and which could not be attached.
pub fn announce(reports: &[manifest::Tracer]) {
    let has_places =
        |name: &str| name == custom::TRACER || SEARCHES.iter().any(|search| search.tracer == name);
    for tracer in reports.iter().filter(|tracer| has_places(&tracer.name)) {
        for probe in &tracer.probes {
            if let Some(why) = &probe.failed {
                let place = format!("{}:{}", probe.file, probe.function);
                let asked = probe.asked.as_deref().unwrap_or(&place);
                eprintln!("record: {}", custom::complaint(asked, why));
            }
        }
        let attached: Vec<&manifest::Probe> =
            tracer.probes.iter().filter(|probe| probe.failed.is_none()).collect();
        if attached.is_empty() {
            continue;
        }
        // How many of each kind, and what they cost.
        let mut kinds: BTreeMap<&str, (usize, Option<i64>)> = BTreeMap::new();
        for probe in &attached {
            let (count, cost) = kinds.entry(&probe.kind).or_default();
            *count += 1;
            *cost = (*cost).max(probe.cost);
        }
        let kinds: Vec<String> = kinds
            .into_iter()
            .map(|(kind, (count, cost))| match cost {
                Some(cost) => format!("{count} {kind}, {:.1} µs a hit", cost as f64 / 1e3),
                None => format!("{count} {kind}"),
            })
            .collect();
        eprintln!("record: {}: probes attached: {}", tracer.name, kinds.join("; "));
    }
}

/// Adds what was left out to what is said of the tracers that were attached.
pub fn merge(reports: &mut Vec<manifest::Tracer>, left_out: Vec<manifest::Tracer>) {
    for tracer in left_out {
        match reports.iter_mut().find(|known| known.name == tracer.name) {
            Some(known) => known.probes.extend(tracer.probes),
            None => reports.push(tracer),
        }
    }
}
