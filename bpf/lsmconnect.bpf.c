// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The LSM hook socket_connect: every decision on a connect, and refusals of our own.
 */
#include "sockets.h"

#define EPERM 1

struct destination {
	__u8 address[16];
	__u32 port; /* 0: every port */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, struct destination);
	__type(value, __u8);
} denied SEC(".maps");

static __always_inline bool is_denied(struct destination *to)
{
	struct destination any = *to;

	any.port = 0;
	return bpf_map_lookup_elem(&denied, to) || bpf_map_lookup_elem(&denied, &any);
}

/* `before` is the verdict of the BPF program before this one; other modules were asked before both. */
SEC("lsm/socket_connect")
int BPF_PROG(on_connect, struct socket *socket, struct sockaddr *address, __u64 length, __u64 before)
{
	int verdict = (__s32)before;
	struct destination to = {};
	struct lsmconnect_event *row;
	__u64 pid_tgid;
	int family = address->sa_family;
	bool inet = family == AF_INET || family == AF_INET6, deny = false;

	if (!wanted_current())
		return verdict;
	if (family == AF_INET) {
		struct sockaddr_in *in = (void *)address;

		map_into_ipv6(to.address, BPF_CORE_READ(in, sin_addr.s_addr));
		to.port = bpf_ntohs(BPF_CORE_READ(in, sin_port));
	} else if (family == AF_INET6) {
		struct sockaddr_in6 *in6 = (void *)address;

		BPF_CORE_READ_INTO(&to.address, in6, sin6_addr.in6_u.u6_addr8);
		to.port = bpf_ntohs(BPF_CORE_READ(in6, sin6_port));
	}
	/* Another module's denial stays what it is. */
	if (!verdict && inet && settings.denied && is_denied(&to)) {
		deny = true;
		verdict = -EPERM;
	}
	if (inet && ((settings.family && family != settings.family) ||
		     (settings.rport && to.port != settings.rport)))
		return verdict;
	row = RESERVE(lsmconnect, LSMCONNECT);
	if (!row)
		return verdict;
	pid_tgid = bpf_get_current_pid_tgid();
	row->ts = bpf_ktime_get_ns();
	row->verdict = verdict;
	row->denied = deny;
	row->family = family;
	row->kind = socket->type;
	if (inet) {
		__builtin_memcpy(row->addr, to.address, sizeof(row->addr));
		row->port = (__s32)to.port;
	} else {
		__builtin_memset(row->addr, 0, sizeof(row->addr));
		row->addr[0] = 0xff;
		row->port = UNKNOWN_32;
	}
	row->pid = pid_tgid >> 32;
	row->tid = (__s32)pid_tgid;
	row->uid = (__s32)bpf_get_current_uid_gid();
	bpf_get_current_comm(&row->comm, sizeof(row->comm));
	SUBMIT(row);
	return verdict;
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
