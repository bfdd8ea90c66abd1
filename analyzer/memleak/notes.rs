//! What a reader must know about the figures.

use lookback_schemas::manifest::Tracer;
use lookback_schemas::recording::Recording;
use lookback_schemas::{Error, TableId};

use super::Kind;
use super::kernel::Memory;
use super::user::User;
use crate::cli::Source;
use crate::heap::{self, Counts, Question};
use crate::losses::{LEFT_OUT, Missing, late, missing};
use crate::mapped;
use crate::render::{escaped, size, thousands};
use crate::sites::Sum;

/// Of the kinds those that the recording tells of, and what to say of the others: nothing, unless
/// there is no other, or they were `asked` for by name.
pub(super) fn recorded(
    recording: &Recording,
    kinds: Vec<Kind>,
    asked: bool,
) -> Result<(Vec<Kind>, Vec<String>), Error> {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for kind in kinds {
        match is_recorded(recording, kind.table())? {
            true => there.push(kind),
            false => missing.push(kind),
        }
    }
    if !there.is_empty() && !asked {
        missing.clear();
    }
    missing.dedup_by_key(|kind| kind.table());
    let say = |kind: Kind| {
        let what = match kind {
            Kind::Heap => "what programs allocated",
            Kind::Vm => "what programs mapped",
            Kind::Slab | Kind::Pages | Kind::Percpu => "what the kernel allocated",
        };
        let name = kind.table().name();
        format!("the recording does not tell {what}: that takes `record --trace {name}`")
    };
    Ok((there, missing.into_iter().map(say).collect()))
}

/// Whether a table was recorded, if only to say that nothing happened.
pub(crate) fn is_recorded(recording: &Recording, table: TableId) -> Result<bool, Error> {
    let writes = |tracer: &Tracer| {
        tracer.failed.is_none() && tracer.tables.iter().any(|name| name == table.name())
    };
    if recording.manifest().tracers.iter().any(writes) {
        return Ok(true);
    }
    Ok(recording.segments(table)?.iter().any(|segment| segment.rows() > 0))
}

/// That losses make figures bounds. Where they cannot be read, the heading says so.
fn bounds(source: &Source, table: TableId) -> Option<String> {
    let losses = missing(&source.recording, &[table], &source.window).unwrap_or_default();
    losses.iter().any(Missing::whole_events).then(|| {
        "the figures are bounds: a lost allocation is missing from them, and the block of a lost \
         free stays in them"
            .to_owned()
    })
}

fn unknown_frees(count: u64) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "{} frees of unknown blocks, allocated before the recording or by what was not recorded",
            thousands(count)
        )
    })
}

fn missed_frees(count: u64) -> Option<String> {
    (count > 0).then(|| {
        format!(
            "{} missed frees: memory was allocated again that was not seen to be freed",
            thousands(count)
        )
    })
}

fn strange(count: u64) -> Option<String> {
    (count > 0).then(|| {
        format!("{} events are of kinds that this version does not know", thousands(count))
    })
}

/// Of the kernel's memory.
pub(super) fn of_kernel(memory: &Memory<'_>, source: &Source) -> Vec<String> {
    let gaps = memory.gaps();
    let notes = [
        bounds(source, TableId::Kalloc),
        unknown_frees(gaps.unknown_frees),
        missed_frees(gaps.missed_frees),
        strange(memory.strange),
    ];
    notes.into_iter().flatten().collect()
}

/// Of the heap.
pub(super) fn of_heap(
    user: &User<'_>,
    question: &Question<'_>,
    found: &heap::Found,
) -> Vec<String> {
    let filters = user.filters();
    let (gaps, counts) = (&found.findings.gaps, &found.counts);
    let mut notes: Vec<String> = bounds(user.source, TableId::Alloc).into_iter().collect();
    notes.extend(late(&user.source.recording, TableId::Alloc.name()));
    notes.extend(left_out(&user.source.recording));
    if filters.alloc_sample > 0 {
        let rate = thousands(filters.alloc_sample);
        notes.push(format!(
            "the figures are estimates: about one allocation for every {rate} bytes was recorded, \
             and each stands for others like it"
        ));
    }
    if filters.no_alloc_stacks && user.args.with_stacks() {
        notes.push("stacks were not recorded".to_owned());
    }
    // Of what was not recorded the frees are unknown as a matter of course.
    let whole = filters.alloc_sample <= 0 && filters.min_size <= 0 && filters.max_size <= 0;
    if whole {
        notes.extend(unknown_frees(gaps.unknown_frees));
        notes.extend((gaps.unknown_reallocs > 0).then(|| {
            let count = thousands(gaps.unknown_reallocs);
            format!("{count} reallocations of unknown blocks, which count as new ones")
        }));
        notes.extend(missed_frees(gaps.missed_frees));
    }
    notes.extend(
        (counts.failed > 0).then(|| {
            format!("{} allocations failed: nothing was returned", thousands(counts.failed))
        }),
    );
    notes.extend(strange(counts.strange));
    notes.extend(of_processes(question, counts, found.findings.inherited));
    notes.into_iter().map(|note| format!("heap: {note}")).collect()
}

/// Of mapped memory.
pub(super) fn of_mapped(
    user: &User<'_>,
    question: &Question<'_>,
    found: &mapped::Found,
) -> Vec<String> {
    let counts = &found.counts;
    let mut notes: Vec<String> = bounds(user.source, TableId::Vm).into_iter().collect();
    notes.extend((found.unknown > 0).then(|| {
        let count = thousands(found.unknown);
        format!("{count} calls unmapped or moved what was mapped before the recording")
    }));
    notes.extend(
        (counts.failed > 0)
            .then(|| format!("{} calls failed, and changed nothing", thousands(counts.failed))),
    );
    notes.extend(strange(counts.strange));
    notes.extend(of_processes(question, counts, found.inherited));
    notes.into_iter().map(|note| format!("vm: {note}")).collect()
}

/// How processes that ended or were forked count.
fn of_processes(question: &Question<'_>, counts: &Counts, inherited: Sum) -> Vec<String> {
    let mut notes = Vec::new();
    if counts.ended > 0 && question.rules.ended {
        notes.push(format!(
            "{} processes ended: what they had then counts as outstanding; --at shows what was left \
             at an instant",
            thousands(counts.ended)
        ));
    }
    if inherited.count > 0 {
        notes.push(format!(
            "children hold {} blocks ({}) that they had from their parents and that count there; \
             --inherited counts them in both",
            thousands(inherited.count),
            size(inherited.bytes)
        ));
    }
    notes
}

/// Functions whose calls were not recorded, by their files.
fn left_out(recording: &Recording) -> Option<String> {
    let tracers = recording.manifest().tracers.iter();
    let probes = tracers.flat_map(|tracer| &tracer.probes);
    let mut files: Vec<String> = probes
        .filter(|probe| probe.kind == LEFT_OUT)
        .map(|probe| escaped(&probe.file).into_owned())
        .collect();
    files.sort_unstable();
    files.dedup();
    let files = files.join(", ");
    (!files.is_empty())
        .then(|| format!("functions of {files} had no probes: their calls are missing"))
}
