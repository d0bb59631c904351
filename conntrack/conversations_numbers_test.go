package conntrack

// numberConversations pin down single numbers: scales, edges, and what a policy's own effect does to them.
func numberConversations() []conversation {
	return []conversation{
		{name: "an ACK may lag by its sender's window", text: `
			> S 0 win 1000 ws 10 => new SYN_SENT
			< S. 0 ack 1 win 1000 ws 2 => syn-ack SYN_RECV
			> . 1 ack 1 win 1000 => handshake ESTABLISHED
			< P. 1+500000 ack 1 => in-window ESTABLISHED
			> . 1 ack 1 win 1000 => in-window ESTABLISHED   # 500,000 behind; the window is 1,024,000
			< . 500001 ack 1 win 1000 => in-window ESTABLISHED
			> P. 1+3000 ack 1   => in-window ESTABLISHED
			> P. 4002+9 ack 1   => seq-above-near ESTABLISHED # 4,000 is the other's, whose shift is 2`},
		{name: "one byte beyond a closed window", text: open3 + `
			> P. 1+1000 ack 1   => in-window ESTABLISHED
			< . 1 ack 1001 win 0 => in-window ESTABLISHED
			> . 1002 ack 1      => in-window ESTABLISHED
			> . 1003 ack 1      => seq-above-near ESTABLISHED`},
		{name: "SACK widens what may be sent again", text: `
			> S 0 sackok        => new SYN_SENT
			< S. 0 ack 1 sackok => syn-ack SYN_RECV
			> . 1 ack 1         => handshake ESTABLISHED
			< P. 1+400 ack 1    => in-window ESTABLISHED
			< P. 401+400 ack 1  => in-window ESTABLISHED
			> . 1 ack 1 sack 401-801 => in-window ESTABLISHED
			< P. 801+1000 ack 1 => in-window ESTABLISHED
			< P. 1+100 ack 1    => in-window ESTABLISHED    # 1,801 less 1,800`},
		{name: "near counts as the kernel does", text: open3 + `
			> P. 1002+999 ack 1 => seq-above ESTABLISHED
			> P. 1002+998 ack 1 => seq-above-near ESTABLISHED`},
		{name: "unknown scales are taken as the largest", text: `
			> P. 1+10 ack 1     => data-no-state ESTABLISHED !create-liberal
			< P. 1+10 ack 11    => in-window ESTABLISHED
			> P. 11+10 ack 11   => in-window ESTABLISHED
			< P. 11+10 ack 21   => in-window ESTABLISHED
			> P. 900000+10 ack 21 => in-window ESTABLISHED
			< P. 900000+10 ack 21 => in-window ESTABLISHED
			> P. 900010+10 ack 999999 => ack-above ESTABLISHED`},
		{name: "a SYN that a policy tracks is annotated", text: open3 + `
			> S 700000          => syn-established ESTABLISHED !track
			< S. 90000 ack 700001 => synack-resync SYN_RECV !track
			> . 700001 ack 90001 => handshake ESTABLISHED`},
		{name: "create on a live entry is track", text: open3 + `
			> P. 1+10 ack 1     => in-window ESTABLISHED !create-liberal
			< . 1 ack 11        => in-window ESTABLISHED !create`},
		{name: "SYN/ACKs of other connections move nothing", text: `
			> S 0               => new SYN_SENT
			> S. 77 ack 5       => synack-wrong-direction SYN_SENT !track
			< S. 500 ack 99     => synack-bad-ack SYN_SENT !track
			< S. 0 ack 1        => syn-ack SYN_RECV
			> . 1 ack 1         => handshake ESTABLISHED`},
		{name: "nor do another connection's data before the SYN/ACK", text: `
			> S 0               => new SYN_SENT
			< P. 9000+10 ack 5000 => data-before-handshake SYN_SENT !track
			> P. 1+10 ack 5000  => data-before-handshake SYN_SENT !track
			< S. 0 ack 1        => syn-ack SYN_RECV
			> . 1 ack 1         => handshake ESTABLISHED`},
		{name: "the answer to a challenge comes from the one challenged", rules: Rules{RST: RSTRFC5961}, text: `
			> S 0               => new SYN_SENT
			< . 8000 ack 4000   => ack-for-syn SYN_SENT
			< R 4000            => rst-out-of-window SYN_SENT`},
		{name: "only a handshake is taken fresh", text: open3 + `
			< . 1 ack 1         => in-window ESTABLISHED !rearm
			< P. 90000+5 ack 1  => seq-above ESTABLISHED`},
		{name: "the originator of a handshake is not taken fresh", text: `
			> S 0               => new SYN_SENT
			> . 1 ack 1         => handshake-one-sided SYN_SENT !rearm
			< S. 0 ack 2        => synack-bad-ack SYN_SENT`},
	}
}
