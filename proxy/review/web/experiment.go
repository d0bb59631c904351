package web

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/review/index"
	"halfopen/proxy/review/trial"
)

// experimentsPage lists the experiments of the log.
type experimentsPage struct {
	frame
	Ready bool
	List  []trialLine
}

type trialLine struct {
	Name, Href, Sentence string
	Kind                 string
	Class                string
	From, To             time.Time
	Final                bool
}

// verdictClasses are how verdicts look: classes of badges.
var verdictClasses = map[experiment.VerdictKind]string{experiment.Harm: "bad", experiment.Mixed: "bad", experiment.Better: "good",
	experiment.NoDifference: "good", experiment.TooLittle: "warn", experiment.Withheld: "warn", experiment.Running: "open"}

// verdictWords are verdicts in a word or two.
var verdictWords = map[experiment.VerdictKind]string{experiment.Harm: "worse", experiment.Mixed: "worse and better", experiment.Better: "better",
	experiment.NoDifference: "no difference", experiment.TooLittle: "too little data", experiment.Withheld: "no verdict", experiment.Running: "running"}

func trialURL(name string) string { return "/experiments/" + url.PathEscape(name) }

// experiments answers with the list.
func (s *Server) experiments(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	list, ready, err := s.trial.reports(r.Context(), s.cfg.Now())
	if err != nil {
		return err
	}
	p := experimentsPage{frame: s.frame("experiments", "Experiments"), Ready: ready}
	for _, x := range list {
		p.List = append(p.List, trialLine{x.Name, trialURL(x.Name), x.Verdict.Sentence, verdictWords[x.Verdict.Kind], verdictClasses[x.Verdict.Kind], x.From, x.To, x.Final})
	}
	s.render(w, r, http.StatusOK, "experiments", p)
	return nil
}

// one is the report that a page's address names.
func (s *Server) one(r *http.Request) (*experiment.Report, error) {
	list, ready, err := s.trial.reports(r.Context(), s.cfg.Now())
	if err != nil {
		return nil, err
	}
	if !ready {
		return nil, &httpError{http.StatusServiceUnavailable, "the log is still being read for its experiments; ask again"}
	}
	name := r.PathValue("name")
	i := slices.IndexFunc(list, func(x *experiment.Report) bool { return x.Name == name })
	if i < 0 {
		return nil, notFound("this log tells of no experiment %s", policy.Quote(name))
	}
	return list[i], nil
}

// experiment answers with a report.
func (s *Server) experiment(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	x, err := s.one(r)
	if err != nil {
		return err
	}
	v := newTrialView(x, pageLinks())
	s.render(w, r, http.StatusOK, "experiment", experimentPage{frame: s.frame("experiments", "Experiment "+x.Name), View: v})
	return nil
}

// experimentJSON answers with a report as the command line writes it.
func (s *Server) experimentJSON(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r); err != nil {
		return err
	}
	x, err := s.one(r)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(x)
}

type experimentPage struct {
	frame
	View *trialView
}

// behindPage lists the connections behind a figure.
type behindPage struct {
	frame
	Name, Href, Arm string
	Metric          experiment.Metric
	List            []behindLine
	Most            bool
}

type behindLine struct {
	experiment.Example
	Href  string
	Value string
}

// behind answers with the connections behind a figure.
func (s *Server) behind(w http.ResponseWriter, r *http.Request) error {
	if err := noQuery(r, "arm", "metric"); err != nil {
		return err
	}
	x, err := s.one(r)
	if err != nil {
		return err
	}
	arm, word := r.URL.Query().Get("arm"), r.URL.Query().Get("metric")
	m, ok := experiment.ParseMetric(word)
	if !ok {
		return badRequest("metric %q is none, expected one such as %s", word, experiment.ConnectFailure)
	}
	if !slices.ContainsFunc(x.Arms, func(a experiment.ArmReport) bool { return a.Name == arm }) {
		return badRequest("arm %q is none of this experiment's", arm)
	}
	p := behindPage{frame: s.frame("experiments", m.What()+": "+arm), Name: x.Name, Href: trialURL(x.Name), Arm: arm, Metric: m}
	list := x.Behind(arm, m)
	p.Most = len(list) >= 200
	for _, e := range list {
		l := behindLine{Example: e, Value: m.FormatFigure(e.Value)}
		if m.Kind() == experiment.KindShare {
			l.Value = ""
		}
		switch {
		case e.Flow != 0:
			l.Href = "/flow/" + strconv.FormatUint(e.Flow, 10)
		default:
			f := fmt.Sprintf("since:%s until:%s addr:%s port:%d", e.Start.Add(-time.Second).UTC().Format(time.RFC3339), e.Start.Add(2*time.Minute).UTC().Format(time.RFC3339),
				e.Client.Addr(), e.Client.Port())
			l.Href = logURL(f, index.OldestFirst)
		}
		p.List = append(p.List, l)
	}
	s.render(w, r, http.StatusOK, "behind", p)
	return nil
}

// trialLinks are where a report's numbers lead to; nil functions: nowhere.
type trialLinks struct {
	records func(arm, more string, from, to time.Time) string
	behind  func(name, arm, metric string) string
	policy  func(rev string) string
}

// pageLinks are those of the page.
func pageLinks() trialLinks {
	return trialLinks{
		records: func(arm, more string, from, to time.Time) string {
			f := "event:flow arm:" + quoted(arm)
			if more != "" {
				f += " " + more
			}
			if !from.IsZero() {
				f += " since:" + from.UTC().Format(time.RFC3339Nano)
			}
			if !to.IsZero() {
				f += " until:" + to.UTC().Format(time.RFC3339Nano)
			}
			return logURL(f, index.OldestFirst)
		},
		behind: func(name, arm, metric string) string {
			return trialURL(name) + "/behind?" + url.Values{"arm": {arm}, "metric": {metric}}.Encode()
		},
		policy: func(rev string) string { return "/policies/" + url.PathEscape(rev) },
	}
}

// Standalone writes reports as one page that needs nothing else: no server, no script, nothing that is fetched.
func Standalone(reports []*experiment.Report) ([]byte, error) {
	t, err := template.New("").Funcs(funcs(&Server{})).ParseFS(templateFiles, "templates/*.html")
	if err != nil {
		return nil, err
	}
	css, err := assetFiles.ReadFile("assets/page.css")
	if err != nil {
		return nil, err
	}
	var names []string
	p := alonePage{CSS: template.CSS(string(css) + trial.CSS)}
	for _, r := range reports {
		names = append(names, r.Name)
		p.Views = append(p.Views, newTrialView(r, trialLinks{}))
	}
	p.Heading = "Experiment " + strings.Join(names, ", ")
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, "alone", p); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

type alonePage struct {
	Heading string
	CSS     template.CSS
	Views   []*trialView
}
