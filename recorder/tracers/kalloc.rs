//! `kalloc`: memory that the kernel allocates for itself. What memleak without a process shows.

use lookback_schemas::TableId::{self, Kalloc};

use super::object;
use crate::hooks::{Attach, Feed, Hook, Kind, Tracer};

/// A feed of one kind of memory, by the tracepoints of its programs.
macro_rules! feed {
    ($gives:literal, $optional:literal, $name:literal, [$($program:literal),*]) => {
        Feed {
            gives: $gives,
            optional: $optional,
            hooks: &[Hook {
                kind: Kind::RawTracepoint,
                name: concat!("raw tracepoints ", $name),
                programs: &[$(($program, Kalloc)),*],
                attach: Attach::BySection,
            }],
        }
    };
}

pub const TRACER: Tracer = Tracer {
    name: "kalloc",
    about: "memory that the kernel allocates for itself and frees, with stacks",
    tables: &[Kalloc, TableId::Stack, TableId::Frame, TableId::Symbol],
    object: object!("kalloc"),
    feeds: &[
        feed!(
            "slab objects for a given node, before 6.1",
            true,
            "kmalloc_node, kmem_cache_alloc_node",
            ["on_kmalloc_node", "on_cache_alloc_node"]
        ),
        feed!(
            "memory of each CPU",
            false,
            "percpu_alloc_percpu, percpu_free_percpu",
            ["on_percpu_alloc", "on_percpu_free"]
        ),
        feed!("pages", false, "mm_page_alloc, mm_page_free", ["on_page_alloc", "on_page_free"]),
        feed!(
            "slab objects",
            false,
            "kmalloc, kmem_cache_alloc, kfree, kmem_cache_free",
            ["on_kmalloc", "on_cache_alloc", "on_kfree", "on_cache_free"]
        ),
    ],
};
