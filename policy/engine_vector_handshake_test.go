package policy

const (
	pfs  = "openbsd-pf pf-aggressive pf-conservative pf-highlatency"
	lins = "linux-default linux-default:nf_conntrack_tcp_loose=0 linux-strict"
)

// handshakeVectors are about SYNs and what answers them: V1 a SYN on a connection that is remembered, V2 one on a connection
// that only the server remembers, V5 a SYN with a lower number before any answer, V9 a handshake without its third segment.
var handshakeVectors = []vector{
	{name: "V1 remembered", presets: "lpd-case-2015", script: session + `
	+25s  c S  900000         => drop/syn-established reply=ack-tracked:c:.,5051,1101 state=ESTABLISHED effect=keep idle=25s remaining=59m35s peer=none
	+1s   c S  900000         => drop/syn-established reply=ack-tracked:c:.,5051,1101 remaining=59m34s idle=1s
	+1ms  c R  1101           => forward/rst state=CLOSE
	+1s   c S  900000         => forward/syn-after-rst state=SYN_SENT +end:replaced +new`},
	{name: "V1 remembered", presets: pfs, script: session + `
	+25s  c S  900000         => drop/syn-established reply=ack-tracked:c:.,5051,1101 state=ESTABLISHED
	+1s   s S  900000         => drop/syn-established-reverse reply=ack-tracked:s:.,1101,5051`},
	{name: "V1 remembered", presets: "freebsd-pf-classic", script: session + `
	+25s  c S  900000         => drop/syn-established reply=none peer=none state=ESTABLISHED`},
	{name: "V1 remembered", presets: lins, script: session + `
	+25s  c S  900000         => forward/syn-established effect=annotate state=ESTABLISHED reply=none
	+1ms  s .  5051 1101      => forward/in-window
	+1ms  c R  1101           => forward/rst state=CLOSE
	+1ms  c S  900000         => forward/syn-after-rst state=SYN_SENT`},
	{name: "V1 remembered and the server takes the new connection", presets: "transparent-resync observe", script: session + `
	+25s  c S  900000         => forward/syn-established effect=annotate
	+1ms  s S. 70000 900001   => forward/synack-resync state=SYN_RECV effect=resync +end:replaced +new
	+1ms  c .  900001 70001   => forward/handshake state=ESTABLISHED
	+1ms  s P. 70001:10 900001 => forward/in-window counted=true`},
	// A SYN is passed and extends no life; the second that a RST leaves is not made longer by the next SYN.
	{name: "V1 remembered", presets: "ipfw-keepalive", script: session + `
	+25s  c S  900000         => forward/syn-established effect=keep state=ESTABLISHED remaining=4m35s reply=none peer=none
	+1ms  s .  5051 1101      => forward/in-window remaining=4m34.999s
	+1ms  c R  1101           => forward/rst state=CLOSE
	+.5   c S  900000         => forward/syn-after-rst state=CLOSE remaining=500ms
	+1    c S  900000         => forward/new`},
	{name: "V1 remembered", presets: mappers + " f5-fastl4", script: session + `
	+25s  c S  900000         => forward/syn-established effect=keep state=ESTABLISHED reply=none peer=none
	+1ms  s S. 70000 900001   => forward/synack-established state=ESTABLISHED
	+1ms  c .  900001 70001   => forward/in-window
	+1ms  s P. 70001:10 900001 => forward/in-window`},
	{name: "V1 remembered", presets: "rfc5382-nat", extra: inside, script: session + `
	+1h   c S  900000         => forward/syn-established effect=keep state=ESTABLISHED reply=none peer=none
	+1ms  s S. 70000 900001   => forward/synack-established state=ESTABLISHED
	+1ms  c .  900001 70001   => forward/in-window`},

	{name: "V2 forgotten", presets: "lpd-case-2015", script: session + `
	+2h   c S  900000         => forward/new tomb=idle +end:idle +new
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT tomb=idle
	+1ms  c R  1101           => forward/rst-after-challenge`},
	{name: "V2 forgotten", presets: "linux-default linux-default:nf_conntrack_tcp_loose=0", script: session + `
	+200h c S  900000         => forward/new
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => forward/rst-after-challenge state=CLOSE
	+1s   c S  900000         => forward/syn-after-rst state=SYN_SENT`},
	// The regression of 2020 to 2023: the client's RST is lost, and its SYN meets the same answer for ever.
	{name: "V2 forgotten", presets: "linux-strict", script: session + `
	+200h c S  900000         => forward/new
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => drop/rst-after-challenge state=SYN_SENT
	+1s   c S  900000         => forward/syn-retransmit
	+1ms  s .  5051 1101      => forward/ack-for-syn`},
	{name: "V2 forgotten", presets: pfs + " freebsd-pf-classic", script: session + `
	+150h c S  900000         => forward/new
	+1ms  s .  5051 1101      => drop/ack-for-syn reply=rst:s:R,1101 effect=rearm
	+1s   c S  900000         => forward/syn-retransmit
	+1ms  s S. 70000 900001   => forward/syn-ack state=SYN_RECV`},
	{name: "V2 forgotten", presets: mappers + " observe transparent-resync", extra: "probes: {tries: 0}", script: session + `
	+150h c S  900000         => forward/new
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => forward/rst-after-challenge
	+1ms  c S  900000         => forward/syn-after-rst state=SYN_SENT`},
	{name: "V2 forgotten", presets: "ipfw-keepalive", extra: "probes: {tries: 0}", script: session + `
	+1h   c S  900000         => forward/new
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => forward/rst-after-challenge state=CLOSE
	+.5   c S  900000         => forward/syn-after-rst state=CLOSE
	+1s   c S  900000         => forward/new`},
	{name: "V2 forgotten", presets: "f5-fastl4", script: session + `
	+1h   c S  900000         => forward/new
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => forward/rst-after-challenge state=CLOSE
	+1ms  c S  900000         => forward/new`},
	{name: "V2 forgotten", presets: "rfc5382-nat", extra: inside, script: session + `
	+3h   c S  900000         => forward/new
	+1ms  s .  5051 1101      => forward/ack-for-syn state=SYN_SENT
	+1ms  c R  1101           => forward/rst-after-challenge state=CLOSE`},

	{name: "V5 lower ISN", presets: pfs + " freebsd-pf-classic", script: `
	+0    c S  1000000        => forward/new
	+1    c S  999000         => forward/syn-new-isn-lower
	+1    c S  100000         => drop/syn-new-isn-far`},
	{name: "V5 lower ISN", presets: "linux-default lpd-case-2015", script: `
	+0    c S  1000000        => forward/new
	+1    c S  990000         => forward/syn-new-isn-lower state=SYN_SENT
	+1ms  s S. 5000 990001    => forward/synack-bad-ack-low state=SYN_RECV
	+1ms  c .  990001 5001    => forward/seq-below state=SYN_RECV
	+1ms  s .  5001 990001    => forward/in-window state=SYN_RECV`},
	{name: "V5 lower ISN", presets: "linux-strict", script: `
	+0    c S  1000000        => forward/new
	+1    c S  990000         => forward/syn-new-isn-lower state=SYN_SENT
	+1ms  s S. 5000 990001    => forward/synack-bad-ack-low state=SYN_RECV
	+1ms  c .  990001 5001    => drop/seq-below state=SYN_RECV`},
	{name: "V5 ISN lower than an ACK may lag: the kernel keeps the first", presets: "linux-default lpd-case-2015", script: `
	+0    c S  1000000        => forward/new
	+1    c S  1000           => forward/syn-new-isn-lower
	+1ms  s S. 5000 1001      => forward/ack-below state=SYN_SENT
	+1ms  c .  1001 5001      => drop/handshake-bad-ack state=SYN_SENT`},
	{name: "V5 ISN lower than an ACK may lag", presets: "linux-strict", script: `
	+0    c S  1000000        => forward/new
	+1    c S  1000           => forward/syn-new-isn-lower
	+1ms  s S. 5000 1001      => drop/ack-below state=SYN_SENT`},
	{name: "V5 lower ISN", presets: mappers + " f5-fastl4 ipfw-keepalive rfc5382-nat observe transparent-resync", extra: inside, script: `
	+0    c S  1000000        => forward/new
	+1    c S  1000           => forward/syn-new-isn-lower
	+1ms  s S. 5000 1001      => forward/syn-ack state=SYN_RECV
	+1ms  c .  1001 5001      => forward/handshake state=ESTABLISHED
	+1ms  s P. 5001:10 1001   => forward/in-window`},

	{name: "V9 no handshake without its third segment", presets: lins + " lpd-case-2015 observe transparent-resync " + mappers, alone: true, script: `
	+0    c S  1000           => forward/new
	+1ms  s S. 5000 1001      => forward/syn-ack
	+1    c S  1000           => forward/syn-retransmit
	+1ms  s S. 5000 1001      => forward/synack-retransmit state=SYN_RECV
	+61   -                   => +end:idle`},
	{name: "V9 no handshake without its third segment", presets: "openbsd-pf freebsd-pf-classic pf-aggressive pf-highlatency ipfw-keepalive", alone: true, script: `
	+0    c S  1000           => forward/new
	+1ms  s S. 5000 1001      => forward/syn-ack
	+1    c S  1000           => forward/syn-retransmit
	+1ms  s S. 5000 1001      => forward/synack-retransmit state=SYN_RECV
	+36   -                   => +end:idle`},
	{name: "V9 no handshake without its third segment", presets: "pf-conservative rfc5382-nat", extra: inside, alone: true, script: `
	+0    c S  1000           => forward/new
	+1ms  s S. 5000 1001      => forward/syn-ack
	+1    c S  1000           => forward/syn-retransmit
	+1ms  s S. 5000 1001      => forward/synack-retransmit state=SYN_RECV
	+901  -                   => +end:idle`},
	{name: "V9 no handshake without its third segment", presets: "f5-fastl4 azure-lb-4min:enableTcpReset=true", alone: true, script: `
	+0    c S  1000           => forward/new
	+1ms  s S. 5000 1001      => forward/syn-ack
	+1    c S  1000           => forward/syn-retransmit
	+1ms  s S. 5000 1001      => forward/synack-retransmit state=SYN_RECV
	+61   -                   => rst-tracked:c:R.,5001,1001 rst-tracked:s:R,1001 +end:idle`},

	// A client in SYN_SENT takes a RST only with an ACK of its SYN: of the one that it sent last.
	{name: "V11 RST in SYN_SENT", presets: "f5-fastl4 azure-lb-4min:enableTcpReset=true", alone: true, script: `
	+0    c S  1000           => forward/new
	+121  -                   => rst-tracked:c:R.,0,1001 rst-tracked:s:R,1001 +end:idle
	+0    c S  2000           => forward/new
	+1    c S  900000         => forward/syn-new-isn
	+121  -                   => rst-tracked:c:R.,0,900001 rst-tracked:s:R,900001 +end:idle`},
}
