//! Compiles the BPF programs of `bpf/` for the recorder, with the C header that the table definitions
//! give. Without the feature `record` there is nothing to do, and no clang is needed.

#[cfg(feature = "record")]
fn main() -> anyhow::Result<()> {
    use std::path::PathBuf;

    use anyhow::Context as _;

    let out = PathBuf::from(std::env::var("OUT_DIR").context("cargo sets OUT_DIR")?);
    let arch = std::env::var("CARGO_CFG_TARGET_ARCH").context("cargo sets the architecture")?;
    std::fs::write(out.join("events.gen.h"), lookback_schemas::wire::c_header())?;
    compile(&arch, &out, &out)?;
    // What is developed on one processor compiles for the other too, though it cannot be run.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "debug") {
        let other = if arch == "aarch64" { "x86_64" } else { "aarch64" };
        let objects = out.join(other);
        std::fs::create_dir_all(&objects)?;
        compile(other, &out, &objects)?;
    }
    println!("cargo:rerun-if-changed=bpf");
    Ok(())
}

/// Compiles all programs for a processor, into a directory. `include` has the header.
#[cfg(feature = "record")]
fn compile(arch: &str, include: &std::path::Path, objects: &std::path::Path) -> anyhow::Result<()> {
    use anyhow::Context as _;
    use libbpf_cargo::SkeletonBuilder;

    // libbpf's names of the architectures, for the registers of calls (bpf_tracing.h).
    let target = match arch {
        "x86_64" => "x86",
        "aarch64" => "arm64",
        other => other,
    };
    let host = std::env::var("HOST").context("cargo sets HOST")?;
    let host = host.split('-').next().unwrap_or_default();
    // The benchmark's program is compiled here too, since libbpf's headers are at hand only here.
    for entry in std::fs::read_dir("bpf")?.chain(std::fs::read_dir("tests/benches")?) {
        let path = entry?.path();
        let extension = path.extension().unwrap_or_default();
        if extension == "c" || extension == "h" {
            println!("cargo:rerun-if-changed={}", path.display());
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(tracer) = name.strip_suffix(".bpf.c") else { continue };
        SkeletonBuilder::new()
            .source(&path)
            .obj(objects.join(format!("{tracer}.bpf.o")))
            .clang_args([
                format!("-I{}", include.display()),
                "-Ibpf".into(),
                // Debian keeps asm/types.h below the architecture's own directory. It is the same in all.
                format!("-I/usr/include/{arch}-linux-gnu"),
                format!("-I/usr/include/{host}-linux-gnu"),
                format!("-D__TARGET_ARCH_{target}"),
                "-O2".into(),
                "-Wall".into(),
                "-Wshorten-64-to-32".into(),
                "-Werror".into(),
            ])
            .build()
            .with_context(|| {
                format!(
                    "{} for {arch}: is clang installed? `make packages` installs it",
                    path.display()
                )
            })?;
    }
    Ok(())
}

#[cfg(not(feature = "record"))]
fn main() {}
