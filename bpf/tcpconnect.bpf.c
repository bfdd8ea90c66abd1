// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * TCP connections that processes begin: from the SYN to its answer.
 *
 * The socket's states tell nearly all: a process makes it SYN_SENT, and an answer, a timeout or a close
 * makes it something else, mostly in an interrupt. What fails earlier, for want of a route or a port,
 * never becomes SYN_SENT, or leaves it without an error in the socket. For those the functions
 * tcp_v4_connect and tcp_v6_connect are watched where the kernel lets us.
 */
#include "sockets.h"

/* A connect under way, by its socket. */
struct attempt {
	__u64 since;
	__u64 inside; /* whether tcp_v4_connect or tcp_v6_connect has not returned */
	struct owner owner;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, __u64);
	__type(value, struct attempt);
} attempts SEC(".maps");

static __always_inline void ended(struct sock *sk, struct attempt *attempt, __s32 result)
{
	struct endpoints ends = {};
	struct tcpconnect_event *row;
	__u64 latency = bpf_ktime_get_ns() - attempt->since;

	if (latency < (__u64)settings.min_latency)
		return;
	endpoints_of(sk, &ends);
	if (!wanted_ends(&ends))
		return;
	row = RESERVE(tcpconnect, TCPCONNECT);
	if (!row)
		return;
	row->ts = attempt->since;
	row->latency = latency;
	row->result = result;
	FILL_ENDS(row, &ends);
	row->retransmits = BPF_CORE_READ((struct tcp_sock *)sk, total_retrans);
	row->pid = attempt->owner.pid;
	row->tid = attempt->owner.tid;
	row->uid = attempt->owner.uid;
	__builtin_memcpy(row->comm, attempt->owner.comm, sizeof(row->comm));
	SUBMIT(row);
}

static __always_inline void begins(struct sock *sk, bool inside)
{
	struct attempt attempt = { .inside = inside };
	__u64 key = (__u64)sk;

	current_owner(&attempt.owner);
	if (!attempt.owner.wanted)
		return;
	attempt.since = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&attempts, &key, &attempt, BPF_ANY)) {
		count(TABLE_TCPCONNECT, SEEN);
		count(TABLE_TCPCONNECT, MAP_FULL);
	}
}

SEC("raw_tp/inet_sock_set_state")
int BPF_PROG(on_state, struct sock *sk, __u64 old, __u64 new)
{
	struct attempt *attempt;
	__u64 key = (__u64)sk;
	int error;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP || (old != SYN_SENT && new != SYN_SENT))
		return 0;
	attempt = bpf_map_lookup_elem(&attempts, &key);
	if (new == SYN_SENT) {
		if (!attempt || !attempt->inside)
			begins(sk, false);
		return 0;
	}
	if (!attempt) {
		if (!filtered())
			count(TABLE_TCPCONNECT, UNPAIRED);
		return 0;
	}
	error = BPF_CORE_READ(sk, sk_err);
	if (new == CLOSE && !error && attempt->inside)
		return 0; /* the function's result tells more */
	/* To SYN_RECV it goes where both sides connect at once. */
	ended(sk, attempt, new != CLOSE ? 0 : error ? -error : UNKNOWN_32);
	bpf_map_delete_elem(&attempts, &key);
	return 0;
}

static __always_inline int returns(struct sock *sk, int result)
{
	__u64 key = (__u64)sk;
	struct attempt *attempt = bpf_map_lookup_elem(&attempts, &key);

	if (!attempt)
		return 0;
	attempt->inside = false;
	if (result < 0) {
		ended(sk, attempt, result);
		bpf_map_delete_elem(&attempts, &key);
	}
	return 0;
}

SEC("fentry/tcp_v4_connect")
int BPF_PROG(fentry_v4, struct sock *sk)
{
	begins(sk, true);
	return 0;
}

SEC("fentry/tcp_v6_connect")
int BPF_PROG(fentry_v6, struct sock *sk)
{
	begins(sk, true);
	return 0;
}

SEC("fexit/tcp_v4_connect")
int BPF_PROG(fexit_v4, struct sock *sk, void *address, __u64 length, __u64 result)
{
	return returns(sk, (__s32)result);
}

SEC("fexit/tcp_v6_connect")
int BPF_PROG(fexit_v6, struct sock *sk, void *address, __u64 length, __u64 result)
{
	return returns(sk, (__s32)result);
}

/* What kretprobes are not told: the socket that this thread connects. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} connecting SEC(".maps");

static __always_inline int probe_begins(struct sock *sk)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 key = (__u64)sk;

	/* tcp_v6_connect calls tcp_v4_connect for mapped addresses, with the same socket. */
	if (!bpf_map_update_elem(&connecting, &tid, &key, BPF_ANY))
		begins(sk, true);
	return 0;
}

static __always_inline int probe_returns(long result)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u64 *sk = bpf_map_lookup_elem(&connecting, &tid);

	if (!sk)
		return 0;
	returns((struct sock *)*sk, (__s32)result);
	bpf_map_delete_elem(&connecting, &tid);
	return 0;
}

SEC("kprobe/tcp_v4_connect")
int BPF_KPROBE(kprobe_v4, struct sock *sk)
{
	return probe_begins(sk);
}

SEC("kprobe/tcp_v6_connect")
int BPF_KPROBE(kprobe_v6, struct sock *sk)
{
	return probe_begins(sk);
}

SEC("kretprobe/tcp_v4_connect")
int BPF_KRETPROBE(kretprobe_v4, long result)
{
	return probe_returns(result);
}

SEC("kretprobe/tcp_v6_connect")
int BPF_KRETPROBE(kretprobe_v6, long result)
{
	return probe_returns(result);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
