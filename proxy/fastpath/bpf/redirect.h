/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The short way out (--fastpath redirect): what the kernel's forwarding would do with a plain packet (ip_forward, ip6_forward), done
 * here. Whatever is not plain takes the normal way, where the kernel does it.
 */
#ifndef HALFOPEN_REDIRECT_H
#define HALFOPEN_REDIRECT_H

#include "parse.h"

enum { ETH_LEN = 14 };

/* what a segment that passed finds of the way of the one before it */
struct recall {
	struct flow *f;
	struct way *last; /* in the map */
	struct way way;	  /* the same, copied under the flow's lock, where the flow is busy */
	s64 now;
	u32 tag;
	bool busy; /* the flow has had another segment since the kernel's last tick */
};

/* leads tells whether segments may be sent out of an interface. */
static __always_inline bool leads(u32 ifindex)
{
	u32 at = ifindex & (NEAR_EGRESS - 1);
	const u64 *near = bpf_map_lookup_elem(&near_egress, &at);

	return (near && READ_ONCE(*near) == ifindex) || bpf_map_lookup_elem(&egress, &ifindex);
}

/* route asks for the way of a packet of a length; 0 is that it is plain, else it is a NORMAL_ number plus one. */
static __always_inline u32 route(struct __sk_buff *skb, const struct layout *l, const struct key *k, u32 length, struct way *way)
{
	struct bpf_fib_lookup fib = {
		.family = l->family,
		.l4_protocol = IPPROTO_TCP,
		.sport = k->sport,
		.dport = k->dport,
		.tot_len = length,
		.ifindex = skb->ifindex,
	};
	long found;

	if (length > 0xffff)
		return NORMAL_MTU + 1;
	if (l->family == AF_INET) {
		*(u8 *)&fib.flowinfo = l->tos;
		fib.src[0] = k->src[3];
		fib.dst[0] = k->dst[3];
	} else {
		fib.flowinfo = way->flow;
		__builtin_memcpy(fib.src, k->src, sizeof(fib.src));
		__builtin_memcpy(fib.dst, k->dst, sizeof(fib.dst));
	}
	found = bpf_fib_lookup(skb, &fib, sizeof(fib), 0);
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
	way->ifindex = fib.ifindex;
	way->mtu = fib.tot_len;
	__builtin_memcpy(way->smac, fib.smac, sizeof(way->smac));
	__builtin_memcpy(way->dmac, fib.dmac, sizeof(way->dmac));
	return 0;
}

/* find is route for who has looked up the direction's way: that, if it is from the present tick. Of a flow with more than one segment in a
 * tick it leaves what it has found for the next. */
static __always_inline u32 find(struct __sk_buff *skb, const struct layout *l, const struct key *k, u32 header, struct recall *r)
{
	u32 length = l->bytes, flow = l->family == AF_INET ? l->tos : l->flow & bswap32(0x0fffffff), why;
	struct way *way = &r->way;

	/* Of a super-packet each segment must fit; its headers are those of the super-packet. */
	if (skb->gso_size)
		length = l->tcp - l->network + header + skb->gso_size;
	if (way->at != r->now || way->tag != (u16)r->tag || way->flow != flow || length > way->mtu) {
		way->flow = flow;
		why = route(skb, l, k, length, way);
		if (why)
			return why;
		if (r->busy) {
			way->at = r->now;
			way->tag = r->tag;
			bpf_spin_lock(&r->f->lock);
			*r->last = *way;
			bpf_spin_unlock(&r->f->lock);
		}
	}
	return way->ifindex != skb->ifindex && leads(way->ifindex) ? 0 : NORMAL_EGRESS + 1;
}

/* write makes the packet what leaves the gateway: link addresses, and one hop less. The sum over an IPv4 header stays the same, so that
 * a sum of the whole packet by the card (CHECKSUM_COMPLETE) stays right; for IPv6's hop limit it has to be told. The rest is written in
 * place: the kernel sees to it, before a program with such a write runs, that nobody else has the packet's headers. */
static __always_inline bool write(struct __sk_buff *skb, const struct layout *l, const struct way *way)
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
	*(u16 *)head = *(u16 *)way->dmac;
	*(u32 *)(head + 2) = *(u32 *)(way->dmac + 2);
	*(u32 *)(head + 6) = *(u32 *)way->smac;
	*(u16 *)(head + 10) = *(u16 *)(way->smac + 4);
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
				    struct recall *r, struct stats *count)
{
	u32 why = flags & ARM_REDIRECT ? find(skb, l, k, header, r) : NORMAL_FLOW + 1;

	if (!why && !write(skb, l, &r->way))
		why = NORMAL_WRITE + 1;
	if (why) {
		count->normal[why - 1]++;
		return TC_ACT_UNSPEC;
	}
	count->redirected++;
	return bpf_redirect(r->way.ifindex, 0);
}

#endif
