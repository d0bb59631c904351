package capture

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"halfopen/proxy/decisionlog"
	"halfopen/proxy/spool"
)

// Pick says which packets of an annotated capture are wanted: those of which everything holds that is set. At least one field must be.
type Pick struct {
	// Flow is the log's flow_id. Packets that met the flow's tombstone belong to it too.
	Flow        uint64
	CommunityID string            // as in the log
	Ends        [2]netip.AddrPort // of a connection, either way round
	From, Until time.Time         // both included
}

// empty reports whether nothing is set.
func (p *Pick) empty() bool {
	return p.Flow == 0 && p.CommunityID == "" && p.Ends == [2]netip.AddrPort{} && p.From.IsZero() && p.Until.IsZero()
}

// String is what was picked, as words for a section's comment.
func (p *Pick) String() string {
	var w words
	w.number("flow", p.Flow&flowMask)
	w.text("community_id", p.CommunityID)
	if p.Ends[0].IsValid() {
		w.text("src", p.Ends[0].String())
		w.text("dst", p.Ends[1].String())
	}
	for _, t := range [...]struct {
		key string
		at  time.Time
	}{{"from", p.From}, {"until", p.Until}} {
		if !t.at.IsZero() {
			w.text(t.key, t.at.UTC().Format(time.RFC3339Nano))
		}
	}
	return strings.TrimPrefix(string(w.b), " ")
}

// ExtractFlow writes the packets of an annotated capture's directory that are picked to w, as one pcapng file in the order of the
// directory's, with their comments and interfaces, and returns how many they are. What a picked decision made, and how a picked hold ended,
// comes along, whatever addresses it has on the wire. A gateway may be writing to the directory meanwhile.
//
// A file that was cut off (its writer was killed, or is writing) ends where it ends. Other damage is an error, after everything that
// can be read has been written; an error that stops it earlier is the one of w.
//
// A range of time leaves out files unread that were complete before it, or begin a minute behind it. Where the host's clock was set back by more
// than that within a file, packets may be missed.
func ExtractFlow(w io.Writer, dir string, pick Pick) (packets int, err error) {
	if pick.empty() {
		return 0, fmt.Errorf("%s: nothing is picked", packetNoun)
	}
	files, err := Files(dir)
	if err != nil {
		return 0, err
	}
	out, err := NewWriter(struct{ io.Writer }{w}, Section{Application: application, Comment: application + " extract " + pick.String()})
	if err != nil {
		return 0, err
	}
	x := &extraction{Pick: pick, out: out, ifaces: map[Interface]int{}, picked: map[decisionlog.ID]struct{}{}, known: map[[2]netip.AddrPort]bool{}}
	x.Flow &= flowMask
	var damage []error
	for i, path := range files {
		complete := time.Time{}
		if i+1 < len(files) {
			complete, _ = spool.NameTime(filepath.Base(files[i+1]), packetPrefix, packetSuffix)
		}
		if err := x.file(path, complete); err != nil {
			damage = append(damage, err)
		}
		if x.err != nil {
			return x.n, x.err
		}
	}
	if err := out.Flush(); err != nil {
		return x.n, err
	}
	return x.n, errors.Join(damage...)
}

// extraction is an ExtractFlow under way.
type extraction struct {
	Pick
	out    *Writer
	ifaces map[Interface]int
	picked map[decisionlog.ID]struct{} // decisions
	known  map[[2]netip.AddrPort]bool  // whether a pair of ends has the community id
	n      int
	err    error // of the writer
}

// beyond is how far behind the range a file's first packet must be for the rest of it to be left out. Packets of several workers are in order, but
// not to the microsecond.
const beyond = time.Minute

// file goes through one file. complete is when the next one was begun, the zero time where that is not known.
func (x *extraction) file(path string, complete time.Time) error {
	r, err := Open(path)
	if errors.Is(err, os.ErrNotExist) { // retention was faster
		return nil
	}
	if err != nil {
		return cutIsNoDamage(err)
	}
	defer r.Close()
	var f Frame
	for {
		if err := r.Read(&f); err != nil {
			return cutIsNoDamage(err)
		}
		if f.N == 1 && x.outside(f.Time, complete) {
			return nil
		}
		if x.wanted(&f) {
			x.write(r, &f)
		}
		if x.err != nil {
			return nil
		}
	}
}

func cutIsNoDamage(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, ErrCut) {
		return nil
	}
	return err
}

// outside reports whether no packet of a file can be in the range of time. A gateway writes packets that it has: they are older than the file
// that comes next. A replay's packets need not be.
func (x *extraction) outside(first, complete time.Time) bool {
	if !x.Until.IsZero() && first.After(x.Until.Add(beyond)) {
		return true
	}
	return !x.From.IsZero() && !complete.IsZero() && !complete.After(x.From) && !first.After(complete)
}

// wanted reports whether a packet is picked.
func (x *extraction) wanted(f *Frame) bool {
	if !x.From.IsZero() && f.Time.Before(x.From) || !x.Until.IsZero() && f.Time.After(x.Until) {
		return false
	}
	n, ok := f.Note()
	if ok {
		if x.caused(&n) {
			return true
		}
		if x.Flow != 0 && n.Flow != x.Flow && n.Tombstone != x.Flow {
			return false
		}
	} else if x.Flow != 0 {
		return false
	}
	if (x.CommunityID != "" || x.Ends[0].IsValid()) && !x.between(f) {
		return false
	}
	if ok && n.Verdict != Inject {
		x.picked[n.ID] = struct{}{}
	}
	return true
}

// caused reports whether a picked decision is behind the packet.
func (x *extraction) caused(n *Note) bool {
	if n.Cause.IsZero() && n.Settles.IsZero() {
		return false
	}
	_, made := x.picked[n.Cause]
	_, ended := x.picked[n.Settles]
	if ended { // what the end of the hold makes belongs to it too
		x.picked[n.ID] = struct{}{}
	}
	return made || ended
}

// maxKnown bounds the pairs of ends that are remembered.
const maxKnown = 1 << 16

// between reports whether the packet is one of the ends that are looked for.
func (x *extraction) between(f *Frame) bool {
	ip, ok := f.IP()
	if !ok {
		return false
	}
	a, b, ok := ends(ip)
	if !ok {
		return false
	}
	if x.Ends[0].IsValid() && x.Ends != [2]netip.AddrPort{a, b} && x.Ends != [2]netip.AddrPort{b, a} {
		return false
	}
	if x.CommunityID == "" {
		return true
	}
	pair := [2]netip.AddrPort{a, b}
	is, known := x.known[pair]
	if !known {
		is = string(decisionlog.AppendCommunityID(nil, a, b)) == x.CommunityID
		if len(x.known) >= maxKnown {
			clear(x.known)
		}
		x.known[pair] = is
	}
	return is
}

// write writes a packet, on an interface like its own.
func (x *extraction) write(r *Reader, f *Frame) {
	i, _ := r.InterfaceAt(f.InterfaceID)
	number, ok := x.ifaces[i]
	if !ok {
		if number, x.err = x.out.AddInterface(i); x.err != nil {
			return
		}
		x.ifaces[i] = number
	}
	if x.err = x.out.WritePacket(number, f.Time, f.Data, f.OrigLen, f.Options); x.err == nil {
		x.n++
	}
}
