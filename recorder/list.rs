//! `record --list`: what works on this kernel.

use std::cell::RefCell;

use anyhow::Result;

use crate::cli::Args;
use crate::hooks::{Environment, Places, attach};
use crate::maps::Maps;
use crate::sites::Reach;
use crate::types::Types;
use crate::{lacks, privileges, session, targets, tracers};

/// Prints each tracer, or those of `--trace`, and what the kernel gives it, by attaching it for a moment to
/// nothing. A line for each feed, and for each column that this kernel cannot fill.
///
/// # Errors
/// If not even the maps can be made.
pub fn list(args: &Args) -> Result<u8> {
    privileges::check()?;
    session::quieten_libbpf(args.verbose);
    let types = Types::find(args.btf.as_deref())?;
    let (maps, ring_bytes) = Maps::create(Some(4096))?;
    let mut settings = targets::settings(args, ring_bytes)?;
    settings.by_target = 1;
    let allocators = RefCell::default();
    let places = Places::in_reach(Reach::Everywhere);
    for tracer in tracers::named(&args.trace)? {
        let environment = Environment {
            maps: &maps,
            settings: &settings,
            types: &types,
            frequency: args.frequency,
            kind: args.hook,
            allocators: &allocators,
            places: &places,
        };
        println!("{:<10} {}", tracer.name, tracer.about);
        match attach(tracer, &environment) {
            Ok(attached) => {
                for hook in &attached.hooks {
                    println!("           {}: {}", hook.purpose, hook.hook);
                }
                for unknown in lacks::of(tracer.name, &types)? {
                    println!("           {} is null: {}", unknown.column, unknown.because);
                }
            }
            Err(error) => println!("           does not work: {error:#}"),
        }
    }
    Ok(0)
}
