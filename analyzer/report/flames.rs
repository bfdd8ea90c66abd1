//! Flame graphs as trees of bounded size, with what each node weighs in each step.
//!
//! The largest nodes stay. What is below others is kept as one `[smaller]` beside them, so that widths stay
//! true. Where there are too many weights, steps of time are put together.

use ahash::HashMap;
use lookback_schemas::TableId;

use super::Page;
use super::document::{Absent, Flame, text};
use super::tables::arguments;
use crate::flamegraph::FlamegraphArgs;
use crate::flamegraph::over_time::{self, OverTime};
use crate::render::thousands;

/// So many nodes of a graph have a name of their own.
const MOST_NODES: usize = 8_000;
/// So many weights it has.
const MOST_WEIGHTS: usize = 120_000;
/// Where there is more time than this, in nanoseconds, nobody misses less than a microsecond.
const SECOND: i64 = 1_000_000_000;
/// Below this stands what was too small.
const SMALLER: &str = "[smaller]";

/// A graph that can be drawn.
struct Kind {
    table: TableId,
    id: &'static str,
    title: &'static str,
    what: &'static str,
    words: &'static [&'static str],
}

const KINDS: [Kind; 3] = [
    Kind {
        table: TableId::Sample,
        id: "cpu",
        title: "On the CPUs",
        what: "what ran whenever the sampling clock ticked",
        words: &[],
    },
    Kind {
        table: TableId::Offcpu,
        id: "offcpu",
        title: "Off the CPUs",
        what: "where threads slept, or waited for a CPU",
        words: &["--weight", "offcpu"],
    },
    Kind {
        table: TableId::Alloc,
        id: "memory",
        title: "Outstanding memory",
        what: "who allocated what was not freed at the end",
        words: &["--weight", "outstanding"],
    },
];

/// What ran in each step, in nanoseconds; `None` where samples count something else, or there are none.
pub(super) type Cpu = Option<Vec<i64>>;

/// The graphs of what was recorded.
pub(super) fn all(page: &Page<'_>, absent: &mut Vec<Absent>) -> (Cpu, Vec<Flame>) {
    let (mut cpu, mut flames) = (None, Vec::new());
    for kind in &KINDS {
        if !page.has(&[kind.table], kind.title, absent) {
            continue;
        }
        let read = read(page, kind).unwrap_or_else(|error| OverTime {
            notes: vec![format!("cannot be read: {error:#}")],
            ..OverTime::default()
        });
        if kind.table == TableId::Sample && read.unit == "ns" {
            let mut sums = vec![0_i64; page.steps.count()];
            for (step, weight) in read.stacks.values().flatten() {
                let sum = &mut sums[*step as usize];
                *sum = sum.saturating_add(*weight);
            }
            cpu = Some(sums);
        }
        flames.push(flame(page, kind, read));
    }
    (cpu, flames)
}

fn read(page: &Page<'_>, kind: &Kind) -> anyhow::Result<OverTime> {
    let args: FlamegraphArgs = arguments(page, kind.words)?;
    over_time::read(&args, &page.source, &page.steps)
}

/// A node while the tree grows. Parents come before their children.
#[derive(Default)]
struct Node {
    parent: usize,
    name: u32,
    /// What it weighs without its children, by step.
    weights: HashMap<u32, i64>,
    /// With them, over all steps.
    total: i64,
}

/// Stacks as a tree. The first node is all.
#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
    names: Vec<String>,
    places: HashMap<String, u32>,
    children: HashMap<(usize, u32), usize>,
}

impl Tree {
    fn new(stacks: &std::collections::BTreeMap<String, HashMap<u32, i64>>) -> Tree {
        let mut tree = Tree::default();
        let all = tree.name("all");
        tree.nodes.push(Node { name: all, ..Node::default() });
        for (stack, weights) in stacks {
            let leaf = stack.split(';').fold(0, |parent, frame| {
                let name = tree.name(frame);
                tree.child(parent, name)
            });
            for (step, weight) in weights {
                let sum = tree.nodes[leaf].weights.entry(*step).or_default();
                *sum = sum.saturating_add(*weight);
            }
        }
        for place in (0..tree.nodes.len()).rev() {
            let own = tree.nodes[place].weights.values();
            let own = own.fold(0_i64, |sum, weight| sum.saturating_add(*weight));
            let total = tree.nodes[place].total.saturating_add(own);
            tree.nodes[place].total = total;
            if place > 0 {
                let parent = tree.nodes[place].parent;
                tree.nodes[parent].total = tree.nodes[parent].total.saturating_add(total);
            }
        }
        tree
    }

    fn name(&mut self, name: &str) -> u32 {
        if let Some(place) = self.places.get(name) {
            return *place;
        }
        let place = u32::try_from(self.names.len()).expect("names fill the memory before");
        self.names.push(name.to_owned());
        self.places.insert(name.to_owned(), place);
        place
    }

    fn child(&mut self, parent: usize, name: u32) -> usize {
        let next = self.nodes.len();
        let child = *self.children.entry((parent, name)).or_insert(next);
        if child == next {
            self.nodes.push(Node { parent, name, ..Node::default() });
        }
        child
    }

    /// Leaves the largest nodes, and what is below others as one node beside them. Tells how many went.
    fn prune(&mut self, most: usize) -> usize {
        if self.nodes.len() <= most {
            return 0;
        }
        let mut order: Vec<usize> = (0..self.nodes.len()).collect();
        // A parent weighs no less than its children and comes before them, so it stays if they do.
        order.sort_by_key(|place| (std::cmp::Reverse(self.nodes[*place].total), *place));
        let mut stays = vec![false; self.nodes.len()];
        order[..most].iter().for_each(|place| stays[*place] = true);
        let smaller = self.name(SMALLER);
        let mut rest: Vec<(usize, HashMap<u32, i64>)> = Vec::new();
        let mut into: HashMap<usize, usize> = HashMap::default();
        for place in (0..self.nodes.len()).rev().filter(|place| !stays[*place]) {
            let (parent, weights) =
                (self.nodes[place].parent, std::mem::take(&mut self.nodes[place].weights));
            let target = match stays[parent] {
                false => &mut self.nodes[parent].weights,
                true => {
                    let next = rest.len();
                    let index = *into.entry(parent).or_insert(next);
                    if index == next {
                        rest.push((parent, HashMap::default()));
                    }
                    &mut rest[index].1
                }
            };
            for (step, weight) in weights {
                let sum = target.entry(step).or_default();
                *sum = sum.saturating_add(weight);
            }
        }
        let mut moved = vec![0; self.nodes.len()];
        let all = std::mem::take(&mut self.nodes);
        let gone = all.len() - most;
        for (place, mut node) in all.into_iter().enumerate().filter(|(place, _)| stays[*place]) {
            moved[place] = self.nodes.len();
            node.parent = moved[node.parent];
            self.nodes.push(node);
        }
        for (parent, weights) in rest {
            let parent = moved[parent];
            self.nodes.push(Node { parent, name: smaller, weights, total: 0 });
        }
        gone
    }

    /// Puts `factor` steps together.
    fn coarsen(&mut self, factor: u32) {
        for node in &mut self.nodes {
            for (step, weight) in std::mem::take(&mut node.weights) {
                let sum = node.weights.entry(step / factor).or_default();
                *sum = sum.saturating_add(weight);
            }
        }
    }

    fn weights(&self) -> usize {
        self.nodes.iter().map(|node| node.weights.len()).sum()
    }

    /// The nodes, children behind their parents and in the order of their names.
    fn order(&self) -> Vec<usize> {
        let mut children: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (place, node) in self.nodes.iter().enumerate().skip(1) {
            children[node.parent].push(place);
        }
        let name = |place: &usize| &self.names[self.nodes[*place].name as usize];
        let (mut order, mut open) = (Vec::with_capacity(self.nodes.len()), vec![0]);
        while let Some(place) = open.pop() {
            order.push(place);
            let below = &mut children[place];
            below.sort_by(|one, other| name(other).cmp(name(one)));
            open.append(below);
        }
        order
    }

    /// The largest number that divides all weights.
    fn divisor(&self) -> i64 {
        let weights = self.nodes.iter().flat_map(|node| node.weights.values());
        let gcd = |mut one: i64, mut other: i64| {
            while other != 0 {
                (one, other) = (other, one % other);
            }
            one
        };
        weights.fold(0, |divisor, weight| gcd(divisor, *weight)).max(1)
    }
}

fn flame(page: &Page<'_>, kind: &Kind, read: OverTime) -> Flame {
    let mut tree = Tree::new(&read.stacks);
    let mut notes: Vec<String> = read.notes.iter().map(|note| text(note)).collect();
    let gone = tree.prune(MOST_NODES);
    if gone > 0 {
        notes.push(format!(
            "{} calls that weigh little are summed up as {SMALLER}",
            thousands(gone as i64)
        ));
    }
    let (mut merged, all) = (1, page.steps.count());
    while read.timed && tree.weights() > MOST_WEIGHTS && merged < all {
        tree.coarsen(2);
        merged *= 2;
    }
    if merged > 1 {
        let (start, end) = page.steps.range(0);
        let length = end.saturating_sub(start).saturating_mul(merged as i64);
        let length = crate::render::spoken(length);
        notes.push(format!("times are to {length}: finer ones would make the page too large"));
    }
    let mut scale = tree.divisor();
    if read.unit == "ns" && scale < 1000 && tree.nodes[0].total > SECOND {
        scale = 1000;
        notes.push("weights are rounded to a microsecond".to_owned());
    }
    let order = tree.order();
    let mut moved = vec![0_u32; tree.nodes.len()];
    for (place, old) in order.iter().enumerate() {
        moved[*old] = place as u32;
    }
    let weights = |node: &Node| {
        let mut steps: Vec<(u32, i64)> = node.weights.iter().map(|(k, v)| (*k, *v)).collect();
        steps.sort_unstable();
        let (mut last, mut flat) = (0, Vec::with_capacity(steps.len() * 2));
        for (step, weight) in steps {
            let weight = weight.saturating_add(scale / 2) / scale;
            if weight > 0 {
                flat.extend([i64::from(step - last), weight]);
                last = step;
            }
        }
        flat
    };
    let nodes = || order.iter().map(|place| &tree.nodes[*place]);
    let words: Vec<&str> = ["analyze flamegraph REC"].iter().chain(kind.words).copied().collect();
    Flame {
        id: kind.id,
        title: kind.title,
        what: kind.what,
        command: words.join(" "),
        unit: read.unit,
        scale,
        steps: if read.timed { merged } else { 0 },
        parents: nodes().map(|node| moved[node.parent]).collect(),
        labels: nodes().map(|node| node.name).collect(),
        weights: nodes().map(weights).collect(),
        names: tree.names.iter().map(|name| text(name)).collect(),
        notes,
        warnings: page.warnings(&[kind.table]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(stacks: &[(&str, &[(u32, i64)])]) -> Tree {
        let weights = |(stack, weights): &(&str, &[(u32, i64)])| {
            ((*stack).to_owned(), weights.iter().copied().collect())
        };
        Tree::new(&stacks.iter().map(weights).collect())
    }

    /// Each node with its path and weights, in the order of the page.
    fn said(tree: &Tree) -> Vec<String> {
        let path = |mut place: usize| {
            let mut names = Vec::new();
            while place > 0 {
                names.push(tree.names[tree.nodes[place].name as usize].as_str());
                place = tree.nodes[place].parent;
            }
            names.reverse();
            names.join(";")
        };
        let line = |place: &usize| {
            let mut weights: Vec<_> = tree.nodes[*place].weights.iter().collect();
            weights.sort();
            format!("{} {weights:?}", path(*place))
        };
        tree.order().iter().map(line).collect()
    }

    #[test]
    fn what_is_small_is_put_together_where_it_was() {
        let mut all = tree(&[
            ("a;b", &[(0, 50), (3, 5)]),
            ("a;c;d", &[(1, 2)]),
            ("a;e", &[(1, 1), (2, 1)]),
            ("z", &[(0, 40)]),
        ]);
        assert_eq!(all.nodes[0].total, 99);
        assert_eq!(all.prune(4), 3);
        assert_eq!(
            said(&all),
            [" []", "a []", "a;[smaller] [(1, 3), (2, 1)]", "a;b [(0, 50), (3, 5)]", "z [(0, 40)]"]
        );
        all.coarsen(2);
        assert_eq!(said(&all)[2], "a;[smaller] [(0, 3), (1, 1)]");
        assert_eq!(all.prune(100), 0);
    }

    #[test]
    fn weights_are_divided_by_what_they_share() {
        assert_eq!(tree(&[("a", &[(0, 30)]), ("b", &[(1, 45)])]).divisor(), 15);
        assert_eq!(tree(&[]).divisor(), 1);
    }
}
