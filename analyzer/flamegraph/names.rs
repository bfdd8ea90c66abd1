//! What frames are called in folded lines.
//!
//! A suffix says what kind of code it is, and chooses the colour in palettes such as `java`; it is not
//! drawn. They are those of `stackcollapse-perf.pl`: `_[k]` the kernel's, `_[i]` a call that was inlined,
//! `_[j]` code that the process has compiled itself.

use ahash::{HashMap, HashSet};
use clap::Args;
use lookback_schemas::Error;
use lookback_schemas::recording::Recording;

use crate::render::escaped;
use crate::stacks::{Call, Entry, Frame, Stacks};

/// Options that say what stands in a frame.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct LabelArgs {
    /// The place in the source in each frame, where it is known: `func (cache.c:12)`
    #[arg(long)]
    pub lines: bool,
    /// The file in each frame: `func [libc.so.6]`
    #[arg(long)]
    pub modules: bool,
}

/// What the stacks of the samples are called.
#[derive(Default)]
pub(crate) struct Names {
    stacks: Stacks,
    frames: HashMap<i64, Vec<String>>,
}

impl Names {
    /// Reads the stacks that occur, and the names of their frames.
    pub(crate) fn read(
        recording: &Recording,
        wanted: &HashSet<i64>,
        labels: &LabelArgs,
    ) -> Result<Names, Error> {
        let stacks = Stacks::read(recording, wanted)?;
        let frames = stacks.frames().map(|(id, frame)| (id, folded_calls(frame, labels))).collect();
        Ok(Names { stacks, frames })
    }

    /// The names of a stack's frames, outermost first, with the calls that were inlined.
    pub(crate) fn stack(&self, id: i64, kernel: bool) -> Vec<String> {
        let suffix = if kernel { "_[k]" } else { "" };
        let mut names = Vec::new();
        for entry in self.stacks.entries(id).iter().rev() {
            match entry {
                Entry::Frame(frame, _) => names.extend_from_slice(&self.frames[frame]),
                Entry::Note(text) => names.push(format!("{text}{suffix}")),
            }
        }
        names
    }
}

/// The calls at a frame, outermost first.
fn folded_calls(frame: &Frame, labels: &LabelArgs) -> Vec<String> {
    if frame.calls.is_empty() {
        let suffix = if frame.kernel { "_[k]" } else { "" };
        return vec![folded_name(&frame.place()) + suffix];
    }
    let label = |(depth, call)| {
        let suffix = match (frame.kernel, depth) {
            (true, _) => "_[k]",
            (false, 0) if frame.is_jit() => "_[j]",
            (false, 0) => "",
            (false, _) => "_[i]",
        };
        folded_name(&labelled(frame, call, labels)) + suffix
    };
    frame.calls.iter().enumerate().map(label).collect()
}

fn labelled(frame: &Frame, call: &Call, labels: &LabelArgs) -> String {
    let mut label = call.name.clone();
    if labels.lines
        && let Some(source) = call.source()
    {
        label += &format!(" ({source})");
    }
    match (&call.module, frame.file()) {
        (Some(module), _) => label += &format!(" [{module}]"),
        (None, Some(file)) if labels.modules => {
            label += &format!(" [{}]", file.trim_matches(['[', ']']));
        }
        (None, None) if labels.modules && frame.kernel => label += " [kernel]",
        (None, Some(_) | None) => {}
    }
    label
}

/// A name as it can stand in a folded line. There `;` separates frames and numbers at the end are
/// weights, which names of threads and C++ operators do not know.
pub(crate) fn folded_name(name: &str) -> String {
    let mut name = escaped(name).trim().replace(';', ":");
    if name.is_empty() {
        return "[unknown]".to_owned();
    }
    if name.starts_with("# ") {
        // A comment to flamegraph.pl.
        name.replace_range(1..2, "_");
    }
    if let Some(space) = name.rfind(' ')
        && name[space + 1..].bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        name.replace_range(space..=space, "_");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kernel: bool, module: Option<&str>, calls: &[Call]) -> Frame {
        let file_offset = module.filter(|module| module.starts_with('/')).map(|_| 7);
        let module = module.map(str::to_owned);
        let calls = calls.to_vec();
        Frame { address: 1, kernel, module, file_offset, calls, ..Frame::default() }
    }

    fn call(name: &str, source: Option<(&str, i32)>) -> Call {
        let (file, line) = (source.map(|(file, _)| file.to_owned()), source.map(|(_, line)| line));
        Call { name: name.to_owned(), file, line, ..Call::default() }
    }

    #[test]
    fn suffixes_say_what_code_it_is() {
        let calls = [call("outer", None), call("inner", None)];
        let of = |frame: &Frame| folded_calls(frame, &LabelArgs::default());
        assert_eq!(of(&frame(false, Some("/bin/a"), &calls)), ["outer", "inner_[i]"]);
        assert_eq!(of(&frame(true, None, &calls)), ["outer_[k]", "inner_[k]"]);
        assert_eq!(of(&frame(false, Some("[anon]"), &calls[..1])), ["outer_[j]"]);
        assert_eq!(of(&frame(false, Some("[vdso]"), &calls[..1])), ["outer"]);
        let module = Call { module: Some("nf_tables".to_owned()), ..call("hook", None) };
        assert_eq!(of(&frame(true, None, &[module])), ["hook [nf_tables]_[k]"]);
    }

    #[test]
    fn lines_and_modules_stand_where_they_are_wanted() {
        let labels = LabelArgs { lines: true, modules: true };
        let calls = [call("f", Some(("/src/a/cache.c", 12))), call("g", None)];
        let user = frame(false, Some("/lib/libc.so.6"), &calls);
        assert_eq!(
            folded_calls(&user, &labels),
            ["f (cache.c:12) [libc.so.6]", "g [libc.so.6]_[i]"]
        );
        let unknown = frame(false, None, &[call("h", Some(("x;y 5", 3)))]);
        assert_eq!(folded_calls(&unknown, &labels), ["h (x:y 5:3)_[j]"]);
        let kernel = frame(true, None, &[call("k", None)]);
        assert_eq!(folded_calls(&kernel, &labels), ["k [kernel]_[k]"]);
        let lines = LabelArgs { lines: true, modules: false };
        assert_eq!(folded_calls(&user, &lines), ["f (cache.c:12)", "g_[i]"]);
    }
}
