package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// WriteJSON prints the report as one object.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(r)
}

// WriteText prints the report for a reader: per phase the ladder, what each party saw, and why. Where w is a terminal the ladder keeps
// to its width.
func (r *Report) WriteText(w io.Writer) error {
	out := &errWriter{w: w}
	width := terminalWidth(w)
	fmt.Fprintf(out, "scenario %s, policy %s", r.Scenario, r.Policy)
	if r.FarPolicy != "" {
		fmt.Fprintf(out, ", far policy %s", r.FarPolicy)
	}
	fmt.Fprintln(out)
	if h := r.Harm; h != nil {
		fmt.Fprintf(out, "links: %s; of %d segments %d lost, %d duplicated, %d reordered\n", r.Impairment, h.Segments, h.Lost, h.Duplicated, h.Reordered)
	}
	for _, p := range r.Phases {
		p.writeText(out, width)
	}
	fmt.Fprintf(out, "\ncaptures: %s\n", strings.Join(r.Captures.list(), " "))
	for _, dir := range [...]string{r.Captures.FarGateway, r.Captures.Gateway} {
		if dir != "" {
			fmt.Fprintf(out, "pcap:     %s\n", dir)
		}
	}
	fmt.Fprintf(out, "log:      %s\n", r.Log)
	if r.FarLog != "" {
		fmt.Fprintf(out, "far log:  %s\n", r.FarLog)
	}
	return out.err
}

// errWriter keeps the first error, so that a page of Fprintf needs one check.
type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) Write(b []byte) (int, error) {
	if e.err == nil {
		_, e.err = e.w.Write(b)
	}
	return len(b), nil
}

func (c Captures) list() []string {
	out := []string{c.Inside}
	if c.Between != "" {
		out = append(out, c.Between)
	}
	return append(out, c.Outside)
}

// terminalWidth returns the columns of the terminal that w is, 0 if it is none.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

func (p *Phase) writeText(w io.Writer, width int) {
	fmt.Fprintf(w, "\nphase %s: %s\n\n", p.Name, p.title)
	drawLadder(w, p, width)
	fmt.Fprintln(w)
	c, s := p.Client, p.Server
	outcome := "NOT connected, gave up"
	if c.Connected {
		outcome = "connected"
	}
	if c.SYNSent == 0 { // the phase is about the old connection
		outcome = "NO data got through, gave up"
		if c.Connected {
			outcome = "data got through"
		}
	}
	fmt.Fprintf(w, "  client       %s after %.3f s; %s sent, %s received, %s sent\n", outcome, c.Seconds,
		plural(c.SYNSent, "SYN"), plural(c.BareACKsReceived, "bare ACK"), plural(c.RSTSent, "RST"))
	if p.FarGateway != nil {
		p.FarGateway.writeText(w, "far gateway")
	}
	p.Gateway.writeText(w, "gateway")
	fmt.Fprintf(w, "  server       %s received, %s sent\n", plural(s.SYNReceived, "SYN"), plural(s.BareACKsSent, "bare ACK"))
	for _, name := range sortedKeys(p.Facts) {
		if name == "why" {
			continue
		}
		fmt.Fprintf(w, "  %-12s %s\n", "fact", name+" = "+compact(p.Facts[name]))
	}
	fmt.Fprintf(w, "  why          %v\n", p.Facts["why"])
}

func (v *GatewayView) writeText(w io.Writer, name string) {
	fmt.Fprintf(w, "  %-12s %d forwarded, %d dropped, %d injected", name, v.Forwarded, v.Dropped, v.Injected)
	var words []string
	for _, reason := range sortedKeys(v.Decisions) {
		words = append(words, fmt.Sprintf("%s %d", reason, v.Decisions[reason]))
	}
	if len(words) > 0 {
		fmt.Fprintf(w, "; decisions: %s", strings.Join(words, ", "))
	}
	fmt.Fprintln(w)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// compact writes a fact's value on one line.
func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}
