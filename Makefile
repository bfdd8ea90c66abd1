# `make demo` and `make test` are all a new user needs; both install what is missing.

SHELL := /bin/bash
.DELETE_ON_ERROR:

# What building and testing need beside Rust, as command:package of Debian and Ubuntu. The headers have
# no command; pkg-config tells whether they are there.
BUILD_TOOLS := cc:gcc make:make clang:clang pkg-config:pkg-config
BUILD_HEADERS := libelf:libelf-dev zlib:zlib1g-dev
# For the virtual machine in which `make test` tries another kernel.
VM_TOOLS := qemu-system-x86_64:qemu-system-x86 busybox:busybox-static xz:xz-utils zstd:zstd lz4:lz4
# Other compilers, C libraries, allocators and runtimes, whose programs the tests trace.
TRACED_TOOLS := c++:g++ musl-gcc:musl-tools go:golang-go javac:default-jdk-headless /usr/bin/python3:python3 \
                /usr/bin/ruby:ruby /usr/bin/sqlite3:sqlite3 debuginfod:debuginfod objcopy:binutils
TRACED_HEADERS := sys/sdt.h:systemtap-sdt-dev
TRACED_LIBRARIES := libjemalloc.so.2:libjemalloc2 libtcmalloc_minimal.so.4:libtcmalloc-minimal4 \
                    libmimalloc.so.2:libmimalloc2.0

# Where the engines are that read recordings in the tests.
ENGINES = $${CARGO_TARGET_DIR:-target}/engines

.PHONY: help
help:
	@echo 'make demo           build, record a small workload, show the reports, draw flamegraph.svg'
	@echo 'make test           run every test'
	@echo 'make test-page      look at the pages of analyze report in Chromium'
	@echo 'make test-kernels   run the tests that record under five kernels, in virtual machines'
	@echo 'make test-faults    run the tests of faults at their full counts (docs/reliability.md)'
	@echo 'make test-engines   compare other engines that read recordings with our reports; Spark takes minutes'
	@echo 'make test-exports   run the tests of exports with Perfetto, Arrow and Speedscope themselves'
	@echo 'make soak           record a steady load for SOAK_SECONDS (an hour)'
	@echo 'make fuzz           try made-up files for FUZZ_SECONDS each (5 min); needs cargo-fuzz and nightly'
	@echo 'make bench          measure the recorder (docs/performance.md)'
	@echo 'make docs           write docs/tables.md from the table definitions, and what examples in docs/ print'
	@echo 'make book           build the book of docs/ into target/book; installs mdbook if it is missing'
	@echo 'make lint           formatting, clippy, shellcheck'
	@echo 'make install        install record and analyze with cargo'
	@echo 'make manual         write man pages and completions of shells into target/manual'
	@echo 'make deb            make a package for Debian and Ubuntu; needs cargo-deb'
	@echo 'make static         build programs that need no library, into target/static'
	@echo 'make package-test   make these and the package, and try each in a root of its own; needs debootstrap'

# --- Packages ---

# Installs what is missing, with apt-get where there is one; else says what to install.
.PHONY: packages
packages:
	@missing=(); \
	for pair in $(BUILD_TOOLS); do command -v $${pair%%:*} > /dev/null || missing+=($${pair##*:}); done; \
	for pair in $(BUILD_HEADERS); do pkg-config --exists $${pair%%:*} 2> /dev/null || missing+=($${pair##*:}); done; \
	tests/install "$${missing[@]}"
	@command -v cargo > /dev/null || { echo 'Rust is missing: install it with rustup, or your distribution'\''s package'; exit 1; }

# The virtual machine's: tests that need it are skipped, with the reason, where they cannot be had.
.PHONY: vm-packages
vm-packages:
	@missing=(); \
	for pair in $(VM_TOOLS); do command -v $${pair%%:*} > /dev/null || missing+=($${pair##*:}); done; \
	[[ -x /usr/libexec/virtiofsd || -x /usr/lib/qemu/virtiofsd ]] \
	    || missing+=($$(apt-cache show virtiofsd > /dev/null 2>&1 && echo virtiofsd || echo qemu-system-common)); \
	tests/install "$${missing[@]}" || true

# The same for tests of what is traced.
.PHONY: traced-packages
traced-packages:
	@missing=(); \
	for pair in $(TRACED_TOOLS); do command -v $${pair%%:*} > /dev/null || missing+=($${pair##*:}); done; \
	for pair in $(TRACED_HEADERS); do \
	    cc -E -include $${pair%%:*} -x c /dev/null > /dev/null 2>&1 || missing+=($${pair##*:}); \
	done; \
	for pair in $(TRACED_LIBRARIES); do /sbin/ldconfig -p | grep -qF $${pair%%:*} || missing+=($${pair##*:}); done; \
	tests/install "$${missing[@]}" || true

# What docs/reader.py needs, for the test that runs it: below target/, since it is nobody else's.
.PHONY: python-packages
python-packages: export PYTHONPATH := target/python
python-packages:
	@python3 -c 'import pyarrow.parquet' 2> /dev/null || { \
	    python3 -m pip --version > /dev/null 2>&1 || tests/install python3-pip; \
	    python3 -m pip install --quiet --target target/python pyarrow; \
	} || true

# And DuckDB, which reads recordings, from PyPI.
.PHONY: engine-packages
engine-packages:
	@[[ -x $(ENGINES)/bin/pip ]] || python3 -m venv $(ENGINES) \
	    || { tests/install python3-venv && python3 -m venv $(ENGINES); } || exit 0; \
	$(ENGINES)/bin/pip install -q --disable-pip-version-check -r tests/engines/duckdb.txt || true

# What tracepoints have in them is told here. Where it is not mounted, the tests that need it are left out.
.PHONY: tracefs
tracefs:
	@[[ -d /sys/kernel/tracing/events ]] || mount -t tracefs tracefs /sys/kernel/tracing || true

# --- Demo ---

.PHONY: demo
demo: packages
	cargo build --release
	tests/demo

# --- Tests ---

.PHONY: test
test: packages vm-packages traced-packages python-packages engine-packages tracefs
	cargo test --workspace
	@echo '--- each feature alone'
	cargo check --no-default-features --features record
	$(MAKE) check-analyzer-alone

# The pages of `analyze report`, of the fixtures and of ten million samples, in a headless Chromium. Without root
# there are no samples, and it says so.
PAGES := $(or $(CARGO_TARGET_DIR),target)/test-page
.PHONY: test-page
test-page: packages
	@missing=(); command -v chromium > /dev/null || missing+=(chromium); \
	command -v python3 > /dev/null || missing+=(python3); tests/install "$${missing[@]}"
	cargo build --bin analyze
	mkdir -p $(PAGES)
	cargo bench --profile dev --bench draw -- --seconds 5 --repeat 1 --page $(PAGES)/many.html \
	    || { rm -f $(PAGES)/many.html; [[ $$(id -u) != 0 ]]; }
	tests/page/check $(or $(CARGO_TARGET_DIR),target)/debug/analyze $(PAGES)

# The live tests under every kernel that the rig has; `make test` tries one.
.PHONY: test-kernels
test-kernels: packages vm-packages traced-packages tracefs
	LOOKBACK_SLOW=1 LOOKBACK_KERNELS='5.10 6.1 6.12 6.18 7.3' cargo test --test integration -- kernels

# Recorders killed, stopped, on failing disks and so on, as often as docs/reliability.md says; `make test` tries
# each a few times. The faults of whole machines are in `make test` and `make test-kernels`.
.PHONY: test-faults
test-faults: packages traced-packages tracefs
	LOOKBACK_FAULTS=1 cargo test --test integration -- --nocapture live::faults

# DuckDB, DataFusion, Polars and Spark 4 in one environment, Spark 3.5 in another.
.PHONY: test-engines
test-engines: packages traced-packages engine-packages tracefs
	$(ENGINES)/bin/pip install -q --disable-pip-version-check -r tests/engines/all.txt
	python3 -m venv $(ENGINES)-spark35
	$(ENGINES)-spark35/bin/pip install -q --disable-pip-version-check -r tests/engines/spark35.txt
	LOOKBACK_ENGINES=duckdb,datafusion,polars,spark,spark35 cargo test --test integration -- --nocapture engines::

# Exports read by programs that `make test` does not install: Python packages, and Speedscope in Chromium.
.PHONY: test-exports
test-exports: packages traced-packages
	tests/exports/prepare target/exports
	cargo test --test integration -- --nocapture exports

.PHONY: soak
soak: export SOAK_SECONDS ?= 3600
soak: packages tracefs
	cargo test --test integration -- --nocapture live::faults::soak

.PHONY: fuzz
fuzz: export FUZZ_SECONDS ?= 300
fuzz:
	tests/fuzz/run "$$FUZZ_SECONDS"

# The analyzer, whose tests are those that have passed, must build where there is no clang. A cc that is clang
# would hide that it is needed, so it is looked for on a PATH without it.
.PHONY: check-analyzer-alone
check-analyzer-alone:
	@path=$$(mktemp -d) && trap 'rm -rf "$$path"' EXIT && \
	for tool in cargo rustc rustup cc gcc ld ar as; do \
	    if command -v $$tool > /dev/null; then ln -s "$$(command -v $$tool)" "$$path"; fi; \
	done && \
	! PATH="$$path" command -v clang > /dev/null && \
	PATH="$$path" cargo check --workspace --no-default-features --features analyze,lookback-schemas/store --lib --bins --tests

.PHONY: bench
bench: packages
	cargo bench

# --- Upkeep ---

.PHONY: docs
docs:
	LOOKBACK_WRITE_DOCS=1 cargo test --test integration -- --test-threads 1 tables_page docs::examples

# Its own folder of tools, so that a version of somebody's own is left alone.
.PHONY: book
book: export PATH := $(CURDIR)/target/tools/bin:$(PATH)
book:
	@command -v mdbook > /dev/null \
	    || cargo install --quiet --locked --root target/tools --no-default-features --features search mdbook
	mdbook build docs --dest-dir "$(CURDIR)/target/book"

.PHONY: lint
lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	shellcheck tests/install tests/demo tests/kernels/run tests/kernels/prepare tests/fuzz/run tests/package tests/exports/prepare fixtures/make .ci/run

.PHONY: install
install: packages
	cargo install --locked --path .

# --- Packages to give away ---

# Written by the programs themselves, from the definition of their command lines.
.PHONY: manual
manual: packages
	cargo build --release
	rm -rf target/manual
	target/release/record manual target/manual
	target/release/analyze manual target/manual
	sed 's|/usr/local/bin/record|/usr/bin/record|' docs/lookback.service > target/manual/lookback.service

.PHONY: deb
deb: manual
	cargo deb --no-build --strip --output target/lookback.deb

# The C library and what libbpf needs are in the programs. A target that is named keeps that from the compiler's
# own plugins, which are loaded at run time. Where libelf needs more than zlib, it is linked too. Random numbers are
# asked of the kernel: the crate would look the call up in a C library at run time, and else read /dev/urandom, which
# an empty root does not have.
STATIC := target/static
.PHONY: static
static: packages
	target=$$(rustc -vV | sed -n 's/^host: //p') && \
	more=$$(pkg-config --static --libs-only-l libelf | xargs -n 1 | grep -vx -e -lelf -e -lz | sed 's/^/-C link-arg=/') ; \
	LIBBPF_SYS_LIBRARY_PATH="$$(dirname "$$(cc -print-file-name=libelf.a)")" \
	RUSTFLAGS="-C target-feature=+crt-static --cfg getrandom_backend=\"linux_getrandom\" $$more" \
	    cargo build --release --features static --target "$$target" --target-dir $(STATIC)/build && \
	for program in record analyze; do \
	    strip --strip-debug -o $(STATIC)/$$program $(STATIC)/build/"$$target"/release/$$program || exit; \
	done

.PHONY: package-test
package-test: deb static
	cargo install --locked --path . --root target/installed
	tests/package target/lookback.deb target/installed/bin $(STATIC)
