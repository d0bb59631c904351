package web

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"halfopen/proxy/review"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/trouble"
)

// startPage is the first page: what log this is, what went wrong in it, and when.
type startPage struct {
	frame
	Balance  *balance
	Trouble  *trouble.Report
	Groups   []groupView
	Strip    *strip
	Bar      filterBar
	Reasons  []countLink
	Problems []string
	Further  int
}

// balance is the proof of the log's runs, as far as the index gives it.
type balance struct {
	Runs     []runView // the newest first
	Fast     []runView // of them those of which something passed by the fast path
	Status   string    // of all
	Class    string
	Files    int
	Records  uint64
	Messages uint64
	Size     int64
	From, To time.Time
	Problems []string
}

type runView struct {
	*review.Run
	Class string
	Fast  string // class of the fast path's status
	Why   string // it cannot be proven
	Sum   uint64
	Crash uint64
	Begun time.Time
	Ended time.Time
	Href  string
}

type groupView struct {
	*trouble.Group
	Href     string
	Examples []caseView
	Reasons  []countLink
	Servers  []countLink
}

type caseView struct {
	trouble.Case
	Href string
}

type countLink struct {
	Text string
	N    uint64
	Href string
}

// Bounds of the start page.
const (
	startProblems = 20
	startReasons  = 10
	balanceKept   = 2 * time.Second
)

// start answers with the first page.
func (s *Server) start(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	p := startPage{frame: s.frame("start", s.name())}
	q := query{Order: index.NewestFirst}
	p.Bar = s.bar(r, &q)
	var err error
	if p.Balance, err = s.balance(r); err != nil {
		return err
	}
	if p.Trouble, err = s.cases.report(r.Context(), s.cfg.Now()); err != nil {
		return err
	}
	if p.Trouble != nil {
		p.Groups = s.groups(p.Trouble)
	}
	if p.Strip, err = s.strip(r.Context(), &q, false); err != nil {
		return err
	}
	if p.Reasons, err = s.reasons(r); err != nil {
		return err
	}
	problems, err := s.src.x.Problems(r.Context())
	if err != nil {
		return err
	}
	for i := range problems {
		if i == startProblems {
			p.Further = len(problems) - i
			break
		}
		p.Problems = append(p.Problems, s.src.problem(problems[i]))
	}
	s.render(w, r, http.StatusOK, "start", p)
	return nil
}

// statusWords say what a run's status means.
var statusClasses = map[review.Status]string{review.Balanced: "good", review.Bounded: "good", review.Open: "open", review.Unknown: "warn", review.Mismatch: "bad"}

// balance proves the log, at most every two seconds.
func (s *Server) balance(r *http.Request) (*balance, error) {
	s.verified.Lock()
	defer s.verified.Unlock()
	if now := s.cfg.Now(); s.verified.data != nil && now.Sub(s.verified.at) < balanceKept {
		return s.verified.data, nil
	}
	files, err := s.src.x.Files(r.Context())
	if err != nil {
		return nil, err
	}
	b := &balance{Files: len(files), Status: "no log yet", Class: "open"}
	for i := range files {
		b.Records += uint64(files[i].Records)
		b.Size += files[i].Size
		if t := files[i].First; !t.IsZero() && (b.From.IsZero() || t.Before(b.From)) {
			b.From = t
		}
		if t := files[i].Last; t.After(b.To) {
			b.To = t
		}
	}
	if len(files) > 0 {
		rep, err := review.Summary(r.Context(), s.src.x, s.cfg.Dir)
		if err != nil {
			return nil, err
		}
		s.proof(b, rep)
	}
	s.verified.at, s.verified.data = s.cfg.Now(), b
	return b, nil
}

// proof sums up a report.
func (s *Server) proof(b *balance, rep *review.Report) {
	worst := review.Balanced
	rank := []review.Status{review.Balanced, review.Bounded, review.Open, review.Unknown, review.Mismatch}
	for _, run := range rep.Runs {
		b.Messages += run.Messages
		if slices.Index(rank, run.Status) > slices.Index(rank, worst) {
			worst = run.Status
		}
		v := runView{Run: run, Class: statusClasses[run.Status], Sum: run.Explained.Sum() + run.Crash, Begun: run.Started.Time, Ended: run.Last.Time}
		f := index.Filter{Since: run.Started.Time, Until: run.Last.Add(time.Nanosecond)}
		v.Href = logURL(f.String(), index.OldestFirst)
		b.Runs = append(b.Runs, v)
		for _, p := range run.Problems {
			b.Problems = append(b.Problems, s.proofProblem(p))
		}
	}
	slices.Reverse(b.Runs)
	for _, v := range b.Runs {
		if v.FastPath != nil {
			v.Fast, v.Why = statusClasses[v.FastPath.Status], s.src.text(v.FastPath.Why)
			b.Fast = append(b.Fast, v)
		}
	}
	for _, p := range rep.Problems {
		b.Problems = append(b.Problems, s.proofProblem(p))
	}
	b.Problems = b.Problems[:min(len(b.Problems), startProblems)]
	if !rep.OK {
		worst = review.Mismatch
	}
	b.Class = statusClasses[worst]
	b.Status = map[review.Status]string{review.Balanced: "balanced", review.Bounded: "balanced, within bounds that the log names",
		review.Open: "balanced so far; the last run goes on", review.Unknown: "a counter was lost, and the log says so",
		review.Mismatch: "does not balance"}[worst]
}

func (s *Server) proofProblem(p review.Problem) string {
	p.File, p.Detail = stemOf(p.File), s.src.text(p.Detail)
	return p.String()
}

// reasons are the most frequent reasons of the log's decisions.
func (s *Server) reasons(r *http.Request) ([]countLink, error) {
	roll, err := s.src.x.Rollup(r.Context(), index.Filter{Event: []string{"decision"}}, 28*24*time.Hour, index.ByReason)
	if err != nil {
		return nil, err
	}
	sums := make([]countLink, len(roll.Words))
	for i, w := range roll.Words {
		sums[i] = countLink{Text: w, Href: logURL("reason:"+quoted(w), index.NewestFirst)}
	}
	for _, counts := range roll.Counts {
		for i, n := range counts {
			sums[i].N += n
		}
	}
	sums = slices.DeleteFunc(sums, func(c countLink) bool { return c.Text == "" || c.N == 0 })
	slices.SortFunc(sums, func(a, b countLink) int { return int(min(b.N, 1<<40)) - int(min(a.N, 1<<40)) })
	return sums[:min(len(sums), startReasons)], nil
}

// groups are the groups of trouble with the addresses that they lead to.
func (s *Server) groups(rep *trouble.Report) (out []groupView) {
	for _, g := range rep.Groups {
		v := groupView{Group: g, Href: "/trouble/" + string(g.Kind)}
		for _, c := range g.Examples {
			v.Examples = append(v.Examples, caseView{c, s.caseHref(&c)})
		}
		for _, b := range g.Reasons {
			text := b.Reason
			if b.Verdict != "" {
				text = b.Verdict + "/" + text
			}
			f := "reason:" + quoted(b.Reason)
			if b.Rule != "" {
				text += ", rule " + b.Rule
				f += " rule:" + quoted(b.Rule)
			}
			v.Reasons = append(v.Reasons, countLink{text, b.Cases, logURL(f, index.NewestFirst)})
		}
		for _, x := range g.Servers {
			v.Servers = append(v.Servers, countLink{x.Server.String(), x.Cases,
				logURL(fmt.Sprintf("addr:%s port:%d", x.Server.Addr(), x.Server.Port()), index.NewestFirst)})
		}
		out = append(out, v)
	}
	return out
}

// caseHref leads to a case: its connection, or where there is none the segments between its ends.
func (s *Server) caseHref(c *trouble.Case) string {
	if c.FlowID != 0 {
		return "/flow/" + strconv.FormatUint(c.FlowID, 10)
	}
	f := fmt.Sprintf("since:%s until:%s", c.At.Add(-time.Minute).UTC().Format(time.RFC3339), c.Until.Add(time.Minute).UTC().Format(time.RFC3339))
	if c.Client.IsValid() {
		f += fmt.Sprintf(" addr:%s port:%d", c.Client.Addr(), c.Client.Port())
	}
	return logURL(f, index.OldestFirst)
}

// troublePage lists the cases of a kind.
type troublePage struct {
	frame
	Group  *trouble.Group
	Cases  []caseView
	Newer  string
	Older  string
	Hidden uint64 // of connections that are not over, beyond those that are shown
}

// casesShown is how many cases a page has.
const casesShown = 100

// trouble answers with the cases of a kind.
func (s *Server) trouble(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r, "from"); err != nil {
		return err
	}
	kind, from := trouble.Kind(r.PathValue("kind")), 0
	if v := r.URL.Query().Get("from"); v != "" {
		var err error
		if from, err = strconv.Atoi(v); err != nil || from < 0 {
			return badRequest("from %q, expected a number from 0", v)
		}
	}
	rep, err := s.cases.report(r.Context(), s.cfg.Now())
	if err != nil {
		return err
	}
	if rep == nil {
		return &httpError{http.StatusServiceUnavailable, "the log is still being looked through for trouble; ask again"}
	}
	i := slices.IndexFunc(rep.Groups, func(g *trouble.Group) bool { return g.Kind == kind })
	if i < 0 {
		return notFound("there is no such trouble in this log")
	}
	p := troublePage{frame: s.frame("start", rep.Groups[i].Title), Group: rep.Groups[i]}
	list, total, err := s.cases.of(r.Context(), p.Group, from, casesShown)
	if err != nil {
		return err
	}
	at := func(n int) string { return fmt.Sprintf("/trouble/%s?from=%d", kind, n) }
	if from > 0 {
		p.Newer = at(max(from-casesShown, 0))
	}
	if from+casesShown < total {
		p.Older = at(from + casesShown)
	}
	if open := len(list) - min(casesShown, max(total-from, 0)); from == 0 && p.Group.Cases > uint64(total+open) {
		p.Hidden = p.Group.Cases - uint64(total+open)
	}
	for i := range list {
		p.Cases = append(p.Cases, caseView{list[i], s.caseHref(&list[i])})
	}
	s.render(w, r, http.StatusOK, "trouble", p)
	return nil
}
