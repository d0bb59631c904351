package lab

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of processor time in /proc: USER_HZ is 100 on every architecture that Go runs on.
const tick = 0.01

// usage is processor time in seconds, since boot or, as a difference, within wall seconds.
type usage struct {
	at         time.Time
	wall       float64
	busy       float64 // the machine's, in all that is neither idle nor waiting nor stolen
	steal      float64 // what the host of a virtual machine kept for itself
	own        float64 // the load generator's
	gateway    float64
	threads    map[string]float64 // the gateway's, by thread
	busiest    float64            // of a difference: the gateway's thread that ran most
	softirq    float64            // of busy: in softirqs, which run on their own or within any thread's call
	ownThreads map[string]float64 // the load generator's, by thread
	ownBusiest float64
}

// readUsage reads the counters; pid is the gateway's process, 0 for none.
func readUsage(pid int) (u usage, err error) {
	u.at = time.Now()
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, fmt.Errorf("lab: %w", err)
	}
	if u.busy, u.steal, u.softirq, err = parseStat(b); err != nil {
		return u, fmt.Errorf("lab: /proc/stat: %w", err)
	}
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return u, fmt.Errorf("lab: getrusage: %w", err)
	}
	u.own = time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
	u.ownThreads = threadsOf("self")
	if pid == 0 {
		return u, nil
	}
	if b, err = os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil {
		return u, fmt.Errorf("lab: the gateway's process: %w", err)
	}
	if u.gateway, err = parseTaskStat(b); err != nil {
		return u, fmt.Errorf("lab: /proc/%d/stat: %w", pid, err)
	}
	u.threads = threadsOf(strconv.Itoa(pid))
	return u, nil
}

// threadsOf reads how long each thread of a process has run.
func threadsOf(pid string) map[string]float64 {
	threads := map[string]float64{}
	files, _ := filepath.Glob("/proc/" + pid + "/task/*/stat")
	for _, f := range files {
		if b, err := os.ReadFile(f); err == nil { // a thread may end meanwhile
			if t, err := parseTaskStat(b); err == nil {
				threads[f] = t
			}
		}
	}
	return threads
}

func (u usage) sub(before usage) usage {
	d := usage{wall: u.at.Sub(before.at).Seconds(), busy: u.busy - before.busy, steal: u.steal - before.steal, own: u.own - before.own,
		gateway: u.gateway - before.gateway, softirq: u.softirq - before.softirq}
	for thread, t := range u.threads {
		d.busiest = max(d.busiest, t-before.threads[thread])
	}
	for thread, t := range u.ownThreads {
		d.ownBusiest = max(d.ownBusiest, t-before.ownThreads[thread])
	}
	return d
}

// parseStat reads the machine's line of /proc/stat (proc_stat(5)): user, nice, system, idle, iowait, irq, softirq, steal.
func parseStat(b []byte) (busy, steal, softirq float64, err error) {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := strings.Fields(string(line))
	if len(f) < 9 || f[0] != "cpu" {
		return 0, 0, 0, fmt.Errorf("%q: want \"cpu\" and at least eight counters", line)
	}
	for i, s := range f[1:9] {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return 0, 0, 0, fmt.Errorf("%q: %w", line, err)
		}
		switch i {
		case 3, 4:
		case 7:
			steal = float64(n) * tick
		case 6:
			softirq = float64(n) * tick
			busy += softirq
		default:
			busy += float64(n) * tick
		}
	}
	return busy, steal, softirq, nil
}

// parseTaskStat reads utime and stime (fields 14 and 15 of proc_pid_stat(5)). The name in field 2 may hold anything, also ")".
func parseTaskStat(b []byte) (float64, error) {
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0, fmt.Errorf("%q: want at least 15 fields", b)
	}
	var sum float64
	for _, s := range f[11:13] {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%q: %w", b, err)
		}
		sum += float64(n) * tick
	}
	return sum, nil
}
