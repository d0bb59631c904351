/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * From bytes to a key and a segment: what proxy/decode.go and proxy/decode_tcp.go do, for the packets that they call well-formed. What
 * needs more (IPv4 options, fragments, IPv6 extension headers, a TCP header that cannot be walked) is told apart by a reason to punt.
 */
#ifndef HALFOPEN_PARSE_H
#define HALFOPEN_PARSE_H

#include "kernel.h"
#include "maps.h"

struct iphdr {
	u8 version_ihl;
	u8 tos;
	u16 tot_len;
	u16 id;
	u16 frag_off;
	u8 ttl;
	u8 protocol;
	u16 check;
	u32 saddr;
	u32 daddr;
};

struct ipv6hdr {
	u32 flow;
	u16 payload_len;
	u8 nexthdr;
	u8 hop_limit;
	u32 saddr[4];
	u32 daddr[4];
};

struct tcphdr {
	u16 source;
	u16 dest;
	u32 seq;
	u32 ack_seq;
	u8 doff; /* data offset, three reserved bits, AE */
	u8 flags;
	u16 window;
	u16 check;
	u16 urg_ptr;
};

enum {
	MORE_FRAGMENTS = 0x2000,
	FRAGMENT_OFFSET = 0x1fff,
	IPV6_LEN = 40,
	TCP_LEN = 20,
	OPTIONS_MAX = 40,
	/* Extension headers that are walked to find the ports of a packet that takes the queue anyway: as many of the shortest as
	 * leave the ports within the 256 bytes that the queue copies. */
	CHAIN_MAX = 26,
};

/* where a packet's parts are, and what its network header says */
struct layout {
	u32 network; /* offset of the network header */
	u32 tcp;     /* offset of the TCP header */
	u32 bytes;   /* of the IP packet */
	u32 why;     /* reason to punt, 0 for none */
	u32 flow;    /* IPv6: version, traffic class and flow label as in the header */
	u16 check;   /* IPv4: the header's checksum as in the header */
	u8 family;   /* AF_INET, AF_INET6 */
	u8 tos;      /* IPv4 */
	u8 ttl;      /* or hop limit */
};

static __always_inline void *packet(const struct __sk_buff *skb) { return (void *)(long)skb->data; }
static __always_inline void *packet_end(const struct __sk_buff *skb) { return (void *)(long)skb->data_end; }

/* reach makes the first n bytes of the packet readable in place, or as many as it has. Most drivers and all local senders keep
 * headers there already. Pointers into the packet must be taken afterwards. */
static __always_inline void reach(struct __sk_buff *skb, u32 n)
{
	if (unlikely(packet(skb) + n > packet_end(skb)))
		bpf_skb_pull_data(skb, n < skb->len ? n : skb->len);
}

/* sum_good reports whether the checksum of an IPv4 header without options is right (RFC 1071). The kernel drops the packet otherwise
 * (ip_rcv_core), so nothing may be counted. */
static __always_inline bool sum_good(const struct iphdr *ip)
{
	const u32 *w = (const u32 *)ip;
	u64 sum = (u64)w[0] + w[1] + w[2] + w[3] + w[4];

	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum == 0xffff;
}

/* network4 reads an IPv4 header. False: not TCP, or nothing that the kernel would forward. */
static __always_inline bool network4(struct __sk_buff *skb, struct layout *l, struct key *k)
{
	const struct iphdr *ip = packet(skb) + l->network;
	u32 total, header, fragment;

	if ((void *)(ip + 1) > packet_end(skb) || ip->version_ihl >> 4 != 4 || ip->protocol != IPPROTO_TCP || ip->ttl <= 1)
		return false;
	total = bswap16(ip->tot_len);
	if (total == 0 && skb->gso_size) /* a super-packet, large or not (iph_totlen in linux/ip.h) */
		total = skb->len - l->network;
	header = (ip->version_ihl & 0xf) * 4;
	if (header < sizeof(*ip) || total < header || total > skb->len - l->network)
		return false;
	fragment = bswap16(ip->frag_off);
	if (fragment & FRAGMENT_OFFSET)
		return false; /* it has no ports; where the host puts datagrams together, the first one's mark is the whole's */
	if (fragment & MORE_FRAGMENTS)
		l->why = FAST_FRAGMENT;
	else if (header != sizeof(*ip))
		l->why = PUNT_HEADER;
	else if (!sum_good(ip))
		return false;
	l->tcp = l->network + header;
	l->bytes = total;
	l->ttl = ip->ttl;
	l->tos = ip->tos;
	l->check = ip->check;
	k->src[0] = k->src[1] = k->dst[0] = k->dst[1] = 0;
	k->src[2] = k->dst[2] = bswap32(0xffff); /* the IPv4-mapped form, as in conntrack.Tuple */
	k->src[3] = ip->saddr;
	k->dst[3] = ip->daddr;
	return true;
}

/* size6 returns the length of an extension header, 0 for what is none or is not the first fragment. */
static __always_inline u32 size6(u32 kind, u32 word)
{
	switch (kind) {
	case 44: /* fragment */
		return word & bswap32(0xfff8) ? 0 : 8;
	case 51: /* authentication: words of four bytes, less two (RFC 4302 section 2.2) */
		return 4 * ((bswap32(word) >> 16 & 0xff) + 2);
	case 0: case 43: case 60: case 135: case 139: case 140:
		return 8 + 8 * (bswap32(word) >> 16 & 0xff);
	}
	return 0;
}

/* chain walks extension headers like walk6 in proxy/decode_ipv6.go. It returns the offset of the TCP header, 0 for none, and above that
 * in bit 32 whether a fragment begins there. The walk keeps
 * what it knows in a map, where the verifier knows nothing of it, so that it need not follow every way through the loop. */
static __noinline u64 chain(struct __sk_buff *skb, u32 at, u32 next)
{
	u32 zero = 0;
	struct scratch *b = bpf_map_lookup_elem(&scratch, &zero);
	int steps;

	if (!b)
		return 0;
	b->at = at;
	b->next = next;
	b->fragment = 0;
	for (steps = 0; steps < CHAIN_MAX; steps++) {
		u32 kind = READ_ONCE(b->next), size;

		if (kind == IPPROTO_TCP)
			break;
		if (bpf_skb_load_bytes(skb, b->at, b->options, 4))
			return 0;
		size = size6(kind, *(u32 *)b->options);
		if (size == 0)
			return 0;
		if (kind == 44 && b->options[3] & 1)
			b->fragment = 1;
		READ_ONCE(b->next) = b->options[0];
		READ_ONCE(b->at) = b->at + size;
	}
	if (READ_ONCE(b->next) != IPPROTO_TCP)
		return 0;
	return (u64)READ_ONCE(b->fragment) << 32 | READ_ONCE(b->at);
}

static __always_inline bool mapped(const u32 *a) { return (a[0] | a[1]) == 0 && a[2] == bswap32(0xffff); }

/* network6 reads an IPv6 header. */
static __always_inline bool network6(struct __sk_buff *skb, struct layout *l, struct key *k)
{
	const struct ipv6hdr *ip = packet(skb) + l->network;
	u32 next, total;

	if ((void *)(ip + 1) > packet_end(skb))
		return false;
	if (bswap32(ip->flow) >> 28 != 6 || ip->hop_limit <= 1 || mapped(ip->saddr) || mapped(ip->daddr))
		return false;
	next = ip->nexthdr;
	total = bswap16(ip->payload_len) + IPV6_LEN;
	if (total == IPV6_LEN && skb->gso_size && skb->len - l->network > 0xffff + IPV6_LEN)
		total = skb->len - l->network; /* BIG TCP */
	l->tcp = l->network + IPV6_LEN;
	l->bytes = total;
	l->ttl = ip->hop_limit;
	l->flow = ip->flow;
	__builtin_memcpy(k->src, ip->saddr, sizeof(k->src));
	__builtin_memcpy(k->dst, ip->daddr, sizeof(k->dst));
	if (unlikely(next != IPPROTO_TCP)) {
		u64 at = chain(skb, l->tcp, next);

		l->tcp = at;
		l->why = at >> 32 ? FAST_FRAGMENT : PUNT_HEADER;
		return l->tcp != 0;
	}
	return total <= skb->len - l->network;
}

/* ports reads the ports of a packet with plain headers. */
static __always_inline bool ports(struct __sk_buff *skb, const struct layout *l, struct key *k)
{
	const struct tcphdr *th = packet(skb) + l->tcp;

	if ((void *)&th->seq > packet_end(skb) || l->bytes < l->tcp - l->network + 4)
		return false;
	k->sport = th->source;
	k->dport = th->dest;
	return true;
}

static __always_inline u32 byte(const struct scratch *b, u32 at) { return b->options[at & (OPTIONS_ROOM - 1)]; }

static __always_inline u32 word(const struct scratch *b, u32 at)
{
	return byte(b, at) << 24 | byte(b, at + 1) << 16 | byte(b, at + 2) << 8 | byte(b, at + 3);
}

/* options walks the options of a TCP header like optionsFit and readOptions in proxy/decode*.go: of an option that occurs twice the last
 * counts, others are passed over. False: a length that does not fit. The walk keeps what it knows in a map, where the verifier knows
 * nothing of it, so that it need not follow every way through the loop. */
static __noinline bool options(struct __sk_buff *skb, u32 at, u32 len, struct segment *s)
{
	u32 zero = 0, n, blocks, edge;
	struct scratch *b = bpf_map_lookup_elem(&scratch, &zero);
	int steps;

	if (len == 0)
		return true;
	if (!b || len > OPTIONS_MAX || bpf_skb_load_bytes(skb, at, b->options, len))
		return false;
	b->at = b->stamps = b->edges = b->blocks = 0;
	barrier();
	for (steps = 0; steps < OPTIONS_MAX; steps++) {
		u32 i = READ_ONCE(b->at), kind = byte(b, i), size = byte(b, i + 1);

		if (i >= len || kind == 0)
			break;
		if (kind == 1) {
			READ_ONCE(b->at) = i + 1;
			continue;
		}
		if (i + 1 >= len || size < 2 || size > len - i)
			return false;
		if (kind == 8 && size == 10)
			READ_ONCE(b->stamps) = i + 2;
		if (kind == 5 && size > 2 && size % 8 == 2) {
			READ_ONCE(b->edges) = i + 6;
			READ_ONCE(b->blocks) = size / 8; /* at most four: there is no room for more */
		}
		READ_ONCE(b->at) = i + size;
	}
	barrier();
	if (b->stamps) {
		s->stamped = 1;
		s->tsval = word(b, b->stamps);
	}
	blocks = b->blocks;
#pragma unroll
	for (n = 0; n < 4; n++) {
		edge = word(b, b->edges + 8 * n);
		if (n < blocks && (s32)(s->sack - edge) < 0)
			s->sack = edge;
	}
	return true;
}

/* transport reads the TCP header of a packet. It returns a reason to punt, 0 for none. */
static __always_inline u32 transport(struct __sk_buff *skb, const struct layout *l, struct segment *s)
{
	u32 length = l->bytes - (l->tcp - l->network), header;
	const struct tcphdr *th = packet(skb) + l->tcp;

	if ((void *)(th + 1) > packet_end(skb) || length < TCP_LEN)
		return FAST_MALFORMED;
	header = (th->doff >> 4) * 4;
	if (header < TCP_LEN || header > length)
		return FAST_MALFORMED;
	s->seq = bswap32(th->seq);
	s->ack = s->sack = bswap32(th->ack_seq);
	s->flags = (u32)(th->doff & 1) << 8 | th->flags;
	s->window = bswap16(th->window);
	s->urgent = bswap16(th->urg_ptr);
	s->len = length - header;
	s->bytes = l->bytes;
	if (header == TCP_LEN)
		return 0;
	if (likely(header == TCP_LEN + 12)) {
		const u32 *o = (const void *)(th + 1);

		/* NOP, NOP, timestamps: the layout of RFC 7323 appendix A, which nearly everybody sends */
		if ((void *)(o + 3) <= packet_end(skb) && o[0] == bswap32(0x0101080a)) {
			s->stamped = 1;
			s->tsval = bswap32(o[1]);
			return 0;
		}
	}
	return options(skb, l->tcp + TCP_LEN, header - TCP_LEN, s) ? 0 : FAST_MALFORMED;
}

#endif
