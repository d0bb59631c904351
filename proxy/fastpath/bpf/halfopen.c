/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The fast path: a tc program at the ingress of a gateway's interfaces. It knows settled connections; a segment of one that the engine
 * would call plain and in-window is checked, counted, tracked here, and marked so that the rules let it past the queue. Everything else
 * of such a connection freezes it and takes the queue, with a number in its mark. All other packets are left alone. See doc.go.
 */
#include "parse.h"
#include "pass.h"
#include "redirect.h"
#include "sum.h"

char _license[] SEC("license") = "Dual MIT/GPL";

/* A worker that did not turn round for so long is stopped or dead: nobody would decide what takes the queue. */
#define BEAT_LIMIT 1000000000LL

static __always_inline void set_mark(struct __sk_buff *skb, u32 value)
{
	skb->mark = (skb->mark & ~mark_mask) | value << mark_shift;
}

/* clock reads CLOCK_MONOTONIC as of the kernel's last tick: idle times and timers are longer than the 1 to 10 ms between two, and the
 * exact clock would take a quarter of the whole program's time. */
static __always_inline s64 clock(const struct __sk_buff *skb)
{
	if (test)
		return (u64)skb->cb[1] << 32 | skb->cb[0];
	return bpf_ktime_get_coarse_ns();
}

/* standing says whether the flow is armed, and takes over what it is armed with. Under the lock. */
static __always_inline u32 standing(struct flow *f, struct arm *a, const struct worker *w, s64 now)
{
	u64 armed = READ_ONCE(a->armed);

	if (armed == 0 || (u32)armed != (u32)f->punt)
		return PUNT_FROZEN;
	if (READ_ONCE(a->epoch) != READ_ONCE(w->epoch))
		return PUNT_EPOCH;
	if (now - READ_ONCE(w->beat) > BEAT_LIMIT)
		return PUNT_BEAT;
	if (f->loaded != armed) {
		/* An atomic exchange is a full barrier: what was written before armed is seen from here on. Where the state was taken
		 * over by another processor, the lock's hand-over does the same. */
		__sync_lock_test_and_set(&f->loaded, armed);
		f->state = a->start;
	}
	return FAST_PASSED;
}

/* program is the whole of it, for packets whose link header has link bytes. */
static __always_inline int program(struct __sk_buff *skb, u32 link)
{
	struct layout l = { .network = link };
	struct segment s = {};
	struct key k;
	struct recall r = {};
	struct ways *both;
	struct place *at;
	struct flow *f;
	struct arm *a;
	struct worker *w;
	struct stats *count;
	u32 mark = skb->mark & mark_mask, zero = 0, slot, owner, dir, why;
	u64 punt = 0;
	bool gone;

	if (unlikely(mark)) {
		if (mark >> mark_shift == MARK_INJECTED)
			return TC_ACT_UNSPEC;
		set_mark(skb, 0); /* nobody but this program lets a packet past the queue */
		count = bpf_map_lookup_elem(&stats, &zero);
		if (count)
			count->foreign++;
	}
	/* A packet with a VLAN tag in its metadata belongs to the VLAN's interface, where it comes again; number 0 is no VLAN. */
	if (skb->pkt_type != PACKET_HOST || (skb->vlan_present && skb->vlan_tci & 0xfff))
		return TC_ACT_UNSPEC;

	if (skb->protocol == bswap16(ETH_P_IP)) {
		l.family = AF_INET;
		reach(skb, link + sizeof(struct iphdr) + sizeof(struct tcphdr));
		if (!network4(skb, &l, &k))
			return TC_ACT_UNSPEC;
	} else if (skb->protocol == bswap16(ETH_P_IPV6)) {
		l.family = AF_INET6;
		reach(skb, link + sizeof(struct ipv6hdr) + sizeof(struct tcphdr));
		if (!network6(skb, &l, &k))
			return TC_ACT_UNSPEC;
	} else {
		return TC_ACT_UNSPEC;
	}
	if (likely(!l.why)) {
		/* the fixed place, which the compiler and the verifier know */
		l.tcp = link + (l.family == AF_INET ? sizeof(struct iphdr) : sizeof(struct ipv6hdr));
		if (!ports(skb, &l, &k))
			return TC_ACT_UNSPEC;
	} else if (l.bytes < l.tcp - l.network + 4 || bpf_skb_load_bytes(skb, l.tcp, &k.sport, 4)) {
		return TC_ACT_UNSPEC;
	}
	k.ifindex = skb->ifindex;
	at = bpf_map_lookup_elem(&keys, &k);
	if (!at)
		return TC_ACT_UNSPEC;

	slot = at->slot;
	dir = at->dir & 1;
	a = bpf_map_lookup_elem(&arms, &slot);
	f = bpf_map_lookup_elem(&flows, &slot);
	count = bpf_map_lookup_elem(&stats, &zero);
	if (!a || !f || !count)
		return TC_ACT_UNSPEC;
	if (redirects && link) {
		both = bpf_map_lookup_elem(&ways, &slot);
		if (!both)
			return TC_ACT_UNSPEC;
		r.last = &both->dir[dir];
	}
	owner = a->worker;
	w = bpf_map_lookup_elem(&workers, &owner);
	if (!w)
		return TC_ACT_UNSPEC;
	if (likely(!l.why))
		l.why = transport(skb, &l, &s);
	if (sums && !l.why && !settled(skb)) {
		u32 length = l.bytes - (l.tcp - l.network);

		if (sum_bad(skb, l.tcp, length, fold32(pseudo(&k, length)), l.bytes))
			l.why = PUNT_CHECKSUM;
	}
	s.gso = skb->gso_size != 0;
	r.f = f;
	r.tag = at->tag;
	r.now = clock(skb);

	bpf_spin_lock(&f->lock);
	gone = READ_ONCE(a->tag) != r.tag;
	why = 0;
	if (!gone) {
		r.busy = f->state.last_seen == r.now;
		why = standing(f, a, w, r.now);
		if (!why)
			why = l.why;
		if (!why)
			why = pass(&f->state, &a->rules, r.now, dir, &s);
		if (!why) {
			f->packets[dir]++;
			f->bytes[dir] += s.bytes;
			if (redirects && link && r.busy)
				r.way = *r.last;
		} else {
			punt = ++f->punt;
		}
	}
	bpf_spin_unlock(&f->lock);

	if (test)
		skb->cb[2] = gone ? ~0U : why;
	if (gone)
		return TC_ACT_UNSPEC;
	if (why) {
		hide(why);
		count->punts[why & 63]++;
		set_mark(skb, MARK_PUNT + (u32)(punt % mark_span));
		return TC_ACT_UNSPEC;
	}
	count->packets++;
	count->bytes += s.bytes;
	skb->mark |= MARK_FAST << mark_shift; /* its bits are zero: see above */
	if (redirects && link)
		return redirect(skb, &l, &k, l.bytes - (l.tcp - l.network) - s.len, a->flags, &r, count);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int halfopen_l2(struct __sk_buff *skb) { return program(skb, ETH_LEN); }

SEC("tc")
int halfopen_l3(struct __sk_buff *skb) { return program(skb, 0); }
