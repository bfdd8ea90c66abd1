//! Outstanding memory added up: a section for each kind, a report for each instant.

use ahash::HashMap;

use super::{Kind, MemleakArgs, Sort};
use crate::heap::Look;
use crate::sites::{SHARES, Sum, Tally};

/// What blocks are summed up by; a part that was not asked for is `None` in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Group {
    /// The number of the stack; 0 where it was lost.
    pub(super) stack: Option<i64>,
    pub(super) pid: Option<i32>,
    pub(super) tid: Option<i32>,
    pub(super) cache: Option<u32>,
}

/// Outstanding memory of one kind, or its growth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) total: Sum,
    groups: HashMap<Group, Sum>,
}

impl Section {
    pub(super) fn add(&mut self, group: Group, bytes: u64, counts: bool) {
        self.total.add(bytes, counts);
        self.groups.entry(group).or_default().add(bytes, counts);
    }

    /// What a look at user memory sees, `sum` being what of a tally is meant.
    pub(super) fn of(args: &MemleakArgs, look: &Look<'_>, sum: impl Fn(&Tally) -> Sum) -> Section {
        let mut section = Section::default();
        for (space, number, tally) in look.tallies.each() {
            let sum = sum(tally);
            if sum == Sum::default() {
                continue;
            }
            let site = look.sites.site(number);
            let group = Group {
                stack: args.with_stacks().then_some(site.stack),
                pid: args.by_process.then(|| look.spaces.process(space)),
                tid: args.by_thread.then_some(site.tid),
                cache: None,
            };
            // Counted in shares until all is added up, so that rounding happens once.
            let shares = Sum { count: sum.count.saturating_mul(i64::from(site.shares)), ..sum };
            section.total.merge(shares);
            section.groups.entry(group).or_default().merge(shares);
        }
        let whole = |sum: &mut Sum| {
            let shares = i64::from(SHARES);
            sum.count = sum.count.saturating_add(shares / 2).div_euclid(shares);
        };
        whole(&mut section.total);
        section.groups.values_mut().for_each(whole);
        section
    }

    pub(super) fn groups(&self) -> &HashMap<Group, Sum> {
        &self.groups
    }

    /// How much more it is than `earlier`.
    pub(super) fn since(mut self, earlier: &Section) -> Section {
        for (group, sum) in &earlier.groups {
            let entry = self.groups.entry(*group).or_default();
            *entry = entry.less(*sum);
        }
        Section { total: self.total.less(earlier.total), groups: self.groups }
    }

    /// The largest groups, the largest first.
    pub(super) fn ranked(self, args: &MemleakArgs) -> Vec<(Group, Sum)> {
        let mut ranked: Vec<(Group, Sum)> = self.groups.into_iter().collect();
        ranked.retain(|(_, sum)| *sum != Sum::default());
        ranked.sort_unstable_by_key(|(group, sum)| {
            (std::cmp::Reverse(rank(*sum, args.sort)), *group)
        });
        ranked.truncate(args.top);
        ranked
    }
}

fn rank(sum: Sum, sort: Sort) -> (i64, i64) {
    match sort {
        Sort::Size => (sum.bytes, sum.count),
        Sort::Count => (sum.count, sum.bytes),
    }
}

/// A section as it is printed.
#[derive(Clone, Debug)]
pub(super) struct Ranked {
    pub(super) kind: Kind,
    pub(super) total: Sum,
    pub(super) groups: Vec<(Group, Sum)>,
}

/// What is outstanding at an instant, or has grown until then.
#[derive(Clone, Debug)]
pub(super) struct Report {
    /// Since when; `None` unless it is about growth.
    pub(super) from: Option<i64>,
    pub(super) at: i64,
    pub(super) sections: Vec<Ranked>,
}

/// The reports that looks make. Growth looks twice for one.
pub(super) struct Reports<'a> {
    args: &'a MemleakArgs,
    earlier: Option<(i64, Vec<(Kind, Section)>)>,
    pub(super) all: Vec<Report>,
}

impl<'a> Reports<'a> {
    pub(super) fn new(args: &'a MemleakArgs) -> Reports<'a> {
        Reports { args, earlier: None, all: Vec::new() }
    }

    pub(super) fn look(&mut self, at: i64, sections: Vec<(Kind, Section)>) {
        if self.args.lifetimes || self.args.sizes {
            return;
        }
        if self.args.between.is_some() && self.earlier.is_none() {
            self.earlier = Some((at, sections));
            return;
        }
        let earlier = self.earlier.take();
        let from = earlier.as_ref().map(|(from, _)| *from);
        let mut before: HashMap<Kind, Section> =
            earlier.into_iter().flat_map(|(_, sections)| sections).collect();
        let ranked = |(kind, section): (Kind, Section)| {
            let section = section.since(&before.remove(&kind).unwrap_or_default());
            let total = section.total;
            Ranked { kind, total, groups: section.ranked(self.args) }
        };
        let sections = sections.into_iter().map(ranked).collect();
        self.all.push(Report { from, at, sections });
    }

    /// Adds the sections that others have of the same instants.
    pub(super) fn join(&mut self, others: Reports<'_>) {
        if self.all.is_empty() {
            self.all = others.all;
            return;
        }
        for (report, other) in std::iter::zip(&mut self.all, others.all) {
            report.sections.extend(other.sections);
        }
    }
}
