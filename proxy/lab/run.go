package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"halfopen/proxy/capture"
)

// DefaultPolicy is enforced where none is named: the case that the lab was built for.
const DefaultPolicy = "lpd-case-2015"

// Options say what to run.
type Options struct {
	Scenario  string
	Phase     string   // only this phase; "" means all
	Policy    string   // name or file for the gateway; "" means DefaultPolicy, PlainForwarding no halfopen at all
	FarPolicy string   // name or file for a second gateway in front of the client; "" means there is none
	Set       []string // further PATH=VALUE overrides of the gateway's policy
	Binary    string   // the halfopen program that the gateways run; "" means this one
	Out       string   // directory for captures and logs, made if missing; "" means a new one below the system's temporary directory
	Pcap      string   // directory for the gateway's annotated captures, "" for none; the far gateway's go to "far" in it
	IPv6      bool     // play it over IPv6

	// Impairment is what the client's link and the server's do to segments, nil for nothing. The gateways see what is left.
	Impairment *Impairment
}

// errNotRoot says what the lab lacks.
var errNotRoot = errors.New("lab: needs root (it makes network namespaces); try sudo")

// Run plays a scenario and reports. Whatever happens, also when ctx ends, the namespaces and processes are gone when it returns; the
// captures and logs stay in Options.Out. It needs root.
func Run(ctx context.Context, o Options) (*Report, error) {
	if !isRoot() {
		return nil, errNotRoot
	}
	sc, err := Find(o.Scenario)
	if err != nil {
		return nil, err
	}
	phases, err := choose(sc, o.Phase)
	if err != nil {
		return nil, err
	}
	if sc.needs != nil {
		if err := sc.needs(); err != nil {
			return nil, err
		}
	}
	ownDir := o.Out == ""
	if err := o.fill(); err != nil {
		return nil, err
	}
	RemoveStale()
	r := &rig{Options: o, scenario: sc, phases: phases}
	report, err := r.run(ctx)
	err = errors.Join(err, r.close())
	if err == nil {
		return report, nil
	}
	if ownDir && ctx.Err() != nil { // broken off: nobody looks at half a run
		err = errors.Join(err, os.RemoveAll(r.Out))
	}
	return nil, err
}

func choose(sc Scenario, name string) ([]PhaseSpec, error) {
	if name == "" {
		return sc.Phases, nil
	}
	var names []string
	for _, p := range sc.Phases {
		if p.Name == name {
			return []PhaseSpec{p}, nil
		}
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("lab: scenario %s has no phase %q (it has %s)", sc.Name, name, strings.Join(names, ", "))
}

// fill puts in the defaults and makes the output directory.
func (o *Options) fill() (err error) {
	if o.Policy == "" {
		o.Policy = DefaultPolicy
	}
	if o.Binary == "" {
		if o.Binary, err = os.Executable(); err != nil {
			return fmt.Errorf("lab: own program: %w", err)
		}
	}
	if o.Out == "" {
		o.Out, err = os.MkdirTemp("", "halfopen-lab-")
	} else {
		err = os.MkdirAll(o.Out, 0o755)
	}
	if err != nil {
		return fmt.Errorf("lab: output directory: %w", err)
	}
	if o.Pcap != "" {
		if o.Pcap, err = filepath.Abs(o.Pcap); err != nil {
			return fmt.Errorf("lab: capture directory: %w", err)
		}
	}
	o.Out, err = filepath.Abs(o.Out)
	return err
}

// rig is one run: everything that must be taken down again.
type rig struct {
	Options
	scenario Scenario
	phases   []PhaseSpec

	top      *Topology
	scratch  string // short-lived small files: ready files, admin sockets, private roots
	sniffers []*capture.Sniffer
	captures []string // inside first
	windows  []window // one a phase
}

// window is the time that a phase took.
type window struct {
	phase       *Phase
	from, until time.Time
}

func (r *rig) logDir() string    { return filepath.Join(r.Out, "log") }
func (r *rig) farLogDir() string { return filepath.Join(r.Out, "far-log") }

func (r *rig) farPcapDir() string {
	if r.Pcap == "" {
		return ""
	}
	return filepath.Join(r.Pcap, "far")
}

func (r *rig) run(ctx context.Context) (*Report, error) {
	var err error
	if r.scratch, err = newScratch(); err != nil {
		return nil, err
	}
	for _, sub := range []string{"g", "f"} {
		if err := os.Mkdir(filepath.Join(r.scratch, sub), 0o700); err != nil {
			return nil, fmt.Errorf("lab: %w", err)
		}
	}
	var options []Option
	if r.Impairment != nil {
		options = append(options, Impaired(*r.Impairment, *r.Impairment))
	}
	if r.top, err = Build(r.FarPolicy != "", options...); err != nil {
		return nil, err
	}
	if err := r.sniff(); err != nil {
		return nil, err
	}
	for i, spec := range r.phases {
		if err := r.play(ctx, i, spec); err != nil {
			return nil, fmt.Errorf("phase %s: %w", spec.Name, err)
		}
	}
	if err := r.stopSniffing(); err != nil {
		return nil, err
	}
	return r.report()
}

// sniff starts a capture on each link, at a gateway's end of it.
func (r *rig) sniff() error {
	section := capture.Section{
		Application: "halfopen lab",
		Comment:     fmt.Sprintf("scenario=%s policy=%s far_policy=%s", r.scenario.Name, r.Policy, r.FarPolicy),
	}
	points := []struct {
		ns         *Namespace
		link, name string
	}{{r.top.Gateway, linkInside, "inside"}, {r.top.Gateway, linkOutside, "outside"}}
	if r.top.Far != nil {
		points = append(points[:1:1], points[0], points[1])
		points[0].ns = r.top.Far
		points[1].link, points[1].name = linkBetween, "between"
	}
	for _, p := range points {
		path := filepath.Join(r.Out, p.name+".pcapng")
		err := p.ns.Do(func() error {
			s, err := capture.StartSniffer(p.link, p.name, path, section)
			if err == nil {
				r.sniffers = append(r.sniffers, s)
			}
			return err
		})
		if err != nil {
			return err
		}
		r.captures = append(r.captures, path)
	}
	// The kernel switches receive time stamps on from a work queue (net/core/dev.c, net_enable_timestamp). A frame that comes earlier
	// is stamped when it is read, behind its own copy on the far side of the gateway.
	time.Sleep(50 * time.Millisecond)
	return nil
}

func (r *rig) stopSniffing() error {
	var errs []error
	for i, s := range r.sniffers {
		stats, err := s.Stop()
		if err == nil && stats.Dropped > 0 {
			err = fmt.Errorf("lab: the kernel lost %d frames of %s: the counts would be wrong", stats.Dropped, r.captures[i])
		}
		errs = append(errs, err)
	}
	r.sniffers = nil
	return errors.Join(errs...)
}

// close takes down whatever still stands.
func (r *rig) close() error {
	var errs []error
	for _, s := range r.sniffers {
		_, err := s.Stop()
		errs = append(errs, err)
	}
	if r.top != nil {
		errs = append(errs, r.top.Close())
	}
	if r.scratch != "" {
		errs = append(errs, os.RemoveAll(r.scratch))
	}
	return errors.Join(errs...)
}

// play runs one phase between fresh gateway processes.
func (r *rig) play(ctx context.Context, index int, spec PhaseSpec) (err error) {
	ph := &Phase{Name: spec.Name, title: spec.Title, Facts: map[string]any{}}
	ph.expiry = spec.expires && r.Policy != PlainForwarding
	if r.FarPolicy != "" {
		ph.FarGateway = &GatewayView{}
	}
	s := r.stage(index, ph)
	defer s.cleanup()
	w := window{phase: ph, from: time.Now()}
	if r.scenario.prepare != nil {
		if err := r.scenario.prepare(s, spec); err != nil {
			return err
		}
	}
	var gateways []*gateway
	defer func() {
		for _, g := range gateways {
			err = errors.Join(err, g.stop())
		}
	}()
	for _, c := range r.gatewayConfigs(spec) {
		g, err := startGateway(ctx, c.ns, c.gatewayConfig)
		if err != nil {
			return err
		}
		gateways = append(gateways, g)
	}
	if err := spec.run(ctx, s); err != nil {
		return err
	}
	if err := pause(ctx, settle); err != nil {
		return err
	}
	w.until = time.Now()
	r.windows = append(r.windows, w)
	return nil
}

type placedConfig struct {
	ns *Namespace
	gatewayConfig
}

// gatewayConfigs returns the processes of a phase. The phase's own overrides concern the gateway only: the far one belongs to
// somebody else.
func (r *rig) gatewayConfigs(spec PhaseSpec) []placedConfig {
	near := placedConfig{r.top.Gateway, gatewayConfig{
		binary: r.Binary, policy: r.Policy, set: append(spec.Overrides(), r.Set...),
		logDir: r.logDir(), pcapDir: r.Pcap, stderr: filepath.Join(r.Out, "gateway.stderr"), runDir: filepath.Join(r.scratch, "g"),
	}}
	out := []placedConfig{near}
	if r.top.Far != nil {
		out = append(out, placedConfig{r.top.Far, gatewayConfig{
			binary: r.Binary, policy: r.FarPolicy, logDir: r.farLogDir(), pcapDir: r.farPcapDir(),
			stderr: filepath.Join(r.Out, "far-gateway.stderr"), runDir: filepath.Join(r.scratch, "f"),
		}})
	}
	return out
}

func (r *rig) stage(index int, ph *Phase) *stage {
	client, server := client4, server4
	if r.IPv6 {
		client, server = client6, server6
	}
	at := withPort(server, port)
	return &stage{
		top: r.top, client: withPort(client, firstClientPort+uint16(index)), dialed: at, server: at, phase: ph,
		dir: r.Out, scratch: r.scratch,
	}
}

// isServer tells the server's side on any link.
func (r *rig) isServer(a netip.AddrPort) bool {
	return a.Addr() == server4 || a.Addr() == server6 || a.Addr() == virtual4
}

// report reads captures and logs.
func (r *rig) report() (*Report, error) {
	rep := &Report{Scenario: r.scenario.Name, Policy: r.Policy, FarPolicy: r.FarPolicy, Log: r.logDir()}
	rep.Captures = Captures{Inside: r.captures[0], Outside: r.captures[len(r.captures)-1]}
	if r.Policy != PlainForwarding {
		rep.Captures.Gateway = r.Pcap
	}
	if r.top.Far != nil {
		rep.Captures.Between, rep.FarLog = r.captures[1], r.farLogDir()
		if r.FarPolicy != PlainForwarding {
			rep.Captures.FarGateway = r.farPcapDir()
		}
	}
	if r.Impairment != nil {
		h := r.top.Harm()
		rep.Impairment, rep.Harm = r.Impairment.String(), &h
	}
	packets, err := readLinks(r.captures, r.isServer)
	if err != nil {
		return nil, err
	}
	log, err := readLog(r.logDir())
	if err != nil {
		return nil, err
	}
	farLog, err := readLog(r.farLogDir())
	if err != nil {
		return nil, err
	}
	for i, w := range r.windows {
		w.phase.fill(w, packets, len(r.captures), log, farLog)
		if r.Policy != PlainForwarding {
			files, err := openPolicyFiles(r.Policy, append(r.phases[i].Overrides(), r.Set...))
			if err != nil {
				return nil, err
			}
			w.phase.source(files)
		}
		rep.Phases = append(rep.Phases, w.phase)
	}
	return rep, nil
}

// fill makes a phase's views out of what was captured and logged in its time.
func (p *Phase) fill(w window, packets []packet, links int, log, farLog []entry) {
	var mine []packet
	for _, pk := range packets {
		if !pk.at.Before(w.from) && pk.at.Before(w.until) {
			mine = append(mine, pk)
		}
	}
	p.trace = follow(mine, links)
	for p.mark < len(p.trace) && p.trace[p.mark].at.Before(p.incident) {
		p.mark++
	}
	p.view()
	near, name := 0, ""
	if p.FarGateway != nil {
		near, name = 1, "[gateway] "
		p.annotate(farLog, 0, "[far] ", p.FarGateway, w.from, w.until)
	}
	p.annotate(log, near, name, &p.Gateway, w.from, w.until)
	p.decide(log, w.from, w.until)
	if p.expiry {
		p.Facts["gateway_forgot"] = p.forgot(log, w.from)
	}
	p.numbers()
	if p.translated {
		p.wireFacts()
	}
	p.explain()
}
