package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"halfopen/policy"
	"halfopen/proxy/review/disagree"
	"halfopen/proxy/review/index"
)

// policiesPage tells which policy was in force when.
type policiesPage struct {
	frame
	Lines []policyLine
	Revs  []revView
	A, B  string
}

// policyLine is something that happened to the policy, or a time in which one decided; the newest first.
type policyLine struct {
	At     time.Time
	To     time.Time // of a time; zero: an event
	Run    string
	Rev    string
	Before string
	Preset string
	What   string // decided, reloaded, refused
	Class  string
	N      int
	Text   string
	Href   string
	Diff   string
}

type revView struct {
	Rev       string
	Preset    string
	N         int
	First     time.Time
	Last      time.Time
	Text      bool
	Href      string
	Decisions string
}

// policies answers with the page of policies.
func (s *Server) policies(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	p := policiesPage{frame: s.frame("policies", "Policies")}
	revs, err := s.src.x.Revisions(r.Context())
	if err != nil {
		return err
	}
	at := make(map[string]int)
	for _, v := range revs {
		p.Lines = append(p.Lines, policyLine{At: v.First, To: v.Last, Run: v.Run, Rev: v.PolicyRev, Preset: v.Preset, What: "decided", Class: "forward", N: v.Decisions,
			Href: logURL((&index.Filter{Rev: []string{v.PolicyRev}, Since: v.First, Until: v.Last.Add(time.Nanosecond)}).String(), index.OldestFirst)})
		i, ok := at[v.PolicyRev]
		if !ok {
			i = len(p.Revs)
			at[v.PolicyRev] = i
			p.Revs = append(p.Revs, s.revOf(v.PolicyRev, v.Preset))
			p.Revs[i].First = v.First
		}
		p.Revs[i].N += v.Decisions
		p.Revs[i].Last = v.Last
	}
	reloads, err := s.src.x.Reloads(r.Context())
	if err != nil {
		return err
	}
	for _, l := range reloads {
		line := policyLine{At: l.At, Run: l.Run, Rev: l.PolicyRev, Before: l.PreviousRev, Preset: l.Preset, What: "reloaded", Class: "reload",
			Text: fmt.Sprintf("live connections: %s (%d touched)", l.Flows, l.FlowsTouched), Href: "/record?at=" + url.QueryEscape(l.Cursor.String())}
		if l.PreviousRev != l.PolicyRev {
			line.Diff = diffURL(l.PreviousRev, l.PolicyRev)
		}
		if !l.OK {
			line.What, line.Class, line.Text, line.Diff = "refused", "drop", s.src.text(l.Error), ""
		} else if _, ok := at[l.PolicyRev]; !ok && l.PolicyRev != "" {
			at[l.PolicyRev] = len(p.Revs)
			p.Revs = append(p.Revs, s.revOf(l.PolicyRev, l.Preset))
			p.Revs[len(p.Revs)-1].First = l.At
		}
		p.Lines = append(p.Lines, line)
	}
	slices.SortStableFunc(p.Lines, func(a, b policyLine) int { return b.At.Compare(a.At) })
	if n := len(p.Revs); n > 1 {
		p.A, p.B = p.Revs[n-2].Rev, p.Revs[n-1].Rev
	}
	s.render(w, r, http.StatusOK, "policies", p)
	return nil
}

func (s *Server) revOf(rev, preset string) revView {
	_, err := s.src.policyText(rev)
	return revView{Rev: rev, Preset: preset, Text: err == nil, Href: "/policies/" + url.PathEscape(rev), Decisions: logURL("rev:"+quoted(rev), index.NewestFirst)}
}

func diffURL(a, b string) string {
	return "/policies/diff?" + url.Values{"a": {a}, "b": {b}}.Encode()
}

// policyPage is a policy's text.
type policyPage struct {
	frame
	Rev     string
	Text    string
	Missing string
}

// knownRev refuses what no record names: a page's address is no way to look for files.
func (s *Server) knownRev(r *http.Request, rev string) error {
	revs, err := s.src.x.Revisions(r.Context())
	if err != nil {
		return err
	}
	reloads, err := s.src.x.Reloads(r.Context())
	if err != nil {
		return err
	}
	if rev != "" && (slices.ContainsFunc(revs, func(v index.Revision) bool { return v.PolicyRev == rev }) ||
		slices.ContainsFunc(reloads, func(l index.Reload) bool { return l.PolicyRev == rev || l.PreviousRev == rev })) {
		return nil
	}
	if rep, _, err := s.shadows(r.Context()); err == nil && rev != "" && slices.ContainsFunc(rep.Shadows, func(p *disagree.Policy) bool {
		return p.PolicyRev == rev || p.LiveRev == rev
	}) {
		return nil
	}
	return notFound("no record of this log names the policy revision %s", policy.Quote(rev))
}

// policy answers with a revision's text.
func (s *Server) policy(w http.ResponseWriter, r *http.Request) error {
	rev := r.PathValue("rev")
	if err := errors.Join(noQuery(r), s.knownRev(r, rev)); err != nil {
		return err
	}
	p := policyPage{frame: s.frame("policies", "Policy "+shortRev(rev)), Rev: rev}
	text, err := s.src.policyText(rev)
	if err != nil {
		p.Missing = "The text of this revision is not kept beside the log."
	}
	p.Text = string(text)
	s.render(w, r, http.StatusOK, "policy", p)
	return nil
}

// diffPage says in what two revisions differ.
type diffPage struct {
	frame
	A, B        string
	Differences []policy.Difference
	Missing     []string
	Same        bool
}

// policyDiff answers with what two revisions differ in.
func (s *Server) policyDiff(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r, "a", "b"); err != nil {
		return err
	}
	p := diffPage{A: r.URL.Query().Get("a"), B: r.URL.Query().Get("b")}
	if err := errors.Join(s.knownRev(r, p.A), s.knownRev(r, p.B)); err != nil {
		return err
	}
	p.frame = s.frame("policies", "From "+shortRev(p.A)+" to "+shortRev(p.B))
	p.Same = p.A == p.B
	a, b := s.loaded(&p, p.A), s.loaded(&p, p.B)
	if a != nil && b != nil {
		p.Differences = policy.Diff(a, b)
		for i := range p.Differences {
			d := &p.Differences[i]
			d.Key, d.A, d.B = s.src.text(d.Key), s.src.text(d.A), s.src.text(d.B)
		}
	}
	s.render(w, r, http.StatusOK, "diff", p)
	return nil
}

// loaded reads a revision's text as a policy, or says why it cannot be.
func (s *Server) loaded(p *diffPage, rev string) *policy.Policy {
	plain := source{dir: s.cfg.Dir} // compared as it is, and shown through the map
	text, err := plain.policyText(rev)
	if err != nil {
		p.Missing = append(p.Missing, fmt.Sprintf("The text of %s is not kept beside the log.", shortRev(rev)))
		return nil
	}
	spec, problems := policy.Parse(shortRev(rev), text)
	if len(problems) == 0 {
		pol, more := policy.Compile(spec, nil)
		if len(more) == 0 && pol.Rev() == rev {
			return pol
		}
		if len(more) == 0 {
			p.Missing = append(p.Missing, fmt.Sprintf("The text that is kept as %s has another revision: it was changed, or is another version's.", shortRev(rev)))
			return nil
		}
		problems = more
	}
	p.Missing = append(p.Missing, fmt.Sprintf("The text of %s cannot be read by this version: %s", shortRev(rev), s.src.text(strings.TrimSpace(problems.Error()))))
	return nil
}

// stemOf is a file's name without its directory.
func stemOf(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Base(path)
}
