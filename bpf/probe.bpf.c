// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Probes of the user's, and spans between them.
 *
 * All kinds of probes run the same code. They differ in where it finds values: the registers of a program
 * or of the kernel, a tracepoint's fields, a trampoline's arguments; that is told by `site`.
 *
 * Each thread has a list of the spans that it has begun. An end belongs to the last one of its span. Spans
 * that have a key are in a map by that, so that any thread of the process can end them.
 */
#include "site.h"
#include "stacks.h"
#include "thread_stack.h"

#define NESTED 16 /* spans that a thread is in at once */

struct open_span {
	__u64 since;
	__u32 span; /* 0: the place is free */
	__u32 depth;
};

struct open_spans {
	__u64 used; /* the places from here on are free */
	__u32 pid;
	char comm[TASK_COMM_LEN];
	__u32 unused;
	struct open_span list[NESTED];
	/* How many of a span had no place: the next ends are theirs. */
	struct {
		__u32 span;
		__u32 count;
	} dropped[NESTED];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it, if there are spans */
	__type(key, __u32);
	__type(value, struct open_spans);
} open_spans SEC(".maps");

/* What a thread begins with: too large for a program's stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct open_spans);
} nothing_open SEC(".maps");

struct span_key {
	__u64 key;
	__u32 pid;
	__u32 span;
};

struct keyed_span {
	__u64 since;
	__u32 tid;
	char comm[TASK_COMM_LEN];
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it, if there are spans */
	__type(key, struct span_key);
	__type(value, struct keyed_span);
} keyed_spans SEC(".maps");

struct span_name {
	char text[64];
};

/* By the spans' numbers. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, struct span_name);
} span_names SEC(".maps");

static __always_inline struct span_event *span_row(__u32 span, __u64 since, __s64 duration)
{
	struct span_name *name = bpf_map_lookup_elem(&span_names, &span);
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	struct span_event *row = RESERVE(span, SPAN);

	if (!row)
		return NULL;
	__builtin_memset(row->name, 0, sizeof(row->name));
	if (name)
		__builtin_memcpy(row->name, name->text, sizeof(row->name));
	row->ts = (__s64)since;
	row->duration = duration;
	row->key = UNKNOWN_64;
	row->depth = 0;
	row->pid = pid_tgid >> 32;
	row->tid = (__s32)pid_tgid;
	row->end_tid = duration == UNKNOWN_64 ? UNKNOWN_32 : row->tid;
	bpf_get_current_comm(&row->comm, sizeof(row->comm));
	return row;
}

static __always_inline void lost_span(void)
{
	count(TABLE_SPAN, SEEN);
	count(TABLE_SPAN, MAP_FULL);
}

static __always_inline void begin_keyed(__u64 key, __u64 now)
{
	struct span_key place = { .key = key, .pid = bpf_get_current_pid_tgid() >> 32, .span = (__u32)site.span };
	struct keyed_span new = { .since = now, .tid = (__u32)bpf_get_current_pid_tgid() };

	bpf_get_current_comm(&new.comm, sizeof(new.comm));
	if (bpf_map_lookup_elem(&keyed_spans, &place))
		count(TABLE_SPAN, UNPAIRED);
	if (bpf_map_update_elem(&keyed_spans, &place, &new, BPF_ANY))
		lost_span();
}

static __always_inline void end_keyed(__u64 key, __u64 now)
{
	struct span_key place = { .key = key, .pid = bpf_get_current_pid_tgid() >> 32, .span = (__u32)site.span };
	struct keyed_span *it = bpf_map_lookup_elem(&keyed_spans, &place);
	struct span_event *row;

	if (!it) {
		count(TABLE_SPAN, UNPAIRED);
		return;
	}
	row = span_row((__u32)site.span, it->since, (__s64)(now - it->since));
	if (row) {
		row->key = (__s64)key;
		row->tid = (__s32)it->tid;
		__builtin_memcpy(row->comm, it->comm, sizeof(row->comm));
		SUBMIT(row);
	}
	bpf_map_delete_elem(&keyed_spans, &place);
}

static __always_inline void begin_nested(__u32 tid, __u64 now)
{
	struct open_spans *open = bpf_map_lookup_elem(&open_spans, &tid), *none;
	__u32 pid = bpf_get_current_pid_tgid() >> 32, zero = 0, depth = 0;
	__u64 place;

	/* Where its end was missed, what is there is of another thread that had this number. */
	if (!open || open->pid != pid) {
		none = bpf_map_lookup_elem(&nothing_open, &zero);
		if (none)
			bpf_map_update_elem(&open_spans, &tid, none, BPF_ANY);
		open = bpf_map_lookup_elem(&open_spans, &tid);
		if (open)
			open->pid = pid;
	}
	if (open)
		bpf_get_current_comm(&open->comm, sizeof(open->comm));
	place = open ? open->used : NESTED;
	if (!open || place >= NESTED) {
		lost_span();
		for (int i = 0; open && i < NESTED; i++) {
			if (!open->dropped[i].count || open->dropped[i].span == (__u32)site.span) {
				open->dropped[i].span = (__u32)site.span;
				open->dropped[i].count++;
				break;
			}
		}
		return;
	}
	for (int i = 0; i < NESTED; i++)
		depth += (__u64)i < place && open->list[i].span == (__u32)site.span;
	place &= NESTED - 1;
	open->list[place].since = now;
	open->list[place].span = (__u32)site.span;
	open->list[place].depth = depth;
	open->used = place + 1;
}

static __always_inline void end_nested(__u32 tid, __u64 now)
{
	struct open_spans *open = bpf_map_lookup_elem(&open_spans, &tid);
	struct span_event *row;
	__u64 place = NESTED;

	for (int i = 0; open && i < NESTED; i++) {
		if (open->dropped[i].count && open->dropped[i].span == (__u32)site.span) {
			open->dropped[i].count--;
			return;
		}
	}
	for (int i = 0; open && i < NESTED; i++) {
		if ((__u64)i < open->used && open->list[i].span == (__u32)site.span)
			place = (__u64)i;
	}
	if (!open || place >= NESTED) {
		count(TABLE_SPAN, UNPAIRED);
		return;
	}
	place &= NESTED - 1;
	row = span_row((__u32)site.span, open->list[place].since, (__s64)(now - open->list[place].since));
	if (row) {
		row->depth = (__s32)open->list[place].depth;
		SUBMIT(row);
	}
	open->list[place].span = 0;
	/* Of the places that are in use, the last one is. */
	for (int i = NESTED - 1; i >= 0; i--) {
		if (open->used == (__u64)i + 1 && !open->list[i].span)
			open->used = (__u64)i;
	}
}

static __always_inline void span_probe(void *ctx, __u64 now)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 key = 0;

	if (site.span_by_key) {
		if (!operand(ctx, &site.operands[ARGUMENTS], &key)) {
			count(TABLE_SPAN, UNPAIRED);
			return;
		}
		if (site.span_end == 1)
			begin_keyed(key, now);
		else
			end_keyed(key, now);
	} else if (site.span_end == 1) {
		begin_nested(tid, now);
	} else {
		end_nested(tid, now);
	}
}

static __always_inline __s64 user_stack_at(void *ctx)
{
	struct walk walk;

	if (!site.user)
		return user_stack(ctx, current_task(), TABLE_PROBE);
	walk = walk_of_probe(ctx);
	walk.table = TABLE_PROBE;
	walk.returned = site.returned;
	if (site.at_entry) {
#if defined(__TARGET_ARCH_x86)
		/* The function has no frame yet: where it returns to is on top of the stack. */
		bpf_probe_read_user(&walk.caller, sizeof(walk.caller), (void *)walk.sp);
#else
		walk.caller = PT_REGS_RET((struct pt_regs *)ctx);
#endif
	}
	return user_stack_from(ctx, current_task(), walk);
}

/* The values that the user asked for. */
static __always_inline void arguments(void *ctx, struct probe_event *row)
{
	__s64 *numbers = &row->arg0;
	__u32 *places = &row->text0, used = 0, length;
	char *texts = (char *)(row + 1);

#pragma unroll
	for (int i = 0; i < ARGUMENTS; i++) {
		numbers[i] = UNKNOWN_64;
		places[i] = 0;
		if (site.operands[i].place == PLACE_NONE)
			continue;
		if (!site.operands[i].text) {
			numbers[i] = operand_or_unknown(ctx, &site.operands[i]);
			continue;
		}
		length = operand_text(ctx, &site.operands[i], texts + used);
		if (length)
			places[i] = loc((__u32)sizeof(*row) + used, length);
		used += TEXT_BYTES;
	}
}

static __always_inline void row(void *ctx, __u64 now)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();
	__s64 user = UNKNOWN_64, kernel = UNKNOWN_64;
	struct probe_event *row;

	if (site.stack)
		user = user_stack_at(ctx);
	if (site.kernel_stack)
		kernel = kernel_stack(ctx, TABLE_PROBE);
	row = reserve(TABLE_PROBE, sizeof(*row) + (__u64)site.texts * TEXT_BYTES);
	if (!row)
		return;
	row->ts = (__s64)now;
	for (int i = 0; i < (int)sizeof(row->name) / 8; i++)
		((__u64 *)row->name)[i] = ((const volatile __u64 *)site.name)[i];
	arguments(ctx, row);
	row->stack = user;
	row->kernel_stack = kernel;
	row->pid = pid_tgid >> 32;
	row->tid = (__s32)pid_tgid;
	row->cpu = (__s32)bpf_get_smp_processor_id();
	row->uid = (__s32)bpf_get_current_uid_gid();
	bpf_get_current_comm(&row->comm, sizeof(row->comm));
	SUBMIT(row);
}

/*
 * Reads a byte of the program's memory where a text begins and where it must end, so that it is there: until
 * something touches it, a page of a file is not. Only a program that may sleep can wait for it.
 */
static __always_inline void fetch_texts(void *ctx)
{
	__u64 address;
	char byte;

#pragma unroll
	for (int i = 0; i < ARGUMENTS; i++) {
		if (site.operands[i].text != 1 || !operand(ctx, &site.operands[i], &address) || !address)
			continue;
		if (bpf_probe_read_user(&byte, 1, (void *)address))
			bpf_copy_from_user(&byte, 1, (void *)address);
		if (bpf_probe_read_user(&byte, 1, (void *)(address + TEXT_BYTES - 1)))
			bpf_copy_from_user(&byte, 1, (void *)(address + TEXT_BYTES - 1));
	}
}

static __always_inline int hit(void *ctx, bool can_sleep)
{
	__u64 now;

	if (!wanted_current())
		return 0;
	now = bpf_ktime_get_ns();
	if (can_sleep)
		fetch_texts(ctx);
	if (site.rows)
		row(ctx, now);
	if (site.span_end)
		span_probe(ctx, now);
	return 0;
}

/* Functions and places of programs, and functions of the kernel by kprobes: the context is registers. */
SEC("kprobe")
int by_registers(void *ctx)
{
	keep_thread_stack(ctx);
	return hit(ctx, false);
}

/* The same, of programs whose texts are wanted. Before 6.0 the kernel does not take it (8c7dcb84e3b7). */
SEC("uprobe.s")
int by_registers_sleeping(void *ctx)
{
	keep_thread_stack(ctx);
	return hit(ctx, true);
}

SEC("fentry")
int by_entry(void *ctx)
{
	return hit(ctx, false);
}

SEC("fexit")
int by_exit(void *ctx)
{
	return hit(ctx, false);
}

SEC("tp")
int by_tracepoint(void *ctx)
{
	return hit(ctx, false);
}

/*
 * A thread that ends in spans. Where threads are preempted in tracepoints (7.x), the kernel leaves this out if another
 * thread is in it on the same CPU. Then the spans stay in the map, and user space makes their rows.
 */
SEC("raw_tp/sched_process_exit")
int thread_ended(void *ctx)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	struct open_spans *open = bpf_map_lookup_elem(&open_spans, &tid);
	struct span_event *row;

	if (!open)
		return 0;
	for (int i = 0; i < NESTED; i++) {
		if (!open->list[i].span)
			continue;
		row = span_row(open->list[i].span, open->list[i].since, UNKNOWN_64);
		if (row) {
			row->depth = (__s32)open->list[i].depth;
			SUBMIT(row);
		}
	}
	bpf_map_delete_elem(&open_spans, &tid);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
