// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The smoothed round-trip time of established TCP sockets, at each segment that comes in.
 */
#include "owners.h"

/*
 * Whether this segment is one of those that are recorded: one of N, by lot. Each Nth would be biased,
 * since questions and answers take turns.
 */
static __always_inline bool sampled(void)
{
	return settings.rtt_sample <= 1 || bpf_get_prandom_u32() % (__u32)settings.rtt_sample == 0;
}

/* tcp_rcv_established calls it first. */
SEC("raw_tp/tcp_probe")
int BPF_PROG(on_segment, struct sock *sk)
{
	struct endpoints ends = {};
	struct socket_info *info;
	struct tcprtt_event *row;
	__u64 key = (__u64)sk, srtt;
	bool owned;

	info = bpf_map_lookup_elem(&sockets, &key);
	owned = info && info->owner.pid;
	if (owned ? !info->owner.wanted : filtered())
		return 0;
	if (settings.lport || settings.rport || settings.family) {
		endpoints_of(sk, &ends);
		if (!wanted_ends(&ends))
			return 0;
	}
	srtt = (__u64)BPF_CORE_READ((struct tcp_sock *)sk, srtt_us) * 1000 >> 3;
	if (srtt < (__u64)settings.min_latency || !sampled())
		return 0;
	if (!ends.family)
		endpoints_of(sk, &ends);
	row = RESERVE(tcprtt, TCPRTT);
	if (!row)
		return 0;
	row->ts = bpf_ktime_get_ns();
	row->srtt = srtt;
	row->weight = settings.rtt_sample;
	FILL_ENDS(row, &ends);
	if (owned) {
		row->pid = info->owner.pid;
		row->uid = info->owner.uid;
		__builtin_memcpy(row->comm, info->owner.comm, sizeof(row->comm));
	} else {
		row->pid = UNKNOWN_32;
		row->uid = UNKNOWN_32;
		__builtin_memset(row->comm, 0, sizeof(row->comm));
	}
	SUBMIT(row);
	return 0;
}

SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, __u64 old, __u64 new)
{
	struct socket_info info;

	if (BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP)
		track(sk, (int)old, (int)new, bpf_ktime_get_ns(), &info);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
