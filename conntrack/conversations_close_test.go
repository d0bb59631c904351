package conntrack

import "time"

const time5m = 5 * time.Minute

func closeConversations() []conversation {
	return []conversation{
		{name: "close, one after the other", text: open3 + `
			> F. 1 ack 1        => fin FIN_WAIT
			> F. 1 ack 1        => fin-retransmit FIN_WAIT  # again
			> . 2 ack 1         => in-window FIN_WAIT       # its own ACK
			< P. 1+5 ack 1      => in-window FIN_WAIT       # does not cover the FIN
			< . 6 ack 2         => in-window CLOSE_WAIT
			> S 90              => syn-half-closed CLOSE_WAIT
			< F. 6 ack 2        => fin LAST_ACK
			< . 7 ack 2         => in-window LAST_ACK       # not the ACK of its own FIN
			> . 2 ack 6         => in-window LAST_ACK
			> . 2 ack 7         => in-window TIME_WAIT
			< F. 6 ack 2        => fin-retransmit TIME_WAIT
			> . 2 ack 7         => in-window TIME_WAIT
			> S 900000          => syn-time-wait SYN_SENT`},
		{name: "close, with the ACK on the FIN", text: open3 + `
			> F. 1 ack 1        => fin FIN_WAIT
			< F. 1 ack 2        => fin LAST_ACK
			> . 2 ack 2         => in-window TIME_WAIT
			+119998ms < S 77    => syn-time-wait SYN_SENT`},
		{name: "close by both at once", text: open3 + `
			> F. 1 ack 1        => fin FIN_WAIT
			< F. 1 ack 1        => fin LAST_ACK
			> . 2 ack 2         => in-window LAST_ACK
			< . 2 ack 2         => in-window TIME_WAIT`},
		{name: "the last ACK lost, a FIN again acknowledges", text: open3 + `
			< F. 1 ack 1        => fin FIN_WAIT
			> F. 1 ack 1        => fin LAST_ACK
			< F. 1 ack 2        => fin-retransmit LAST_ACK
			> F. 1 ack 2        => fin-retransmit TIME_WAIT`},
		{name: "a FIN outside the window", text: open3 + `
			> F. 5000 ack 1     => fin-out-of-window ESTABLISHED
			> F. 1 ack 77       => fin-out-of-window ESTABLISHED`},
		{name: "data after a FIN", text: open3 + `
			> F. 1 ack 1        => fin FIN_WAIT
			> P. 2+5 ack 1      => data-after-fin FIN_WAIT
			> F. 2+5 ack 1      => data-after-fin FIN_WAIT
			< P. 1+5 ack 2      => in-window CLOSE_WAIT
			> . 2 ack 6         => in-window CLOSE_WAIT`},
		{name: "a SYN in LAST_ACK, and the challenge ACK is not the last ACK", text: open3 + `
			> F. 1 ack 1        => fin FIN_WAIT
			< F. 1 ack 2        => fin LAST_ACK
			> S 900000          => syn-closing LAST_ACK !annotate
			< . 2 ack 2         => in-window LAST_ACK
			> R 2               => rst CLOSE`},
		{name: "the same when the pending FIN is the client's", text: open3 + `
			< F. 1 ack 1        => fin FIN_WAIT
			> F. 1 ack 2        => fin LAST_ACK
			> S 900000          => syn-closing LAST_ACK !annotate
			< . 2 ack 2         => in-window LAST_ACK
			< S. 500 ack 900001 => synack-resync SYN_RECV`},
		{name: "reopen soon after a RST", text: open3 + `
			< R 1               => rst CLOSE
			+500ms > S 9        => syn-after-rst SYN_SENT
			< S. 0 ack 10       => syn-ack SYN_RECV`},
	}
}

func rstConversations() []conversation {
	data := open3 + `
			> P. 1+500 ack 1    => in-window ESTABLISHED
			< . 1 ack 101       => in-window ESTABLISHED    # 400 bytes are on their way
`
	return []conversation{
		{name: "linux", text: data + `
			> R 100             => rst-out-of-window ESTABLISHED
			> R 102             => rst-inexact ESTABLISHED
			> R 1101            => rst-inexact ESTABLISHED
			> R 1102            => rst-out-of-window ESTABLISHED
			> R. 101 ack 9      => rst-out-of-window ESTABLISHED
			> R. 101 ack 1      => rst CLOSE
			> R 501             => rst-repeated CLOSE
			< . 1 ack 101       => data-after-rst CLOSE
			< P. 1+5 ack 101    => data-after-rst CLOSE
			> F. 501 ack 1      => fin-after-rst CLOSE`},
		{name: "linux, after all that was sent", text: data + `
			> R 501             => rst CLOSE`},
		{name: "linux, broken stack", text: data + `
			> R. 501 rawack 0   => rst-ack-zero CLOSE`},
		{name: "linux, in the handshake", text: `
			> S 0               => new SYN_SENT
			> R 5               => rst-out-of-window SYN_SENT
			< R. 0 rawack 0     => rst-ack-zero CLOSE`},
		{name: "linux, the client takes its SYN back", text: `
			> S 0               => new SYN_SENT
			> R 1               => rst CLOSE`},
		{name: "pf", rules: Rules{RST: RSTPF}, text: data + `
			> R 101             => rst-inexact ESTABLISHED
			> R 499             => rst-inexact ESTABLISHED
			> R 503             => rst-inexact ESTABLISHED
			> R 9999            => rst-out-of-window ESTABLISHED
			> R. 9999 ack 1     => rst-out-of-window ESTABLISHED
			> R. 503 ack 2      => rst-inexact ESTABLISHED
			> R. 101 ack 1      => rst CLOSE`},
		{name: "pf, one off", rules: Rules{RST: RSTPF}, text: data + `
			> R 500             => rst CLOSE
			> R 502             => rst-repeated CLOSE`},
		{name: "rfc5961", rules: Rules{RST: RSTRFC5961}, text: data + `
			> R 100             => rst-out-of-window ESTABLISHED
			> R. 102 ack 99999  => rst-inexact ESTABLISHED
			> R 1102            => rst-out-of-window ESTABLISHED
			> R. 101 ack 99999  => rst CLOSE`},
		{name: "rfc5961 in the handshake", rules: Rules{RST: RSTRFC5961}, text: `
			> S 0               => new SYN_SENT
			< R 0               => rst-out-of-window SYN_SENT
			< R. 0 rawack 0     => rst-out-of-window SYN_SENT
			< R. 0 ack 1        => rst CLOSE`},
		{name: "after a gap it may lie ahead", text: open3 + `
			gap
			> R 800000          => rst-inexact ESTABLISHED
			> R -5              => rst-out-of-window ESTABLISHED`},
		{name: "in a picked-up connection", text: `
			> P. 1+10 ack 1     => data-no-state ESTABLISHED !create-liberal
			< R 1               => rst CLOSE`},
	}
}
