//! Probes in programs and libraries.
//!
//! A uprobe is a breakpoint that the kernel puts in the place of an instruction of a file, wherever the
//! file is mapped. Each time a thread comes by, the kernel runs the BPF programs that are attached
//! there, and then the instruction that was replaced. How it does the latter decides what the probe
//! costs: a few simple instructions it *emulates*; any other runs in a page of its own with the
//! processor in single-step mode, and a second trap afterwards costs ten times what all the rest does
//! (`arch/x86/kernel/uprobes.c`). So a probe need not be on a function's first instruction: a little
//! further on, where nothing that matters has happened yet, may be one that is emulated.
//!
//! [`elf`] finds functions in files, [`placement`] the instruction in a function, [`calibration`]
//! measures what a probe costs here, and [`files`] knows which files a process has mapped or will map.
//! Programs may also have been built with probes: [`usdt`] finds them, and [`operand`] their arguments.

pub mod calibration;
pub mod elf;
pub mod files;
pub mod operand;
pub mod placement;
pub mod usdt;
