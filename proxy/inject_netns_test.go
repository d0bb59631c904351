//go:build netns

package proxy_test

import (
	"context"
	"errors"
	"net/netip"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"halfopen/conntrack"
	"halfopen/proxy"
	"halfopen/proxy/lab"
)

// TestUnreachableStopsTheClient: the client's kernel believes an ICMP error only when the packet that it quotes is one of its
// own, so the quotation must be translated back too.
func TestUnreachableStopsTheClient(t *testing.T) {
	refused := map[string][2]error{"IPv4": {unix.ECONNREFUSED, unix.EHOSTUNREACH}, "IPv6": {unix.ECONNREFUSED, unix.EACCES}}
	for _, fam := range natFamilies() {
		for _, mode := range natModes {
			t.Run(mode.name+"/"+fam.name, func(t *testing.T) {
				g := newGateway(t, fam, mode.rules)
				nft(t, g.top.Server, "table inet deaf { chain in { type filter hook input priority 0; tcp dport 515 drop; } }")
				for i, kind := range []proxy.Unreachable{proxy.UnreachablePort, proxy.UnreachableAdmin} {
					client, server := netip.AddrPortFrom(fam.client, uint16(721+i)), netip.AddrPortFrom(fam.server, 515)
					dial := server
					if mode.destination {
						dial = netip.AddrPortFrom(fam.virtual, 80)
					}
					answered := make(chan error, 1)
					go func() {
						ctx, cancel := context.WithTimeout(context.Background(), patience)
						defer cancel()
						end, err := g.top.Client.Dial(ctx, client, dial)
						if err == nil {
							err = end.Close()
						}
						answered <- err
					}()
					syn := g.await("ho-inside", "SYN", func(s *seen) bool { return s.Flags == conntrack.SYN && s.Tuple.From() == client })
					g.await("ho-outside", "SYN", func(s *seen) bool { return s.Flags == conntrack.SYN && s.Seq == syn.Seq })
					syn.Tuple = conntrack.MakeTuple(client, server) // as the forward hook sees it
					g.refuse(syn.Segment, kind)
					if err, want := <-answered, refused[fam.name][i]; !errors.Is(err, want) {
						t.Errorf("kind %d: the client says %v, want %v", kind, err, want)
					}
				}
			})
		}
	}
}

// refuse answers a segment at the forward hook with an ICMP error.
func (g *gateway) refuse(s conntrack.Segment, kind proxy.Unreachable) {
	g.t.Helper()
	offending, err := proxy.NewEncoder(proxy.EncoderConfig{}).Segment(&s, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	err = g.top.Gateway.Do(func() error {
		wire, err := g.nat.Wire(s.Tuple.Reverse(), conntrack.Reply)
		if err != nil {
			return err
		}
		pkt, err := g.enc.Unreachable(&wire, kind, offending)
		if err != nil {
			return err
		}
		return g.inject.Send(pkt)
	})
	if err != nil {
		g.t.Fatal(err)
	}
}

func TestSendErrors(t *testing.T) {
	g := newGateway(t, natFamilies()[0], "")
	for _, route := range [][]string{
		{"unreachable", "203.0.113.1"}, {"prohibit", "203.0.113.2"}, {"unreachable", "2001:db8:9::1"}, {"prohibit", "2001:db8:9::2"},
	} {
		run(t, g.top.Gateway, "", "ip", "route", "add", route[0], route[1])
	}
	nft(t, g.top.Gateway, "table inet strict { chain out { type filter hook output priority 10; ip daddr 192.0.2.66 drop; ip6 daddr 2001:db8:1::66 drop;} }")
	for _, c := range []struct {
		name, to string
		payload  int
		want     error
	}{
		{"good", "192.0.2.10", 0, nil},
		{"v6 good", "2001:db8:1::10", 0, nil},
		{"no route", "203.0.114.1", 0, unix.ENETUNREACH},
		{"v6 no route", "2001:db8:99::1", 0, unix.ENETUNREACH},
		{"unreachable route", "203.0.113.1", 0, unix.EHOSTUNREACH},
		{"v6 unreachable route", "2001:db8:9::1", 0, unix.EHOSTUNREACH},
		{"prohibited route", "203.0.113.2", 0, unix.EACCES},
		{"v6 prohibited route", "2001:db8:9::2", 0, unix.EACCES},
		{"dropped by the host's rules", "192.0.2.66", 0, unix.EPERM},
		{"v6 dropped by the host's rules", "2001:db8:1::66", 0, unix.EPERM},
		{"above the MTU", "192.0.2.10", 1600, unix.EMSGSIZE},
		{"v6 above the MTU", "2001:db8:1::10", 1600, unix.EMSGSIZE},
	} {
		to := netip.MustParseAddr(c.to)
		from := netip.MustParseAddr("198.18.0.1") // nobody's
		if to.Is6() {
			from = netip.MustParseAddr("2001:db8:77::1")
		}
		s := conntrack.Segment{Tuple: conntrack.MakeTuple(netip.AddrPortFrom(from, 1), netip.AddrPortFrom(to, 2)), Flags: conntrack.RST}
		pkt, err := g.enc.Segment(&s, make([]byte, c.payload))
		if err != nil {
			t.Fatal(err)
		}
		if err := g.top.Gateway.Do(func() error { return g.inject.Send(pkt) }); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	for _, pkt := range [][]byte{nil, {0x45}, make([]byte, 60), append([]byte{0x60}, make([]byte, 38)...)} {
		if err := g.inject.Send(pkt); err == nil {
			t.Errorf("% x was sent", pkt)
		}
	}
	if err := errors.Join(g.inject.Close(), g.inject.Close()); err != nil {
		t.Error(err)
	}
	pkt, _ := g.enc.Segment(&conntrack.Segment{Tuple: conntrack.MakeTuple(netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.10:1"))}, nil)
	if err := g.inject.Send(pkt); err == nil {
		t.Error("a closed injector sent a packet")
	}
}

func TestDetectNAT(t *testing.T) {
	const all4, all6 = proxy.SourceNAT4 | proxy.DestinationNAT4, proxy.SourceNAT6 | proxy.DestinationNAT6
	post := "chain post { type nat hook postrouting priority 100; "
	pre := "chain pre { type nat hook prerouting priority -100; "
	for _, c := range []struct {
		name, rules string
		then        []string
		want        proxy.NATKinds
	}{
		{"nothing", "", nil, 0},
		{"chains without rules", "table ip nat { " + post + " }" + pre + " } }", nil, 0},
		{"masquerade", "table ip nat { " + post + "masquerade; } }", nil, proxy.SourceNAT4},
		{"masquerade of IPv6", "table ip6 nat { " + post + "masquerade; } }", nil, proxy.SourceNAT6},
		{"dnat", "table ip nat { " + pre + "dnat to 192.0.2.10; } }", nil, proxy.DestinationNAT4},
		{"inet", "table inet nat { " + pre + "dnat ip6 to 2001:db8::1; } }", nil, proxy.DestinationNAT4 | proxy.DestinationNAT6},
		{"for the host's own traffic", "table ip nat { chain out { type nat hook output priority -100; dnat to 192.0.2.10; } }", nil, 0},
		{"filter rules", "table ip f { chain in { type filter hook prerouting priority 0; accept; } }", nil, 0},
		{"iptables", "", []string{"iptables", "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE"}, proxy.SourceNAT4},
		{"both families", "table inet nat { " + pre + "tcp dport 1 redirect to :2; }" + post + "masquerade; } }", nil, all4 | all6},
	} {
		t.Run(c.name, func(t *testing.T) {
			top, err := lab.Build(false)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { top.Close() })
			if c.rules != "" {
				nft(t, top.Gateway, c.rules)
			}
			if c.then != nil {
				run(t, top.Gateway, "", c.then...)
			}
			var got proxy.NATKinds
			err = top.Gateway.Do(func() error { got, err = proxy.DetectNAT(); return err })
			if err != nil || got != c.want {
				t.Errorf("%04b, %v; want %04b", got, err, c.want)
			}
		})
	}
}

// TestDetectLegacyNAT: the rules of iptables-legacy are in no nftables table.
func TestDetectLegacyNAT(t *testing.T) {
	legacy, err := exec.LookPath("iptables-legacy")
	if err != nil {
		t.Fatal(err)
	}
	top, err := lab.Build(false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { top.Close() })
	run(t, top.Gateway, "", legacy, "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE")
	var got proxy.NATKinds
	err = top.Gateway.Do(func() error { got, err = proxy.DetectNAT(); return err })
	if want := proxy.SourceNAT4 | proxy.DestinationNAT4; err != nil || got != want {
		t.Errorf("%04b, %v; want %04b", got, err, want)
	}
}
