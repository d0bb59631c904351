package outcome_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"halfopen/proxy/review/outcome"
)

// opens is a connection that has stood since 20 ms, with a question and its answer.
const opens = `
+0      c > s S  0:0(0) win 64240
+10ms   s > c S. 0:0(0) ack 1 win 65160
+10ms   c > s .  1:1(0) ack 1
+80ms   c > s P. 1:101(100) ack 1
+40ms   s > c P. 1:11(10) ack 101
`

// closes ends it.
const closes = `
+1s     c > s F. 101:101(0) ack 11
+10ms   s > c F. 11:11(0) ack 102
+10ms   c > s .  102:102(0) ack 12
+5m     sweep
`

// redials is a second connection on the same ports, which answers with the first one's numbers or not at all.
const redials = `
+25s    c > s S  900000:900000(0) win 64240
`

var cases = []struct {
	name, policy, script string
	want                 []string
}{
	{"healthy", "preset: observe", opens + closes, []string{"1 connected connect=0.02 response=0.04 by=client-fin"}},
	{"healthy, the server closes", "preset: observe", opens + `
+1s     s > c F. 11:11(0) ack 101
+10ms   c > s F. 101:101(0) ack 12
+10ms   s > c .  12:12(0) ack 102
+5m     sweep`, []string{"1 connected connect=0.02 response=0.04 by=server-fin"}},
	{"lives", "preset: observe", opens, []string{"1 unfinished connected connect=0.02 response=0.04"}},
	{"forgotten, and gone", "{preset: observe, timeouts: {established: 1m}}", opens + "+2m sweep", []string{"1 connected connect=0.02 response=0.04 by=idle"}},
	{"older than the gateway", "{preset: observe, adopt: 1h}", "adopt\n+0 c > s P. 1:101(100) ack 1\n+10ms s > c . 1:1(0) ack 101\n", []string{"1 unfinished adopted connected"}},
	{"reset by the client", "preset: observe", opens + "+1s c > s R 101:101(0)\n+5m sweep", []string{"1 connected connect=0.02 response=0.04 by=client-rst"}},
	{"reset by the server", "preset: observe", opens + "+1s s > c R 11:11(0)\n+5m sweep", []string{"1 connected connect=0.02 response=0.04 by=server-rst"}},

	{"connected with the third SYN", "preset: observe", `
+0      c > s S  0:0(0) win 64240
+1s     c > s S  0:0(0) win 64240
+2s     c > s S  0:0(0) win 64240
+10ms   s > c S. 0:0(0) ack 1 win 65160
+10ms   c > s .  1:1(0) ack 1`, []string{"1 unfinished connected connect=3.02 again=2"}},
	{"unanswered", "preset: observe", "+0 c > s S 0:0(0) win 64240\n+1s c > s S 0:0(0) win 64240\n+10m sweep", []string{"1 again=1 gave-up by=idle"}},
	{"refused, and dialled again until it answers", "preset: observe", `
+0      c > s S  0:0(0) win 64240
+10ms   s > c R. 0:0(0) ack 1
+5s     c2 > s2 S  0:0(0) win 64240
+10ms   s2 > c2 R. 0:0(0) ack 1
+5s     c3 > s3 S  0:0(0) win 64240
+10ms   s3 > c3 S. 0:0(0) ack 1 win 65160
+10ms   c3 > s3 .  1:1(0) ack 1
+10ms   c3 > s3 P. 1:101(100) ack 1`, []string{"1 retries=2 by=server-rst", "2 retries=1", "3 unfinished connected connect=10.04"}},
	{"refused, and the next is long after", "preset: observe", `
+0      c > s S  0:0(0) win 64240
+10ms   s > c R. 0:0(0) ack 1
+31s    c2 > s2 S  0:0(0) win 64240
+10ms   s2 > c2 S. 0:0(0) ack 1 win 65160
+10ms   c2 > s2 .  1:1(0) ack 1`, []string{"1 gave-up by=server-rst", "2 unfinished connected connect=0.02"}},
	{"refused, and another client connects", "preset: observe", `
+0      c > s S  0:0(0) win 64240
+10ms   s > c R. 0:0(0) ack 1
+5s     o > so S  0:0(0) win 64240
+10ms   so > o S. 0:0(0) ack 1 win 65160
+10ms   o > so .  1:1(0) ack 1
+1m     o > so P. 1:101(100) ack 1`, []string{"1 gave-up by=server-rst", "2 unfinished connected connect=0.02"}},
	{"one fails beside others", "preset: observe", `
+0      c > s S  0:0(0) win 64240
+10ms   c2 > s2 S  0:0(0) win 64240
+10ms   s2 > c2 S. 0:0(0) ack 1 win 65160
+10ms   c2 > s2 .  1:1(0) ack 1
+1s     c > s S  0:0(0) win 64240
+2s     c > s S  0:0(0) win 64240
+10m    sweep`, []string{"1 again=2 gave-up by=idle", "2 unfinished connected connect=0.02"}},

	{"by day the gateway answers, and the client gives up", "{preset: observe, timeouts: {established: 1h}, on: {syn-established: {packet: drop, reply: ack-tracked}}}", opens + redials + `
+1s     c > s S  900000:900000(0) win 64240
+2s     c > s S  900000:900000(0) win 64240
+2h     sweep`, []string{"1 connected connect=0.02 response=0.04 by=idle", "0 met=1 again=2 gave-up acts=3 drops=3 challenged"}},
	{"by day the gateway answers, and the client's RST heals it", "{preset: observe, timeouts: {established: 1h}, on: {syn-established: {packet: drop, reply: ack-tracked}}}", opens + redials + `
+10ms   c > s R  101:101(0)
+1s     c > s S  900000:900000(0) win 64240
+10ms   s > c S. 5000:5000(0) ack 900001 win 65160
+10ms   c > s .  900001:900001(0) ack 5001
+10ms   c > s P. 900001:900101(100) ack 5001`, []string{"1 connected connect=0.02 response=0.04 by=client-rst",
		"2 unfinished connected connect=1.03 again=1 acts=1 drops=1 recovered recovery=1.03 challenged challenge-rst challenge=1.03"}},
	{"by day the client takes another port", "{preset: observe, timeouts: {established: 1h}, on: {syn-established: {packet: drop, reply: ack-tracked}}}", opens + redials + `
+3s     c2 > s2 S  0:0(0) win 64240
+10ms   s2 > c2 S. 0:0(0) ack 1 win 65160
+10ms   c2 > s2 .  1:1(0) ack 1
+10ms   c2 > s2 P. 1:101(100) ack 1
+1h     sweep`, []string{"1 connected connect=0.02 response=0.04 by=idle", "0 met=1 retries=1 acts=1 drops=1 recovered recovery=3.02 challenged challenge=3.02",
		"2 connected connect=3.02 by=idle"}},
	{"forwarded instead, and the server proves it", "{preset: observe, timeouts: {established: 1h}, on: {syn-established: {packet: forward, state: annotate}}}", opens + redials + `
+10ms   s > c S. 5000:5000(0) ack 900001 win 65160
+10ms   c > s .  900001:900001(0) ack 5001
+10ms   c > s P. 900001:900101(100) ack 5001`, []string{"1 connected connect=0.02 response=0.04 by=replaced", "2 unfinished connected connect=0.02"}},
	{"forwarded instead, and the second SYN is proven", "{preset: observe, timeouts: {established: 1h}, on: {syn-established: {packet: forward, state: annotate}}}", opens + redials + `
+1s     c > s S  900000:900000(0) win 64240
+10ms   s > c S. 5000:5000(0) ack 900001 win 65160
+10ms   c > s .  900001:900001(0) ack 5001`, []string{"1 connected connect=0.02 response=0.04 by=replaced", "2 unfinished connected connect=1.02 again=1"}},
	{"the gateway makes room", "{preset: observe, timeouts: {established: 1h}, on: {syn-established: {packet: forward, peer: rst-tracked, state: replace}}}", opens + redials + `
+10ms   s > c S. 5000:5000(0) ack 900001 win 65160
+10ms   c > s .  900001:900001(0) ack 5001
+10ms   c > s P. 900001:900101(100) ack 5001`, []string{"1 connected connect=0.02 response=0.04 by=gateway-rst acts=1 resets=1 recovered recovery=0.02", "2 unfinished connected connect=0.02"}},
	{"by night the server answers, and the client gives up", "{preset: observe, timeouts: {established: 1m}}", opens + `
+8h     c > s S  900000:900000(0) win 64240
+10ms   s > c .  11:11(0) ack 101
+1s     c > s S  900000:900000(0) win 64240
+10ms   s > c .  11:11(0) ack 101
+10m    sweep`, []string{"1 connected connect=0.02 response=0.04 by=idle", "2 again=1 gave-up by=idle challenged"}},
	{"by night the gateway drops the answer", "{preset: observe, timeouts: {established: 1m}, on: {ack-for-syn: drop}}", opens + `
+8h     c > s S  900000:900000(0) win 64240
+10ms   s > c .  11:11(0) ack 101
+10m    sweep`, []string{"1 connected connect=0.02 response=0.04 by=idle", "2 gave-up by=idle acts=1 drops=1 challenged"}},
	{"by night the client's RST heals it", "{preset: observe, timeouts: {established: 1m}}", opens + `
+8h     c > s S  900000:900000(0) win 64240
+10ms   s > c .  11:11(0) ack 101
+10ms   c > s R  101:101(0)
+980ms  c > s S  900000:900000(0) win 64240
+10ms   s > c S. 5000:5000(0) ack 900001 win 65160
+10ms   c > s .  900001:900001(0) ack 5001
+10ms   c > s P. 900001:900101(100) ack 5001`, []string{"1 connected connect=0.02 response=0.04 by=idle", "2 continued by=client-rst",
		"3 unfinished connected connect=1.02 again=1 challenged challenge-rst challenge=1.01"}},

	{"dropped for want of a rule", "{preset: observe, on: {new: drop}}", "+0 c > s S 0:0(0) win 64240\n+1s c > s S 0:0(0) win 64240\n+1m c2 > s2 S 0:0(0) win 64240",
		[]string{"0 again=1 gave-up acts=2 drops=2", "0 unfinished acts=1 drops=1"}},
	{"refused by the gateway", "{preset: observe, on: {new: {packet: drop, reply: rst}}}", "+0 c > s S 0:0(0) win 64240\n+1m sweep", []string{"0 gave-up acts=1 drops=1 resets=1"}},
	{"denied", "{preset: observe, on: {new: {packet: drop, state: deny}, denied: drop}, timeouts: {denied: 1m}}", "+0 c > s S 0:0(0) win 64240\n+1s c > s S 0:0(0) win 64240\n+5m sweep",
		[]string{"1 again=1 gave-up by=denied acts=2 drops=2"}},
	{"denied in its middle", "{preset: observe, on: {seq-above: {packet: drop, state: deny}, denied: drop}, timeouts: {denied: 1m}}", opens + "+1s c > s P. 90000000:90000100(100) ack 11\n+1s c > s P. 101:201(100) ack 11\n+5m sweep",
		[]string{"1 connected connect=0.02 response=0.04 by=deleted acts=1 drops=1", "2 adopted by=denied acts=1 drops=1"}},
	{"a drop that does no harm", "{preset: observe, on: {seq-above: drop}}", opens + "+1s c > s P. 90000000:90000100(100) ack 11" + closes,
		[]string{"1 connected connect=0.02 response=0.04 by=client-fin acts=1 drops=1 recovered"}},
	{"a drop that was the last", "{preset: observe, on: {seq-above: drop}}", opens + "+1s c > s P. 90000000:90000100(100) ack 11\n+200h sweep",
		[]string{"1 connected connect=0.02 response=0.04 by=idle acts=1 drops=1"}},
	{"reset by the gateway, and dialled again", "{preset: observe, on: {seq-above: {packet: drop, reply: rst-tracked, peer: rst-tracked, state: delete}}}", opens + `
+1s     c > s P. 90000000:90000100(100) ack 11
+2s     c2 > s2 S  0:0(0) win 64240
+10ms   s2 > c2 S. 0:0(0) ack 1 win 65160
+10ms   c2 > s2 .  1:1(0) ack 1
+10ms   c2 > s2 P. 1:101(100) ack 1`, []string{"1 connected connect=0.02 response=0.04 by=gateway-rst acts=1 drops=1 resets=2 recovered recovery=2.02", "2 unfinished connected connect=0.02"}},
	{"a drop without a record of its own", "{preset: observe, log: {rate: {seq-above: 0}}, on: {seq-above: drop}}", opens + "+1s c > s P. 90000000:90000100(100) ack 11" + closes,
		[]string{"1 connected connect=0.02 response=0.04 by=client-fin acts=1 recovered"}},
	{"a drop without a record, and one after the end", "{preset: observe, timeouts: {established: 1m}, log: {rate: {seq-above: 0}}, on: {seq-above: drop, late-after-expiry: drop}}",
		opens + "+1s c > s P. 90000000:90000100(100) ack 11\n+2m c > s P. 101:201(100) ack 11",
		[]string{"1 connected connect=0.02 response=0.04 by=idle acts=2 drops=1 still-there=client after=61"}},
	{"RSTs without a record of their own", "{preset: observe, log: {rate: {seq-above: 0}}, on: {seq-above: {packet: drop, reply: rst-tracked, peer: rst-tracked, state: delete}}}",
		opens + "+1s c > s P. 90000000:90000100(100) ack 11\n+1m sweep", []string{"1 connected connect=0.02 response=0.04 by=gateway-rst acts=1 resets=2"}},
	{"reset when its time was over", "{preset: observe, timeouts: {established: 1m}, on: {idle-expired: {reply: rst-tracked, peer: rst-tracked}}}", opens + "+2m sweep",
		[]string{"1 connected connect=0.02 response=0.04 by=gateway-rst acts=1 resets=2"}},

	{"still there: the client", "{preset: observe, timeouts: {established: 1m}, on: {late-after-expiry: drop}}", opens + "+2m c > s P. 101:201(100) ack 11\n+200ms c > s P. 101:201(100) ack 11",
		[]string{"1 connected connect=0.02 response=0.04 by=idle acts=2 drops=2 still-there=client after=60"}},
	{"still there: both", "{preset: observe, timeouts: {established: 1m}, on: {late-after-expiry: {packet: drop, reply: rst}}}", opens + "+2m c > s P. 101:201(100) ack 11\n+1s s > c P. 11:21(10) ack 101",
		[]string{"1 connected connect=0.02 response=0.04 by=idle acts=2 drops=2 resets=2 still-there=both after=60"}},
	{"still there, and taken up", "{preset: observe, timeouts: {established: 1m}, on: {late-after-expiry: {packet: forward, state: create-liberal}}}", opens + "+2m s > c P. 11:21(10) ack 101",
		[]string{"1 connected connect=0.02 response=0.04 by=idle still-there=server after=60", "2 unfinished adopted connected"}},
	{"cut off, and dialled again", "{preset: observe, timeouts: {established: 1m}, on: {late-after-expiry: {packet: drop, reply: rst}}}", opens + `
+2m     c > s P. 101:201(100) ack 11
+1s     c2 > s2 S  0:0(0) win 64240
+10ms   s2 > c2 S. 0:0(0) ack 1 win 65160
+10ms   c2 > s2 .  1:1(0) ack 1
+10ms   c2 > s2 P. 1:101(100) ack 1`,
		[]string{"1 connected connect=0.02 response=0.04 by=idle acts=1 drops=1 resets=1 recovered recovery=1.02 still-there=client after=60", "2 unfinished connected connect=0.02"}},
	{"held open: a keepalive", "{preset: observe, timeouts: {established: 1m}, on: {late-after-expiry: drop}}", opens + "+2m c > s . 100:101(1) ack 11",
		[]string{"1 connected connect=0.02 response=0.04 by=idle acts=1 drops=1 held-open"}},
	{"a FIN alone is a client that leaves", "{preset: observe, timeouts: {established: 1m}, on: {late-after-expiry: drop}}", opens + "+2m c > s F. 101:101(0) ack 11\n+1s c > s R 102:102(0)",
		[]string{"1 connected connect=0.02 response=0.04 by=idle acts=2 drops=2"}},
	{"a segment after the tombstone was lost", "{preset: observe, timeouts: {established: 1m}, limits: {tombstones: 0}, on: {data-no-state: drop}}", opens + "+2m c > s P. 101:201(100) ack 11",
		[]string{"1 connected connect=0.02 response=0.04 by=idle acts=1 drops=1 still-there=client after=60"}},
	{"a FIN after the tombstone was lost", "{preset: observe, timeouts: {established: 1m}, limits: {tombstones: 0}, on: {fin-no-state: drop}}", opens + "+2m s > c F. 11:11(0) ack 101",
		[]string{"1 connected connect=0.02 response=0.04 by=idle acts=1 drops=1"}},
	{"an ACK after the tombstone was lost", "{preset: observe, timeouts: {established: 1m}, limits: {tombstones: 0}, on: {ack-no-state: {packet: drop, reply: rst}}}", opens + "+2m s > c . 11:11(0) ack 101",
		[]string{"1 connected connect=0.02 response=0.04 by=idle acts=1 drops=1 resets=1 held-open"}},
}

func TestOutcomes(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := briefs(read(t, outcome.Options{}, logOf(t, c.policy, c.script)))
			if !slices.Equal(got, c.want) {
				t.Errorf("\n got %q\nwant %q", got, c.want)
			}
		})
	}
}

// A log with a record of each segment tells the same outcomes as one that counts the plain ones, as it must be where a fast path keeps these
// to itself. Of what lives at the log's end the response is told by a count's record only.
func TestEverySegmentRecorded(t *testing.T) {
	response := regexp.MustCompile(` response=\S+`)
	for i, c := range cases {
		if i%breadth != 0 {
			continue
		}
		got := briefs(read(t, outcome.Options{}, logOf(t, c.policy, c.script, "log.detail=packet")))
		want := slices.Clone(c.want)
		for i := range want {
			if strings.Contains(want[i], "unfinished") {
				want[i] = response.ReplaceAllString(want[i], "")
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, want)
		}
	}
}
