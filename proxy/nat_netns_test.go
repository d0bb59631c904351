//go:build netns

package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/conntrack"
	"halfopen/proxy"
	"halfopen/proxy/capture"
	"halfopen/proxy/lab"
)

const (
	injectMark = 0x01000000
	injectTTL  = 77 // how made packets are told from others in captures
	patience   = 5 * time.Second
)

// natFamily holds the addresses of the lab's parties in one family.
type natFamily struct {
	name, table             string
	client, gateway, server netip.Addr
	virtual                 netip.Addr // belongs to nobody; the client's default route leads to the gateway
}

func natFamilies() []natFamily {
	a := netip.MustParseAddr
	return []natFamily{
		{"IPv4", "ip", a("192.0.2.10"), a("198.51.100.1"), a("198.51.100.10"), a("203.0.113.80")},
		{"IPv6", "ip6", a("2001:db8:1::10"), a("2001:db8:3::1"), a("2001:db8:3::10"), a("2001:db8:80::80")},
	}
}

// natModes are rules of a host that translates; words in capitals stand for the family's.
var natModes = []struct {
	name, rules         string
	source, destination bool
}{
	{"none", ``, false, false},
	{"snat", `chain post { type nat hook postrouting priority 100; oifname ho-outside meta l4proto tcp snat to GATEWAY:40000-40020; }`, true, false},
	{"masquerade", `chain post { type nat hook postrouting priority 100; oifname ho-outside meta l4proto tcp masquerade to :41000-41020; }`, true, false},
	{"dnat", `chain pre { type nat hook prerouting priority -100; iifname ho-inside FAMILY daddr VIRTUAL tcp dport 80 dnat to SERVER:515; }`, false, true},
	{"both", `chain pre { type nat hook prerouting priority -100; iifname ho-inside FAMILY daddr VIRTUAL tcp dport 80 dnat to SERVER:515; }
		chain post { type nat hook postrouting priority 100; oifname ho-outside meta l4proto tcp masquerade to :42000-42020; }`, true, true},
}

// gateway is what a worker has, in the gateway's namespace.
type gateway struct {
	top    *lab.Topology
	inside *capture.Sniffer
	dir    string
	sniff  map[string]*capture.Sniffer
	t      *testing.T
	inject *proxy.RawInjector
	nat    *proxy.Translator
	enc    *proxy.Encoder
}

func run(t *testing.T, ns *lab.Namespace, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ip", append([]string{"netns", "exec", ns.Name}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// nft loads rules; its grammar wants a closing brace on a line of its own.
func nft(t *testing.T, ns *lab.Namespace, rules string) {
	t.Helper()
	run(t, ns, strings.ReplaceAll(rules, "}", "\n}\n"), "nft", "-f", "-")
}

func newGateway(t *testing.T, fam natFamily, rules string) *gateway {
	t.Helper()
	top, err := lab.Build(false)
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{t: t, top: top, dir: t.TempDir(), sniff: map[string]*capture.Sniffer{}}
	t.Cleanup(func() { top.Close() })
	g.enc = proxy.NewEncoder(proxy.EncoderConfig{TTL: injectTTL})
	brackets := func(a netip.Addr) string { return strings.TrimSuffix(netip.AddrPortFrom(a, 0).String(), ":0") }
	rules = strings.NewReplacer("FAMILY", fam.table, "VIRTUAL", fam.virtual.String(), "SERVER", brackets(fam.server),
		"GATEWAY", brackets(fam.gateway)).Replace(rules)
	// The forward chain makes the host track connections, NAT or not; the output chain is the one that halfopen installs.
	nft(t, top.Gateway, fmt.Sprintf("table %s host { chain through { type filter hook forward priority 0; ct state established counter accept; } %s }",
		fam.table, rules))
	nft(t, top.Gateway, fmt.Sprintf("table inet made { chain out { type filter hook output priority raw; meta mark & 0xff000000 == %#x counter notrack; } }",
		injectMark))
	err = top.Gateway.Do(func() error {
		var err error
		if g.inject, err = proxy.OpenRawInjector(injectMark); err != nil {
			return err
		}
		g.nat, err = proxy.NewTranslator(proxy.TranslatorConfig{Keep: 1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.inject.Close(); g.nat.Close() })
	for _, link := range []string{"ho-inside", "ho-outside"} {
		err := top.Gateway.Do(func() error {
			var err error
			g.sniff[link], err = capture.StartSniffer(link, link, filepath.Join(g.dir, link), capture.Section{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, s := range g.sniff {
			s.Stop()
		}
	})
	return g
}

// seen is a captured segment.
type seen struct {
	conntrack.Segment
	packet []byte
}

// segments returns what has passed a link so far.
func (g *gateway) segments(link string) []seen {
	g.t.Helper()
	if err := g.sniff[link].Flush(); err != nil {
		g.t.Fatal(err)
	}
	frames, err := capture.ReadAll(filepath.Join(g.dir, link))
	if err != nil {
		g.t.Fatal(err)
	}
	var out []seen
	d := proxy.NewDecoder()
	for _, f := range frames {
		if ip, ok := f.IP(); ok {
			s := seen{packet: ip}
			d.Decode(ip, len(ip), proxy.PacketInfo{Partial: true}, &s.Segment)
			out = append(out, s)
		}
	}
	return out
}

// await waits until a segment that fits has passed the link, and returns the last such.
func (g *gateway) await(link, what string, fits func(*seen) bool) seen {
	g.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		all := g.segments(link)
		for i := len(all) - 1; i >= 0; i-- {
			if fits(&all[i]) {
				return all[i]
			}
		}
	}
	g.t.Fatalf("no %s passed %s", what, link)
	return seen{}
}

// count is how many segments that fit have passed a link so far.
func (g *gateway) count(link string, fits func(*seen) bool) (n int) {
	g.t.Helper()
	for _, s := range g.segments(link) {
		if fits(&s) {
			n++
		}
	}
	return n
}

// answered sends a segment and waits until one more that fits has passed the link.
func (g *gateway) answered(s conntrack.Segment, dir conntrack.Direction, link, what string, fits func(*seen) bool) conntrack.Tuple {
	g.t.Helper()
	before := g.count(link, fits)
	wire := g.send(s, dir)
	for end := time.Now().Add(patience); g.count(link, fits) <= before; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Fatalf("no %s passed %s", what, link)
		}
	}
	return wire
}

// send makes a segment whose tuple is as the forward hook sees it, and sends it as the wire wants it.
func (g *gateway) send(s conntrack.Segment, dir conntrack.Direction) conntrack.Tuple {
	g.t.Helper()
	err := g.top.Gateway.Do(func() error {
		wire, err := g.nat.Wire(s.Tuple, dir)
		if err != nil {
			return err
		}
		s.Tuple = wire
		pkt, err := g.enc.Segment(&s, nil)
		if err != nil {
			return err
		}
		return g.inject.Send(pkt)
	})
	if err != nil {
		g.t.Fatal(err)
	}
	return s.Tuple
}

func TestMadePacketsAreTranslated(t *testing.T) {
	for _, fam := range natFamilies() {
		for _, mode := range natModes {
			t.Run(mode.name+"/"+fam.name, func(t *testing.T) { testTranslated(t, fam, mode.rules, mode.source, mode.destination) })
		}
	}
}

func testTranslated(t *testing.T, fam natFamily, rules string, source, destination bool) {
	g := newGateway(t, fam, rules)
	client, server := netip.AddrPortFrom(fam.client, 721), netip.AddrPortFrom(fam.server, 515)
	dial := server
	if destination {
		dial = netip.AddrPortFrom(fam.virtual, 80)
	}
	service, err := g.top.Server.Serve(server, true)
	if err != nil {
		t.Fatal(err)
	}
	defer service.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	end, err := g.top.Client.Dial(ctx, client, dial)
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	if err := end.Say("hello", patience); err != nil {
		t.Fatal(err)
	}
	// What the ends hold, read from outside: numbers survive translation, addresses do not.
	syn := g.await("ho-outside", "SYN", func(s *seen) bool { return s.Flags == conntrack.SYN })
	last := g.await("ho-outside", "ACK of the server's echo", func(s *seen) bool {
		return s.Tuple == syn.Tuple && s.Len == 0 && s.Flags == conntrack.ACK && s.Seq == syn.Seq+6
	})
	toServer, toClient := last.Tuple, conntrack.MakeTuple(dial, client)
	if translated := toServer.From() != client; translated != source {
		t.Fatalf("the server sees %v: translated %v, want %v", toServer.From(), translated, source)
	}
	forward := conntrack.MakeTuple(client, server)
	next := [2]conntrack.Seq{last.Seq, last.Ack}

	// An old ACK towards each end, as a keepalive probe is: both answer, and the answers cross the host unharmed.
	probe := conntrack.Segment{Tuple: forward, Seq: next[0] - 1, Ack: next[1], Flags: conntrack.ACK, Window: 512}
	wire := g.answered(probe, conntrack.Original, "ho-inside", "server's answer to the probe", func(s *seen) bool {
		return s.Tuple == toClient && s.Flags == conntrack.ACK && s.Len == 0 && s.Ack == next[0] && s.TTL != injectTTL
	})
	if wire != toServer {
		t.Errorf("to the server: %v, want %v", wire, toServer)
	}
	probe.Tuple, probe.Seq, probe.Ack = forward.Reverse(), next[1]-1, next[0]
	wire = g.answered(probe, conntrack.Reply, "ho-outside", "client's answer to the probe", func(s *seen) bool {
		return s.Tuple == toServer && s.Flags == conntrack.ACK && s.Seq == next[0] && s.TTL != injectTTL
	})
	if wire != toClient {
		t.Errorf("to the client: %v, want %v", wire, toClient)
	}
	if err := end.Say("hello", patience); err != nil {
		t.Fatalf("the connection suffered: %v", err)
	}
	// The client may be slow to acknowledge the echo. Were its ACK still to come when the server is reset, it would draw a RST of the server's.
	g.await("ho-outside", "ACK of the second echo", func(s *seen) bool {
		return s.Tuple == toServer && s.Flags == conntrack.ACK && s.Len == 0 && s.Seq == next[0]+5 && s.Ack == next[1]+5
	})
	before := g.entry(forward)

	// RSTs with the exact numbers end both, and leave the host's own entry as it was.
	rst := conntrack.Segment{Tuple: forward, Seq: next[0] + 5, Flags: conntrack.RST}
	g.send(rst, conntrack.Original)
	rst.Tuple, rst.Seq = forward.Reverse(), next[1]+5
	g.send(rst, conntrack.Reply)
	if err := end.Drained(patience); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the client's socket says %v, not reset", err)
	}
	for end := time.Now().Add(patience); service.Held() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the server's socket was not reset")
		}
	}
	if after := g.entry(forward); after != before {
		t.Errorf("the host's entry changed from %s to %s", before, after)
	}
	if out := run(t, g.top.Gateway, "", "nft", "list", "table", "inet", "made"); !strings.Contains(out, "counter packets 4 ") {
		t.Errorf("not all that was made carries the mark:\n%s", out)
	}
	g.judge(fam, source, destination)
}

// entry returns the state of the host's conntrack entries that concern the flow's server.
func (g *gateway) entry(forward conntrack.Tuple) string {
	g.t.Helper()
	out := run(g.t, g.top.Gateway, "", "conntrack", "-L", "-f", map[bool]string{true: "ipv4", false: "ipv6"}[forward.Is4()], "-p", "tcp")
	var states []string
	for _, line := range strings.Split(out, "\n") {
		if f := strings.Fields(line); len(f) > 3 && f[0] == "tcp" && strings.Contains(line, "sport=721 ") {
			states = append(states, f[3])
		}
	}
	if len(states) != 1 {
		g.t.Fatalf("the host's entries:\n%s", out)
	}
	return states[0]
}

// judge reads both captures: what was made is sound to the last checksum, no end saw an address that is not for it, and the
// gateway's kernel added nothing of its own.
func (g *gateway) judge(fam natFamily, source, destination bool) {
	g.t.Helper()
	for link, made := range map[string]int{"ho-inside": 2, "ho-outside": 2} {
		// That an end was reset does not say that the sniffer has read the RST yet. When it stops it writes what the kernel has queued for it.
		if _, err := g.sniff[link].Stop(); err != nil {
			g.t.Fatal(err)
		}
		all := g.segments(link)
		got := 0
		for i := range all {
			s := &all[i]
			if link == "ho-outside" && source && (s.Tuple.From().Addr() == fam.client || s.Tuple.To().Addr() == fam.client) ||
				link == "ho-inside" && destination && (s.Tuple.From().Addr() == fam.server || s.Tuple.To().Addr() == fam.server) {
				g.t.Errorf("%s: %v shows an inner address", link, s.Tuple)
			}
			if s.TTL == injectTTL {
				got++
			} else if s.Defect == conntrack.DefectNone && s.Flags.Has(conntrack.RST) {
				g.t.Errorf("%s: a RST that nobody asked for: %v", link, s.Tuple)
			}
			if notTCP := s.packet[0]>>4 == 4 && s.packet[9] == unix.IPPROTO_ICMP; notTCP {
				g.t.Errorf("%s: ICMP % x", link, s.packet)
			}
			if s.packet[0]>>4 == 6 && s.packet[6] == unix.IPPROTO_ICMPV6 && s.packet[40] != 135 && s.packet[40] != 136 && s.packet[40] != 143 &&
				s.packet[40] != 133 {
				g.t.Errorf("%s: ICMPv6 % x", link, s.packet)
			}
		}
		if got != made {
			g.t.Errorf("%s: %d made packets, want %d", link, got, made)
		}
		g.tshark(link, made)
	}
}

// tshark verifies the checksums of made packets with another implementation.
func (g *gateway) tshark(link string, want int) {
	g.t.Helper()
	cmd := exec.CommandContext(g.t.Context(), "tshark", "-r", filepath.Join(g.dir, link), "-T", "json",
		"-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE", "-e", "tcp.checksum.status", "-e", "ip.checksum.status",
		"-Y", fmt.Sprintf("ip.ttl == %d || ipv6.hlim == %d", injectTTL, injectTTL))
	out, err := cmd.Output()
	if err != nil {
		g.t.Fatal(err)
	}
	var frames []struct {
		Source struct {
			Layers map[string][]string `json:"layers"`
		} `json:"_source"`
	}
	if err := json.Unmarshal(out, &frames); err != nil {
		g.t.Fatal(err)
	}
	if len(frames) != want {
		g.t.Errorf("%s: tshark sees %d made packets, want %d", link, len(frames), want)
	}
	for _, f := range frames {
		for field, v := range f.Source.Layers {
			if len(v) != 1 || v[0] != "1" {
				g.t.Errorf("%s: tshark says %s is %v, not 1 (good)", link, field, v)
			}
		}
		if len(f.Source.Layers["tcp.checksum.status"]) == 0 {
			g.t.Errorf("%s: tshark judged no TCP checksum", link)
		}
	}
}
