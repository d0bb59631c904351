/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The data of the model: conntrack/fast.go, field for field. A test compares offsets and sizes with the Go types by the object's BTF.
 */
#ifndef HALFOPEN_MODEL_H
#define HALFOPEN_MODEL_H

#include "kernel.h"

struct fast_side {
	u32 end;
	u32 max_end;
	u32 max_ack;
	u32 max_win;
	u32 win;
	u32 ts_recent;
	u16 flags;
	u8 scale;
	u8 retrans;
};

struct fast_last {
	u32 seq;
	u32 ack;
	u32 end;
	u16 win;
	u8 dir;
	u8 kind;
	u32 retrans;
};

struct fast {
	s64 last_seen;
	s64 deadline;
	s64 timeout;
	struct fast_side side[2];
	struct fast_last last;
	u32 last_dir;
	u32 stalled;
	u32 stall; /* microseconds */
	u32 retransmits[2];
};

struct fast_rules {
	s64 timeout;
	s64 retransmitted;
	s64 unacknowledged;
	s64 zero_window;
	u8 check;
	u8 ack;
	u8 retransmits;
	u8 first;
	u16 mss[2];
};

/* conntrack.SideFlags, as far as the model reads them */
enum {
	SIDE_SYN = 1 << 1,
	SIDE_SACK = 1 << 5,
	SIDE_MAX_ACK = 1 << 6,
	SIDE_LIBERAL = 1 << 7,
	SIDE_PROGRESS = 1 << 9,
	SIDE_TIMESTAMP = 1 << 13,
	SIDE_UNACKED = 1 << 14,
};

/* conntrack.SeqCheck, ACKRule, and the bits of FastRules.First */
enum { SEQ_STRICT, SEQ_LIBERAL, SEQ_OFF, SEQ_KERNEL };
enum { ACK_LINUX, ACK_PF, ACK_RFC5961 };
enum { FAST_FIRST_DATA = 1 << 0, FAST_FIRST_ACK = 1 << 2 };

/* conntrack.Flags */
enum { FIN = 1 << 0, SYN = 1 << 1, RST = 1 << 2, ACK = 1 << 4, URG = 1 << 5 };

/* conntrack.KindACK plus one, as FastLast.Kind has it */
enum { KIND_ACK = 4 };

/* conntrack.FastPunt, in its order, and from 32 on the reasons that only the program has (reasons in stats.go) */
enum {
	FAST_PASSED,
	FAST_MALFORMED,
	FAST_FRAGMENT,
	FAST_SYN,
	FAST_RST,
	FAST_FIN,
	FAST_FLAGS,
	FAST_URGENT,
	FAST_EXPIRED,
	FAST_FIRST,
	FAST_TS_MISSING,
	FAST_TS_NULL,
	FAST_PAWS,
	FAST_HALF_DEAD,
	FAST_MSS_EXCEEDED,
	FAST_KEEPALIVE,
	FAST_ZERO_PROBE,
	FAST_WINDOW,
	FAST_ACK,
	FAST_SHRUNK,
	NUM_FAST_PUNTS,

	PUNT_FROZEN = 32, /* not armed, or a newer segment than the one that it was armed after took the queue */
	PUNT_BEAT,        /* the worker's heartbeat has stopped */
	PUNT_EPOCH,       /* armed before the worker's last epoch */
	PUNT_HEADER,      /* IPv4 options or IPv6 extension headers, which only the queue walks */
	PUNT_CHECKSUM,    /* the checksum is wrong */
	NUM_PUNTS,
};

/* conntrack.Segment, as far as the model reads it */
struct segment {
	u32 seq;
	u32 ack;
	u32 len;   /* of the payload */
	u32 bytes; /* of the IP packet */
	u32 flags; /* the nine control bits */
	u32 window;
	u32 urgent; /* the pointer, whatever URG says */
	u32 tsval;
	u32 sack; /* what it acknowledges at most, by its number or a SACK block's right edge */
	u32 stamped; /* it carries timestamps */
	u32 gso;
};

#endif
