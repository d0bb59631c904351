package capture

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"halfopen/proxy/spool"
)

// PacketLogOptions say where and how to keep annotated captures. Zero values mean the defaults named.
type PacketLogOptions struct {
	Dir           string        // made if missing; one process writes to it
	MaxFileBytes  int64         // a file is followed by the next at this size; 64 MiB, at most a quarter of MaxTotalBytes
	MaxTotalBytes int64         // oldest files beyond this are removed; 1 GiB; negative: no limit
	MaxAge        time.Duration // files not written to for longer are removed; no limit
	SnapLen       uint32        // bytes kept of a packet at most, as the files say; 0: no limit
	Version       string        // of the program
	Run           string        // id of the decision log's run, "" for none
	// IfaceName names an interface of the host by its index; nil: nobody knows.
	IfaceName func(index uint32) string
	Now       func() time.Time // time.Now
	Logger    *slog.Logger     // slog.Default()
}

const (
	packetPrefix = "packets-"
	packetSuffix = ".pcapng"
	// packetNoun begins errors and messages.
	packetNoun = "capture"
)

// PacketLog writes annotated captures: pcapng files that rotate, each packet with its [Note]. It belongs to one goroutine.
type PacketLog struct {
	opt     PacketLogOptions
	dir     *spool.Dir
	blocks  blocks
	marks   []mark
	line    []byte // the comment at hand, reused
	opening *Decider
	fileSeq uint64

	ifaces []*packetIface         // of the open file
	index  map[packetIfaceKey]int // the same, by what they are
	recent [numPlaces]struct {    // the last one of each place: packets mostly come in a row
		by     *Decider
		queue  uint16
		number int
	}
}

// packetIfaceKey is what makes an interface of a file one of its own. Another policy does: whatever a file holds, it says who decided it.
type packetIfaceKey struct {
	place Place
	queue uint16
	by    Decider
}

// packetIface is an interface of the open file.
type packetIface struct {
	packetIfaceKey
	start, end     int64
	written, drops uint64
}

// mark is where a block of the buffer ends: an interface, or a packet.
type mark struct {
	end   int
	iface int // of the packet; -1: the block declares the next interface
	time  int64
	drops uint64
}

// OpenPacketLog opens a directory for annotated captures. It fails where the directory cannot be made, written to or locked; a full disk is no
// error. No file exists before the first packet is written.
func OpenPacketLog(opt PacketLogOptions) (*PacketLog, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Logger == nil {
		opt.Logger = slog.Default()
	}
	l := &PacketLog{opt: opt, index: make(map[packetIfaceKey]int)}
	var err error
	l.dir, err = spool.Open(spool.Options{Dir: opt.Dir, Noun: packetNoun, Prefix: packetPrefix, Suffix: packetSuffix, MaxFileBytes: opt.MaxFileBytes,
		MaxTotalBytes: opt.MaxTotalBytes, MaxAge: opt.MaxAge, Header: l.header, Trailer: l.trailer, Whole: wholeBlocks, Now: opt.Now, Logger: opt.Logger})
	return l, err
}

// Files lists the annotated captures of a directory, oldest first.
func Files(dir string) ([]string, error) {
	files, err := spool.Files(dir, packetPrefix, packetSuffix)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", packetNoun, err)
	}
	return files, nil
}

// header begins a file: who wrote it, and whose decisions it begins with.
func (l *PacketLog) header(fileSeq uint64) []byte {
	l.fileSeq = fileSeq
	l.ifaces = l.ifaces[:0]
	clear(l.index)
	clear(l.recent[:])
	var w words
	w.text("version", l.opt.Version)
	w.text("run", l.opt.Run)
	w.number("file", fileSeq)
	b := blocks{}
	b.section(Section{Application: application + " " + l.opt.Version, Comment: application + string(w.b) + " " + l.opening.String()})
	return b.b
}

// trailer ends a file with what it lacks.
func (l *PacketLog) trailer() []byte {
	b := blocks{}
	now := l.opt.Now()
	for i, f := range l.ifaces {
		b.statistics(&Statistics{Interface: i, Time: now, Start: time.Unix(0, f.start), End: time.Unix(0, f.end), Received: f.written + f.drops,
			Dropped: f.drops})
	}
	return b.b
}

// begin opens a file where none is open. first is who decided what it will begin with.
func (l *PacketLog) begin(first *Decider) error {
	l.opening = first
	if err := l.dir.Begin(); err != nil {
		return err
	}
	l.blocks.b, l.marks = l.blocks.b[:0], l.marks[:0]
	return nil
}

// add puts a packet into the buffer that put writes. drops packets before it, of the same place, were lost.
func (l *PacketLog) add(p *Packet, data []byte, drops uint64) {
	iface := l.iface(p.Place, p.Queue, p.By)
	l.blocks.beginPacket(iface, p.Time, data, int(p.OrigLen))
	l.comment(p)
	o := Options{Direction: Inbound, DropCount: drops, PacketID: p.id(), HasPacketID: true, Queue: uint32(p.Queue), HasQueue: p.Place != Emitted}
	if p.Place != Received {
		o.Direction = Outbound
	}
	l.blocks.numbers(&o)
	l.blocks.end()
	l.marks = append(l.marks, mark{end: len(l.blocks.b), iface: iface, time: p.Time, drops: drops})
}

// comment writes the note as the packet's comment.
func (l *PacketLog) comment(p *Packet) {
	n := &p.Note
	if l.opt.IfaceName != nil {
		if n.In == "" && p.InDev != 0 {
			n.In = l.opt.IfaceName(p.InDev)
		}
		if n.Out == "" && p.OutDev != 0 {
			n.Out = l.opt.IfaceName(p.OutDev)
		}
	}
	l.line, _ = n.AppendText(l.line[:0])
	l.blocks.textBytes(optComment, l.line)
}

// iface returns the number of an interface in the open file, declared where it is new.
func (l *PacketLog) iface(place Place, queue uint16, by *Decider) int {
	if place == Emitted {
		queue = 0
	}
	if r := &l.recent[place]; r.by == by && r.queue == queue {
		return r.number
	}
	i := l.declare(place, queue, by)
	l.recent[place].by, l.recent[place].queue, l.recent[place].number = by, queue, i
	return i
}

// declare is iface for one that was not the last.
func (l *PacketLog) declare(place Place, queue uint16, by *Decider) int {
	key := packetIfaceKey{place: place, queue: queue, by: *by}
	if i, ok := l.index[key]; ok {
		return i
	}
	l.blocks.iface(Interface{Name: place.name(queue), Description: by.String(), LinkType: LinkRaw, SnapLen: l.opt.SnapLen})
	l.marks = append(l.marks, mark{end: len(l.blocks.b), iface: -1})
	l.index[key] = len(l.ifaces)
	l.ifaces = append(l.ifaces, &packetIface{packetIfaceKey: key})
	return len(l.ifaces) - 1
}

// put writes what add has gathered. It returns how many packets of it, in the order of their adding, and how many bytes are in place. What is
// not is forgotten: the caller adds it again.
func (l *PacketLog) put() (packets, bytes int, err error) {
	bytes, err = l.dir.Append(l.blocks.b)
	known := len(l.ifaces)
	for _, m := range l.marks {
		if m.iface < 0 {
			known--
		}
	}
	for _, m := range l.marks {
		if m.end > bytes {
			break
		}
		if m.iface < 0 {
			known++
			continue
		}
		l.ifaces[m.iface].count(m)
		packets++
	}
	for _, lost := range l.ifaces[known:] { // declared in a block that the disk refused
		delete(l.index, lost.packetIfaceKey)
	}
	l.ifaces = l.ifaces[:known]
	if err != nil {
		clear(l.recent[:])
	}
	l.blocks.b, l.marks = l.blocks.b[:0], l.marks[:0]
	l.dir.Turn()
	return packets, bytes, err
}

// count books a packet that is in place.
func (f *packetIface) count(m mark) {
	if f.written == 0 {
		f.start, f.end = m.time, m.time
	}
	f.start, f.end = min(f.start, m.time), max(f.end, m.time)
	f.written++
	f.drops += m.drops
}

// missing books packets that were lost and that no later packet tells of. It opens a file where it must.
func (l *PacketLog) missing(place Place, queue uint16, by *Decider, n uint64) error {
	if err := l.begin(by); err != nil {
		return err
	}
	f := l.ifaces[:len(l.ifaces):len(l.ifaces)]
	i := l.iface(place, queue, by)
	l.ifaces[i].drops += n // before put, which may end the file
	_, _, err := l.put()
	if err != nil && i < len(f) {
		f[i].drops -= n
	}
	return err
}

// Write adds one packet with its bytes, all of them, and now and then writes what has gathered. An error is the disk's: some packets are then
// not in the files.
func (l *PacketLog) Write(p *Packet, data []byte) error {
	if len(data) > MaxFrame {
		return fmt.Errorf("%s: packet of %d bytes (limit %d)", packetNoun, len(data), MaxFrame)
	}
	if len(l.marks) == 0 {
		if err := l.begin(p.By); err != nil {
			return err
		}
	}
	l.add(p, data, 0)
	if len(l.blocks.b) < batchBytes {
		return nil
	}
	_, _, err := l.put()
	return err
}

// Close writes what has gathered and ends the open file.
func (l *PacketLog) Close() error {
	var err error
	if len(l.marks) > 0 {
		_, _, err = l.put()
	}
	return errors.Join(err, l.dir.Close())
}
