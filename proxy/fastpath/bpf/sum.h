/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The TCP checksum, judged as the queue judges it (proxy/decode.go): of a packet that is no super-packet, of which the queue has all, and
 * which the kernel does not call unfinished (nfqnl_put_packet_info).
 */
#ifndef HALFOPEN_SUM_H
#define HALFOPEN_SUM_H

#include "parse.h"

enum {
	CHECK_OFFSET = 16, /* of the checksum in the TCP header */
	SUM_MAX = SUM_ROOM - sizeof(struct iphdr),
};

static __always_inline u32 fold(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline u32 fold32(u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

/* pseudo is the sum of the pseudo header, of words in network order. The prefix of an IPv4 address in its mapped form adds 0xffff, which is
 * nothing in one's complement; so the families are one way for the verifier. */
static __always_inline u64 pseudo(const struct key *k, u32 length)
{
	return (u64)k->src[0] + k->src[1] + k->src[2] + k->src[3] + k->dst[0] + k->dst[1] + k->dst[2] + k->dst[3] + bswap32(length) + bswap32(IPPROTO_TCP);
}

/* settled tells whether the packet's checksum is right by the card's word, or unfinished (CHECKSUM_UNNECESSARY, CHECKSUM_PARTIAL), where the
 * kernel's own description of the packet can be read; false says nothing. */
static __always_inline bool settled(struct __sk_buff *skb)
{
	u32 summed;

	if (!summed_byte)
		return false;
	summed = *((const u8 *)bpf_cast_to_kern_ctx(skb) + summed_byte) >> summed_bit & 3;
	return summed == CHECKSUM_UNNECESSARY || summed == CHECKSUM_PARTIAL;
}

/* unfinished tells, where that cannot be read, whether the checksum is one that a local sender has left to the card. Nothing of the packet
 * that a program sees says so; but a change of data, which each such sum will have in it in the end, is not made up for in it, while any
 * other is changed with the data. So the kernel is told of a change that does not happen, and the sum is put back if that has moved it. */
static __always_inline bool unfinished(struct __sk_buff *skb, u32 at, u16 sum)
{
	u16 now = sum;

	if (bpf_l4_csum_replace(skb, at, 0, bswap32(1), sizeof(u32)) || bpf_skb_load_bytes(skb, at, &now, sizeof(now)))
		return false;
	if (now == sum)
		return true;
	bpf_skb_store_bytes(skb, at, &sum, sizeof(sum), 0);
	return false;
}

/* sum_bad tells whether the queue would judge the TCP checksum of a segment of length bytes at an offset, in an IP packet of so many, find it
 * wrong, and the card has not judged it; head is the sum of its pseudo header. What cannot be read is wrong too: the queue will see. It is a
 * global function, so that the verifier looks at it once and not on every way through the program. */
__noinline int sum_bad(struct __sk_buff *skb, u32 at, u32 length, u32 head, u32 bytes)
{
	u32 zero = 0, have;
	struct scratch *b;

	if (bytes > SUM_ROOM || skb->gso_size || bpf_csum_level(skb, BPF_CSUM_LEVEL_QUERY) >= 0)
		return false;
	b = bpf_map_lookup_elem(&scratch, &zero);
	if (!b || length < TCP_LEN || length > SUM_MAX)
		return true;
	*(u32 *)&b->sum[length & (SUM_ROOM - 4)] = 0; /* up to a whole word */
	if (bpf_skb_load_bytes(skb, at, b->sum, length))
		return true;
	have = *(u16 *)&b->sum[CHECK_OFFSET];
	/* A sum as a local sender leaves it is that of the pseudo header. Who makes one like it on the way here, gets it added up. */
	if (!summed_byte && have % 0xffff == head % 0xffff && unfinished(skb, at + CHECK_OFFSET, have))
		return false;
	return fold((u32)bpf_csum_diff(0, 0, b->sum, (length + 3) & ~3U, head)) != 0xffff;
}

#endif
