/*
 * TCP sockets: where they lead, and who uses them.
 */
#pragma once

#include <bpf/bpf_endian.h>

#include "filter.h"

#define AF_INET 2
#define AF_INET6 10

/* include/net/tcp_states.h */
enum tcp_state {
	ESTABLISHED = 1,
	SYN_SENT,
	SYN_RECV,
	FIN_WAIT1,
	FIN_WAIT2,
	TIME_WAIT,
	CLOSE,
	CLOSE_WAIT,
	LAST_ACK,
	LISTEN,
};

struct owner {
	__s32 pid;
	__s32 tid;
	__s32 uid;
	__u32 wanted; /* whether the filters choose it */
	char comm[TASK_COMM_LEN];
};

struct endpoints {
	__u8 laddr[16];
	__u8 raddr[16];
	__s32 lport;
	__s32 rport;
	__s32 family;
};

static __always_inline void map_into_ipv6(__u8 *address, __u32 ipv4)
{
	__builtin_memset(address, 0, 10);
	address[10] = address[11] = 0xff;
	__builtin_memcpy(address + 12, &ipv4, sizeof(ipv4));
}

static __always_inline void endpoints_of(struct sock *sk, struct endpoints *ends)
{
	struct inet_sock *inet = (void *)sk;

	ends->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	ends->lport = bpf_ntohs(BPF_CORE_READ(inet, inet_sport));
	ends->rport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (ends->family == AF_INET6) {
		BPF_CORE_READ_INTO(&ends->laddr, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
		BPF_CORE_READ_INTO(&ends->raddr, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
	} else {
		map_into_ipv6(ends->laddr, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		map_into_ipv6(ends->raddr, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	}
}

static __always_inline bool wanted_ends(struct endpoints *ends)
{
	return (!settings.family || ends->family == settings.family) &&
	       (!settings.lport || ends->lport == settings.lport) &&
	       (!settings.rport || ends->rport == settings.rport);
}

#define FILL_ENDS(row, ends)                                                                             \
	do {                                                                                             \
		__builtin_memcpy((row)->laddr, (ends)->laddr, 16);                                       \
		__builtin_memcpy((row)->raddr, (ends)->raddr, 16);                                       \
		(row)->lport = (ends)->lport;                                                            \
		(row)->rport = (ends)->rport;                                                            \
		(row)->family = (ends)->family;                                                          \
	} while (0)

static __always_inline void current_owner(struct owner *owner)
{
	__u64 pid_tgid = bpf_get_current_pid_tgid();

	owner->pid = pid_tgid >> 32;
	owner->tid = (__s32)pid_tgid;
	owner->uid = (__s32)bpf_get_current_uid_gid();
	owner->wanted = wanted_current();
	bpf_get_current_comm(&owner->comm, sizeof(owner->comm));
}
