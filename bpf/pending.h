/*
 * What threads are in the middle of: a beginning that waits for its end.
 *
 * The entry of a thread is made at its first beginning, then used in place, and deleted when the
 * thread exits; a beginning costs a lookup and no more. So the map must have room for every thread
 * that there is, and user space sizes it so. An entry whose `since` is 0 waits for nothing.
 */
#pragma once

#include "filter.h"

/* Declares the map. `struct pending` must begin with `__u64 since`. */
#define PENDING                                                                                          \
	struct {                                                                                         \
		__uint(type, BPF_MAP_TYPE_HASH);                                                         \
		__uint(max_entries, 1); /* user space sets it */                                         \
		__type(key, __u32);                                                                      \
		__type(value, struct pending);                                                           \
	} pending SEC(".maps")

/*
 * The entry in which thread `tid` notes a beginning; NULL if there is no room, and then the event is
 * counted as lost. A beginning that still waits there has lost its end.
 */
#define BEGIN(tid, table)                                                                                \
	({                                                                                               \
		__u32 __tid = (tid);                                                                     \
		struct pending *__entry = bpf_map_lookup_elem(&pending, &__tid);                         \
                                                                                                         \
		if (!__entry) {                                                                          \
			struct pending __new = {};                                                       \
                                                                                                         \
			bpf_map_update_elem(&pending, &__tid, &__new, BPF_NOEXIST);                      \
			__entry = bpf_map_lookup_elem(&pending, &__tid);                                 \
			if (!__entry) {                                                                  \
				count(table, SEEN);                                                      \
				count(table, MAP_FULL);                                                  \
			}                                                                                \
		} else if (__entry->since) {                                                             \
			count(table, UNPAIRED);                                                          \
		}                                                                                        \
		__entry;                                                                                 \
	})

/* The entry in which thread `tid` noted a beginning, or NULL. */
#define PENDING_OF(tid)                                                                                  \
	({                                                                                               \
		__u32 __tid = (tid);                                                                     \
		struct pending *__entry = bpf_map_lookup_elem(&pending, &__tid);                         \
                                                                                                         \
		__entry && __entry->since ? __entry : NULL;                                              \
	})
