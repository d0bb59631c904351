package proxy

import (
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// AppendConntrack appends a flow in conntrack(8)'s format with its line's end: as `conntrack -L -o id` lists it, or, for an
// event, as `conntrack -E -o id` prints it. The id is the one that `flows kill id=N` takes. (nfct_snprintf_default in
// libnetfilter_conntrack; protocol number 6 is TCP. Mark and use count mean nothing here and are always 0 and 1.)
func (f *Flow) AppendConntrack(b []byte) []byte {
	if f.Event != "" {
		b = fmt.Appendf(b, "%9s ", map[string]string{"new": "[NEW]", "update": "[UPDATE]", "destroy": "[DESTROY]"}[f.Event])
	}
	b = append(b, "tcp      6 "...)
	if f.Event != "destroy" { // a dead entry has no timeout
		b = strconv.AppendInt(b, max(int64(f.RemainingS), 0), 10)
		b = append(b, ' ')
	}
	b = append(b, f.State...)
	b = appendConntrackSide(b, f.SrcIP, f.DestIP, f.SrcPort, f.DestPort, f.PktsToServer, f.BytesToServer)
	if !f.Replied {
		b = append(b, " [UNREPLIED]"...)
	}
	b = appendConntrackSide(b, f.DestIP, f.SrcIP, f.DestPort, f.SrcPort, f.PktsToClient, f.BytesToClient)
	if f.Assured {
		b = append(b, " [ASSURED]"...)
	}
	if f.Event == "" {
		b = append(b, " mark=0 use=1"...)
	}
	b = append(b, " id="...)
	b = strconv.AppendUint(b, f.FlowID, 10)
	return append(b, '\n')
}

func appendConntrackSide(b []byte, src, dst string, sport, dport uint16, packets, bytes uint64) []byte {
	return fmt.Appendf(b, " src=%s dst=%s sport=%d dport=%d packets=%d bytes=%d", src, dst, sport, dport, packets, bytes)
}

// FlowTable prints flows in columns. Close it, or nothing is printed.
type FlowTable struct{ w *tabwriter.Writer }

// NewFlowTable prints the heading and returns the table.
func NewFlowTable(w *tabwriter.Writer) *FlowTable {
	_, _ = fmt.Fprintln(w, "ID\tSTATE\tFROM\tTO\tLEFT\tIDLE\tAGE\tSENT\tRECEIVED\tRULE\tARM\tNOTES")
	return &FlowTable{w}
}

// Put adds a flow.
func (t *FlowTable) Put(f *Flow) {
	left := "never"
	if f.RemainingS >= 0 {
		left = shortSeconds(f.RemainingS)
	}
	if f.Event == "destroy" {
		left = "-"
	}
	_, _ = fmt.Fprintf(t.w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d/%s\t%d/%s\t%s\t%s\t%s\n", f.FlowID, f.State,
		endpoint(f.SrcIP, f.SrcPort), endpoint(f.DestIP, f.DestPort), left, shortSeconds(f.IdleS), shortSeconds(f.AgeS),
		f.PktsToServer, shortBytes(f.BytesToServer), f.PktsToClient, shortBytes(f.BytesToClient), dash(f.Rule), dash(f.Arm), dash(f.notes()))
}

// Close prints what was put.
func (t *FlowTable) Close() error { return t.w.Flush() }

func (f *Flow) notes() string {
	var notes []string
	for _, n := range [...]struct {
		is   bool
		word string
	}{{f.Event != "", f.Event}, {f.EndReason != "", f.EndReason}, {!f.Replied, "unreplied"}, {f.Adopted, "adopted"}, {f.Restored, "restored"}, {f.FastPath, "fast"}} {
		if n.is {
			notes = append(notes, n.word)
		}
	}
	return strings.Join(notes, " ")
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func endpoint(ip string, port uint16) string {
	if strings.Contains(ip, ":") {
		return "[" + ip + "]:" + strconv.Itoa(int(port))
	}
	return ip + ":" + strconv.Itoa(int(port))
}

// shortSeconds prints a time of at least a minute without seconds' fractions.
func shortSeconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d < time.Minute {
		return strconv.FormatFloat(s, 'f', 1, 64) + "s"
	}
	return d.Round(time.Second).String()
}

func shortBytes(n uint64) string {
	const unit = 1024
	if n < unit {
		return strconv.FormatUint(n, 10)
	}
	v, i := float64(n)/unit, 0
	for ; v >= unit && i < 4; i++ {
		v /= unit
	}
	return strconv.FormatFloat(v, 'f', 1, 64) + string("KMGTP"[i])
}
