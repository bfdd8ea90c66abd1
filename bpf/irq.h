/*
 * What a CPU is in the middle of. Interrupts of one kind do not interrupt each other, so one place for
 * each CPU and object is enough, and it cannot be full.
 */
#pragma once

#include "filter.h"

struct running {
	__u64 since;
	__u64 what;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct running);
} running SEC(".maps");

/* Filters choose the tasks that are interrupted. Without any, idle CPUs and the recorder are in. */
static __always_inline bool wanted_interrupted(void)
{
	return !filtered() || wanted_current();
}

static __always_inline int irq_begins(__u64 what, __u32 table)
{
	__u32 zero = 0;
	struct running *now;

	if (!wanted_interrupted())
		return 0;
	now = bpf_map_lookup_elem(&running, &zero);
	if (!now)
		return 0;
	if (now->since)
		count(table, UNPAIRED);
	now->what = what;
	now->since = bpf_ktime_get_ns();
	return 0;
}

/*
 * Ends what runs on this CPU, if it is `what` and took long enough: its length, and when it began.
 * 0 if there is nothing to record.
 */
static __always_inline __u64 irq_ends(__u64 what, __u32 table, __u64 *since)
{
	__u64 end = bpf_ktime_get_ns(), length;
	__u32 zero = 0;
	struct running *now = bpf_map_lookup_elem(&running, &zero);

	if (!now)
		return 0;
	*since = now->since;
	now->since = 0;
	if (!*since || now->what != what) {
		if (*since || wanted_interrupted())
			count(table, UNPAIRED);
		return 0;
	}
	length = end - *since;
	if (length < (__u64)settings.min_latency)
		return 0;
	return length ? length : 1; /* clocks of 1 ns and coarser */
}
