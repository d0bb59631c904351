package conntrack

import "testing"

// kernelConversations are what Linux does and the general machine does not. That Linux does it is shown by the oracle test.
func kernelConversations() []conversation {
	return []conversation{
		{name: "life and death", text: open3 + `
			> P. 1+100 ack 1    => in-window ESTABLISHED
			< . 1 ack 101       => in-window ESTABLISHED
			> F. 101 ack 1      => fin FIN_WAIT
			< . 1 ack 102       => in-window CLOSE_WAIT
			< F. 1 ack 102      => fin LAST_ACK
			> . 102 ack 2       => in-window TIME_WAIT
			> S 70000           => syn-time-wait SYN_SENT`},
		{name: "an ACK of anything follows a FIN", text: open3 + `
			> F. 1 ack 1        => fin FIN_WAIT
			> . 2 ack 1         => in-window CLOSE_WAIT`},
		{name: "its own FIN again is the other's", text: open3 + `
			> F. 1 ack 1        => fin FIN_WAIT
			> F. 1 ack 1        => fin-retransmit LAST_ACK`},
		{name: "a lower SYN changes nothing, and its handshake fails", text: `
			> S 500000          => new SYN_SENT
			> S 1000            => syn-new-isn-lower SYN_SENT
			< S. 0 ack 1001     => ack-below SYN_SENT
			> . 1001 ack 1      => handshake-bad-ack SYN_SENT`},
		{name: "a higher SYN is the one that counts", text: `
			> S 1000            => new SYN_SENT
			> S 500000          => syn-new-isn SYN_SENT
			< S. 0 ack 500001   => syn-ack SYN_RECV
			> . 500001 ack 1    => handshake ESTABLISHED`},
		{name: "a SYN/ACK may acknowledge too little, not too much", text: `
			> S 0               => new SYN_SENT
			< S. 0 ack 2        => ack-above SYN_SENT
			< S. 0 ack -65999   => synack-bad-ack-low SYN_RECV !track`},
		{name: "far too little is ignored", text: `
			> S 0               => new SYN_SENT
			< S. 0 ack -66000   => ack-below SYN_SENT`},
		{name: "before the SYN/ACK", text: `
			> S 0               => new SYN_SENT
			> . 1 ack 1         => handshake-one-sided SYN_SENT
			> . 1+10 ack 1      => data-before-handshake SYN_SENT
			> F. 1 ack 1        => fin-out-of-window SYN_SENT
			> S. 0 ack 1        => synack-wrong-direction SYN_SENT
			< F. 1 ack 1        => fin-out-of-window SYN_SENT
			< . 700 ack 901     => ack-for-syn SYN_SENT
			> R 901             => rst-after-challenge CLOSE`},
		{name: "a RST before any answer deletes", text: `
			> S 0               => new SYN_SENT
			< R. 0 ack 1        => rst -`},
		{name: "a SYN that the server takes", text: open3 + `
			> S 90000           => syn-established ESTABLISHED !annotate
			< S. 800 ack 90001  => synack-resync SYN_RECV
			> . 90001 ack 801   => handshake ESTABLISHED
			> P. 90001+10 ack 801 => in-window ESTABLISHED`},
		{name: "a SYN that was dropped proves nothing", text: open3 + `
			> S 90000           => syn-established ESTABLISHED !keep
			< S. 800 ack 90001  => synack-established ESTABLISHED`},
		{name: "a SYN that the server refuses", text: open3 + `
			> S 90000           => syn-established ESTABLISHED !annotate
			< R. 700 ack 90001  => rst-for-syn CLOSE !track`},
		{name: "a challenge ACK in LAST_ACK is not the last one", text: open3 + `
			> F. 1 ack 1        => fin FIN_WAIT
			< F. 1 ack 2        => fin LAST_ACK
			> S 90000           => syn-closing LAST_ACK !annotate
			< . 2 ack 2         => ack-for-syn LAST_ACK
			< . 2 ack 2         => in-window TIME_WAIT`},
		{name: "the RST of the one end does not let the other dial", text: open3 + `
			> P. 1+10 ack 1     => in-window ESTABLISHED
			< . 1 ack 11        => in-window ESTABLISHED
			< R. 1 ack 11       => rst CLOSE
			> S 90000           => syn-after-rst CLOSE
			< S 90000           => syn-established-reverse CLOSE
			> R 4               => rst-inexact CLOSE !track
			> S 90000           => syn-after-rst SYN_SENT`},
		{name: "an inexact RST leaves an assured connection", text: open3 + `
			> P. 1+10 ack 1     => in-window ESTABLISHED
			< . 1 ack 11        => in-window ESTABLISHED
			> R 20              => rst-inexact ESTABLISHED !track
			> R 10              => rst-out-of-window ESTABLISHED
			> R 11              => rst CLOSE`},
		{name: "a RST right behind its sender's data", text: open3 + `
			> P. 1+10 ack 1     => in-window ESTABLISHED
			< . 1 ack 1         => in-window ESTABLISHED
			> P. 11+10 ack 1    => in-window ESTABLISHED
			> R. 21 ack 1       => rst CLOSE`},
		{name: "liberal for life", text: `
			> . 1000 ack 5000   => ack-no-state ESTABLISHED !create-liberal
			< . 5000 ack 1000   => in-window ESTABLISHED
			> P. 1000+10 ack 5000 => in-window ESTABLISHED
			< . 5000 ack 1010   => in-window ESTABLISHED
			> P. 900000+10 ack 800000 => in-window ESTABLISHED`},
		{name: "liberal after a gap, until both ends have moved", text: open3 + `
			gap
			> P. 900000+10 ack 1 => in-window ESTABLISHED
			< . 1 ack 900010    => in-window ESTABLISHED
			> P. 900010+10 ack 1 => in-window ESTABLISHED
			< P. 1+10 ack 900020 => in-window ESTABLISHED
			> . 900020 ack 11   => in-window ESTABLISHED
			> P. 100+10 ack 11  => seq-below-old ESTABLISHED`},
		{name: "both ends dial", text: `
			> S 0               => new SYN_SENT
			< S 0               => simultaneous-open SYN_SENT2
			> S. 0 ack 1        => syn-ack SYN_RECV
			< S. 0 ack 1        => synack-retransmit SYN_RECV
			< . 1 ack 1         => handshake ESTABLISHED`},
		{name: "options that cannot be read do no harm", text: open3 + `
			> . 1 ack 1 defect  => in-window ESTABLISHED`},
		{name: "late", rules: Rules{TombLate: time5m}, text: open3 + `
			+2h
			< F. 1 ack 1        => fin-no-state -
			< R. 1 ack 1        => rst-no-state -
			< S. 1 ack 1        => synack-no-state -
			< . 1 ack 1         => ack-no-state -`},
	}
}

func TestKernelConversations(t *testing.T) {
	for _, c := range kernelConversations() {
		c.rules.Check = SeqKernel
		t.Run(c.name, func(t *testing.T) {
			for _, en := range variations() {
				r := c.run(t, en, nil)
				checkTable(t, r.table)
				if t.Failed() {
					t.Fatalf("ends %+v", en)
				}
			}
		})
	}
}

// TestKernelResync: the connection that a SYN/ACK proves is a flow of its own, with counts of its own and the time of day.
func TestKernelResync(t *testing.T) {
	c := conversation{rules: Rules{Check: SeqKernel}, text: open3 + `
		> P. 1+100 ack 1    => in-window ESTABLISHED
		> S 90000           => syn-established ESTABLISHED !annotate
		< S. 800 ack 90001  => synack-resync SYN_RECV`}
	var last Change
	r := c.run(t, variations()[1], func(_ Class, ch Change) { last = ch })
	e := last.Entry
	if e == nil || last.Effect != Resync || e.Previous == 0 || e.ID == e.Previous || e.LastSeen != r.now || e.Created != r.now {
		t.Fatalf("%+v %+v", last, e)
	}
	if e.Side[0].Packets != 0 || e.Side[1].Packets != 1 || e.Side[0].ISN-e.Side[0].End != 0xffffffff {
		t.Errorf("%+v", e.Side)
	}
	if e.Timeout != testTimeouts()[SynRecv] || len(r.ended) != 1 {
		t.Errorf("timeout %v, ended %v", e.Timeout, r.ended)
	}
}
