package fastpath

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// Answer is what the kernel says to one question of Probe.
type Answer struct {
	Name  string
	OK    bool
	Found string
	Means string // what follows; "" where nothing does
}

// without is what follows from each lack but one of redirect's.
const without = "there is no fast path: with --fastpath auto every segment takes the queue, --fastpath on does not start"

// Probe asks what the kernel and the privileges at hand have for a fast path, and what of one is in the calling thread's network
// namespace. It leaves nothing behind: programs and maps are loaded and let go of, a hook is tried in a namespace made for that.
func Probe() []Answer {
	var p probe
	_ = rlimit.RemoveMemlock() // what comes of it is seen below
	if p.bpf() {
		p.maps()
		p.helpers()
		p.program()
		p.hook()
		p.ways()
	}
	p.present()
	return p.answers
}

type probe struct{ answers []Answer }

// ask adds an answer of two possible ones.
func (p *probe) ask(name, good string, err error, means string) bool {
	a := Answer{Name: name, OK: err == nil, Found: good}
	if err != nil {
		a.Found, a.Means = err.Error(), means
	}
	p.answers = append(p.answers, a)
	return err == nil
}

// bpf asks for the system call, by its least use.
func (p *probe) bpf() bool {
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 4, MaxEntries: 1})
	if err == nil {
		m.Close()
	}
	return p.ask("bpf()", "allowed", explain("making a map", err, slog.New(slog.DiscardHandler)), without)
}

// maps asks for kinds of maps, and for BTF, without which a map has no spin locks.
func (p *probe) maps() {
	kinds := []*ebpf.MapSpec{
		{Name: "hash without preallocation", Type: ebpf.Hash, KeySize: 4, ValueSize: 4, Flags: unix.BPF_F_NO_PREALLOC},
		{Name: "array in user memory (Linux 5.5)", Type: ebpf.Array, KeySize: 4, ValueSize: 8, Flags: unix.BPF_F_MMAPABLE},
		{Name: "array per processor", Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8},
	}
	var lacks []string
	for _, s := range kinds {
		name := s.Name
		s.Name, s.MaxEntries = "probe", 1
		m, err := ebpf.NewMap(s)
		if err != nil {
			lacks = append(lacks, name)
			continue
		}
		m.Close()
	}
	var err error
	if len(lacks) > 0 {
		err = fmt.Errorf("missing: %s", strings.Join(lacks, ", "))
	}
	p.ask("bpf maps", "all kinds", err, without)
	var types btf.Builder
	lock := &btf.Struct{Name: "bpf_spin_lock", Size: 4, Members: []btf.Member{{Name: "val", Type: &btf.Int{Name: "unsigned int", Size: 4}}}}
	_, err = types.Add(lock)
	if err == nil {
		var h *btf.Handle
		if h, err = btf.NewHandle(&types); err == nil {
			err = h.Close()
		}
	}
	p.ask("BTF", "accepted", err, without)
}

// helpers asks for what the program calls.
func (p *probe) helpers() {
	have := func(fns ...asm.BuiltinFunc) error {
		for _, fn := range fns {
			if err := features.HaveProgramHelper(ebpf.SchedCLS, fn); err != nil {
				return fmt.Errorf("%s: %w", fn, err)
			}
		}
		return nil
	}
	p.ask("bpf helpers", "all there", have(asm.FnSpinLock, asm.FnKtimeGetNs, asm.FnSkbLoadBytes), without)
	p.ask("bpf helpers of redirect", "all there", have(asm.FnFibLookup, asm.FnRedirect), "--fastpath redirect does not start")
}

// program offers the real ones to the verifier.
func (p *probe) program() {
	o, err := loadObjects(loadOptions{Flows: 1, Workers: 1, MarkMask: 0xff000000, Redirect: true})
	if err == nil {
		err = o.Close()
	}
	p.ask("fast path's program", "accepted by the verifier", explain("loading the programs", err, slog.New(slog.DiscardHandler)), without)
}

// hook tries where programs can hang, on the loopback of a namespace made for that.
func (p *probe) hook() {
	name := make(chan string, 1)
	failed := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // no unlock: the thread, and with it the namespace, ends with the goroutine
		h, err := tryHooks()
		name <- h.String()
		failed <- err
	}()
	p.ask("fast path's hook", <-name, <-failed, without)
}

func tryHooks() (hook, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return hookAuto, fmt.Errorf("a namespace to try it in: %w", err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, -1), asm.Return()}})
	if err != nil {
		return hookAuto, err
	}
	defer prog.Close()
	a, err := newAttacher(hookAuto)
	if err != nil {
		return hookAuto, err
	}
	defer a.nl.Close()
	at, err := a.attach(device{index: loopback}, headerEthernet, prog)
	if err != nil {
		return hookAuto, err
	}
	return a.hook, a.detach(at)
}

// loopback is the index of lo in every namespace.
const loopback = 1

// ways asks for what --fastpath redirect would go past.
func (p *probe) ways() {
	past, err := goesPast()
	if err == nil && past != "" {
		err = errors.New("there is " + past)
	}
	p.ask("short way out", "nothing that it would go past", err, "with --fastpath redirect what passes goes the normal way all the same")
}

// present looks for fast paths in the namespace: who has one, and filters that nobody has.
func (p *probe) present() {
	owner, lockErr := holder()
	a, err := newAttacher(hookAuto)
	var all []device
	if err == nil {
		defer a.nl.Close()
		all, err = a.devices()
	}
	if err != nil {
		p.ask("fast path", "", err, "whether one runs here could not be told")
		return
	}
	on := namesOf(a.leftovers(all))
	for _, d := range all {
		if hasTCX(d.index) {
			on = append(on, d.name+" (TCX)")
		}
	}
	slices.Sort(on)
	places := cmp.Or(strings.Join(on, ", "), "no interface")
	switch {
	case lockErr == nil && peer(owner):
		p.ask("fast path", fmt.Sprintf("that of %s, on %s", processName(owner.Pid), places), nil, "")
	case len(on) > 0:
		p.ask("fast path", "", errors.New("left by a dead process on "+places), "it lets nothing past the queue any more; the next run with a fast path removes it")
	default:
		p.ask("fast path", "none runs", nil, "")
	}
}

func namesOf(found []leftover) (names []string) {
	for _, l := range found {
		names = append(names, l.device.name+" (clsact)")
	}
	return names
}

// hasTCX tells whether a program of our name hangs at an interface by TCX. Names are for root to read.
func hasTCX(index int) bool {
	q, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return false
	}
	for _, at := range q.Programs {
		prog, err := ebpf.NewProgramFromID(at.ID)
		if err != nil {
			continue
		}
		info, err := prog.Info()
		prog.Close()
		if err == nil && strings.HasPrefix(info.Name, filterName) {
			return true
		}
	}
	return false
}
