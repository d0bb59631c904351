/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The short way out (--fastpath redirect): what the kernel's forwarding would do with a plain packet (ip_forward, ip6_forward), done
 * here. Whatever is not plain takes the normal way, where the kernel does it.
 */
#ifndef HALFOPEN_REDIRECT_H
#define HALFOPEN_REDIRECT_H

#include "parse.h"

enum { ETH_LEN = 14 };

/* leads tells whether segments may be sent out of an interface. */
static __always_inline bool leads(u32 ifindex)
{
	u32 at = ifindex & (NEAR_EGRESS - 1);
	const u64 *near = bpf_map_lookup_elem(&near_egress, &at);

	return (near && READ_ONCE(*near) == ifindex) || bpf_map_lookup_elem(&egress, &ifindex);
}

/* route asks for the way of a packet; 0 is that it is plain, else it is a NORMAL_ number plus one. */
static __always_inline u32 route(struct __sk_buff *skb, const struct layout *l, const struct key *k, u32 header, struct bpf_fib_lookup *fib)
{
	u32 length = l->bytes, i = fib->ifindex = skb->ifindex;
	long found;

	/* Of a super-packet each segment must fit; its headers are those of the super-packet. */
	if (skb->gso_size)
		length = l->tcp - l->network + header + skb->gso_size;
	if (length > 0xffff)
		return NORMAL_MTU + 1;
	fib->tot_len = length;
	fib->l4_protocol = IPPROTO_TCP;
	fib->sport = k->sport;
	fib->dport = k->dport;
	fib->family = l->family;
	if (l->family == AF_INET) {
		*(u8 *)&fib->flowinfo = l->tos;
		fib->src[0] = k->src[3];
		fib->dst[0] = k->dst[3];
	} else {
		fib->flowinfo = l->flow & bswap32(0x0fffffff);
		__builtin_memcpy(fib->src, k->src, sizeof(fib->src));
		__builtin_memcpy(fib->dst, k->dst, sizeof(fib->dst));
	}
	found = bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
	switch (found) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		break;
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		return NORMAL_DISABLED + 1;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		return NORMAL_NEIGHBOUR + 1;
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return NORMAL_MTU + 1;
	default:
		return NORMAL_ROUTE + 1;
	}
	if (fib->ifindex == i || !leads(fib->ifindex))
		return NORMAL_EGRESS + 1;
	return 0;
}

/* write makes the packet what leaves the gateway: link addresses, and one hop less. The sum over an IPv4 header stays the same, so that
 * a sum of the whole packet by the card (CHECKSUM_COMPLETE) stays right; for IPv6's hop limit it has to be told. The rest is written in
 * place: the kernel sees to it, before a program with such a write runs, that nobody else has the packet's headers. */
static __always_inline bool write(struct __sk_buff *skb, const struct layout *l, const struct bpf_fib_lookup *fib)
{
	u8 *head;

	if (l->family == AF_INET6) {
		u8 hop[2] = { IPPROTO_TCP, l->ttl - 1 };

		if (bpf_skb_store_bytes(skb, l->network + 6, hop, sizeof(hop), BPF_F_RECOMPUTE_CSUM))
			return false;
	}
	head = packet(skb);
	if (head + ETH_LEN + sizeof(struct iphdr) > (u8 *)packet_end(skb))
		return false;
	*(u16 *)head = *(u16 *)fib->dmac;
	*(u32 *)(head + 2) = *(u32 *)(fib->dmac + 2);
	*(u32 *)(head + 6) = *(u32 *)fib->smac;
	*(u16 *)(head + 10) = *(u16 *)(fib->smac + 4);
	if (l->family == AF_INET) {
		/* The TTL is the high byte of its 16-bit word: one less there is 0x100 more in the sum's complement (RFC 1624), as in
		 * ip_decrease_ttl. */
		struct iphdr *ip = (void *)head + ETH_LEN;
		u32 sum = bswap16(l->check) + 0x100;

		sum += sum >= 0xffff;
		ip->ttl = l->ttl - 1;
		ip->check = bswap16((u16)sum);
	}
	return true;
}

/* redirect sends a segment that passed out by its route. It returns a verdict, TC_ACT_UNSPEC for the normal way. */
static __always_inline int redirect(struct __sk_buff *skb, const struct layout *l, const struct key *k, u32 header, u32 flags,
				    struct stats *count)
{
	struct bpf_fib_lookup fib = {};
	u32 why = flags & ARM_REDIRECT ? route(skb, l, k, header, &fib) : NORMAL_FLOW + 1;

	if (!why && !write(skb, l, &fib))
		why = NORMAL_WRITE + 1;
	if (why) {
		count->normal[why - 1]++;
		return TC_ACT_UNSPEC;
	}
	count->redirected++;
	return bpf_redirect(fib.ifindex, 0);
}

#endif
