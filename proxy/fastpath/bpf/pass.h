/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * conntrack/fast_pass.go, function by function: whoever changes one changes the other, and the differential test tells. Everything here
 * runs under the flow's lock, where the verifier allows neither a helper nor a function call.
 */
#ifndef HALFOPEN_PASS_H
#define HALFOPEN_PASS_H

#include "model.h"

#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))

enum {
	MAX_ACK_WINDOW = 66000, /* maxAckWindow */
	MAX_WINDOW = 1 << 30,   /* maxWindow */
	MAX_SKEW = 67035,       /* maxSkew */
	FAST_NEAR = NUM_FAST_PUNTS,
};

#define NEVER 0x7fffffffffffffffLL

/* Comparison modulo 2^32: conntrack.Seq. */
static __always_inline bool less(u32 a, u32 b) { return (s32)(a - b) < 0; }
static __always_inline bool less_eq(u32 a, u32 b) { return (s32)(a - b) <= 0; }

static __always_inline u32 end_of(const struct segment *s) { return s->seq + s->len; } /* without SYN and FIN, which do not pass */

static __always_inline u32 fast_shape(const struct segment *s)
{
	if (s->flags & SYN)
		return FAST_SYN;
	if (s->flags & RST)
		return FAST_RST;
	if (s->flags & FIN)
		return FAST_FIN;
	if (!(s->flags & ACK))
		return FAST_FLAGS;
	if (s->flags & URG || s->urgent)
		return FAST_URGENT;
	return FAST_PASSED;
}

/* With data only: the rest of Entry.repeats is punted. */
static __always_inline bool repeats(const struct fast_side *snd, const struct fast_side *rcv, const struct segment *s)
{
	return s->len > 0 && rcv->flags & SIDE_MAX_ACK && less_eq(end_of(s), snd->end) && less_eq(s->seq, rcv->max_ack);
}

static __always_inline u32 odd(const struct fast_side *snd, const struct fast_side *rcv, const struct fast_rules *r, u32 dir,
			       const struct segment *s)
{
	u32 most = r->mss[dir];

	if (s->stamped) {
		bool old = snd->flags & SIDE_TIMESTAMP && (s32)(s->tsval - snd->ts_recent) < 0;
		bool bare = s->len == 0 && snd->flags & SIDE_MAX_ACK && less_eq(s->ack, snd->max_ack);

		if (s->tsval == 0)
			return FAST_TS_NULL;
		if (old && !bare && !(snd->flags & SIDE_LIBERAL) && r->check != SEQ_OFF)
			return FAST_PAWS;
	} else if ((snd->flags & rcv->flags & (SIDE_SYN | SIDE_TIMESTAMP)) == (SIDE_SYN | SIDE_TIMESTAMP)) {
		return FAST_TS_MISSING;
	}
	if (repeats(snd, rcv, s) && snd->retrans + 1U >= r->retransmits)
		return FAST_HALF_DEAD;
	if (most != 0 && s->len > most && !s->gso)
		return FAST_MSS_EXCEEDED;
	if (s->len <= 1 && s->seq + 1 == snd->end)
		return FAST_KEEPALIVE;
	if (s->len == 1 && s->seq == snd->end && rcv->win == 0)
		return FAST_ZERO_PROBE;
	return FAST_PASSED;
}

static __always_inline u32 fits_strict(const struct fast_side *snd, const struct fast_side *rcv, const struct fast_rules *r,
				       const struct segment *s, u32 sack)
{
	u32 oldest = rcv->end - max(snd->max_win, MAX_ACK_WINDOW), newest = rcv->end;

	if (r->ack == ACK_PF) {
		oldest = rcv->end - min((u32)MAX_SKEW << (snd->scale & 31), MAX_WINDOW);
		newest = rcv->end + MAX_SKEW;
	} else if (r->ack == ACK_RFC5961 && snd->flags & SIDE_MAX_ACK) {
		oldest = snd->max_ack - snd->max_win;
	}
	if (!less_eq(s->seq, snd->max_end) || !less_eq(snd->end - rcv->max_win, end_of(s)))
		return FAST_WINDOW;
	if (!less_eq(sack, newest) || !less_eq(oldest, sack))
		return FAST_ACK;
	return FAST_PASSED;
}

static __always_inline u32 fits_kernel(const struct fast_side *snd, const struct fast_side *rcv, const struct segment *s, u32 sack)
{
	u32 end = end_of(s);
	bool ack_fits = less(sack, rcv->end + 1);
	bool ack_recent = less(rcv->end - max(snd->max_win, MAX_ACK_WINDOW) - 1, sack);
	bool in_receive = less(snd->end - rcv->max_win - 1, end);

	if (!less(s->seq, snd->max_end + 1)) {
		if (in_receive && ack_recent && ack_fits && end - snd->max_end + 1 <= rcv->max_win)
			return FAST_NEAR;
		return FAST_WINDOW;
	}
	if (!in_receive)
		return FAST_WINDOW;
	if (!ack_fits || !ack_recent)
		return FAST_ACK;
	return FAST_PASSED;
}

static __always_inline u32 fits(const struct fast_side *snd, const struct fast_side *rcv, const struct fast_rules *r,
				const struct segment *s, u32 sack)
{
	if (r->check == SEQ_STRICT)
		return fits_strict(snd, rcv, r, s, sack);
	if (r->check == SEQ_KERNEL)
		return fits_kernel(snd, rcv, s, sack);
	return FAST_PASSED;
}

static __always_inline bool shrinks(const struct fast_side *snd, const struct segment *s, u32 win)
{
	if (snd->flags & SIDE_LIBERAL || !(snd->flags & SIDE_MAX_ACK) || less(s->ack, snd->max_ack))
		return false;
	return less(s->ack + win + (1U << (snd->scale & 31)) - 1, snd->max_ack + snd->win);
}

static __always_inline void stamp(struct fast_side *snd, const struct fast_side *rcv, const struct segment *s)
{
	bool first, next;

	if (!s->stamped)
		return;
	first = !(snd->flags & (SIDE_TIMESTAMP | SIDE_SYN));
	next = snd->flags & SIDE_TIMESTAMP && rcv->flags & SIDE_MAX_ACK && less_eq(s->seq, rcv->max_ack) && (s32)(s->tsval - snd->ts_recent) >= 0;
	if (first || next) {
		snd->ts_recent = s->tsval;
		snd->flags |= SIDE_TIMESTAMP;
	}
}

static __always_inline void acked(struct fast_side *snd, u32 ack)
{
	if (!(snd->flags & SIDE_MAX_ACK)) {
		snd->max_ack = ack;
		snd->flags |= SIDE_MAX_ACK;
	} else if (less(snd->max_ack, ack)) {
		snd->max_ack = ack;
		snd->flags |= SIDE_PROGRESS;
	}
}

static __always_inline void follow(struct fast_side *snd, struct fast_side *rcv, const struct segment *s, u32 sack, u32 win)
{
	u32 end = end_of(s), edge = sack + max(win, 1U), wide = win + (u32)max((s32)(sack - s->ack), 0);

	if (less(snd->max_end, end)) {
		rcv->max_win = min(rcv->max_win + (end - snd->max_end), MAX_WINDOW);
		snd->max_end = end;
	}
	if (less(snd->end, end)) {
		snd->end = end;
		snd->flags |= SIDE_PROGRESS;
	}
	snd->win = win;
	if (less(rcv->end, s->ack))
		rcv->end = s->ack;
	wide = min(wide, MAX_WINDOW);
	snd->max_win = max(snd->max_win, wide);
	acked(snd, s->ack);
	if (less(rcv->max_end, edge))
		rcv->max_end = edge;
}

static __always_inline void follow_kernel(struct fast_side *snd, struct fast_side *rcv, const struct segment *s, u32 sack, u32 win)
{
	u32 end = end_of(s), edge = sack + win, wide = win + (sack - s->ack);

	snd->win = win;
	wide = min(wide, MAX_WINDOW);
	snd->max_win = max(snd->max_win, wide);
	if (less(snd->end, end)) {
		snd->end = end;
		snd->flags |= SIDE_PROGRESS | SIDE_UNACKED;
	}
	acked(snd, s->ack);
	if (less(snd->max_end, end))
		rcv->max_win = min(rcv->max_win + (end - snd->max_end), MAX_WINDOW);
	if (less(rcv->max_end - 1, edge)) {
		rcv->max_end = edge;
		if (win == 0)
			rcv->max_end++;
	}
	if (s->ack == rcv->end)
		rcv->flags &= ~SIDE_UNACKED;
}

static __always_inline void took(struct fast_last *l, u32 dir, const struct segment *s)
{
	u32 end = end_of(s);

	l->kind = KIND_ACK;
	if (l->dir != dir || l->seq != s->seq || l->ack != s->ack || l->end != end || l->win != s->window) {
		l->seq = s->seq;
		l->ack = s->ack;
		l->end = end;
		l->win = s->window;
		l->dir = dir;
		l->retrans = 0;
		return;
	}
	if (l->retrans < 255)
		l->retrans++;
}

static __always_inline void measure(struct fast *f, const struct fast_side *snd, const struct fast_side *rcv, s64 now, u32 dir,
				    const struct segment *s)
{
	bool waits = false;
	u64 stall;

	if (s->len > 0 && less(s->seq, snd->end)) {
		if (f->retransmits[dir] != ~0U)
			f->retransmits[dir]++;
		waits = !(rcv->flags & SIDE_MAX_ACK) || less(rcv->max_ack, end_of(s));
	}
	if (likely(!waits && !f->stalled))
		return;
	stall = f->stall + (u64)(now - f->last_seen) / 1000;
	f->stall = min(stall, (u64)~0U);
	if (waits)
		f->stalled = 1;
	else if (less(snd->end, end_of(s)) || !(snd->flags & SIDE_MAX_ACK) || less(snd->max_ack, s->ack))
		f->stalled = 0;
}

static __always_inline void move(struct fast *f, struct fast_side *snd, struct fast_side *rcv, const struct fast_rules *r, u32 dir,
				 const struct segment *s, u32 sack, u32 win, bool lenient)
{
	rcv->retrans = 0;
	if (repeats(snd, rcv, s)) {
		if (snd->retrans < 255)
			snd->retrans++;
	} else if (less(snd->end, end_of(s))) {
		snd->retrans = 0;
	}
	stamp(snd, rcv, s);
	if (r->check != SEQ_KERNEL) {
		follow(snd, rcv, s, sack, win);
	} else if (lenient) {
		f->last.dir = dir;
		f->last.kind = KIND_ACK;
	} else {
		follow_kernel(snd, rcv, s, sack, win);
		took(&f->last, dir, s);
	}
}

static __always_inline bool unacknowledged(const struct fast_side *s, const struct fast_side *other)
{
	return other->flags & SIDE_MAX_ACK && less(other->max_ack, s->end);
}

/* capped returns what a segment from dir, which is f's last, sets the timer to. */
static __always_inline s64 capped(const struct fast *f, const struct fast_side *snd, const struct fast_side *rcv, const struct fast_rules *r)
{
	s64 d = r->timeout;
	u32 retrans;
	bool unacked, closed;

	if (!(r->retransmitted | r->unacknowledged | r->zero_window))
		return d;
	if (r->check == SEQ_KERNEL) {
		retrans = f->last.retrans;
		unacked = (snd->flags | rcv->flags) & SIDE_UNACKED;
		closed = f->last.win == 0;
	} else {
		retrans = max(snd->retrans, rcv->retrans);
		unacked = unacknowledged(snd, rcv) || unacknowledged(rcv, snd);
		closed = snd->win == 0;
	}
	if (r->retransmitted > 0 && retrans >= r->retransmits)
		d = min(d, r->retransmitted);
	if (r->unacknowledged > 0 && unacked)
		d = min(d, r->unacknowledged);
	if (r->zero_window > 0 && closed)
		d = min(d, r->zero_window);
	return d;
}

/* pass is Fast.Pass for a segment that could be read. */
static __always_inline u32 pass(struct fast *f, const struct fast_rules *r, s64 now, u32 dir, const struct segment *s)
{
	struct fast_side *snd = &f->side[dir], *rcv = &f->side[!dir];
	u32 sack, win, why;
	bool lenient = false;

	hide(snd); /* else the compiler works out both anew for each field */
	hide(rcv);
	now = max(now, f->last_seen);
	why = fast_shape(s);
	if (why)
		return why;
	if (f->deadline <= now)
		return FAST_EXPIRED;
	if (r->first & ((s->len > 0 ? FAST_FIRST_DATA : FAST_FIRST_ACK) << dir))
		return FAST_FIRST;
	why = odd(snd, rcv, r, dir, s);
	if (why)
		return why;
	sack = rcv->flags & SIDE_SACK ? s->sack : s->ack;
	win = s->window << (snd->scale & 31);
	why = fits(snd, rcv, r, s, sack);
	if (why) {
		if (r->check != SEQ_KERNEL || !(snd->flags & SIDE_LIBERAL) || why == FAST_NEAR)
			return why == FAST_NEAR ? FAST_WINDOW : why;
		lenient = true;
	}
	if (shrinks(snd, s, win))
		return FAST_SHRUNK;
	measure(f, snd, rcv, now, dir, s);
	move(f, snd, rcv, r, dir, s, sack, win, lenient);
	f->last_seen = now;
	f->last_dir = dir;
	f->timeout = capped(f, snd, rcv, r);
	f->deadline = f->timeout > 0 && now > NEVER - f->timeout ? NEVER : now + f->timeout;
	return FAST_PASSED;
}

#endif
