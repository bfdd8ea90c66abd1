// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Collections of garbage: the probes by which runtimes tell that one begins and ends.
 *
 * A thread collects, and what it begins it ends. Parts nest: a collection has pools, and may lead to
 * another one. So each thread has a list of what it has begun, in order; an end belongs to the last one
 * of its kind. Pools are told by the addresses of their names, which do not change.
 */
#include "site.h"
#include "thread_stack.h"

#define OPEN 32 /* parts that a thread is in at once: hotspot begins all its pools, about ten, together */

enum { MANAGER, POOL, USED, COMMITTED };
#define FULL 0
#define GENERATION 0
#define COLLECTED 0

struct opening {
	__u64 since; /* 0: the place is free */
	__u64 manager;
	__u64 pool;
	__s64 used;
	__s64 committed;
	__s64 generation;
	__s32 full;
	__s32 part;
	__s32 runtime;
	__s32 depth;
};

struct openings {
	__u64 used; /* the places from here on are free */
	struct opening list[OPEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024); /* threads that collect at a time */
	__type(key, __u32);
	__type(value, struct openings);
} collecting SEC(".maps");

/* What a thread begins with: too large for a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct openings);
} nothing_open SEC(".maps");

static __always_inline struct openings *openings_of(__u32 tid)
{
	struct openings *openings = bpf_map_lookup_elem(&collecting, &tid), *none;
	__u32 zero = 0;

	if (openings)
		return openings;
	none = bpf_map_lookup_elem(&nothing_open, &zero);
	if (!none)
		return NULL;
	bpf_map_update_elem(&collecting, &tid, none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&collecting, &tid);
}

static __always_inline bool names_pool(void)
{
	return site.part == PART_POOL;
}

SEC("uprobe")
int begun(struct pt_regs *ctx)
{
	struct openings *openings;
	struct opening *new;
	__u64 value = 0, place;

	keep_thread_stack(ctx);
	if (!wanted_current())
		return 0;
	openings = openings_of((__u32)bpf_get_current_pid_tgid());
	place = openings ? openings->used : OPEN;
	if (!openings || place >= OPEN) {
		count(TABLE_GC, SEEN);
		count(TABLE_GC, MAP_FULL);
		return 0;
	}
	new = &openings->list[place & (OPEN - 1)];
	new->since = 0;
	new->part = site.part;
	new->runtime = site.runtime;
	new->depth = 0;
	for (int i = 0; i < OPEN; i++) {
		struct opening *other = &openings->list[i];

		new->depth += (__u64)i < place && other->since && other->part != PART_POOL;
	}
	new->full = UNKNOWN_32;
	new->manager = new->pool = 0;
	new->used = new->committed = new->generation = UNKNOWN_64;
	if (names_pool()) {
		operand(ctx, &site.operands[MANAGER], &new->manager);
		operand(ctx, &site.operands[POOL], &new->pool);
		new->used = operand_or_unknown(ctx, &site.operands[USED]);
		new->committed = operand_or_unknown(ctx, &site.operands[COMMITTED]);
	} else if (site.runtime == RUNTIME_HOTSPOT) {
		if (operand(ctx, &site.operands[FULL], &value))
			new->full = !!value;
	} else if (site.runtime == RUNTIME_PYTHON) {
		new->generation = operand_or_unknown(ctx, &site.operands[GENERATION]);
	}
	new->since = bpf_ktime_get_ns();
	openings->used = place + 1;
	return 0;
}

static __always_inline void name_of(char *to, __u64 bytes, __u64 address)
{
	__builtin_memset(to, 0, bytes);
	if (address)
		bpf_probe_read_user_str(to, (__u32)bytes, (void *)address);
}

static __always_inline struct gc_event *row_of(struct opening *opening, __s64 duration)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct gc_event *row = RESERVE(gc, GC);

	if (!row)
		return NULL;
	row->ts = (__s64)opening->since;
	row->duration = duration;
	row->part = opening->part;
	row->runtime = opening->runtime;
	row->depth = opening->depth;
	row->full = opening->full;
	row->used_before = opening->used;
	row->committed_before = opening->committed;
	row->generation = opening->generation;
	row->used_after = row->committed_after = row->collected = UNKNOWN_64;
	row->pid = pid_tgid >> 32;
	row->tid = (__s32)pid_tgid;
	row->cpu = (__s32)bpf_get_smp_processor_id();
	row->uid = (__s32)bpf_get_current_uid_gid();
	bpf_get_current_comm(&row->comm, sizeof(row->comm));
	return row;
}

SEC("uprobe")
int ended(struct pt_regs *ctx)
{
	__u64 now = bpf_ktime_get_ns(), manager = 0, pool = 0;
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 place = OPEN;
	struct openings *openings;
	struct opening *it;
	struct gc_event *row;

	keep_thread_stack(ctx);
	if (!wanted_current())
		return 0;
	if (names_pool()) {
		operand(ctx, &site.operands[MANAGER], &manager);
		operand(ctx, &site.operands[POOL], &pool);
	}
	openings = bpf_map_lookup_elem(&collecting, &tid);
	/* By its number: of pointers that come out of a loop, the verifier of 7.3 does not know that they fit. */
	for (int i = OPEN - 1; openings && i >= 0; i--) {
		struct opening *candidate = &openings->list[i];

		if (candidate->since && candidate->part == site.part && candidate->runtime == site.runtime &&
		    candidate->manager == manager && candidate->pool == pool) {
			place = (__u64)i;
			break;
		}
	}
	if (!openings || place >= OPEN) {
		count(TABLE_GC, UNPAIRED);
		return 0;
	}
	it = &openings->list[place & (OPEN - 1)];
	row = row_of(it, (__s64)(now - it->since));
	if (row) {
		name_of(row->manager, sizeof(row->manager), manager);
		name_of(row->pool, sizeof(row->pool), pool);
		if (names_pool()) {
			row->used_after = operand_or_unknown(ctx, &site.operands[USED]);
			row->committed_after = operand_or_unknown(ctx, &site.operands[COMMITTED]);
		} else if (site.runtime == RUNTIME_PYTHON) {
			row->collected = operand_or_unknown(ctx, &site.operands[COLLECTED]);
		}
		SUBMIT(row);
	}
	it->since = 0;
	/* Of the places that are in use, the last one is. */
	for (int i = OPEN - 1; i >= 0; i--) {
		if (openings->used == (__u64)i + 1 && !openings->list[i].since)
			openings->used = (__u64)i;
	}
	return 0;
}

/* A thread that ends while it collects: its process was killed. */
SEC("raw_tp/sched_process_exit")
int thread_ended(void *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct openings *openings = bpf_map_lookup_elem(&collecting, &tid);

	if (!openings)
		return 0;
	for (int i = 0; i < OPEN; i++) {
		struct opening *opening = &openings->list[i];
		struct gc_event *row;

		if (!opening->since)
			continue;
		/* The names of pools were in memory that is gone. */
		if (opening->part == PART_POOL) {
			count(TABLE_GC, UNPAIRED);
			continue;
		}
		row = row_of(opening, UNKNOWN_64);
		if (row) {
			name_of(row->manager, sizeof(row->manager), 0);
			name_of(row->pool, sizeof(row->pool), 0);
			SUBMIT(row);
		}
	}
	bpf_map_delete_elem(&collecting, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
