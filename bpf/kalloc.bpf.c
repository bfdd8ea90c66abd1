// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Memory that the kernel allocates for itself: slab objects, pages, and memory of each CPU.
 *
 * The raw tracepoints' arguments moved over the versions; which there are is told by the types that the
 * kernel has. Where only some tasks are recorded, a free is recorded if the allocation was, whoever
 * frees: RCU and interrupts free most.
 */
#include "stacks.h"

enum kind { SLAB, PAGES, PERCPU };

/* Since 6.1 (11e9734bcb6a) kmem_cache_alloc hands over the cache and no longer the sizes. */
struct trace_event_raw_kmem_cache_alloc {
	int node;
} __attribute__((preserve_access_index));

/* Since 6.0 (dc9ca2af0a5f, f67bed134a05) percpu_alloc_percpu begins with the caller and has the size. */
struct trace_event_raw_percpu_alloc_percpu___sized {
	unsigned long bytes_alloc;
} __attribute__((preserve_access_index));

struct kmem_cache {
	unsigned int size;
	unsigned int object_size;
	const char *name;
} __attribute__((preserve_access_index));

struct page {
	unsigned long flags;
} __attribute__((preserve_access_index));

/* What was allocated for tasks that are recorded, where some are not. */
struct block {
	__u64 address;
	__u64 kind;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, struct block);
	__type(value, __u8);
} blocks SEC(".maps");

/* Whether some allocations are left out. */
static __always_inline bool selective(void)
{
	return filtered() || settings.min_size || settings.max_size;
}

static __always_inline struct kalloc_event *new_row(enum kind kind, __u64 address)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct kalloc_event *row = RESERVE(kalloc, KALLOC);

	if (!row)
		return NULL;
	row->ts = bpf_ktime_get_ns();
	row->address = (__s64)address;
	row->kind = kind;
	row->pid = pid_tgid >> 32;
	row->tid = (__s32)pid_tgid;
	row->uid = (__s32)bpf_get_current_uid_gid();
	row->cpu = bpf_get_smp_processor_id();
	bpf_get_current_comm(&row->comm, sizeof(row->comm));
	__builtin_memset(&row->cache, 0, sizeof(row->cache));
	return row;
}

static __always_inline int allocated(void *ctx, enum kind kind, __u64 address, __s64 requested, __s64 bytes,
				     const char *cache)
{
	/* Before 6.0 only what was asked for is known of percpu memory. */
	__s64 size = bytes == UNKNOWN_64 ? requested : bytes;
	struct block block = { address, kind };
	struct kalloc_event *row;
	__s64 stack;
	__u8 one = 1;

	if (!address || !(settings.kalloc_kinds >> kind & 1) || !wanted_current())
		return 0;
	if (size < settings.min_size || (settings.max_size && size > settings.max_size))
		return 0;
	if (selective() && bpf_map_update_elem(&blocks, &block, &one, BPF_ANY)) {
		count(TABLE_KALLOC, SEEN);
		count(TABLE_KALLOC, MAP_FULL);
		return 0;
	}
	stack = kernel_stack(ctx, TABLE_KALLOC);
	row = new_row(kind, address);
	if (!row)
		return 0;
	row->bytes = bytes;
	row->requested = requested;
	row->stack = stack;
	row->free = 0;
	if (cache)
		bpf_probe_read_kernel_str(&row->cache, sizeof(row->cache), cache);
	SUBMIT(row);
	return 0;
}

static __always_inline int freed(enum kind kind, __u64 address, __s64 bytes)
{
	struct block block = { address, kind };
	struct kalloc_event *row;

	if (!address || !(settings.kalloc_kinds >> kind & 1))
		return 0;
	if (selective() ? bpf_map_delete_elem(&blocks, &block) != 0 :
			 bpf_get_current_pid_tgid() >> 32 == (__u32)settings.own_pid)
		return 0;
	row = new_row(kind, address);
	if (!row)
		return 0;
	row->bytes = bytes;
	row->requested = UNKNOWN_64;
	row->stack = UNKNOWN_64;
	row->free = 1;
	SUBMIT(row);
	return 0;
}

/* kmalloc and kmem_cache_alloc with sizes: call_site, ptr, bytes_req, bytes_alloc */
static __always_inline int sized(struct bpf_raw_tracepoint_args *ctx)
{
	return allocated(ctx, SLAB, ctx->args[1], (__s64)ctx->args[2], (__s64)ctx->args[3], NULL);
}

/* kmem_cache_alloc since 6.1: call_site, ptr, cache */
static __always_inline int of_cache(struct bpf_raw_tracepoint_args *ctx)
{
	struct kmem_cache *cache = (void *)ctx->args[2];

	return allocated(ctx, SLAB, ctx->args[1], BPF_CORE_READ(cache, object_size), BPF_CORE_READ(cache, size),
			 BPF_CORE_READ(cache, name));
}

SEC("raw_tp/kmalloc")
int on_kmalloc(struct bpf_raw_tracepoint_args *ctx)
{
	return sized(ctx);
}

SEC("raw_tp/kmem_cache_alloc")
int on_cache_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	return bpf_core_type_exists(struct trace_event_raw_kmem_cache_alloc) ? of_cache(ctx) : sized(ctx);
}

/* Two more before 6.1 (11e9734bcb6a), for a node that the caller names. */
SEC("raw_tp/kmalloc_node")
int on_kmalloc_node(struct bpf_raw_tracepoint_args *ctx)
{
	return sized(ctx);
}

SEC("raw_tp/kmem_cache_alloc_node")
int on_cache_alloc_node(struct bpf_raw_tracepoint_args *ctx)
{
	return sized(ctx);
}

/* call_site, ptr */
SEC("raw_tp/kfree")
int on_kfree(struct bpf_raw_tracepoint_args *ctx)
{
	return freed(SLAB, ctx->args[1], UNKNOWN_64);
}

SEC("raw_tp/kmem_cache_free")
int on_cache_free(struct bpf_raw_tracepoint_args *ctx)
{
	return freed(SLAB, ctx->args[1], UNKNOWN_64);
}

/* A page's number times its size: all `struct page` lie in one array, or in arrays one per section. */
static __always_inline __u64 page_address(__u64 page)
{
	return page / bpf_core_type_size(struct page) * (__u64)settings.page_size;
}

/* page, order; no page if the allocation failed */
SEC("raw_tp/mm_page_alloc")
int on_page_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	__s64 bytes = (__s64)settings.page_size << (ctx->args[1] & 31);

	return ctx->args[0] ? allocated(ctx, PAGES, page_address(ctx->args[0]), UNKNOWN_64, bytes, NULL) : 0;
}

/* Pages that are freed in batches pass here too. */
SEC("raw_tp/mm_page_free")
int on_page_free(struct bpf_raw_tracepoint_args *ctx)
{
	return freed(PAGES, page_address(ctx->args[0]), (__s64)settings.page_size << (ctx->args[1] & 31));
}

SEC("raw_tp/percpu_alloc_percpu")
int on_percpu_alloc(struct bpf_raw_tracepoint_args *ctx)
{
	struct trace_event_raw_percpu_alloc_percpu___sized *sized = NULL;

	/* call_site, reserved, is_atomic, size, align, base_addr, off, ptr, bytes_alloc */
	if (bpf_core_field_exists(sized->bytes_alloc))
		return allocated(ctx, PERCPU, ctx->args[7], (__s64)ctx->args[3], (__s64)ctx->args[8], NULL);
	/* reserved, is_atomic, size, align, base_addr, off, ptr */
	return allocated(ctx, PERCPU, ctx->args[6], (__s64)ctx->args[2], UNKNOWN_64, NULL);
}

/* base_addr, off, ptr */
SEC("raw_tp/percpu_free_percpu")
int on_percpu_free(struct bpf_raw_tracepoint_args *ctx)
{
	return freed(PERCPU, ctx->args[2], UNKNOWN_64);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
