/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The maps, each of one writer. The Go side of them: maps.go, flows.go. */
#ifndef HALFOPEN_MAPS_H
#define HALFOPEN_MAPS_H

#include "model.h"

/* What the loader sets before the program is verified, so that what a configuration does not use is cut out. */
const volatile u32 mark_mask = 0xff000000;
const volatile u32 mark_shift = 24;
const volatile u32 mark_span = 253; /* numbers that a mark can tell apart */
const volatile u8 redirects = 0;    /* --fastpath redirect */
const volatile u8 sums = 1;         /* checksums are judged; a test's frames may have none */
const volatile u8 test = 0;         /* the clock comes with the packet (cb[0], cb[1]), and the reason to punt goes with it (cb[2]) */
/* Where the kernel's struct sk_buff has ip_summed: byte, and bit in that. Byte 0: not known. */
const volatile u32 summed_byte = 0;
const volatile u32 summed_bit = 0;

/* Values of the mark, shifted down (contract in doc.go). */
enum { MARK_INJECTED = 1, MARK_FAST = 2, MARK_PUNT = 3 };

/* How a direction of a flow looks at the ingress. Addresses as in conntrack.Tuple; all in network order but the interface. */
struct key {
	u32 src[4];
	u32 dst[4];
	u16 sport;
	u16 dport;
	u32 ifindex;
};

struct place {
	u32 slot;
	u32 tag; /* of the slot's present flow; another one means that the flow is gone */
	u32 dir;
};

/* Written by user space alone: keys come when a flow is installed and go when it is removed. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 2);
	__type(key, struct key);
	__type(value, struct place);
} keys SEC(".maps");

enum {
	ARM_REDIRECT = 1 << 0,
};

/* What user space says of a flow, in memory that it shares with the program. armed comes last when a flow is armed, and goes first when
 * it is frozen; the rest changes only while the program has no use for it. */
struct arm {
	u64 armed; /* 0: frozen; else the low half of the punt number that it goes with, and above that a number of its own */
	u64 epoch; /* of the worker */
	u32 tag;
	u32 worker;
	u32 flags;
	u32 zero;
	struct fast_rules rules;
	struct fast start;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct arm);
} arms SEC(".maps");

/* What the program says of a flow. Its numbers and counters go on when a slot gets another flow. */
struct flow {
	struct bpf_spin_lock lock;
	u32 zero;
	u64 punt;   /* number of the last punted segment */
	u64 loaded; /* arm.armed as it was when state was taken from arm.start */
	u64 packets[2];
	u64 bytes[2];
	struct fast state;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct flow);
} flows SEC(".maps");

/* Written by user space alone, by plain stores. */
struct worker {
	s64 beat; /* CLOCK_MONOTONIC in nanoseconds, when the worker last turned round */
	u64 epoch;
	u64 zero[6]; /* workers do not share a cache line */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct worker);
} workers SEC(".maps");

/* Why a segment that passed took the normal way and not the short one. */
enum {
	NORMAL_FLOW,      /* addresses are translated */
	NORMAL_ROUTE,     /* no route, or one that is no plain forward */
	NORMAL_DISABLED,  /* forwarding is off */
	NORMAL_NEIGHBOUR, /* the next hop's address is not known at present */
	NORMAL_MTU,       /* too long for the way */
	NORMAL_EGRESS,    /* not an Ethernet interface, or the one that it came in by */
	NORMAL_WRITE,     /* the packet could not be written */
	NUM_NORMAL,
};

struct stats {
	u64 packets; /* passed */
	u64 bytes;
	u64 foreign; /* marks that were ours to give, but were there */
	u64 redirected;
	u64 normal[8];
	u64 punts[64];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stats);
} stats SEC(".maps");

/* Where the options of a TCP header and IPv6 extension headers are walked. A power of two, so that a mask keeps an index inside. */
enum { OPTIONS_ROOM = 64 };

/* What the queue copies of a packet, from the IP header on: headerBytes in proxy/gateway.go. Of what is longer it judges no checksum. */
enum { SUM_ROOM = 256 };

struct scratch {
	u8 options[OPTIONS_ROOM];
	u32 at, stamps, edges, blocks; /* of options */
	u32 next, fragment;            /* of extension headers */
	u8 sum[SUM_ROOM];              /* a TCP segment, for its checksum */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* Where the segments of a direction go out (--fastpath redirect), by the kernel's answer for one of them. It holds until the kernel's next
 * tick: to ask for each segment takes a third of the whole program's time. */
struct way {
	s64 at; /* the clock as it was then */
	u32 ifindex;
	u32 flow; /* IPv4: the TOS; IPv6: traffic class and flow label as in the header */
	u16 mtu;
	u16 tag; /* the low half of the flow's; a slot does not get 65536 flows between two ticks */
	u8 smac[6];
	u8 dmac[6];
};

struct ways {
	struct way dir[2];
};

/* Read and written under the flow's lock. Mappable only because elements of such a map do not lie across cache lines. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct ways);
} ways SEC(".maps");

/* Interfaces that a segment may be sent out of, by index. Written by user space alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, u32);
	__type(value, u32);
} egress SEC(".maps");

/* The same for a look without a hash: an index stands at its low bits, 0 is none. Where two have these in common one of them is found in
 * egress alone. Elements of an array lie eight bytes apart. */
enum { NEAR_EGRESS = 1024 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, NEAR_EGRESS);
	__type(key, u32);
	__type(value, u64);
} near_egress SEC(".maps");

#endif
