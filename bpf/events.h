/*
 * From a program to user space: records, and what is counted about them.
 *
 * Each CPU has its own ring buffer, so that producers do not contend. A record is made in place
 * (RESERVE, fill, SUBMIT), or, where its length changes, in a scratch buffer and copied (EMIT). User
 * space drains on a timer; waking it for each record would cost several times what the record does.
 * Only when a ring becomes half full is it woken at once.
 *
 * Every event is counted when it is seen, and again if it is lost, by table and reason. The counters
 * are atomic, since a program can be interrupted by another on its own CPU.
 */
#pragma once

#include "kernel.h"
#include "events.gen.h"

const volatile struct settings_event settings SEC(".rodata.settings") = {};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1); /* one ring per CPU; user space puts its own map in place of this */
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_RINGBUF);
		__uint(max_entries, 4096);
	});
} rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TABLES * COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} counters SEC(".maps");

/* By table: whether its events are only counted, since they are too many for user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TABLES);
	__type(key, __u32);
	__type(value, __u32);
} stopped SEC(".maps");

static __always_inline bool is_stopped(__u32 table)
{
	__u32 *flag = bpf_map_lookup_elem(&stopped, &table);

	return flag && *flag;
}

static __always_inline __u64 *counter(__u32 table, __u32 what)
{
	__u32 index = table * COUNTERS + what;

	return bpf_map_lookup_elem(&counters, &index);
}

static __always_inline void count(__u32 table, __u32 what)
{
	__u64 *events = counter(table, what);

	if (events)
		__sync_fetch_and_add(events, 1);
}

static __always_inline void *this_ring(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&rings, &cpu);
}

/*
 * Whether user space is to be woken, since the ring is half full or more. That is looked at every few
 * events, because looking costs as much as the rest of a submit.
 */
static __always_inline __u64 wakeup(__u32 table)
{
	__u64 *events = counter(table, SEEN);
	void *ring;

	if (!events || *events % 8)
		return BPF_RB_NO_WAKEUP;
	ring = this_ring();
	if (!ring || bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) < (__u64)settings.ring_bytes / 2)
		return BPF_RB_NO_WAKEUP;
	return BPF_RB_FORCE_WAKEUP;
}

static __always_inline void *reserve(__u32 table, __u64 size)
{
	void *ring = this_ring();
	struct header *header = NULL;

	count(table, SEEN);
	if (is_stopped(table)) {
		count(table, STOPPED);
		return NULL;
	}
	if (ring)
		header = bpf_ringbuf_reserve(ring, size, 0);
	if (!header) {
		count(table, RING_FULL);
		return NULL;
	}
	header->table = table;
	header->cpu = bpf_get_smp_processor_id();
	return header;
}

static __always_inline void submit(struct header *record)
{
	bpf_ringbuf_submit(record, wakeup(record->table));
}

#define RESERVE(table, TABLE) ((struct table##_event *)reserve(TABLE_##TABLE, sizeof(struct table##_event)))
#define SUBMIT(record) submit((struct header *)(record))

/* Sends `size` bytes of `record`; whether there was room. The caller has counted it as seen. */
static __always_inline bool emit(__u32 table, void *record, __u64 size)
{
	struct header *header = record;
	void *ring = this_ring();

	if (is_stopped(table)) {
		count(table, STOPPED);
		return false;
	}
	header->table = table;
	header->cpu = bpf_get_smp_processor_id();
	if (ring && !bpf_ringbuf_output(ring, record, size, wakeup(table)))
		return true;
	count(table, RING_FULL);
	return false;
}

static __always_inline __u32 loc(__u32 offset, __u32 length)
{
	return length << 16 | offset;
}
