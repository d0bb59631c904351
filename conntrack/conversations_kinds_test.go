package conntrack

// kindConversations reach the finer words: each beside the segment that is almost the same and has none.
func kindConversations() []conversation {
	return []conversation{
		{name: "data on SYNs", text: `
			> S 0+100 tfo mss 1460 => syn-fast-open SYN_SENT
			> S 0+100 mss 1460  => syn-retransmit SYN_SENT
			< S. 0+50 ack 101   => synack-data SYN_RECV
			> . 101 ack 51      => handshake ESTABLISHED`},
		{name: "a Fast Open request without data is a plain SYN", text: `
			> S 0 tfo           => new SYN_SENT`},
		{name: "part of the SYN's data is taken", text: `
			> S 0+100           => syn-data SYN_SENT
			< S. 0 ack 51       => syn-ack SYN_RECV`},
		{name: "the SYN again with other options", text: `
			> S 0 mss 1460 ws 7 sackok ts 100 0 => new SYN_SENT
			> S 0 mss 1460 ws 7 sackok ts 200 0 => syn-retransmit SYN_SENT
			> S 0 mss 1460 ws 6 sackok ts 300 0 => syn-retransmit-options SYN_SENT
			> S 0 mss 1400 ws 7 sackok ts 300 0 => syn-retransmit-options SYN_SENT
			> S 0 mss 1460 sackok ts 300 0 => syn-retransmit-options SYN_SENT
			> S 0 mss 1460 ws 7 ts 300 0 => syn-retransmit-options SYN_SENT
			> S 0 mss 1460 ws 7 sackok => syn-retransmit-options SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			> S 0 mss 1460 ws 7 sackok ts 900 0 => syn-retransmit SYN_RECV`},
		{name: "a SYN inside the window of the old connection", text: open3 + `
			> P. 1+500 ack 1    => in-window ESTABLISHED
			> S 0               => syn-established-duplicate ESTABLISHED
			> S 400             => syn-established-in-window ESTABLISHED
			> S 1001            => syn-established-in-window ESTABLISHED
			> S 1002            => syn-established ESTABLISHED
			> S -9000           => syn-established ESTABLISHED
			< S 0               => syn-established-reverse ESTABLISHED`},
		{name: "the handshake of which one direction is seen, and a policy that takes it", text: `
			> S 0               => new SYN_SENT
			> . 5 ack 300       => handshake-bad-ack SYN_SENT
			> . 1 ack 300       => handshake-one-sided ESTABLISHED !track
			> P. 1+50 ack 300   => in-window ESTABLISHED
			> . 51 ack 9000     => in-window ESTABLISHED`},
		{name: "one direction of a picked-up connection, said once", text: `
			> . 1 ack 100       => ack-no-state ESTABLISHED !create-liberal
			> . 1 ack 100       => in-window ESTABLISHED
			> . 1 ack 900       => one-sided ESTABLISHED
			> . 1 ack 1900      => in-window ESTABLISHED`},
		{name: "no window is known of a picked-up connection", text: `
			> P. 1+10 ack 1     => data-no-state ESTABLISHED !create-liberal
			> S 11              => syn-established ESTABLISHED`},
		{name: "keepalives", text: open3 + `
			> P. 1+500 ack 1    => in-window ESTABLISHED
			> P. 500+1 ack 1    => in-window ESTABLISHED    # not acknowledged: the last byte again
			< . 1 ack 501       => in-window ESTABLISHED
			> P. 500+1 ack 1    => keepalive ESTABLISHED
			> . 500 ack 1       => keepalive ESTABLISHED
			> . 499 ack 1       => in-window ESTABLISHED
			> P. 499+2 ack 1    => half-dead ESTABLISHED
			< . 0 ack 501       => keepalive ESTABLISHED`},
		{name: "probes of a closed window", text: open3 + `
			> P. 1+1000 ack 1   => in-window ESTABLISHED
			< . 1 ack 1001 win 0 => in-window ESTABLISHED
			> . 1000 ack 1      => zero-window-probe ESTABLISHED
			> P. 1001+1 ack 1   => zero-window-probe ESTABLISHED
			> P. 1001+1 ack 1   => zero-window-probe ESTABLISHED
			< . 1 ack 1001 win 500 => in-window ESTABLISHED
			> . 1001 ack 1      => in-window ESTABLISHED`},
		{name: "window taken back", text: open3 + `
			< . 1 ack 1 win 999 => window-shrunk ESTABLISHED
			< . 1 ack 1 win 999 => in-window ESTABLISHED
			> P. 1+100 ack 1    => in-window ESTABLISHED
			< . 1 ack 101 win 899 => in-window ESTABLISHED
			< . 1 ack 101 win 898 => window-shrunk ESTABLISHED
			< . 1 ack 51 win 100 => in-window ESTABLISHED   # overtaken`},
		{name: "what the shift cuts off is not taken back", text: `
			> S 0 win 1000 ws 7 => new SYN_SENT
			< S. 0 ack 1 win 1000 ws 7 => syn-ack SYN_RECV
			> . 1 ack 1 win 1000 => handshake ESTABLISHED
			< P. 1+100 ack 1    => in-window ESTABLISHED
			> . 1 ack 101 win 999 => in-window ESTABLISHED
			> . 1 ack 101 win 998 => window-shrunk ESTABLISHED`},
		{name: "more than the receiver takes", text: `
			> S 0 mss 536       => new SYN_SENT
			< S. 0 ack 1 mss 1460 win 9000 => syn-ack SYN_RECV
			> . 1 ack 1 win 9000 => handshake ESTABLISHED
			> P. 1+1460 ack 1 win 9000 => in-window ESTABLISHED
			> P. 1461+1461 ack 1 win 9000 => mss-exceeded ESTABLISHED
			> P. 2922+3000 ack 1 win 9000 gso => in-window ESTABLISHED
			< P. 1+537 ack 1    => mss-exceeded ESTABLISHED`},
		{name: "a sender without an answer", text: open3 + `
			> P. 1+100 ack 1    => in-window ESTABLISHED
			> P. 1+100 ack 1    => in-window ESTABLISHED
			> P. 1+100 ack 1    => in-window ESTABLISHED
			> P. 1+100 ack 1    => half-dead ESTABLISHED
			> P. 1+100 ack 1    => half-dead ESTABLISHED
			> P. 101+9 ack 1    => in-window ESTABLISHED    # something new
			> P. 1+109 ack 1    => in-window ESTABLISHED
			> P. 1+109 ack 1    => in-window ESTABLISHED
			< . 1 ack 1         => in-window ESTABLISHED    # an answer, though nothing is acknowledged
			> P. 1+109 ack 1    => in-window ESTABLISHED
			> P. 50+59 ack 1    => in-window ESTABLISHED    # a burst: not the first again
			> P. 50+59 ack 1    => in-window ESTABLISHED
			> P. 1+109 ack 1    => in-window ESTABLISHED
			> P. 1+109 ack 1    => half-dead ESTABLISHED`},
		{name: "keepalives without an answer", rules: Rules{Retransmits: 2}, text: open3 + `
			> . 1 ack 1         => in-window ESTABLISHED
			< P. 1+9 ack 1      => in-window ESTABLISHED
			> . 0 ack 10        => keepalive ESTABLISHED
			> . 0 ack 10        => half-dead ESTABLISHED
			> . 1 ack 10        => in-window ESTABLISHED`},
		{name: "far below the window", text: open3 + `
			> P. 1+1000 ack 1   => in-window ESTABLISHED
			> P. -66099+100 ack 1 => seq-below ESTABLISHED
			> P. -66100+100 ack 1 => seq-below-old ESTABLISHED`},
		{name: "a FIN too low", text: open3 + `
			> P. 1+1000 ack 1   => in-window ESTABLISHED
			> F. -700 ack 1     => fin-out-of-window-low ESTABLISHED
			> F. 1001 ack -70000 => fin-out-of-window-low ESTABLISHED
			> F. 1001 ack 9     => fin-out-of-window ESTABLISHED`},
	}
}

func resetConversations() []conversation {
	return []conversation{
		{name: "RSTs with data, with ack 0, again, and in TIME_WAIT", text: open3 + `
			> P. 1+50 ack 1     => in-window ESTABLISHED
			> R. 51+9 ack 1     => rst-data CLOSE
			> R. 51 ack 1       => rst-repeated CLOSE
			< R. 1 ack 51       => rst CLOSE                # the first of this end`},
		{name: "a RST in TIME_WAIT", text: open3 + `
			> F. 1 ack 1        => fin FIN_WAIT
			< F. 1 ack 2        => fin LAST_ACK
			> . 2 ack 2         => in-window TIME_WAIT
			< R 2               => rst-time-wait CLOSE`},
		{name: "what was on its way when the RST came", text: open3 + `
			> P. 1+100 ack 1    => in-window ESTABLISHED
			< R 1               => rst CLOSE
			> P. 101+50 ack 1   => data-after-rst CLOSE
			> F. 151 ack 1      => fin-after-rst CLOSE
			< . 1 ack 1         => data-after-rst CLOSE     # overtaken by the RST`},
		{name: "a RST that its target does not take", text: open3 + `
			> P. 1+100 ack 1    => in-window ESTABLISHED
			< R 1               => rst CLOSE
			> P. 1+100 ack 1    => rst-ignored CLOSE
			> . 101 ack 51      => rst-ignored CLOSE
			> . 101 ack 66001   => data-after-rst CLOSE     # another connection's`},
		{name: "a RST that its sender knows nothing of", text: open3 + `
			> P. 1+100 ack 1    => in-window ESTABLISHED
			< R 1               => rst CLOSE
			< P. 1+50 ack 101   => rst-disowned CLOSE
			< P. 90000+50 ack 101 => data-after-rst CLOSE`},
		{name: "late segments of every kind", text: open3 + `
			+2h
			> . 1 ack 1         => late-after-expiry -
			> P. 1+5 ack 1      => late-after-expiry -
			> F. 1 ack 1        => late-fin -
			> R. 1 ack 1        => late-rst -
			> S. 1 ack 1        => late-synack -`},
	}
}

func stampConversations() []conversation {
	const open = `
			> S 0 ts 100 0      => new SYN_SENT
			< S. 0 ack 1 ts 900 100 => syn-ack SYN_RECV
			> . 1 ack 1 ts 101 900 => handshake ESTABLISHED
`
	return []conversation{
		{name: "timestamps that go on, and one that goes back", text: open + `
			> P. 1+100 ack 1 ts 110 900 => in-window ESTABLISHED
			< . 1 ack 101 ts 910 110 => in-window ESTABLISHED
			> P. 101+100 ack 1 ts 120 910 => in-window ESTABLISHED
			> P. 201+100 ack 1 ts 125 910 => in-window ESTABLISHED # 125 is not the receiver's yet
			> P. 101+100 ack 1 ts 120 910 => in-window ESTABLISHED # a duplicate
			< . 1 ack 201 ts 920 120 => in-window ESTABLISHED
			> P. 201+100 ack 1 ts 130 920 => in-window ESTABLISHED
			< . 1 ack 301 ts 930 130 => in-window ESTABLISHED
			> P. 1+100 ack 1 ts 109 900 => paws ESTABLISHED
			> P. 301+100 ack 1 ts 129 930 => paws ESTABLISHED
			> F. 301 ack 1 ts 129 930 => paws FIN_WAIT
			> R 301 ts 1 1      => rst CLOSE`},
		{name: "timestamps wrap", text: `
			> S 0 ts 0xfffffff0 0 => new SYN_SENT
			< S. 0 ack 1 ts 900 0xfffffff0 => syn-ack SYN_RECV
			> . 1 ack 1 ts 0xfffffffa 900 => handshake ESTABLISHED
			> P. 1+10 ack 1 ts 5 900 => in-window ESTABLISHED
			< . 1 ack 11 ts 901 5 => in-window ESTABLISHED
			> P. 1+10 ack 1 ts 0xfffffff9 900 => paws ESTABLISHED`},
		{name: "an ACK that was overtaken", text: open + `
			< P. 1+10 ack 1 ts 901 101 => in-window ESTABLISHED
			> . 1 ack 11 ts 120 901 => in-window ESTABLISHED
			> . 1 ack 1 ts 110 900 => in-window ESTABLISHED
			> . 1 ack 11 ts 110 900 => in-window ESTABLISHED`},
		{name: "nothing is old after 24 days", text: open + `
			+575h > P. 1+9 ack 1 ts 5 900 => paws ESTABLISHED !keep
			+577h > P. 1+9 ack 1 ts 5 900 => in-window ESTABLISHED`, long: true},
		{name: "nor where nothing is judged", rules: Rules{Check: SeqOff}, text: open + `
			> P. 1+9 ack 1 ts 5 900 => in-window ESTABLISHED`},
		{name: "no timestamp, though both promised", text: open + `
			> P. 1+9 ack 1      => timestamp-missing ESTABLISHED
			> P. 10+9 ack 1 ts 0 900 => paws ESTABLISHED
			< P. 1+9 ack 10     => timestamp-missing ESTABLISHED
			> R 19              => rst CLOSE`},
		{name: "only one promised", text: `
			> S 0 ts 100 0      => new SYN_SENT
			< S. 0 ack 1        => syn-ack SYN_RECV
			> . 1 ack 1         => handshake ESTABLISHED
			> P. 1+9 ack 1      => in-window ESTABLISHED`},
		{name: "a timestamp of 0", text: open3 + `
			> P. 1+9 ack 1 ts 0 5 => timestamp-null ESTABLISHED
			> P. 10+9 ack 1 ts 1 5 => in-window ESTABLISHED`},
	}
}

// ruleConversations are the systems' own tolerances, to the byte.
func ruleConversations() []conversation {
	data := open3 + `
			> P. 1+500 ack 1    => in-window ESTABLISHED
			< . 1 ack 101       => in-window ESTABLISHED    # 400 bytes are on their way
`
	return []conversation{
		{name: "pf: an ACK lags by a band, shifted, and leads by a band", rules: Rules{ACK: ACKPF}, text: `
			> S 0 ws 1          => new SYN_SENT
			< S. 0 ack 1 ws 0   => syn-ack SYN_RECV
			> . 1 ack 1         => handshake ESTABLISHED
			> . 1 ack 67037     => ack-above ESTABLISHED
			> . 1 ack 67036     => in-window ESTABLISHED !keep
			> . 1 ack -134070   => ack-below ESTABLISHED
			> . 1 ack -134069   => in-window ESTABLISHED
			< . 1 ack -67035    => ack-below ESTABLISHED
			< . 1 ack -67034    => in-window ESTABLISHED`},
		{name: "rfc5961: an ACK lags by the largest window", rules: Rules{ACK: ACKRFC5961}, text: data + `
			< . 1 ack 502       => ack-above ESTABLISHED
			< . 1 ack 501 win 900 => in-window ESTABLISHED
			< . 1 ack -500      => ack-below ESTABLISHED
			< . 1 ack -499      => in-window ESTABLISHED`},
		{name: "how old is old", rules: Rules{Old: 10}, text: open3 + `
			> P. 1+1000 ack 1   => in-window ESTABLISHED
			> P. -109+100 ack 1 => seq-below ESTABLISHED
			> P. -110+100 ack 1 => seq-below-old ESTABLISHED`},
		{name: "any RST in the window", rules: Rules{RST: RSTWindow}, text: data + `
			> R 100             => rst-out-of-window ESTABLISHED
			> R 1102            => rst-out-of-window ESTABLISHED
			> R 1101            => rst CLOSE`},
		{name: "the last number or the next", rules: Rules{RST: RSTLastOrNext}, text: data + `
			> R 100             => rst-out-of-window ESTABLISHED
			> R 101             => rst-inexact ESTABLISHED
			> R 499             => rst-inexact ESTABLISHED
			> R 502             => rst-inexact ESTABLISHED
			> R 500             => rst CLOSE
			> R 501             => rst-repeated CLOSE`},
		{name: "between acknowledged and sent", rules: Rules{RST: RSTUnacked}, text: data + `
			> R 100             => rst-out-of-window ESTABLISHED
			> R 502             => rst-inexact ESTABLISHED
			> R 1102            => rst-out-of-window ESTABLISHED
			> R 101             => rst CLOSE
			> R 501             => rst-repeated CLOSE`},
	}
}
