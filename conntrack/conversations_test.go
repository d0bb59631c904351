package conntrack

import "slices"

// conversations are the behaviours of the machine and of the classification, one by one.
func conversations() []conversation {
	return slices.Concat(handshakeConversations(), lifeConversations(), numberConversations(), closeConversations(), rstConversations(),
		kindConversations(), resetConversations(), stampConversations(), ruleConversations())
}

func handshakeConversations() []conversation {
	return []conversation{
		{name: "three-way handshake", text: open3},
		{name: "retransmissions", text: `
			> S 0               => new SYN_SENT
			> S 0               => syn-retransmit SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			< S. 0 ack 1        => synack-retransmit SYN_RECV
			> S 0               => syn-retransmit SYN_RECV
			> . 1 ack 1         => handshake ESTABLISHED
			< S. 0 ack 1        => synack-retransmit ESTABLISHED`},
		{name: "no establishment without the third ACK", text: `
			> S 0               => new SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			> S 0               => syn-retransmit SYN_RECV
			< S. 0 ack 1        => synack-retransmit SYN_RECV
			< . 1 ack 1         => in-window SYN_RECV
			> S 0               => syn-retransmit SYN_RECV
			< S. 0 ack 1        => synack-retransmit SYN_RECV`},
		{name: "a SYN with a lower number, and its later packets are in window", text: `
			> S 500000          => new SYN_SENT
			> S 1000            => syn-new-isn-lower SYN_SENT
			< S. 0 ack 1001     => syn-ack SYN_RECV
			> . 1001 ack 1      => handshake ESTABLISHED
			> P. 1001+500 ack 1 => in-window ESTABLISHED
			< . 1 ack 1501      => in-window ESTABLISHED`},
		{name: "a SYN with another number, and the first is the one that is answered", text: `
			> S 500000          => new SYN_SENT
			> S 1000            => syn-new-isn-lower SYN_SENT
			< S. 0 ack 500001   => synack-resync SYN_RECV
			> . 500001 ack 1    => handshake ESTABLISHED
			> P. 500001+500 ack 1 => in-window ESTABLISHED`},
		{name: "band", rules: Rules{SynBand: 67035}, text: `
			> S 0               => new SYN_SENT
			> S 67036           => syn-new-isn-far SYN_SENT
			> S -67036          => syn-new-isn-far SYN_SENT
			> S 67035           => syn-new-isn SYN_SENT
			> S 0               => syn-new-isn-lower SYN_SENT`},
		{name: "a SYN after the SYN/ACK", text: `
			> S 0               => new SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			> S 9000            => syn-in-handshake SYN_RECV !annotate
			< S. 7000 ack 9001  => synack-resync SYN_RECV
			> . 9001 ack 7001   => handshake ESTABLISHED
			> P. 9001+10 ack 7001 => in-window ESTABLISHED`},
		{name: "an annotated SYN that comes to nothing", text: `
			> S 0               => new SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			> S 9000            => syn-in-handshake SYN_RECV !annotate
			> . 1 ack 1         => handshake ESTABLISHED
			< S. 7000 ack 9001  => synack-established ESTABLISHED`},
		{name: "simultaneous open", text: `
			> S 0               => new SYN_SENT
			< S 0               => simultaneous-open SYN_SENT2
			> S 0               => syn-retransmit SYN_SENT2
			< S 0               => syn-retransmit SYN_SENT2
			> S. 0 ack 1        => syn-ack SYN_RECV
			< S. 0 ack 1        => syn-ack SYN_RECV
			< . 1 ack 1         => handshake ESTABLISHED
			> P. 1+100 ack 1    => in-window ESTABLISHED
			< P. 1+100 ack 101  => in-window ESTABLISHED
			> S. 0 ack 1        => synack-retransmit ESTABLISHED`},
		{name: "a SYN/ACK for something else", text: `
			> S 0               => new SYN_SENT
			< S. 0 ack 0        => synack-bad-ack-low SYN_SENT
			< S. 0 ack 2        => synack-bad-ack SYN_SENT
			< S. 0 ack -70000   => synack-bad-ack-low SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV`},
		{name: "a SYN/ACK from the wrong end", text: `
			> S 0               => new SYN_SENT
			> S. 0 ack 1        => synack-wrong-direction SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			> S. 0 ack 1        => synack-wrong-direction SYN_RECV
			> . 1 ack 1         => handshake ESTABLISHED
			> S. 0 ack 1        => synack-wrong-direction ESTABLISHED`},
		{name: "a SYN/ACK with other numbers on an established connection", text: open3 + `
			< S. 5000 ack 1     => synack-established ESTABLISHED`},
		{name: "wrong numbers in the third packet", text: `
			> S 0               => new SYN_SENT
			> . 1 ack 1         => handshake-one-sided SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			> . 1 ack 0         => handshake-bad-ack-low SYN_RECV
			> . 1 ack 2         => handshake-bad-ack SYN_RECV
			> . 1 ack -900      => handshake-bad-ack-low SYN_RECV
			> . -900 ack 1      => handshake-bad-ack-low SYN_RECV
			> P. 1+10 ack 900   => handshake-bad-ack SYN_RECV
			> P. 1+10 ack 1     => handshake ESTABLISHED`},
		{name: "data before the handshake", text: `
			> S 0               => new SYN_SENT
			> P. 1+10 ack 1     => data-before-handshake SYN_SENT
			< P. 1+10 ack 1     => data-before-handshake SYN_SENT
			> F. 1 ack 1        => fin-out-of-window SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			< P. 1+10 ack 1     => data-before-handshake SYN_RECV
			> F. 1 ack 5000     => fin-out-of-window SYN_RECV
			> F. 1 ack 1        => fin FIN_WAIT`},
		{name: "data on the SYN, all or nothing of it taken", text: `
			> S 0+100           => syn-data SYN_SENT
			< S. 0 ack 101      => syn-ack SYN_RECV
			> . 101 ack 1       => handshake ESTABLISHED`},
		{name: "data on the SYN, ignored by the server", text: `
			> S 0+100           => syn-data SYN_SENT
			> S 0               => syn-retransmit SYN_SENT
			< S. 0 ack 1        => syn-data-ignored SYN_RECV
			> P. 1+100 ack 1    => handshake ESTABLISHED
			< . 1 ack 101       => in-window ESTABLISHED`},
		{name: "a bare ACK for the SYN, and the RST that it draws", text: `
			> S 0               => new SYN_SENT
			< . 8000 ack 4000   => ack-for-syn SYN_SENT
			> R 3999            => rst-out-of-window SYN_SENT
			> R 4000            => rst-after-challenge CLOSE
			+1s > S 0           => syn-after-rst SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			> . 1 ack 1         => handshake ESTABLISHED`},
		{name: "the same, when the first SYN is answered after all", text: `
			> S 0               => new SYN_SENT
			< . 8000 ack 4000   => ack-for-syn SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			> R 4000            => rst-out-of-window SYN_RECV`},
		{name: "pf: the mismatched side is taken fresh", text: `
			> S 0               => new SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			< S. 400 ack 99     => synack-bad-ack SYN_RECV !rearm
			< S. 900000 ack 1   => syn-ack SYN_RECV
			> . 1 ack 900001    => handshake ESTABLISHED`},
		{name: "the server refuses", text: `
			> S 0               => new SYN_SENT
			< R. 0 ack 2        => rst-out-of-window SYN_SENT
			< R. 0 ack 1        => rst CLOSE`},
		{name: "illegal and defective", text: open3 + `
			> SF 0              => flags-illegal ESTABLISHED
			> - 0               => flags-illegal ESTABLISHED
			> F 1               => flags-illegal ESTABLISHED
			> SR 1              => flags-illegal ESTABLISHED
			> FPU 1             => flags-illegal ESTABLISHED
			> P. 1+10 ack 1 bad => checksum-bad ESTABLISHED
			> P. 1+10 ack 1 bad defect => malformed ESTABLISHED
			> PU. 1+10 ack 1    => urgent ESTABLISHED`},
		{name: "window scale on both sides", text: `
			> S 0 win 1000 ws 7 => new SYN_SENT
			< S. 0 ack 1 win 1000 ws 7 => syn-ack SYN_RECV
			> . 1 ack 1 win 1000 => handshake ESTABLISHED
			< P. 1+120000 ack 1 => in-window ESTABLISHED
			< P. 120001+8000 ack 1 => in-window ESTABLISHED
			< P. 128002+100 ack 1 => seq-above-near ESTABLISHED`},
		{name: "window scale on one side counts for neither", text: `
			> S 0 win 1000 ws 7 => new SYN_SENT
			< S. 0 ack 1 win 1000 => syn-ack SYN_RECV
			> . 1 ack 1 win 1000 => handshake ESTABLISHED
			< P. 1+1000 ack 1   => in-window ESTABLISHED
			< P. 1002+2000 ack 1 => seq-above ESTABLISHED`},
	}
}

func lifeConversations() []conversation {
	return []conversation{
		{name: "data both ways", text: open3 + `
			> P. 1+500 ack 1    => in-window ESTABLISHED
			< P. 1+200 ack 501  => in-window ESTABLISHED
			> . 501 ack 201     => in-window ESTABLISHED
			> P. 1+500 ack 201  => in-window ESTABLISHED    # retransmitted
			> . 500 ack 201     => keepalive ESTABLISHED    # keepalive`},
		{name: "above and below the window", text: open3 + `
			> P. 1+1000 ack 1   => in-window ESTABLISHED
			> P. 1002+500 ack 1 => seq-above-near ESTABLISHED
			< . 1 ack 1502      => in-window ESTABLISHED    # the receiver took it
			> P. 9000+10 ack 1  => seq-above ESTABLISHED
			> P. 1502+10 ack 2  => ack-above ESTABLISHED
			> P. 300+10 ack 1   => seq-below ESTABLISHED
			> P. 1502+10 ack -66000 => ack-below ESTABLISHED
			> P. 1502+10 ack -65998 => in-window ESTABLISHED`},
		{name: "near is a rule", rules: Rules{Near: 10}, text: open3 + `
			> P. 1002+10 ack 1  => seq-above ESTABLISHED
			> P. 1002+9 ack 1   => seq-above-near ESTABLISHED`},
		{name: "liberal judges RSTs alone", rules: Rules{Check: SeqLiberal}, text: open3 + `
			> P. 900000+10 ack 1 => in-window ESTABLISHED !keep
			> P. 1+10 ack 9000  => in-window ESTABLISHED !keep
			> R -9000           => rst-out-of-window ESTABLISHED`},
		{name: "off judges nothing", rules: Rules{Check: SeqOff}, text: open3 + `
			> P. 900000+10 ack 1 => in-window ESTABLISHED !keep
			> R -9000           => rst CLOSE`},
		{name: "SACK moves the window", text: `
			> S 0 sackok        => new SYN_SENT
			< S. 0 ack 1 sackok => syn-ack SYN_RECV
			> . 1 ack 1         => handshake ESTABLISHED
			> P. 1+400 ack 1    => in-window ESTABLISHED
			> P. 401+400 ack 1  => in-window ESTABLISHED
			< . 1 ack 1 sack 401-801 => in-window ESTABLISHED
			> P. 1801+10 ack 1  => in-window ESTABLISHED    # 801 + 1000
			< . 1 ack 1 sack 2000-3000 => ack-above ESTABLISHED`},
		{name: "SACK without permission is nothing", text: open3 + `
			< . 1 ack 1 sack 2000-3000 => in-window ESTABLISHED`},
		{name: "a closed window and its probe", text: open3 + `
			< . 1 ack 1 win 0   => window-shrunk ESTABLISHED
			> P. 1+1000 ack 1   => in-window ESTABLISHED
			< . 1 ack 1001 win 0 => in-window ESTABLISHED
			> P. 1001+1 ack 1   => zero-window-probe ESTABLISHED`},
		{name: "a SYN on an established connection, and the server takes it", text: open3 + `
			> S 700000 win 500  => syn-established ESTABLISHED !annotate
			< S. 90000 ack 700001 => synack-resync SYN_RECV
			> . 700001 ack 90001 => handshake ESTABLISHED
			< P. 90001+500 ack 700001 => in-window ESTABLISHED`},
		{name: "the same from the other end", text: open3 + `
			< S 700000          => syn-established-reverse ESTABLISHED !annotate
			> S. 90000 ack 700001 => synack-resync SYN_RECV
			< . 700001 ack 90001 => handshake ESTABLISHED`},
		{name: "the server holds the old connection", text: open3 + `
			> S 700000          => syn-established ESTABLISHED !annotate
			< . 1 ack 1         => in-window ESTABLISHED
			> R 1               => rst CLOSE
			+1s > S 700000      => syn-after-rst SYN_SENT`},
		{name: "the server holds one that the gateway does not know", text: open3 + `
			> S 700000          => syn-established ESTABLISHED !annotate
			< . 600000 ack 400000 => ack-for-syn ESTABLISHED
			> R 400000          => rst-after-challenge CLOSE`},
		{name: "the server refuses the new one", text: open3 + `
			> S 700000          => syn-established ESTABLISHED !annotate
			< R. 0 ack 700001   => rst-for-syn -
			> S 700000          => new SYN_SENT`},
		{name: "an annotated SYN is forgotten when its sender lives on", text: open3 + `
			> S 700000          => syn-established ESTABLISHED !annotate
			> P. 1+10 ack 1     => in-window ESTABLISHED
			< S. 90000 ack 700001 => synack-established ESTABLISHED
			< R. 0 ack 700001   => rst-out-of-window ESTABLISHED`},
		{name: "replace at once", text: open3 + `
			> S 700000          => syn-established SYN_SENT !replace
			< . 1 ack 1         => ack-for-syn SYN_SENT
			> R 1               => rst-after-challenge CLOSE`},
		{name: "replace if closed", text: open3 + `
			> S 700000          => syn-established ESTABLISHED !replace-if-closed
			> F. 1 ack 1        => fin FIN_WAIT
			> S 700000          => syn-half-closed FIN_WAIT !replace-if-closed
			< F. 1 ack 2        => fin LAST_ACK
			> S 700000          => syn-closing SYN_SENT !replace-if-closed`},
		{name: "nothing remembered", text: `
			> . 1 ack 1         => ack-no-state -
			> P. 1+1 ack 1      => data-no-state -
			> F. 1 ack 1        => fin-no-state -
			> R 1               => rst-no-state -
			> S. 1 ack 1        => synack-no-state -`},
		{name: "forgotten, swept or not", text: open3 + `
			+1h < P. 1+5 ack 1  => late-after-expiry -
			sweep
			< P. 1+5 ack 1      => late-after-expiry -
			< R 1               => late-rst -
			< S. 1 ack 1        => late-synack -
			> S 700000          => new SYN_SENT
			< . 1 ack 1         => ack-for-syn SYN_SENT`},
		{name: "long forgotten", rules: Rules{TombLate: time5m}, text: open3 + `
			+65m < . 1 ack 1    => ack-no-state -
			sweep
			< . 1 ack 1         => ack-no-state -`},
		{name: "to the nanosecond", text: open3 + `
			+3599999ms < . 1 ack 1 => late-after-expiry -`},
		{name: "just in time", text: open3 + `
			+3599998ms < . 1 ack 1 => in-window ESTABLISHED`},
		{name: "a SYN after a gap in a handshake", text: `
			> S 0               => new SYN_SENT
			gap
			> . 1 ack 900       => handshake ESTABLISHED    # the SYN/ACK passed unseen
			< P. 900+50000 ack 1 => in-window ESTABLISHED`},
		{name: "a gap", text: open3 + `
			> P. 1+10 ack 1     => in-window ESTABLISHED
			gap
			> P. 500000+10 ack 300000 => in-window ESTABLISHED
			< . 300000 ack 500010 => in-window ESTABLISHED
			> P. 500010+10 ack 300000 => in-window ESTABLISHED
			< P. 300000+10 ack 500020 => in-window ESTABLISHED
			> P. 900000+10 ack 300010 => seq-above ESTABLISHED`},
		{name: "a gap in which the tuple was used again, with lower numbers", text: open3 + `
			gap
			> P. -500000+10 ack -300000 => in-window ESTABLISHED
			< . -300000 ack -499990 => in-window ESTABLISHED
			> P. -499990+10 ack -300000 => in-window ESTABLISHED
			< P. -300000+10 ack -499980 => in-window ESTABLISHED
			> P. 1+10 ack 1     => seq-above ESTABLISHED`},
		{name: "picked up mid-stream", text: `
			> P. 1+10 ack 1     => data-no-state ESTABLISHED !create-liberal
			< P. 1+50000 ack 11 => in-window ESTABLISHED
			> . 11 ack 50001    => in-window ESTABLISHED
			> P. 11+10 ack 50001 => in-window ESTABLISHED
			< P. 50001+900000 ack 21 => in-window ESTABLISHED
			< . 950001 ack 950001 => ack-above ESTABLISHED`},
		{name: "picked up in the handshake", text: `
			< S. 0 ack 1 ws 3   => synack-no-state SYN_RECV !create-liberal
			> . 1 ack 1         => handshake ESTABLISHED
			< S. 0 ack 1        => synack-established ESTABLISHED`},
		{name: "picked up while closing", text: `
			> F. 1 ack 1        => fin-no-state FIN_WAIT !create-liberal
			< . 1 ack 2         => in-window CLOSE_WAIT`},
		{name: "a RST picks up nothing", text: `
			> R 1               => rst-no-state - !create-liberal
			> . 1 ack 1         => ack-no-state - !create`},
	}
}
