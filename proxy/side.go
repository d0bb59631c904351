package proxy

import (
	"context"
	"fmt"
	"os"
	"os/signal"
)

// openSide opens what operators and the service manager see beside the packet path, and returns what closes it again.
func (g *Gateway) openSide() (func(), error) {
	undo := &undoList{}
	notify, err := NewNotifier(os.Getenv)
	if err != nil { // a socket inherited from somewhere is no reason not to run
		g.cfg.Logger.Warn("the service manager is not told how the gateway does", "err", err)
	}
	g.notify = notify
	undo.add(func() { _ = notify.Stopping(); _ = notify.Close() })
	if g.cfg.Admin != "" {
		admin, err := NewAdmin(AdminConfig{Path: g.cfg.Admin, Host: g, Clock: g.clock, Pending: g.shared.pending, Logger: g.cfg.Logger})
		if err != nil {
			return undo.run, err
		}
		undo.add(func() { _ = admin.Close() })
	}
	if g.cfg.Metrics != "" {
		metrics, err := NewMetrics(MetricsConfig{Addr: g.cfg.Metrics, Counters: g.Counters, Logger: g.cfg.Logger})
		if err != nil {
			return undo.run, err
		}
		undo.add(func() { _ = metrics.Close() })
	}
	go g.reloadOn(g.hup)
	undo.add(func() { signal.Stop(g.hup); close(g.hup) })
	if g.cfg.ReadyFile != "" {
		remove, err := WriteReadyFile(g.cfg.ReadyFile)
		if err != nil {
			return undo.run, err
		}
		undo.add(remove)
	}
	_ = notify.Ready(g.statusLine())
	return undo.run, nil
}

// reloadOn loads the policy again at each signal. The error of a bad file has been logged; the old policy stays.
func (g *Gateway) reloadOn(hup <-chan os.Signal) {
	for range hup {
		_ = g.notify.Reloading()
		if _, err := g.Reload(context.Background(), ""); err != nil {
			g.cfg.Logger.Error("reload", "err", err)
		}
		_ = g.notify.Ready(g.statusLine())
	}
}

// statusLine is what the service manager shows.
func (g *Gateway) statusLine() string {
	var flows uint64
	for _, w := range g.workerList() {
		flows += w.copied.Load().live()
	}
	return fmt.Sprintf("%d queues, %d flows, policy %s", g.cfg.workers(), flows, g.policy().Name())
}

// watchdog tells the service manager that the gateway is alive: called only while every queue has a worker that makes progress or has
// just been replaced.
func (g *Gateway) watchdog() {
	_ = g.notify.Alive()
}
