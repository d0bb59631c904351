package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"halfopen/policy"
	"halfopen/proxy/review/ladder"
)

// matrixParallel is the default number of cells that play at the same time. A cell mostly waits.
const matrixParallel = 16

// MatrixOptions say which policies meet which phases.
type MatrixOptions struct {
	Policies  []string              // names or files, in the order of the table's columns
	Scenarios []string              // nil means all
	Set       []string              // further PATH=VALUE overrides of every policy
	Binary    string                // as Options.Binary
	Parallel  int                   // cells at the same time; 0 means matrixParallel
	Version   string                // of the program, for the result
	Out       string                // keep each cell's captures and logs in Out/SCENARIO.PHASE.COLUMN-POLICY; "" keeps none
	Progress  func(done, total int) // called after each cell, never concurrently; may be nil
}

// Matrix is the result: one cell for each policy and phase.
type Matrix struct {
	Policies  []string     `json:"policies"`
	Set       []string     `json:"set,omitempty"` // what was overridden in every policy, PATH=VALUE
	Rows      []Row        `json:"rows"`
	Seconds   float64      `json:"seconds"`            // how long it all took
	LeftOut   []string     `json:"left_out,omitempty"` // scenarios that could not be played here, and why
	Began     time.Time    `json:"began"`
	Version   string       `json:"version,omitempty"` // of the program
	Kernel    string       `json:"kernel"`            // whose TCP the ends are, as uname -sr says
	Incidents []Incident   `json:"incidents"`         // the scenarios of the rows
	Presets   []PolicyInfo `json:"policy_info"`       // in the order of Policies
}

// Incident says what a scenario is about.
type Incident struct {
	Scenario string `json:"scenario"`
	Summary  string `json:"summary"` // one sentence
	About    string `json:"about"`   // one paragraph
}

// PolicyInfo says what a policy of the matrix is.
type PolicyInfo struct {
	Policy      string `json:"policy"`
	Rev         string `json:"policy_rev,omitempty"`
	Description string `json:"description,omitempty"`
}

// Row is one phase under every policy, in the order of Matrix.Policies.
type Row struct {
	Scenario string   `json:"scenario"`
	Phase    string   `json:"phase"`
	Title    string   `json:"title"`         // what happens in the phase
	Set      []string `json:"set,omitempty"` // what the lab sets in every policy for it, PATH=VALUE
	Cells    []Cell   `json:"cells"`
}

// Cell is one phase under one policy.
type Cell struct {
	Policy    string      `json:"policy"`
	Connected bool        `json:"connected"`
	Seconds   float64     `json:"seconds"`           // to recover, or until somebody gave up
	GaveUp    string      `json:"gave_up,omitempty"` // who: "client" or "server"; "" if nobody
	SYNSent   int         `json:"syn_sent"`
	Why       string      `json:"why,omitempty"`
	Error     string      `json:"error,omitempty"`    // the lab's own failure: nothing is known about this cell
	Decisive  []*Decision `json:"decisive,omitempty"` // what it turned on, in the order of time

	ladder *ladder.Ladder // nil where nothing was seen
}

// Failed reports whether any cell could not be played.
func (m *Matrix) Failed() bool {
	for _, r := range m.Rows {
		for _, c := range r.Cells {
			if c.Error != "" {
				return true
			}
		}
	}
	return false
}

// RunMatrix plays every phase under every policy, each in a topology of its own. A cell that fails is in the table; an error is returned
// only if nothing could be played or ctx ended. Dials give up after giveUpSeconds, so that the whole of two dozen policies and all
// phases takes between one and two minutes. It needs root.
func RunMatrix(ctx context.Context, o MatrixOptions) (*Matrix, error) {
	if !isRoot() {
		return nil, errNotRoot
	}
	if len(o.Policies) == 0 {
		return nil, errors.New("lab: a matrix needs at least one policy")
	}
	start := time.Now()
	m := &Matrix{Policies: o.Policies, Set: o.Set, Began: start.UTC().Truncate(time.Second), Version: o.Version, Kernel: kernel()}
	if err := m.rows(o); err != nil {
		return nil, err
	}
	for _, ref := range o.Policies {
		m.Presets = append(m.Presets, policyInfo(ref))
	}
	if o.Out == "" {
		dir, err := os.MkdirTemp("", "halfopen-matrix-")
		if err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
		defer os.RemoveAll(dir)
		o.Out = dir
	}
	m.play(ctx, o)
	m.Seconds = seconds(time.Since(start))
	return m, ctx.Err()
}

// rows lays out the table.
func (m *Matrix) rows(o MatrixOptions) error {
	scenarios := Scenarios()
	if o.Scenarios != nil {
		scenarios = nil
		for _, name := range o.Scenarios {
			sc, err := Find(name)
			if err != nil {
				return err
			}
			scenarios = append(scenarios, sc)
		}
	}
	for _, sc := range scenarios {
		if sc.needs != nil {
			if err := sc.needs(); err != nil {
				m.LeftOut = append(m.LeftOut, fmt.Sprintf("%s: %v", sc.Name, err))
				continue
			}
		}
		m.Incidents = append(m.Incidents, Incident{sc.Name, sc.Summary, sc.About})
		for _, p := range sc.Phases {
			row := Row{Scenario: sc.Name, Phase: p.Name, Title: p.Title, Set: p.Overrides(), Cells: make([]Cell, len(o.Policies))}
			for i, policy := range o.Policies {
				row.Cells[i].Policy = policy
			}
			m.Rows = append(m.Rows, row)
		}
	}
	if len(m.Rows) == 0 {
		return fmt.Errorf("lab: nothing to play: %s", strings.Join(m.LeftOut, "; "))
	}
	return nil
}

// play fills the cells, Parallel at a time.
func (m *Matrix) play(ctx context.Context, o MatrixOptions) {
	if o.Parallel <= 0 {
		o.Parallel = matrixParallel
	}
	type place struct{ row, col int }
	todo := make(chan place)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done, total := 0, len(m.Rows)*len(m.Policies)
	for range o.Parallel {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for at := range todo {
				r := &m.Rows[at.row]
				dir := fmt.Sprintf("%s.%s.%d-%s", r.Scenario, r.Phase, at.col, filepath.Base(m.Policies[at.col]))
				r.Cells[at.col].play(ctx, r, o, filepath.Join(o.Out, dir)) // each cell is one worker's
				mu.Lock()
				done++
				if o.Progress != nil {
					o.Progress(done, total)
				}
				mu.Unlock()
			}
		}()
	}
	for row := range m.Rows {
		for col := range m.Policies {
			todo <- place{row, col}
		}
	}
	close(todo)
	wg.Wait()
}

func (c *Cell) play(ctx context.Context, row *Row, o MatrixOptions, out string) {
	if err := ctx.Err(); err != nil {
		c.Error = err.Error()
		return
	}
	r, err := Run(ctx, Options{Scenario: row.Scenario, Phase: row.Phase, Policy: c.Policy, Set: o.Set, Binary: o.Binary, Out: out})
	if err != nil {
		c.Error = err.Error()
		return
	}
	p := r.Phases[0]
	c.Connected, c.Seconds, c.SYNSent = p.Client.Connected, p.Client.Seconds, p.Client.SYNSent
	c.GaveUp, _ = p.Facts["gave_up"].(string)
	c.Why, _ = p.Facts["why"].(string)
	c.Decisive = p.decisive
	if len(p.trace) > 0 {
		c.ladder = p.ladder()
	}
}

// kernel is what uname -sr says.
func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

// policyInfo describes a policy; one that cannot be opened has errors in its cells.
func policyInfo(ref string) PolicyInfo {
	info := PolicyInfo{Policy: ref}
	if ref == PlainForwarding {
		info.Description = "no halfopen at all: the kernel forwards, as a control"
		return info
	}
	if p, err := policy.Open(ref, os.ReadFile); err == nil {
		info.Rev, info.Description = p.Rev(), p.Description()
	}
	return info
}

// WriteJSON prints the matrix as one object.
func (m *Matrix) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(m)
}

// WriteText prints the matrix as a table: a row a phase, a column a policy.
func (m *Matrix) WriteText(w io.Writer) error {
	out := &errWriter{w: w}
	first := 0
	for _, r := range m.Rows {
		first = max(first, len(r.Scenario)+1+len(r.Phase))
	}
	widths := make([]int, len(m.Policies))
	for i, p := range m.Policies {
		widths[i] = len(filepath.Base(p))
		for _, r := range m.Rows {
			widths[i] = max(widths[i], len(r.Cells[i].text()))
		}
	}
	line := func(name string, cell func(i int) string) {
		fmt.Fprintf(out, "%-*s", first, name)
		for i := range m.Policies {
			fmt.Fprintf(out, "  %-*s", widths[i], cell(i))
		}
		fmt.Fprintln(out)
	}
	line("", func(i int) string { return filepath.Base(m.Policies[i]) })
	for _, r := range m.Rows {
		line(r.Scenario+"/"+r.Phase, func(i int) string { return r.Cells[i].text() })
	}
	fmt.Fprintf(out, "\n\"yes 0.02\": connected (idle-expiry: data got through) after 0.02 s. \"NO client 7.0\": the client gave up after 7.0 s.\n")
	for _, l := range m.LeftOut {
		fmt.Fprintf(out, "left out: %s\n", l)
	}
	for _, r := range m.Rows {
		for _, c := range r.Cells {
			if c.Error != "" {
				fmt.Fprintf(out, "error in %s/%s under %s: %s\n", r.Scenario, r.Phase, c.Policy, c.Error)
			}
		}
	}
	fmt.Fprintf(out, "%d cells in %.0f s\n", len(m.Rows)*len(m.Policies), m.Seconds)
	return out.err
}

func (c *Cell) text() string {
	switch {
	case c.Error != "":
		return "error"
	case c.Connected:
		return fmt.Sprintf("yes %.2f", c.Seconds)
	}
	return fmt.Sprintf("NO %s %.1f", c.GaveUp, c.Seconds)
}
