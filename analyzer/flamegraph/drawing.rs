//! The picture, which inferno draws.

use inferno::flamegraph::color::BasicPalette;
use inferno::flamegraph::{Direction, Options, Palette};

use super::{FlamegraphArgs, Weight};
use crate::cli::Source;
use crate::render::escaped;

/// What a picture shows beside its stacks.
pub(super) struct Picture<'a> {
    /// How it is to look.
    pub args: &'a FlamegraphArgs,
    /// Where it comes from.
    pub source: &'a Source,
    /// What it covers, and what is missing.
    pub said: &'a [String],
}

/// Draws folded lines as SVG.
///
/// # Errors
/// If inferno cannot read a line.
pub(super) fn draw(
    picture: &Picture<'_>,
    lines: &[String],
    svg: &mut Vec<u8>,
) -> anyhow::Result<()> {
    let Picture { args, source, said } = picture;
    let title = args
        .title
        .clone()
        .unwrap_or_else(|| format!("{} on {}", args.weight.title(args), source.hosts()));
    let mut options = Options::default();
    options.title = escaped(&title).into_owned();
    options.subtitle = Some(escaped(&said.join("; ")).into_owned());
    options.count_name = args.weight.unit(&source.recording).to_owned();
    let palette = match args.weight {
        Weight::Cpu | Weight::Wall | Weight::Probe => BasicPalette::Hot,
        Weight::Offcpu => BasicPalette::Io,
        Weight::Outstanding
        | Weight::Allocated
        | Weight::Peak
        | Weight::Temporary
        | Weight::Count => BasicPalette::Mem,
    };
    options.colors = args.colors.unwrap_or(Palette::Basic(palette));
    options.deterministic = true;
    options.image_width = args.width.map(|width| width as usize);
    options.direction = if args.inverted { Direction::Inverted } else { Direction::Straight };
    inferno::flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), svg)?;
    Ok(())
}
