// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The load of the benchmark: rows of the table `sample`, as fast as one CPU makes them, through the
 * same header as the recorder's own programs. User space runs a program with the number of rows as
 * its argument.
 *
 * The values are like those of a busy machine: 64 threads that take turns of a few rows, 4096 user
 * stacks of which some are hot, no kernel stack in half of the rows.
 */
#include "events.h"

#define THREADS 64
#define TURN 8 /* rows */

/* From row to row and from run to run; there is only one producer. */
__u64 state = 1;
__u32 thread;

static __always_inline __u64 next_random(void)
{
	state = state * 6364136223846793005ULL + 1442695040888963407ULL;
	return state >> 20;
}

static __always_inline void fill(struct sample_event *row)
{
	__u64 random = next_random();
	__u64 hot = random % 4096 * (random >> 12 & 4095) / 4096;

	if (!(random >> 24 & (TURN - 1)))
		thread = (random >> 32) % THREADS;
	row->ts = bpf_ktime_get_ns();
	row->user_stack = hot * 0x9e3779b97f4a7c15ULL;
	row->kernel_stack = random & 1 ? (random >> 1 & 255) * 0xc2b2ae3d27d4eb4fULL : UNKNOWN_64;
	row->period = 10101010;
	row->pid = 1000 + thread / 4;
	row->tid = 1000 + thread;
	row->uid = 1000 + thread / 16;
	row->cpu = bpf_get_smp_processor_id();
	__builtin_memcpy(row->comm, "worker-00\0\0\0\0\0\0", sizeof(row->comm));
	row->comm[7] += thread / 10;
	row->comm[8] += thread % 10;
}

static long one(__u64 index, void *nothing)
{
	struct sample_event *row = RESERVE(sample, SAMPLE);

	if (row) {
		fill(row);
		SUBMIT(row);
	}
	return 0;
}

SEC("raw_tp")
int load(__u64 *ctx)
{
	bpf_loop((__u32)ctx[0], one, NULL, 0);
	return 0;
}

/* The least that a row can cost: no counters, no choice of a ring, no wakeup. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096); /* user space puts a ring of its own in place of this */
} bare_ring SEC(".maps");

static long bare_one(__u64 index, void *nothing)
{
	struct sample_event *row = bpf_ringbuf_reserve(&bare_ring, sizeof(*row), 0);

	if (row) {
		row->header.table = TABLE_SAMPLE;
		row->header.cpu = bpf_get_smp_processor_id();
		fill(row);
		bpf_ringbuf_submit(row, BPF_RB_NO_WAKEUP);
	}
	return 0;
}

SEC("raw_tp")
int bare(__u64 *ctx)
{
	bpf_loop((__u32)ctx[0], bare_one, NULL, 0);
	return 0;
}

/* What the rows themselves cost, without any ring. */
static long idle_one(__u64 index, void *nothing)
{
	struct sample_event row;

	fill(&row);
	barrier_var(row.ts);
	return 0;
}

SEC("raw_tp")
int idle(__u64 *ctx)
{
	bpf_loop((__u32)ctx[0], idle_one, NULL, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
