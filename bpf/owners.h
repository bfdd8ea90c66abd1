/*
 * Whose a TCP socket is.
 *
 * A segment comes in on whatever task the interrupt hits, so the owner must be known from before. A
 * socket's own state changes tell it: a process opens, closes and shuts down its sockets itself. What
 * a listener accepts is the listener's, as far as one process alone listens on that port.
 */
#pragma once

#include "sockets.h"

/* A socket that is not closed: whose it is (pid 0: unknown), and since when it is in its state. */
struct socket_info {
	__u64 since;
	struct owner owner;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, __u64);
	__type(value, struct socket_info);
} sockets SEC(".maps");

struct port {
	__u32 netns;
	__u32 number;
};

struct listener {
	__u64 sockets; /* that listen on the port: several with SO_REUSEPORT, or for IPv4 and IPv6 */
	struct owner owner;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1); /* user space sets it */
	__type(key, struct port);
	__type(value, struct listener);
} listeners SEC(".maps");

/* The changes that only a process makes, and not a segment that comes in. */
static __always_inline bool made_by_owner(int old, int new)
{
	return new == LISTEN || new == FIN_WAIT1 || new == LAST_ACK || (old == CLOSE && new == SYN_SENT) ||
	       (old == LISTEN && new == CLOSE);
}

static __always_inline void listens(struct port *port, struct owner *owner)
{
	struct listener *known = bpf_map_lookup_elem(&listeners, port);
	struct listener first = { .sockets = 1 };

	if (!known) {
		first.owner = *owner;
		/* Without room the sockets that it accepts have no owner at first. */
		bpf_map_update_elem(&listeners, port, &first, BPF_ANY);
		return;
	}
	__sync_fetch_and_add(&known->sockets, 1);
	if (known->owner.pid != owner->pid)
		known->owner.pid = 0;
}

static __always_inline void stops_listening(struct port *port)
{
	struct listener *known = bpf_map_lookup_elem(&listeners, port);

	if (!known)
		return;
	if (known->sockets <= 1)
		bpf_map_delete_elem(&listeners, port);
	else
		__sync_fetch_and_add(&known->sockets, -1);
}

/*
 * Notes a change of state. `info` is what is known of the socket then, `since` of its old state (0:
 * it began unseen). The entry of a closed socket goes.
 */
static __always_inline void track(struct sock *sk, int old, int new, __u64 now, struct socket_info *info)
{
	struct inet_sock *inet = (void *)sk;
	struct socket_info *known, next;
	struct listener *listener;
	__u64 key = (__u64)sk;
	struct port port = {
		.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum),
		.number = bpf_ntohs(BPF_CORE_READ(inet, inet_sport)),
	};

	__builtin_memset(info, 0, sizeof(*info));
	known = bpf_map_lookup_elem(&sockets, &key);
	/* A new socket may be where one was that went unseen. */
	if (known && old != CLOSE && !(old == LISTEN && new == SYN_RECV))
		*info = *known;
	if (made_by_owner(old, new))
		current_owner(&info->owner);
	if (new == LISTEN) {
		listens(&port, &info->owner);
	} else if (old == LISTEN && new == CLOSE) {
		stops_listening(&port);
	} else if (old == LISTEN && new == SYN_RECV) {
		listener = bpf_map_lookup_elem(&listeners, &port);
		if (listener && listener->owner.pid)
			info->owner = listener->owner;
	}
	if (new == CLOSE) {
		bpf_map_delete_elem(&sockets, &key);
		return;
	}
	next = *info;
	next.since = now;
	/* Where there is no room, the next change has no time in the old state and maybe no owner. */
	bpf_map_update_elem(&sockets, &key, &next, BPF_ANY);
}

/* Whether the filters choose the socket. One whose owner is not known is chosen if there are none. */
static __always_inline bool wanted_owner(struct owner *owner)
{
	return owner->pid ? owner->wanted : !filtered();
}
