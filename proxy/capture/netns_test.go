//go:build netns

package capture

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestTsharkReadsComments holds what the writer writes against Wireshark's own dissector.
func TestTsharkReadsComments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, writeSample(t), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("tshark", "-r", path, "-T", "fields", "-E", "separator=|", "-e", "frame.number", "-e", "frame.comment",
		"-e", "frame.packet_flags_direction", "-e", "frame.packet_id", "-e", "frame.interface_name", "-e", "frame.time_epoch",
		"-e", "frame.len", "-e", "frame.interface_queue").Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, out)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	for _, want := range []string{
		"halfopen drop reason=syn-established", "second", "|queue0 in|", "1700000000.123456789", "|1500|", "|3",
	} {
		if !strings.Contains(first, want) {
			t.Errorf("tshark's line %q lacks %q", first, want)
		}
	}
	dir := strings.Split(first, "|")[2]
	if !strings.HasSuffix(dir, "2") {
		t.Errorf("direction %q, want outbound (2)", dir)
	}
}

// inFreshNamespace runs f on a thread in a network namespace that ends with it.
func inFreshNamespace(t *testing.T, f func() error) {
	t.Helper()
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread, and with it the namespace, ends with this goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			errc <- err
			return
		}
		errc <- f()
	}()
	if err := <-errc; err != nil {
		t.Fatal(err)
	}
}

func TestSnifferSeesEachFrameOnce(t *testing.T) {
	const n = 2000
	path := filepath.Join(t.TempDir(), "x.pcapng")
	var stats SnifferStats
	began := time.Now()
	inFreshNamespace(t, func() error {
		if err := vethPair(); err != nil {
			return err
		}
		s, err := StartSniffer("ho1", "inside", path, Section{Comment: "sniffer test"})
		if err != nil {
			return err
		}
		if err := sendFrames("ho0", n); err != nil {
			return err
		}
		if err := sendFrames("ho1", 1); err != nil { // one the other way: outbound at ho1
			return err
		}
		stats, err = s.Stop()
		if err != nil {
			return err
		}
		again, err := s.Stop()
		if again != stats {
			t.Errorf("second Stop: %+v, want %+v", again, stats)
		}
		return err
	})
	frames, err := ReadAll(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[uint32]int{}
	out := 0
	for _, f := range frames {
		ip, ok := f.IP()
		if !ok || len(ip) != len(ipv4)+4 {
			continue // the kernel's own neighbour discovery
		}
		if f.Options.Direction == Outbound {
			out++
			continue
		}
		seen[binary.BigEndian.Uint32(ip[20:])]++
		if f.Time.Before(began) || f.Time.After(time.Now()) {
			t.Fatalf("frame's time %v lies outside the test", f.Time)
		}
		if f.Interface != "inside" || f.LinkType != LinkEthernet {
			t.Fatalf("frame of %q, link type %v", f.Interface, f.LinkType)
		}
	}
	if len(seen) != n || out != 1 {
		t.Errorf("%d of %d frames seen, %d outbound (want 1); stats %+v", len(seen), n, out, stats)
	}
	for k, times := range seen {
		if times != 1 {
			t.Fatalf("frame %d seen %d times", k, times)
		}
	}
	if stats.Dropped != 0 || stats.Frames != uint64(len(frames)) {
		t.Errorf("stats %+v, file has %d", stats, len(frames))
	}
}

// vethPair makes ho0 and ho1, joined and up.
func vethPair() error {
	link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "ho0", MTU: 1500}, PeerName: "ho1"}
	if err := netlink.LinkAdd(link); err != nil {
		return err
	}
	for _, name := range []string{"ho0", "ho1"} {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
	}
	return nil
}

// sendFrames sends numbered IPv4 packets of an unassigned protocol out of an interface.
func sendFrames(name string, n int) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for i := range n {
		frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 1, 8, 0}, ipv4...)
		frame = binary.BigEndian.AppendUint32(frame, uint32(i))
		if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index}); err != nil {
			return err
		}
	}
	return nil
}
