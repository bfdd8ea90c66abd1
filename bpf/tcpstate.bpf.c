// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * TCP sockets that change their state, and how much they carried until then.
 */
#include "owners.h"

#define SOCK_DONE_BIT 1 /* enum sock_flags: a FIN came in */

/* Data bytes that came in. The kernel counts a FIN as one of them. */
static __always_inline __u64 received(struct sock *sk)
{
	__u64 bytes = BPF_CORE_READ((struct tcp_sock *)sk, bytes_received);
	bool fin = BPF_CORE_READ(sk, __sk_common.skc_flags) >> SOCK_DONE_BIT & 1;

	return bytes - (fin && bytes);
}

SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, __u64 old, __u64 new)
{
	struct tcp_sock *tcp = (void *)sk;
	__u64 now = bpf_ktime_get_ns();
	struct endpoints ends = {};
	struct socket_info info;
	struct tcpstate_event *row;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	track(sk, (int)old, (int)new, now, &info);
	if (!wanted_owner(&info.owner))
		return 0;
	endpoints_of(sk, &ends);
	if (!wanted_ends(&ends))
		return 0;
	row = RESERVE(tcpstate, TCPSTATE);
	if (!row)
		return 0;
	row->ts = now;
	row->in_old = info.since ? (__s64)(now - info.since) : UNKNOWN_64;
	row->socket = (__s64)sk;
	row->sent = BPF_CORE_READ(tcp, bytes_sent) - BPF_CORE_READ(tcp, bytes_retrans);
	row->received = received(sk);
	row->retransmits = BPF_CORE_READ(tcp, total_retrans);
	row->old = (__s32)old;
	row->new = (__s32)new;
	FILL_ENDS(row, &ends);
	row->pid = info.owner.pid ? info.owner.pid : UNKNOWN_32;
	row->tid = info.owner.pid ? info.owner.tid : UNKNOWN_32;
	row->uid = info.owner.pid ? info.owner.uid : UNKNOWN_32;
	__builtin_memcpy(row->comm, info.owner.comm, sizeof(row->comm));
	SUBMIT(row);
	return 0;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
