package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"halfopen/conntrack"
	"halfopen/policy"
	"halfopen/policy/experiment"
	"halfopen/proxy/capture"
	"halfopen/proxy/decisionlog"
	"halfopen/proxy/review/disagree"
)

// ReplayConfig says what is replayed, and how.
type ReplayConfig struct {
	Capture   string   // pcap or pcapng file, plain or gzip-compressed; "-" is standard input
	Policy    string   // a preset's name or a file
	Overrides []string // PATH=VALUE, applied to the policy document before it is compiled
	// Experiment is a file of experiments whose arms' policies decide the connections that belong to them; "" for none.
	Experiment string
	Shadows    []string // further policies that decide the same segments, each with a table of its own

	Interface       string // only frames of this interface, "" for all
	Inbound         bool   // only frames that came in: of a gateway's capture, what it was asked about
	IgnoreChecksums bool   // take no checksum for wrong
	Fresh           bool   // adopt nothing: connections older than the capture are not known

	LogDir  string // directory of a decision log, "-" for Stdout, "" for none
	PcapDir string // directory of an annotated capture, "" for none
	Version string
	Stdout  io.Writer
	Logger  *slog.Logger

	// Frame is told what became of each frame, in order; it must not keep the frame. Nil: nobody asks. An error ends the replay.
	Frame func(*ReplayFrame) error
	// Progress is told now and then how many bytes of the file have been read. Nil: nobody asks.
	Progress func(bytes int64)

	explain *frameTrace // the frame that is to be explained, nil for none
	options bool        // frames are told with their options
}

// replay is a replay under way: one engine, its shadows, and the capture's clock.
type replay struct {
	cfg     *ReplayConfig
	engine  *policy.Engine // nil until the first frame tells the time
	pol     *policy.Policy
	exps    *experiments       // nil for none
	endings []*experiment.Spec // that the log is to be told of, the earliest first
	beside  []*policy.Policy   // of cfg.Shadows
	shadows *shadows           // nil for none, and until the first frame
	story   *disagree.Builder
	decoder *Decoder
	journal journal
	log     *decisionlog.Writer // nil for none
	differs bool                // a shadow would do something else about the segment at hand
	parts   bool                // and for the first time on its connection
	put     int                 // records since the log was last flushed
	held    map[uint64]heldPacket
	tap     replayTap
	clock   captureClock      // of the frame that was read last
	now     conntrack.Instant // what it showed at the segment at hand
	batch   batch
	courses courses
	strays  *simplelru.LRU[conntrack.Tuple, struct{}] // tuples of connections that the table never took up
	report  *Replay

	at      *sighting    // of the segment at hand
	note    capture.Note // what an annotated capture says was decided about it
	noted   bool         // it says something
	decider capture.Decider
	sides   sides
	shown   ReplayFrame
	err     error // of cfg.Frame
}

// RunReplay replays a capture. The error is for what keeps it from beginning: a policy or capture that cannot be opened, a log
// that cannot be written. What is wrong further in the capture is in the report's Problems, and what came before it in the rest
// of the report.
func RunReplay(ctx context.Context, cfg ReplayConfig) (*Replay, error) {
	r, err := newReplay(&cfg)
	if err != nil {
		return nil, err
	}
	src, err := capture.Open(cfg.Capture)
	if err != nil {
		return nil, err
	}
	defer src.Close()
	return r.run(ctx, src)
}

// newReplay loads what a replay needs beside its capture.
func newReplay(cfg *ReplayConfig) (*replay, error) {
	r := &replay{cfg: cfg, decoder: NewDecoder(), story: disagree.NewBuilder(), held: make(map[uint64]heldPacket), report: newReplayReport(cfg)}
	var err error
	if r.pol, err = LoadPolicy(cfg.Policy, cfg.Overrides); err != nil {
		return nil, err
	}
	if cfg.Experiment != "" {
		if err := r.loadExperiments(); err != nil {
			return nil, err
		}
	}
	if r.beside, err = LoadShadows(cfg.Shadows, maxShadows); err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	size := max(r.pol.Limits().Flows, 1)
	r.courses.init(size)
	r.newBatch()
	r.strays, _ = simplelru.NewLRU[conntrack.Tuple, struct{}](size, nil) // fails for sizes below 1 only
	return r, nil
}

// run replays the whole capture.
func (r *replay) run(ctx context.Context, src *capture.Reader) (*Replay, error) {
	if err := r.openLog(); err != nil {
		return nil, err
	}
	if err := r.openTap(); err != nil {
		return nil, errors.Join(err, r.closeLog())
	}
	r.read(ctx, src)
	if r.engine != nil {
		r.finish()
	}
	r.close(src)
	return r.report, r.err
}

// progressEvery is how many frames pass between looks at the context and words about progress.
const progressEvery = 4096

// read takes frame after frame until the capture ends, is damaged, or nobody wants more.
func (r *replay) read(ctx context.Context, src *capture.Reader) {
	var f capture.Frame
	for r.err == nil {
		if r.batch.waits > 0 && !src.Ready() { // it may be long until there is more, and reading it takes the buffer
			r.decide()
		}
		err := src.Read(&f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.report.problem(r.report.Packets+1, err.Error())
			more, err := src.NextFile() // what the next file of a directory holds can be read
			if err != nil {
				r.report.problem(r.report.Packets+1, err.Error())
			}
			if !more {
				break
			}
			continue
		}
		r.frame(src, &f)
		if f.N%progressEvery == 0 {
			if r.cfg.Progress != nil {
				r.cfg.Progress(src.Position())
			}
			if ctx.Err() != nil {
				r.report.problem(f.N, fmt.Sprintf("%s: interrupted behind frame %d", src.Place(), f.N))
				break
			}
		}
	}
	r.decide()
	if r.report.Packets == 0 && len(r.report.Problems) == 0 {
		r.report.problem(0, src.Place()+": the capture holds no frames")
	}
}

// frame takes up one frame that will be decided, or says why no gateway would have been asked about it.
func (r *replay) frame(src *capture.Reader, f *capture.Frame) {
	r.report.seen(f)
	if why := r.clock.tick(f); why != "" {
		r.report.problem(f.N, fmt.Sprintf("%s: frame %d: %s", src.Place(), f.N, why))
	}
	if r.engine == nil {
		r.now = r.clock.now
		r.start()
	}
	why := r.decode(src, f)
	if r.cfg.explain != nil {
		r.cfg.explain.look(f, r)
	}
	switch why {
	case SkipLinkType:
		r.unknownLink(src, f)
	case SkipOutbound:
		r.directionless(src, f)
	}
	if why == "" {
		r.report.TCP++
		r.keep(f)
		return
	}
	r.report.Skipped[why]++
	if r.cfg.Frame != nil {
		r.err = r.cfg.Frame(&ReplayFrame{N: f.N, Time: r.clock.now, Verdict: "skip", Reason: why})
	}
}

// unknownLink reports a link type that cannot be opened, once.
func (r *replay) unknownLink(src *capture.Reader, f *capture.Frame) {
	if !r.report.unknown[f.LinkType] && len(r.report.unknown) < maxPoints {
		r.report.unknown[f.LinkType] = true
		r.report.problem(f.N, fmt.Sprintf("%s: frame %d: link type %d (%s) is not supported; its frames are skipped", src.Place(), f.N, f.LinkType, f.LinkType))
	}
}

// directionless reports, once, a frame of which nobody knows whether it came in.
func (r *replay) directionless(src *capture.Reader, f *capture.Frame) {
	if f.InOut() == capture.Unknown && !r.report.directionless {
		r.report.directionless = true
		r.report.problem(f.N, fmt.Sprintf("%s: frame %d: the capture does not say whether it came in (neither flags of pcapng nor a Linux cooked header); such frames are skipped", src.Place(), f.N))
	}
}

// Why a frame is skipped: the gateway's rules queue TCP only, and no fragment but a first one.
const (
	SkipInterface = "other-interface" // of another interface than the one asked for
	SkipOwnDeed   = "gateways-own"    // made or released by the gateway that captured it: it never reached that gateway's queue
	SkipOutbound  = "outbound"        // sent by the host that captured it, where only what came in was asked for
	SkipLinkType  = "link-type"       // of a link type that cannot be opened
	SkipNotIP     = "not-ip"          // carries no IP packet, or is too short to
	SkipNotTCP    = "not-tcp"         // another protocol
	SkipFragment  = "fragment"        // a fragment other than the first
)

// decode fills the batch's next segment, or returns why there is none.
func (r *replay) decode(src *capture.Reader, f *capture.Frame) (skip string) {
	if r.cfg.Interface != "" && f.Interface != r.cfg.Interface {
		return SkipInterface
	}
	if r.cfg.Inbound && f.InOut() != capture.Inbound {
		return SkipOutbound
	}
	if src.OwnDeed(f) {
		return SkipOwnDeed
	}
	if r.noted || len(f.Options.Comments) > 0 {
		r.decide() // there is room for one note, so an annotated capture is decided packet by packet
		r.decider = capture.Decider{}
		if r.note, r.noted = f.Note(); r.noted {
			r.decider, _ = src.Decider(f)
		}
	}
	if !f.LinkType.Supported() {
		return SkipLinkType
	}
	ip, ok := f.IP()
	if !ok {
		return SkipNotIP
	}
	seg, from := &r.batch.segs[r.batch.waits], &r.batch.from[r.batch.waits]
	// What stands before the IP packet was on the wire too.
	from.packet, from.length = ip, f.OrigLen-(len(f.Data)-len(ip))
	var header frame
	r.decoder.decode(ip, from.length, PacketInfo{Partial: r.cfg.IgnoreChecksums}, &header, seg)
	switch {
	case header.other:
		return SkipNotTCP
	case seg.Defect == conntrack.DefectFragment && !header.first:
		return SkipFragment
	}
	if seg.Defect == conntrack.DefectNone && seg.Checksum != conntrack.ChecksumGood && unfinished(&seg.Tuple, header.transport, header.length) {
		if seg.Checksum == conntrack.ChecksumBad {
			r.report.Unfinished++
		}
		seg.Checksum = conntrack.ChecksumUnverified
		seg.GSO = true // what is not summed yet is not cut yet either: its length says nothing of the segments on the wire
	}
	return ""
}

// unfinished reports whether a TCP checksum field holds what a system leaves there for its network card to finish: the pseudo
// header's sum, with or without the length (tcp_v4_check and tcp_gso_make_writable in Linux, NDIS's task offload). A capture taken on
// the sending host shows such sums. length is the segment's with its header.
func unfinished(tu *conntrack.Tuple, header []byte, length int) bool {
	sum := uint16(header[16])<<8 | uint16(header[17])
	return sum == foldSum(pseudoSum(tu, length)) || sum == foldSum(pseudoSum(tu, 0))
}
