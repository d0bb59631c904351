package proxy

import (
	"fmt"
	"os"
)

// openSide opens what operators and the service manager see beside the packet path, and returns what closes it again.
func (g *Gateway) openSide() (func(), error) {
	undo := &undoList{}
	notify, err := NewNotifier(os.Getenv)
	if err != nil {
		return undo.run, err
	}
	g.notify = notify
	undo.add(func() { _ = notify.Stopping(); _ = notify.Close() })
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

// statusLine is what the service manager shows.
func (g *Gateway) statusLine() string {
	return fmt.Sprintf("%d queues, policy %s", g.cfg.workers(), g.policy().Name())
}

// watchdog tells the service manager that the gateway is alive: called only while every worker makes progress or has just been
// replaced.
func (g *Gateway) watchdog() {
	_ = g.notify.Alive()
}
