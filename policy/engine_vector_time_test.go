package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// resetVectors are about the end of a connection: V3 a SYN after both FINs, V4 a RST inside the window that is not exact.
var resetVectors = []vector{
	{name: "V3 reopen after both FINs", presets: pfs + " " + lins + " freebsd-pf-classic lpd-case-2015 observe transparent-resync", script: finished + `
	+.5   c S  900000         => forward/syn-time-wait state=SYN_SENT +end:replaced +new`},
	{name: "V3 reopen after both FINs", presets: mappers, script: finished + `
	+2    c S  900000         => forward/syn-time-wait state=SYN_SENT +end:replaced +new`},
	{name: "V3 reopen after both FINs", presets: pfs + " " + lins + " " + mappers + " freebsd-pf-classic observe", script: finished + `
	+16   c S  900000         => forward/syn-time-wait state=SYN_SENT +end:replaced +new`},
	{name: "V3 reopen after both FINs", presets: "rfc5382-nat", extra: inside, script: finished + `
	+16   c S  900000         => forward/syn-time-wait state=SYN_SENT +end:replaced +new`},
	// For the second that the entry has left the SYN is passed and begins nothing; its answer comes when there is none.
	{name: "V3 reopen after both FINs", presets: "ipfw-keepalive", script: finished + `
	+.5   c S  900000         => forward/syn-time-wait state=TIME_WAIT remaining=500ms
	+.6   s S. 70000 900001   => drop/late-synack tomb=fin`},
	{name: "V3 reopen after both FINs", presets: "ipfw-keepalive", script: finished + `
	+2    c S  900000         => forward/new tomb=fin state=SYN_SENT`},
	{name: "V3 reopen after both FINs", presets: "f5-fastl4", script: finished + `
	+.5   c S  900000         => forward/new tomb=fin state=SYN_SENT`},

	{name: "V4 inexact RST", presets: lins + " lpd-case-2015", script: session + `
	+1    c R  1201           => forward/rst-inexact state=ESTABLISHED
	+9    c .  1101 5051      => remaining=1s`},
	{name: "V4 inexact RST", presets: pfs + " freebsd-pf-classic", script: session + `
	+1    c R  1201           => drop/rst-inexact state=ESTABLISHED`},
	{name: "V4 inexact RST", presets: "transparent-resync", script: session + `
	+1    c R  1201           => forward/rst-inexact state=ESTABLISHED
	+9    c .  1101 5051      => remaining=1s`},
	{name: "V4 inexact RST", presets: "observe", script: session + `
	+1    c R  1201           => forward/rst-inexact state=ESTABLISHED`},
	{name: "V4 inexact RST ends it as any other", presets: mappers + " ipfw-keepalive", script: session + `
	+1    c R  1201           => forward/rst state=CLOSE`},
	{name: "V4 inexact RST ends it as any other", presets: "rfc5382-nat", extra: inside, script: session + `
	+1    c R  1201           => forward/rst state=CLOSE
	+3m   s P. 5051:10 1101   => forward/data-after-rst remaining=1m0s`},
	{name: "V4 inexact RST ends it at once", presets: "f5-fastl4", script: session + `
	+1    c R  1201           => forward/rst state=CLOSE
	+1ms  s P. 5051:10 1101   => drop/late-after-expiry tomb=rst`},
	{name: "V4 inexact RST, one that is far off", presets: "ipfw-keepalive", script: session + `
	+1    c R  900000         => forward/rst state=CLOSE
	+.9   c P. 1101:10 5051   => remaining=100ms`},
}

// timeVectors are about silence: V6 what comes after the idle timer, V8 one end's ACK replayed for an hour, V10 RSTs to both
// ends.
var timeVectors = []vector{
	{name: "V6 data after the idle timer", presets: "lpd-case-2015", script: session + `
	+1h5m c P. 1101:10 5051   => forward/late-after-expiry tomb=idle`},
	{name: "V6 data after the idle timer", presets: "openbsd-pf pf-highlatency freebsd-pf-classic", script: session + `
	+24h5m c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V6 data after the idle timer", presets: "openbsd-pf:block-policy=return", script: session + `
	+24h5m c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=rst:c:R,5051`},
	{name: "V6 data after the idle timer", presets: "pf-aggressive openbsd-pf:optimization=aggressive", script: session + `
	+4h59m c .  1101 5051      => forward/in-window
	+5h5m c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V6 data after the idle timer", presets: "pf-conservative openbsd-pf:optimization=conservative", script: session + `
	+119h c .  1101 5051      => forward/in-window
	+120h5m c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V6 data after the idle timer", presets: "linux-default observe", script: session + `
	+120h5m c P. 1101:10 5051   => forward/late-after-expiry tomb=idle effect=create-liberal state=ESTABLISHED`},
	{name: "V6 data after the idle timer", presets: "linux-strict linux-default:nf_conntrack_tcp_loose=0", script: session + `
	+120h5m c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V6 data after the idle timer", presets: "cpe-short azure-lb-4min", script: session + `
	+239s c .  1101 5051      => forward/in-window
	+5m   c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V6 data after the idle timer", presets: "cloud-natgw-350", script: session + `
	+349s c .  1101 5051      => forward/in-window
	+6m   c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=rst:c:R,5051
	+1s   s P. 5051:10 1101   => drop/late-after-expiry tomb=idle reply=rst:s:R,1101
	+1s   s R  5051           => drop/late-rst reply=none`},
	{name: "V6 data after the idle timer", presets: "aws-netfw", script: session + `
	+349s c .  1101 5051      => forward/in-window
	+6m   c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none
	+1s   c S  900000         => forward/new`},
	{name: "V6 data after the idle timer", presets: "aws-netfw:StreamExceptionPolicy=CONTINUE", script: session + `
	+6m   c P. 1101:10 5051   => forward/late-after-expiry tomb=idle effect=create-liberal`},
	{name: "V6 data after the idle timer", presets: "aws-netfw:StreamExceptionPolicy=REJECT", script: session + `
	+6m   c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=rst:c:R,5051
	+1s   c S  900000         => forward/new`},
	{name: "V6 data after the idle timer", presets: "rfc5382-nat", extra: inside, script: session + `
	+2h3m c .  1101 5051      => forward/in-window
	+2h5m c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V6 data after the idle timer", presets: "f5-fastl4 f5-fastl4:resetOnTimeout=false", script: session + `
	+299s c .  1101 5051      => forward/in-window
	+301s c P. 1101:10 5051   => drop/late-after-expiry tomb=idle reply=none`},
	{name: "V6 data after the idle timer", presets: "f5-fastl4:resetOnTimeout=false,looseInitialization=true", script: session + `
	+301s c P. 1101:10 5051   => forward/late-after-expiry tomb=idle effect=create-liberal
	+1ms  s .  5051 1111      => forward/in-window state=ESTABLISHED`},
	{name: "V6 the ends are asked before the timer is up", presets: "ipfw-keepalive", alone: true, script: session + `
	+281s -                   => probe-ack:c:.,5050,1101,win=1000 probe-ack:s:.,1100,5051,win=1000
	+10ms c .  1101 5051      => forward/ack-for-probe
	+10ms s .  5051 1101      => forward/ack-for-probe remaining=18.98s
	+281s -                   => probe-ack:c:.,5050,1101,win=1000 probe-ack:s:.,1100,5051,win=1000
	+5s   -                   => probe-ack:c:.,5050,1101,win=1000 probe-ack:s:.,1100,5051,win=1000
	+5s   -                   => probe-ack:c:.,5050,1101,win=1000 probe-ack:s:.,1100,5051,win=1000
	+5s   -                   => probe-ack:c:.,5050,1101,win=1000 probe-ack:s:.,1100,5051,win=1000
	+5s   -                   => +end:dead
	+1s   c P. 1101:10 5051   => drop/late-after-expiry tomb=dead`},
	{name: "V6 the ends are asked when the timer is up", presets: "transparent-resync", alone: true, extra: "timeouts: {established: 1h}", script: session + `
	+1h1s -                   => probe-ack:c:.,5050,1101,win=1000 probe-ack:s:.,1100,5051,win=1000
	+10ms c R  1101           => forward/rst-for-probe`},
	{name: "V6 keepalives", presets: "f5-fastl4:keepAliveInterval=60", alone: true, script: session + `
	+61s  -                   => probe-ack:c:.,5050,1101,win=1000 probe-ack:s:.,1100,5051,win=1000
	+10ms c .  1101 5051      => forward/ack-for-probe`},

	{name: "V8 one end's ACK for an hour", presets: "ipfw-keepalive", extra: "probes: {tries: 0}", script: session + `
	+2m   c .  1101 5051      => forward/in-window
	+2m   c .  1101 5051      => forward/in-window
	+2m   c .  1101 5051      => drop/late-after-expiry tomb=idle`},
	{name: "V8 one end's ACK for an hour", presets: lins + " " + pfs + " " + mappers + " freebsd-pf-classic f5-fastl4 lpd-case-2015 observe transparent-resync", script: session + replay},
	{name: "V8 one end's ACK for an hour", presets: "rfc5382-nat", extra: inside, script: session + replay},

	{name: "V10 RSTs to both ends", presets: "azure-lb-4min:enableTcpReset=true", alone: true, script: session + `
	+241  -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101 +end:idle`},
	{name: "V10 RSTs to both ends", presets: "f5-fastl4", alone: true, script: session + `
	+301  -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101 +end:idle`},
	{name: "V10 RSTs to both ends, one of which may have received what was sent last", presets: "azure-lb-4min:enableTcpReset=true", alone: true, script: session + `
	+1    c P. 1101:100 5051  => forward/in-window
	+241  -                   => rst-tracked:c:R,5051 rst-tracked:s:R,1101+1201 +end:idle`},
	{name: "V10 no RSTs", presets: "azure-lb-4min cpe-short", alone: true, script: session + `
	+241  -                   => +end:idle`},
	{name: "V10 no RSTs", presets: "f5-fastl4:resetOnTimeout=false aws-netfw cloud-natgw-350", alone: true, script: session + `
	+351  -                   => +end:idle`},
	{name: "V10 RSTs to both ends that do not answer", presets: "transparent-resync", alone: true, extra: "timeouts: {established: 1h}", script: session + `
	+1h2m -                   => ` + strings.TrimSpace(strings.Repeat(" probe-ack:c:.,5050,1101,win=1000 probe-ack:s:.,1100,5051,win=1000", 5)) + ` rst-tracked:c:R,5051 rst-tracked:s:R,1101 +end:dead`},
}

// replay is the client's last ACK every two minutes for an hour.
var replay = strings.Repeat(`
	+2m   c .  1101 5051      => forward/in-window`, 30)

// TestTableFull is V7: half-open connections fill the table, and then a legitimate client dials. No flood forgets a connection
// that is established.
func TestTableFull(t *testing.T) {
	for preset, want := range map[string]string{
		"linux-default": "forward/new", "linux-strict": "forward/new", "lpd-case-2015": "forward/new", "transparent-resync": "forward/new", "observe": "forward/new",
		"openbsd-pf": "drop/embryonic-limit", "freebsd-pf-classic": "drop/embryonic-limit", "pf-aggressive": "drop/embryonic-limit",
		"pf-conservative": "drop/embryonic-limit", "pf-highlatency": "drop/embryonic-limit", "ipfw-keepalive": "drop/embryonic-limit",
		"rfc5382-nat": "drop/embryonic-limit", "cpe-short": "drop/embryonic-limit", "cloud-natgw-350": "drop/embryonic-limit",
		"azure-lb-4min": "drop/embryonic-limit", "aws-netfw": "drop/embryonic-limit", "f5-fastl4": "drop/embryonic-limit",
		"checkpoint-scr": "drop/embryonic-limit", "checkpoint-legacy": "drop/embryonic-limit", "cisco-asa": "drop/embryonic-limit",
		"paloalto": "drop/embryonic-limit", "juniper-srx": "drop/embryonic-limit", "fortigate": "drop/embryonic-limit", "netdefendos": "forward/new",
	} {
		x := newScript(policyOf(t, "preset: "+preset+"\nlimits: {flows: 8, embryonic: 3}\n"+inside), EngineConfig{NoAdopt: true}, plainWorld)
		x.run(t, handshake)
		flood := *x
		for i := range 5 {
			flood.ends[0] = another(i)
			flood.line(t, "+1ms c S 1000")
		}
		flood.ends[0] = another(9)
		if got := flood.line(t, "+1ms c S 1000"); !strings.HasPrefix(got, want+" ") {
			t.Errorf("%s: the client's SYN is %s, want %s", preset, got, want)
		}
		x.now = flood.now
		x.run(t, `
	+1ms  c P. 1001:100 5001  => forward/in-window state=ESTABLISHED`)
		if n := x.e.Len(); n != 4 {
			t.Errorf("%s: %d connections", preset, n)
		}
	}
}

// another returns the address of another client.
func another(i int) netip.AddrPort { return netip.MustParseAddrPort(fmt.Sprintf("10.2.1.%d:1000", i)) }
